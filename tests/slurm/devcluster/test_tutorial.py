"""The tutorial on a cluster of one's own does what it says."""

import re
import shlex
from pathlib import Path

from tracking.mlflow_store.record import trial_record
from tracking.outcomes import read_outcomes

PAGE = (Path(__file__).parents[3] / "docs" / "tutorial-cluster.md").read_text()


def test_the_second_tutorial_ends_as_it_says(lab):
    ((name, sweep),) = re.findall(r"^```yaml title=(\S+)\n(.*?)^```$", PAGE, re.M | re.S)
    lab.write(sweep, name)
    site = str(lab.site())  # that of the cluster, with a Python that has loaded torch already
    said = {}
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S):
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "thermolion"
            done = lab.call(*words, THERMOLION_SITE=site)
            assert done.code == 0, f"{line}\n{done.out}{done.err}"
            said[line] = done.out + done.err
    assert "#SBATCH" in said["thermolion plan second.yaml"]
    assert "10 trials in" in said["thermolion submit second.yaml"]
    assert "10 of 10 trials done" in said["thermolion run second"]
    assert "report.html" in said["thermolion run second"]
    assert "trial 1 of" in said["thermolion logs second"]
    for outcome in read_outcomes(lab.layout("second").events).values():
        # As squeue and sacct take it.
        job = trial_record(outcome, "second").tags["thermolion.job"]
        assert re.fullmatch(r"[0-9]+_[0-9]+", job)
