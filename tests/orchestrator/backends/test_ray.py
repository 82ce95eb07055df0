"""Ray as a backend: the same bits, nothing twice, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from odd_folders import COMMAND_RESULTS, ODD_ANYWHERE, finals, odd_project
from processes import event_logs, pids, start, wait_for
from ray_head import processes_of, ray_head, require_ray

from jobs.contract.layout import Layout
from orchestrator.backends.records import read_submissions
from tracking.mlflow_store.record import TRIAL_TAG
from tracking.mlflow_store.store import open_store
from tracking.outcomes import read_outcomes

# Ray says what is left of it by the variables that its processes were started with.
pytestmark = pytest.mark.usefixtures("as_for_everybody")

SWEEP = """\
study: small
defaults:
  dataset: {synthetic: {images: 240, size: 8, classes: 4, difficulty: 0.3}}
  model: {mlp: {hidden: [32]}}
  epochs: 8
  global_batch: 32
workloads: {each: {ranks: [1, 2]}}
candidates: {thermolion: {}, adamw: {lr: 1e-2}}
baseline: adamw
seeds: 2
"""
DRIVER = "backends.ray.driver"


@pytest.fixture(scope="module")
def head():
    with ray_head(cpus=2) as running:
        yield running


@pytest.fixture
def attached(head, monkeypatch):
    """The options by which a sweep goes to a Ray that runs already."""
    address, variables = head
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return ["--backend", "ray", "--address", address]


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SWEEP)
    return path


def _results(layout):
    return {
        trial: (o.state, o.weights, o.metrics, [(p.step, p.metrics) for p in o.curve])
        for trial, o in read_outcomes(layout.events).items()
    }


def test_a_ray_that_runs_already_gives_the_bits_of_this_machine(
    thermolion, sweep, layout, attached, tmp_path
):
    here = Layout(tmp_path / "here", "small")
    assert thermolion("run", sweep, "--root", here.root).code == 0
    run = thermolion("run", sweep, *attached)
    assert run.code == 0, run.err
    assert {state for state, *_ in _results(layout).values()} == {"completed"}
    assert _results(layout) == _results(here)
    assert thermolion("status", "small").out.count("completed") == 9
    assert "trial 1 of 1" in thermolion("logs", "small").out
    assert not list(layout.submissions.glob("*/output/*.meet"))
    wait_for(lambda: not pids(layout, DRIVER), 30)


def test_a_trial_too_large_for_every_node_of_a_ray_is_refused(
    thermolion, sweep, attached, tmp_path
):
    words = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block"]
    words += [f"--address={attached[-1]}", "--num-cpus=1", "--num-gpus=0", "--min-worker-port=0"]
    words += ["--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    words += ["--node-ip-address=127.0.0.1", f"--object-store-memory={100 * 2**20}"]
    log = tmp_path / "node.log"
    with log.open("w") as file, subprocess.Popen(words, stdout=file, stderr=file) as node:
        wait_for(lambda: "--block" in log.read_text(), 120)
        said = thermolion("run", sweep, *attached, "--set", "resources.cpus_per_task=3")
        node.terminate()
    assert said.code == 1
    assert "needs 3 CPUs of one node, and 2 nodes of the Ray have room for 0" in said.err


WAITING = """\
study: waiting
workloads: [{name: mine, train: "waits:train", metric: loss}]
candidates: {a: {optimizer: sgd, lr: 0.1}, b: {optimizer: sgd, lr: 0.2}}
baseline: a
seeds: 2
"""
# It saves every step, and does not get beyond the third before the file `go` exists.
WAITS = """\
import time
from pathlib import Path

def train(trial, context):
    assert Path("waiting.yaml").exists()  # as on this machine, and wherever Ray was started
    step = (context.load() or {"step": 0})["step"]
    while step < 6:
        if context.should_stop():
            return
        if step == 3 and not Path("GO").exists():
            time.sleep(0.02)
            continue
        step += 1
        context.log(step, loss=(1 + context.seed("init") % 97) / step)
        context.save({"step": step})
"""


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """A sweep of four trials that wait half-way for the file that is returned with it.

    In the folder of a project that has a package of the name of one of ours, as has PYTHONPATH.
    """
    go = tmp_path / "go"
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("raise ImportError('not ours')\n")
    (tmp_path / "waits.py").write_text(WAITS.replace("GO", str(go)))
    (tmp_path / "waiting.yaml").write_text(WAITING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "waiting.yaml", go


@pytest.fixture
def waiting_layout(tmp_path):
    return Layout(tmp_path / "studies", "waiting")


def test_cancel_stops_between_two_steps_and_a_lane_that_dies_is_started_again(
    thermolion, waiting, waiting_layout, attached
):
    (sweep, go), layout = waiting, waiting_layout
    two = [*attached, "--set", "seeds=1"]
    assert "2 trials in 2 packs" in thermolion("submit", sweep, *two).out
    wait_for(lambda: _halfway(layout, "0001") == 2, 240)
    assert "2 running" in thermolion("status", "waiting").out
    first = next(iter(event_logs(layout)["0001-0-0-0.jsonl"].splitlines()))
    sent = Path("waits.py").read_text()
    Path("waits.py").write_text("raise ImportError('edited since')\n")
    os.kill(json.loads(first)["pid"], signal.SIGKILL)
    wait_for(lambda: b'"started"' in event_logs(layout).get("0001-0-1-0.jsonl", b""), 240)
    Path("waits.py").write_text(sent)
    assert "1 submission stopped" in thermolion("cancel", "waiting").out
    wait_for(lambda: not pids(layout, DRIVER), 30)
    counts = json.loads(thermolion("status", "waiting", "--json").out)["counts"]
    assert counts == {"interrupted": 2}
    go.touch()
    assert thermolion("run", sweep, *attached).code == 0
    _are_done(layout)
    assert len(read_submissions(layout)) == 2


# Somebody else who has all CPUs of a Ray until nobody reads what it says.
OTHERS = """\
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=2)
class Holder:
    def holds(self):
        return True

holder = Holder.remote()
assert ray.get(holder.holds.remote())
print("ready", flush=True)
sys.stdin.read()
"""


def test_cancel_returns_even_if_other_users_occupy_the_whole_ray(
    thermolion, waiting, waiting_layout, attached
):
    (sweep, _), layout = waiting, waiting_layout
    words = [sys.executable, "-c", OTHERS, attached[-1]]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as others:
        assert others.stdout.readline() == "ready\n"
        assert thermolion("submit", sweep, *attached).code == 0
        wait_for(lambda: list(layout.submissions.glob("*/tune/*")), 120)
        time.sleep(2)  # so that Tune has asked for room
        with start("cancel", sweep, root=layout.root) as cancel:
            try:
                assert "1 submission stopped" in cancel.communicate(timeout=60)[0]
            finally:
                cancel.kill()
                others.stdin.close()
    wait_for(lambda: not pids(layout, DRIVER), 30)
    assert not event_logs(layout)


def test_a_driver_killed_twice_leaves_nothing_and_loses_nothing(
    thermolion, waiting, waiting_layout
):
    require_ray()
    (sweep, go), layout = waiting, waiting_layout
    temps = []
    for submission in ("0001", "0002"):
        assert thermolion("submit", sweep, "--backend", "ray").code == 0
        wait_for(partial(_has_begun, layout, submission), 240)
        noted = json.loads((layout.submission(submission) / "ray.json").read_text())
        temps.append(Path(noted["temp"]))
        (driver,) = pids(layout, DRIVER)
        os.kill(driver, signal.SIGKILL)
        # An idle helper of Ray's takes a minute to end.
        wait_for(lambda: not processes_of(temps[-1], but="runtime_env"), 120)
    go.touch()
    run = thermolion("run", sweep, "--backend", "ray")
    assert run.code == 0, run.err
    _are_done(layout)
    assert len(read_submissions(layout)) == 3
    assert _mlflow_states(layout) == ["FINISHED"] * 4
    assert not any(temp.exists() for temp in temps)
    wait_for(lambda: not any(map(processes_of, temps)), 90)
    assert not list(layout.submissions.glob("*/tune"))
    wait_for(lambda: not pids(layout, DRIVER), 30)


def _are_done(layout):
    outcomes = read_outcomes(layout.events).values()
    assert [outcome.state for outcome in outcomes] == ["completed"] * 4
    assert not any(outcome.nondeterministic for outcome in outcomes)


def _halfway(layout, submission):
    """Return how many logs of a submission have three steps."""
    mine = [log for name, log in event_logs(layout).items() if name.startswith(submission)]
    return sum(log.count(b'"evaluated"') == 3 for log in mine)


def _has_begun(layout, submission):
    logs = event_logs(layout).items()
    return any(name.startswith(submission) and b'"started"' in log for name, log in logs)


def _mlflow_states(layout):
    with open_store(layout.root) as store:
        experiment = store.client.get_experiment_by_name(layout.study)
        runs = store.client.search_runs([experiment.experiment_id])
    return [run.info.status for run in runs if TRIAL_TAG in run.data.tags]


WRONG = {
    "--address 127.0.0.1:9 --backend ray": "no Ray answers at 127.0.0.1:9",
    "--address nowhere --backend ray": "'nowhere' is no address: write HOST:PORT",
    "--address 127.0.0.1:9": "add --backend ray",
    "--on slurm": "add --backend ray",
    "--address 127.0.0.1:9 --on slurm --backend ray": "not both",
    "--backend ray --set ray.adress=h:1": "did you mean 'address'?",
}


@pytest.mark.parametrize("words", WRONG)
def test_an_impossible_ray_is_refused_before_anything_starts(thermolion, sweep, layout, words):
    require_ray()
    said = thermolion("submit", sweep, *words.split())
    assert said.code == 2
    assert WRONG[words] in said.err
    assert said.err.count("\n") <= 3
    assert not layout.folder.exists()


def test_an_absent_ray_is_named_with_its_extra(sweep, tmp_path):
    code = "import sys; sys.modules['ray'] = None\n"
    code += "from orchestrator.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["submit", str(sweep), "--backend", "ray", "--root", str(tmp_path / "none")]
    said = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert said.returncode == 2
    assert "pip install 'thermolion[ray]'" in said.stderr
    assert not (tmp_path / "none").exists() or not list((tmp_path / "none").iterdir())


def test_a_study_in_an_odd_folder_runs(thermolion, attached, tmp_path, monkeypatch):
    sweep, root = odd_project(tmp_path / ODD_ANYWHERE / "code"), tmp_path / ODD_ANYWHERE / "?#%20"
    monkeypatch.chdir(sweep.parent)
    said = thermolion("submit", sweep.name, "--root", root, *attached)
    assert said.code == 0, said.err
    wait_for(lambda: "2 completed" in thermolion("status", "odd", "--root", root).out, seconds=120)
    printed = thermolion("status", "odd", "--root", root, "--json").out
    assert finals(printed) == COMMAND_RESULTS
    wait_for(lambda: not pids(Layout(root, "odd"), DRIVER), 60)
