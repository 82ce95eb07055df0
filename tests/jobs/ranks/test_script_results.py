"""Results of a script of several ranks: they share its folder, and it is read once."""

from rank_lanes import Study
from rank_trials import trial

from jobs.contract.workloads.result_sources import sources_from_json
from jobs.contract.workloads.workload import MetricSpec, UserWorkload

SCRIPT = """\
import os, pathlib, time
rank = int(os.environ["RANK"])
pathlib.Path(f"here-{rank}").touch()
while not pathlib.Path(f"here-{1 - rank}").exists(): time.sleep(0.02)
print(f"epoch 1 loss {rank}")
if rank == 0: open("results.csv", "w").write("epoch,acc\\n1,0.25\\n2,0.5\\n")
"""


def test_the_ranks_of_a_script_share_a_folder_and_the_first_is_read(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").write_text(SCRIPT)
    sources = ({"file": "results.csv"}, {"lines": ["epoch {epoch} loss {loss}"]})
    workload = UserWorkload(
        "mine",
        command="python train.py",
        declared_metric=MetricSpec("acc"),
        results=sources_from_json(sources),
        ranks=2,
    )
    study = Study(tmp_path / "study", trial(2, workload), code_root=code)
    assert study.run() == [0, 0]
    (outcome,) = study.outcomes()
    assert outcome.state == "completed", outcome.traceback
    assert outcome.metrics == {"acc": 0.5, "loss": 0.0}
    assert [path.name for path in code.iterdir()] == ["train.py"]
    assert list(study.layout.checkpoints.glob("*")) == []
