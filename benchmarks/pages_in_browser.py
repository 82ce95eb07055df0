"""How MLflow's pages of a large study feel: seconds until a browser shows them, and what it shows.

`python -m benchmarks.collect_scale --rounds 0 --keep DIR` makes the store; this serves it as `ui`
does and opens its pages in a Chromium without a window. `--shots DIR` keeps pictures of them.
"""

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracking.mlflow_store.server import Server, serve
from tracking.mlflow_store.store import open_store

LIMIT_S = 60
SIZE = (1800, 900)
METRIC = "test_accuracy"


class Browser:
    """A Chromium that is told what to do by its own protocol, through a pipe."""

    def __init__(self, process: "subprocess.Popen[bytes]", to: int, by: int) -> None:
        self._process, self._to, self._by = process, to, by
        self._number, self._rest = 0, b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    _session: str | None = None

    def ask(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                read = os.read(self._by, 1 << 20)
                assert read, "the browser has ended"
                self._rest += read
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def await_text(self, *texts: str) -> float:
        """Wait until the page shows all of these; return the seconds that it took."""
        begin = time.perf_counter()
        test = " && ".join(f"document.body.innerText.includes({json.dumps(t)})" for t in texts)
        while not self.value(f"!!document.body && {test}"):
            text = self.value("document.body && document.body.innerText.slice(0, 2000)")
            assert time.perf_counter() - begin < LIMIT_S, f"{texts} are not shown:\n{text}"
            time.sleep(0.02)
        return time.perf_counter() - begin

    def await_answer(self, path: str, page: str) -> float:
        """Go to a page; return the seconds until a request to `path` was answered and is shown."""
        answers = (
            f"performance.getEntriesByType('resource').filter(e => e.name.includes('{path}'))"
        )
        before = self.value(f"{answers}.length")
        begin = time.perf_counter()
        self.value(f"location.hash = {json.dumps(page)}")
        while self.value(f"{answers}.length") == before:
            assert time.perf_counter() - begin < LIMIT_S, f"no answer to {path}"
            time.sleep(0.02)
        frames = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))"
        self.ask("Runtime.evaluate", expression=frames, awaitPromise=True)
        return time.perf_counter() - begin

    def shoot(self, path: Path) -> None:
        """Keep a picture of what is shown."""
        shot = self.ask("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a Chromium, and end it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "no chromium on the path"
    inward, outward = os.pipe(), os.pipe()

    def places() -> None:  # it reads from 3 and writes to 4
        ours, theirs = os.dup(inward[0]), os.dup(outward[1])
        os.dup2(ours, 3)
        os.dup2(theirs, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # it ends in a while
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        options += ["--disable-background-networking", "--remote-debugging-pipe"]
        options += [f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}"]
        process = subprocess.Popen(
            [chromium, *options],
            close_fds=False,
            preexec_fn=places,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Browser(process, inward[1], outward[0])
        finally:
            process.terminate()
            process.wait()
            for end in (*inward, *outward):
                os.close(end)


def look(server: Server, window: Browser, study: str, root: Path, shots: Path | None) -> None:
    """Open the pages one after another; print the seconds of each."""
    with open_store(root) as store:
        experiment = store.client.get_experiment_by_name(study)
        assert experiment is not None
        ours = f"tags.`thermolion.parent_of` = '{study}'"
        (parent,) = store.client.search_runs([experiment.experiment_id], filter_string=ours)
        best = store.client.search_runs(
            [experiment.experiment_id], max_results=1, order_by=[f"metrics.{METRIC} DESC"]
        )[0]
    runs = f"#/experiments/{experiment.experiment_id}/runs"
    order = f"orderByKey=metrics.%60{METRIC}%60&orderByAsc"

    def shown(name: str, seconds: float) -> None:
        print(f"{name:28} {seconds:5.2f} s", flush=True)
        if shots is not None:
            time.sleep(1.5)  # what still moves
            window.shoot(shots / f"{name.replace(' ', '-')}.png")

    window.ask("Page.enable")
    window.ask("Page.navigate", url=server.pages.link(runs.removeprefix("#/")))
    shown("runs first", window.await_text("Run Name", study))
    times = []
    for _ in range(5):
        # Trials are folded below their candidates: what tells is that the answer has come.
        window.value(f"location.hash = {json.dumps(f'{runs}?{order}=true')}")
        time.sleep(3)
        times.append(window.await_answer("runs/search", f"{runs}?{order}=false"))
    shown("runs sorted by a metric", statistics.median(times))
    window.value(f"location.hash = {json.dumps(f'{runs}?{order}=false&compareRunsMode=CHART')}")
    shown("charts", window.await_text("test_accuracy"))
    page = f"#/experiments/{experiment.experiment_id}/runs/{parent.info.run_id}"
    window.value(f"location.hash = {json.dumps(page)}")
    shown("run of the study", window.await_text("Description"))
    page = f"#/experiments/{experiment.experiment_id}/runs/{best.info.run_id}/model-metrics"
    shown("curves of a trial", window.await_answer("metrics/get-history", page))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="what collect_scale has kept, or any root")
    parser.add_argument("--study", default="scale")
    parser.add_argument("--shots", type=Path, help="a folder for pictures")
    chosen = parser.parse_args()
    if chosen.shots is not None:
        chosen.shots.mkdir(parents=True, exist_ok=True)
    with serve(chosen.root) as server, browser() as window:
        look(server, window, chosen.study, chosen.root, chosen.shots)


if __name__ == "__main__":
    main()
