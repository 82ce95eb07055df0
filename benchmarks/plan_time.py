"""How long `thermolion plan` takes, warm, as a whole process: beside `python -c pass`."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
SWEEP = Path(__file__).parents[1] / "sweeps" / "quickstart.yaml"
VERB = ["plan", str(SWEEP), "--root", "/nonexistent"]
PLAN = [sys.executable, "-P", "-m", "orchestrator.cli.main", *VERB]
BARE = [sys.executable, "-c", "pass"]


def _seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    _seconds(PLAN), _seconds(BARE)
    pairs = [(_seconds(PLAN), _seconds(BARE)) for _ in range(RUNS)]
    plan, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"thermolion plan   {plan:.3f} s (median of {RUNS}; the bar is 0.5 s)")
    print(f"python -c pass    {bare:.3f} s")


if __name__ == "__main__":
    main()
