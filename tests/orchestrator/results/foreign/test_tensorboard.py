"""Runs in folders of TensorBoard's event files."""

import json

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

LION = [0.912, 0.9085, 0.914, 0.9105, 0.913]
ADAMW = [0.907, 0.906, 0.9095, 0.909, 0.9065]
P = 0.01105649  # of scipy.stats.ttest_rel(LION, ADAMW)


def write(folder, points, name="events.out.tfevents.1.host", tag="val/acc", spell="simple_value"):
    """Write step and value of each point as torch does, or as TensorFlow 2 if it is a tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=1, file_version="brain.Event:2").SerializeToString())
        for step, value in points:
            content = value if spell == "simple_value" else make_tensor_proto(value, "float32")
            text = Summary.Value(tag="text", tensor=make_tensor_proto(b"a note"))
            summary = Summary(value=[text, Summary.Value(tag=tag, **{spell: content})])
            writer.write(Event(wall_time=2 + step, step=step, summary=summary).SerializeToString())


@pytest.fixture
def runs(tmp_path):
    """A folder of ten runs, `lion/seed0` to `adamw/seed4`."""
    for seed, (lion, adamw) in enumerate(zip(LION, ADAMW, strict=True)):
        write(tmp_path / "runs" / "lion" / f"seed{seed}", [(0, 0.1), (5, 0.5), (10, lion)])
        write(tmp_path / "runs" / "adamw" / f"seed{seed}", [(0, 0.1), (5, 0.5), (10, adamw)])
    return tmp_path / "runs"


def asked(folder, *more, path="{optimizer}/seed{seed}"):
    named = () if path is None else ("--path", path)
    return (
        *("compare", "--tensorboard", folder, *named, "--candidate", "optimizer"),
        *("--seed", "seed", "--metric", "val/acc", "--baseline", "adamw", *more),
    )


def answer(thermolion, *arguments, **named):
    said = thermolion(*asked(*arguments, "--json", **named))
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_a_folder_a_run_gives_the_known_answer(runs, thermolion):
    found = answer(thermolion, runs)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-5)  # of 32 bits
    assert found["pooled"][1]["estimate"]["mean"] == pytest.approx(0.001, abs=1e-6)
    assert "all are taken for completed" in " ".join(found["notes"])


def test_a_run_that_was_continued_or_killed_is_read_as_far_as_it_goes(runs, thermolion):
    folder = runs / "lion" / "seed0"
    (folder / "events.out.tfevents.1.host").unlink()
    write(folder, [(0, 0.1), (5, 0.5)], name="events.out.tfevents.1.host")
    write(folder, [(5, 0.4), (10, LION[0])], name="events.out.tfevents.2.host")
    killed = folder / "events.out.tfevents.2.host"
    killed.write_bytes(killed.read_bytes() + b"\x20\x00\x00")
    found = answer(thermolion, runs)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-5)
    assert found["pooled"][1]["estimate"]["mean"] == pytest.approx(0.001, abs=1e-6)


def test_a_folder_with_two_runs_in_it_is_left_out_by_name(runs, thermolion):
    write(runs / "lion" / "seed0", [(0, 0.1), (10, 0.2)], name="events.out.tfevents.2.host")
    said = thermolion(*asked(runs))
    assert said.code == 0, said.err
    assert "lion/seed0 has two runs, events.out.tfevents.1.host and " in said.out
    assert "4 seeds" in said.out


@pytest.mark.parametrize("tag", ["loss", None])
def test_a_run_that_died_before_it_logged_the_metric_is_a_lost_one(runs, thermolion, tag):
    folder = runs / "lion" / "seed5"
    if tag is None:
        folder.mkdir()
        (folder / "events.out.tfevents.1.host").touch()
    else:
        write(folder / "train", [(0, 1.0)], tag=tag)
    write(runs / "adamw" / "seed5", [(0, 0.1), (5, 0.5), (10, 0.9)])
    write(runs, [(0, 1.0)], tag="notes")
    said = thermolion(*asked(runs))
    assert said.code == 0, said.err
    assert "runs, block 5: lion ended without val/acc" in said.out
    assert "so lion is called neither better nor equivalent" in said.out


def test_settings_of_hparams_name_candidate_and_seed(tmp_path, thermolion):
    from torch.utils.tensorboard import SummaryWriter

    for number, (lion, adamw) in enumerate(zip(LION, ADAMW, strict=True)):
        for optimizer, value in (("lion", lion), ("adamw", adamw)):
            folder = tmp_path / "runs" / f"{optimizer}{number}"
            write(folder, [(0, 0.1), (10, value)])
            with SummaryWriter(folder) as writer:
                writer.add_hparams({"opt": optimizer, "seed": number}, {"hparam/acc": value})
    fields = ("--candidate", "params.opt", "--seed", "params.seed")
    found = answer(thermolion, tmp_path / "runs", *fields, path=None)
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-5)


def test_a_tag_of_a_folder_within_a_run_is_a_metric(tmp_path, thermolion):
    for seed, (lion, adamw) in enumerate(zip(LION, ADAMW, strict=True)):
        for optimizer, value in (("lion", lion), ("adamw", adamw)):
            folder = tmp_path / "fits" / f"{optimizer}-{seed}"
            write(folder / "train", [(0, 0.3), (1, 0.99)], tag="epoch_accuracy")
            write(
                folder / "validation", [(0, 0.3), (1, value)], tag="epoch_accuracy", spell="tensor"
            )
    metric = ("--metric", "validation/epoch_accuracy")
    found = answer(thermolion, tmp_path / "fits", *metric, path="{optimizer}-{seed}")
    assert found["pooled"][0]["estimate"]["p"] == pytest.approx(P, abs=1e-5)


@pytest.mark.parametrize(
    ("more", "path", "why"),
    [
        (("--metric", "val/ac"), "{optimizer}/seed{seed}", "'val/ac', did you mean 'val/acc'"),
        ((), None, "no settings were logged; what their paths say is read with --path"),
        ((), "{optimizer}_{seed}", "is that of no run: there are adamw/seed0, adamw/seed1"),
        ((), "{opt}/seed{seed}", "has 'optimizer': they have opt, seed"),
        (("--step", "epoch"), None, "--step is an option of --csv"),
    ],
)
def test_what_is_wrong_is_said_with_the_choices(runs, thermolion, more, path, why):
    said = thermolion(*asked(runs, *more, path=path))
    assert (said.code, said.out) == (2, "")
    assert why in said.err


def test_a_folder_without_event_files_is_refused(tmp_path, thermolion):
    assert "there is no such folder" in thermolion(*asked(tmp_path / "rnus")).err
    (tmp_path / "runs").mkdir()
    assert "no event file of TensorBoard" in thermolion(*asked(tmp_path / "runs")).err
