"""`make chaos`: chaos runs, seed after seed, until enough faults have hit or a result is lost.

CHAOS_TOTAL faults in all, CHAOS_FAULTS of them a seed, from CHAOS_SEED on; with CHAOS_CAP under a
cap of so many CPU hours, which is raised a little whenever the study is held at it. The first loss
ends it, prints its seed, and leaves the folder of the study behind. Needs root, as the test does.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from runner import run_chaos, run_undisturbed
from slurm_lab import Lab, cluster_of
from subject import TRIALS
from table import table
from test_chaos import SHAPE
from warm_python import warm_python


def main() -> int:
    """Run the campaign; return 0 if nothing was lost."""
    said = os.environ
    total, a_seed = int(said.get("CHAOS_TOTAL", "1000")), int(said.get("CHAOS_FAULTS", "50"))
    cap = said.get("CHAOS_CAP")
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    verdicts, begin, seed = [], time.monotonic(), int(said.get("CHAOS_SEED", "1"))
    with warm_python(folder) as python, cluster_of(SHAPE, python) as cluster:
        reference = run_undisturbed(Lab(cluster, folder / "undisturbed", python))
        while sum(sum(verdict.faults.values()) for verdict in verdicts) < total:
            lab = Lab(cluster, folder / f"seed-{seed}", python)
            lab.folder.mkdir()
            print(f"CHAOS_SEED={seed}: see {lab.folder}/log.txt", flush=True)
            run, verdict = run_chaos(lab, seed, a_seed, reference, float(cap) if cap else None)
            print(run.cap or "no cap", flush=True)
            verdicts.append(verdict)
            hours = (time.monotonic() - begin) / 3600
            print(table(verdicts, TRIALS), f"{hours:.2f} h, seeds: {len(verdicts)}", sep="\n")
            if verdict.wrong:
                print(*verdict.wrong, *run.lines, sep="\n")
                print(f"again: CHAOS_SEED={seed} make chaos; what is left: {lab.folder}")
                return 1
            shutil.rmtree(lab.folder)
            seed += 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
