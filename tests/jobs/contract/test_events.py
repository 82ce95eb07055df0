"""The event log: durable appends, torn and damaged lines, full disks, versions."""

import errno
import json
import math
import os
from pathlib import Path

import pytest

from jobs.contract import events
from jobs.contract.events import EventLog, LogError, next_attempt, read_events


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "events" / "0001-0-0-0.jsonl", attempt=0)
    yield log
    log.close()


def test_what_was_appended_is_read_back_in_order(log):
    log.append(events.OPENED, host="h")
    log.append(events.EVALUATED, "t1", step=3, metrics={"loss": 0.1})
    first, second = read_events(log.path)
    assert (first.type, first.trial, first.seq, first.payload) == (
        "opened",
        None,
        0,
        {"host": "h"},
    )
    assert (second.trial, second.attempt, second.seq) == ("t1", 0, 1)
    assert second.payload == {"step": 3, "metrics": {"loss": 0.1}}
    assert second.time_ms >= first.time_ms > 1_700_000_000_000


def test_an_append_is_on_disk_when_it_returns(log, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    log.append(events.OPENED)
    assert synced == [log.path.stat().st_size]
    assert len(log.path.read_bytes().splitlines()) == 1


def test_evaluations_in_a_rush_share_a_sync_and_are_readable_at_once(log, monkeypatch):
    now, synced = [100.0], []

    def slow_sync(file):
        now[0] += 0.5
        synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(os, "fsync", slow_sync)
    log.append(events.STARTED, "t")
    for step in range(10):
        now[0] += 0.1
        log.append(events.EVALUATED, "t", step=step, metrics={})
    assert len(synced) == 1, "a sync of 0.5 s after each 0.1 s"
    assert len(list(read_events(log.path))) == 11, "a killed process loses none"
    now[0] += 60
    log.append(events.EVALUATED, "t", step=10, metrics={})
    assert synced[1:] == [log.path.stat().st_size], "whoever evaluates seldom has it on disk"
    log.append(events.EVALUATED, "t", step=11, metrics={})
    log.append(events.COMPLETED, "t")
    assert synced[2:] == [log.path.stat().st_size], "an end is on disk when it returns"


def test_lines_whose_sync_has_failed_are_written_again(log, monkeypatch):
    log.append(events.STARTED, "t")
    monkeypatch.setattr(log, "_is_sync_due", lambda: False)
    log.append(events.EVALUATED, "t", step=1, metrics={})
    real, calls, written = os.fsync, [], []

    def fails_once(file):
        calls.append(file)
        if len(calls) == 1:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        real(file)

    def counted(file, data):
        written.append(bytes(data))
        return real_write(file, data)

    real_write = os.write
    monkeypatch.setattr(os, "fsync", fails_once)
    monkeypatch.setattr(os, "write", counted)
    monkeypatch.setattr(events.time, "sleep", lambda _: None)
    log.append(events.COMPLETED, "t")
    assert [(e.type, e.seq) for e in read_events(log.path)] == [
        ("started", 0),
        ("evaluated", 1),
        ("completed", 2),
    ]
    assert written[-1].count(b"\n") == 2, "both lines that were not synced"


def test_nan_and_infinities_survive_as_strings(log):
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5}
    log.append(events.EVALUATED, "t", metrics=values, path=[math.inf])
    line = json.loads(log.path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert line["metrics"] == {"a": "nan", "b": "inf", "c": "-inf", "d": 1.5}
    (event,) = read_events(log.path)
    assert math.isnan(event.payload["metrics"]["a"])
    assert event.payload["metrics"]["b"] == math.inf
    assert event.payload["metrics"]["c"] == -math.inf


def test_measures_of_layers_that_are_no_numbers_survive_as_strings(log):
    log.append(events.TELEMETRY, "t", step=1, layers={"0": {"gate": math.nan, "alignment": None}})
    (event,) = read_events(log.path)
    assert math.isnan(event.payload["layers"]["0"]["gate"])
    assert event.payload["layers"]["0"]["alignment"] is None


def test_a_second_writer_is_kept_out(log):
    with pytest.raises(FileExistsError):
        EventLog(log.path, attempt=0)


def test_a_torn_last_line_is_left_out(log):
    log.append(events.OPENED)
    with log.path.open("ab") as torn:
        torn.write(b'{"v":1,"type":"eval')
    assert [event.type for event in read_events(log.path)] == ["opened"]


@pytest.mark.parametrize("line", [b"{not json}\n", b'{"v":1}\n', b"[]\n", b'"text"\n'])
def test_a_damaged_line_elsewhere_is_an_error_with_its_number(log, line):
    log.append(events.OPENED)
    with log.path.open("ab") as damaged:
        damaged.write(line)
    log.append(events.CLOSED)
    with pytest.raises(LogError, match="line 2 is damaged"):
        list(read_events(log.path))


def test_a_newer_major_version_is_refused(log):
    log.path.write_text('{"v":2,"kind":"different"}\n')
    with pytest.raises(LogError, match="newer version than 1"):
        list(read_events(log.path))


def test_unknown_fields_are_kept_out_of_the_way(log):
    log.append(events.OPENED, from_the_future={"x": [1]})
    (event,) = read_events(log.path)
    assert event.payload["from_the_future"] == {"x": [1]}


def test_a_log_of_version_1_is_read_for_ever():
    fixture = Path(__file__).parent / "events-v1.jsonl"
    read = list(read_events(fixture))
    assert [event.type for event in read] == [
        *("opened", "started", "evaluated", "evaluated", "completed"),
        *("started", "evaluated", "diverged", "failed", "started", "interrupted", "closed"),
    ]
    assert read[1].payload["config"]["candidate"]["optimizer"] == "adamw"
    assert read[6].payload["metrics"]["train_loss"] == math.inf


def test_a_write_that_fails_once_is_repeated_after_cutting_back(log, monkeypatch):
    log.append(events.OPENED)
    real, calls = os.write, []

    def full_then_free(file, data):
        calls.append(len(data))
        if len(calls) == 1:
            real(file, bytes(data[:5]))
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", full_then_free)
    monkeypatch.setattr(events.time, "sleep", lambda _: None)
    log.append(events.STARTED, "t")
    log.append(events.COMPLETED, "t")
    assert [(e.type, e.seq) for e in read_events(log.path)] == [
        ("opened", 0),
        ("started", 1),
        ("completed", 2),
    ]


def test_a_disk_that_stays_full_leaves_whole_lines_and_an_error(log, monkeypatch):
    log.append(events.OPENED)
    whole = log.path.read_bytes()
    real = os.write

    def full(file, data):
        real(file, bytes(data[:7]))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(events.time, "sleep", lambda _: None)
    with pytest.raises(LogError, match="No space left"):
        log.append(events.STARTED, "t")
    assert log.path.read_bytes() == whole


def test_a_disk_too_full_to_start_is_refused_before_anything_is_created(tmp_path):
    path = tmp_path / "0001-0-0-0.jsonl"
    with pytest.raises(LogError, match="free some space"):
        EventLog(path, attempt=0, free_bytes=2**60)
    assert not path.exists()


def test_the_attempt_number_is_the_next_free_one(tmp_path):
    assert next_attempt(tmp_path, "0001", 0) == 0
    for name in ("0001-0-0-0", "0001-0-0-1", "0001-0-11-0", "0001-1-40-0", "0002-0-50-0"):
        (tmp_path / f"{name}.jsonl").touch()
    assert next_attempt(tmp_path, "0001", 0) == 12
