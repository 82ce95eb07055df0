"""Results read from TensorBoard's event files, which other libraries have written."""

import math
import struct
from pathlib import Path

import event_writer
import pytest
from commands import Study, failure
from event_writer import written
from script_results import points, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.contract.workloads.workload import MetricSpec
from jobs.user.results import event_files

SOURCE = {"logger": "tensorboard"}
VALUES = [(1, "acc", 0.25), (1, "loss", 2.0), (2, "acc", 0.5), (300, "loss", math.inf)]


@pytest.mark.parametrize("as_tensor", [False, True])
def test_scalars_are_those_that_tensorboard_reads(tmp_path: Path, as_tensor: bool) -> None:
    path = written(tmp_path, VALUES, as_tensor)
    scalars, used = event_files.read_scalars(path.read_bytes(), "here")
    assert [(one.step, one.tag, one.value) for one in scalars] == VALUES
    assert used == path.stat().st_size
    if not as_tensor:
        oracle = EventAccumulator(str(tmp_path)).Reload()
        for tag in ("acc", "loss"):
            ours = [(one.step, one.value) for one in scalars if one.tag == tag]
            assert ours == [(one.step, one.value) for one in oracle.Scalars(tag)]


def test_the_end_of_a_file_that_is_being_written_waits_for_the_rest(tmp_path: Path) -> None:
    data = written(tmp_path, VALUES).read_bytes()
    whole, end = event_files.read_scalars(data, "here")
    for cut in range(end):
        before, used = event_files.read_scalars(data[:cut], "here")
        rest, _ = event_files.read_scalars(data[used:], "here")
        assert [one[:3] for one in (*before, *rest)] == [one[:3] for one in whole]


def test_what_is_no_event_file_is_refused_with_its_place(tmp_path: Path) -> None:
    data = written(tmp_path, VALUES).read_bytes()
    with pytest.raises(event_files.ResultsError, match=r"here is no event file.* at byte 0"):
        event_files.read_scalars(b"epoch,acc\n1,0.25\n2,0.5\n", "here")
    (length,) = struct.unpack_from("<Q", data)
    broken = data[:12] + b"\xff" * length + data[12 + length :]
    with pytest.raises(event_files.ResultsError, match="here is damaged at byte 0"):
        event_files.read_scalars(broken, "here")


SCRIPT = """\
from torch.utils.tensorboard import SummaryWriter
writer = SummaryWriter()
for epoch in (1, 2):
    for batch in (1, 2): writer.add_scalar("loss", 1 / batch, 2 * epoch + batch)
    writer.add_scalar("val/acc", epoch / 4, epoch)
writer.add_hparams({"lr": 0.1}, {"hparam/acc": 0.5})
writer.close()
"""


def test_what_a_summary_writer_logs_is_the_curve(study: Study) -> None:
    events = run(study, SCRIPT, SOURCE, spec=MetricSpec("val/acc"))
    assert events[-1].type == "completed", events[-1]
    assert points(events, "val/acc") == {1: 0.25, 2: 0.5}
    assert events[-1].payload["metrics"]["loss"] == 0.5
    assert list(study.code.glob("runs")) == []


KERAS = """\
import sys
sys.path.insert(0, {support!r})
from event_writer import written
import pathlib
for folder, shift in (("train", 0.0), ("validation", 0.125)):
    written(pathlib.Path("logs", folder), [(e, "epoch_acc", e / 4 + shift) for e in (0, 1)], True)
"""


def test_a_tag_of_two_folders_is_named_with_its_folder(study: Study) -> None:
    script = KERAS.format(support=str(Path(event_writer.__file__).parent))
    kind, error = failure(run(study, script, SOURCE, spec=MetricSpec("epoch_acc")))
    assert kind == "UnreadResults"
    assert "two values of epoch_acc at step 0" in error
    spec = MetricSpec("validation/epoch_acc")
    events = run(study, script, SOURCE | {"path": "logs"}, spec=spec)
    assert points(events, "validation/epoch_acc") == {0: 0.125, 1: 0.375}


def test_event_files_that_are_not_there_are_one_error(study: Study) -> None:
    kind, error = failure(run(study, "print('nothing')", SOURCE))
    assert kind == "UnreadResults"
    assert "no value of acc: there is no event file of TensorBoard below ." in error


def test_a_metric_that_no_event_file_has_names_those_that_it_has(study: Study) -> None:
    script = KERAS.format(support=str(Path(event_writer.__file__).parent))
    kind, error = failure(run(study, script, SOURCE))
    assert kind == "UnreadResults"
    assert "no event file of TensorBoard has 'acc', they have epoch_acc" in error
