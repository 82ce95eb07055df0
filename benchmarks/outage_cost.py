"""What an MLflow server that takes connections and never answers costs a training.

The quickstart is run with it and with the store of its own, one after the other; what counts is
the time from the start of the first trial to the end of the last.

    python -m benchmarks.outage_cost [--rounds 3]
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.contract.layout import Layout
from tracking.outcomes import read_outcomes

BAR = 1.05  # times as long as without; pairs of equal runs differ by as much
_SWEEP = Path(__file__).parents[1] / "sweeps/quickstart.yaml"


def main() -> None:
    """Run both ways in turn and print their times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    ratios = []
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for number in range(rounds):
            without = training_seconds(Path(folder, f"{number}-own"), {})
            beside = training_seconds(
                Path(folder, f"{number}-silent"), {"MLFLOW_TRACKING_URI": uri}
            )
            ratios.append(beside / without)
            print(f"own store {without:.1f} s, silent server {beside:.1f} s: {ratios[-1]:.3f}")
    ratio = statistics.median(ratios)
    verdict = "met" if ratio <= BAR else "missed"
    print(f"silent server / own store: {ratio:.3f} (bar: {BAR}, {verdict})")


def training_seconds(root: Path, variables: dict[str, str]) -> float:
    """Run the quickstart below a root; return how long its trials took, all with a result."""
    command = [sys.executable, "-P", "-m", "orchestrator.cli.main", "run", str(_SWEEP)]
    quick = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}  # it is the training that is measured
    environment = os.environ | quick | variables | {"THERMOLION_ROOT": str(root)}
    subprocess.run(command, env=environment, capture_output=True, check=not variables)
    outcomes = list(read_outcomes(Layout(root, "quickstart").events).values())
    if len(outcomes) != 20 or not all(outcome.has_result for outcome in outcomes):
        raise SystemExit(f"{root}: trials are missing")
    begin = min(outcome.started_ms for outcome in outcomes)
    return (max(outcome.ended_ms or 0 for outcome in outcomes) - begin) / 1000


if __name__ == "__main__":
    main()
