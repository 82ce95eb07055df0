"""What lanes learn of each other from the logs: newest attempt, results, failures."""

import pytest

from jobs.contract import attempts as breaker
from jobs.contract import events
from jobs.contract.attempts import Attempt, Attempts, LoggedEnd
from jobs.contract.events import EventLog, LogError
from jobs.contract.trial import Candidate, Trial, block_seeds
from jobs.contract.workloads.workload import ImageWorkload

DIGITS = ImageWorkload("digits", "digits", "mlp", epochs=1, global_batch=32)
TRACE = 'Traceback:\n  File "{file}", line 7, in step\n    boom()\nValueError: {message}\n'


def _trial(candidate="adamw", workload=DIGITS, block=0):
    made = Candidate(candidate, candidate, {"lr": 1e-3})
    return Trial(workload, made, "compare", block, block_seeds(0, "compare", workload, block))


def _log(tmp_path, submission="0001", pack=0, attempt=0):
    return EventLog(tmp_path / f"{submission}-{pack}-{attempt}-0.jsonl", attempt, free_bytes=0)


def _start(log, trial, generation, token):
    config = trial.to_json()
    log.append(events.STARTED, trial.id, token=token, generation=generation, config=config)


def _fail(log, trial, message="no", file="a.py"):
    trace = TRACE.format(file=file, message=message)
    kinds = {"kind": "ValueError", "error": f"ValueError: {message}", "traceback": trace}
    log.append(events.FAILED, trial.id, config=trial.to_json(), **kinds)


def test_of_two_attempts_the_later_generation_is_newer_and_the_token_breaks_a_tie(tmp_path):
    trial, attempts = _trial(), Attempts(tmp_path, {})
    assert attempts.refresh().newest(trial.id) is None
    assert attempts.next_generation(trial.id) == 0
    first, second = _log(tmp_path), _log(tmp_path, pack=1)
    _start(first, trial, 0, "bb")
    assert attempts.refresh().next_generation(trial.id) == 1
    _start(second, trial, 0, "aa")
    assert attempts.refresh().newest(trial.id) == Attempt(0, "bb")
    _start(second, trial, 1, "00")
    assert attempts.refresh().newest(trial.id) == Attempt(1, "00")


def test_logs_without_generations_count_by_their_order(tmp_path):
    trial = _trial()
    for number in (0, 1):
        _log(tmp_path, attempt=number).append(
            events.STARTED, trial.id, token=f"t{number}", config=trial.to_json()
        )
    assert Attempts(tmp_path, {}).refresh().newest(trial.id) == Attempt(1, "t1")


def test_a_result_is_known_unless_it_was_taken_back(tmp_path):
    trial, log = _trial(), _log(tmp_path)
    _start(log, trial, 0, "aa")
    log.append(events.COMPLETED, trial.id, metrics={})
    assert Attempts(tmp_path, {}).refresh().is_done(trial.id)
    discarded = {trial.id: frozenset({"0001-0-0-0.jsonl"})}
    assert not Attempts(tmp_path, discarded).refresh().is_done(trial.id)
    assert Attempts(tmp_path, discarded).refresh().newest(trial.id) is None


def test_a_line_that_is_being_written_is_read_once_it_is_whole(tmp_path):
    trial, attempts = _trial(), Attempts(tmp_path, {})
    log = _log(tmp_path)
    _start(log, trial, 0, "aa")
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-10])
    assert attempts.refresh().newest(trial.id) is None
    log.path.write_bytes(whole)
    assert attempts.refresh().newest(trial.id) == Attempt(0, "aa")


def test_a_damaged_line_is_an_error_that_names_the_log(tmp_path):
    (tmp_path / "0001-0-0-0.jsonl").write_text('{"v":1,"type":"started",\n')
    with pytest.raises(LogError, match="0001-0-0-0"):
        Attempts(tmp_path, {}).refresh()


def _failed(candidate="adamw", workload="digits", signature="ValueError a.py:7"):
    return LoggedEnd(workload, candidate, signature)


CASES = {
    "too few have ended": ({"1": _failed(), "2": _failed()}, False),
    "its own candidate fails, and nothing else is known": (
        {str(n): _failed() for n in range(3)},
        True,
    ),
    "another candidate fails alone": ({str(n): _failed("lion") for n in range(3)}, False),
    "all candidates fail alike": (
        {"1": _failed("lion"), "2": _failed("sgd"), "3": _failed("sgd")},
        True,
    ),
    "they fail for two reasons": (
        {"1": _failed("lion"), "2": _failed("sgd"), "3": _failed("sgd", signature="other")},
        False,
    ),
    "one has a result": (
        {
            "1": _failed("lion"),
            "2": _failed("sgd"),
            "3": LoggedEnd("digits", "sgd"),
            "4": _failed(),
        },
        False,
    ),
    "its own candidate fails while others have results": (
        {**{str(n): _failed() for n in range(3)}, "9": LoggedEnd("digits", "sgd")},
        True,
    ),
    "its own candidate fails on another workload": (
        {str(n): _failed(workload="mnist") for n in range(3)},
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_breaker_waits_for_so_many_equal_failures(case):
    ends, held = CASES[case]
    assert (breaker.find_common_failure(_trial(), ends, patience=3) is not None) == held
    assert breaker.find_common_failure(_trial(), ends, patience=0) is None


def test_failures_are_alike_by_kind_and_innermost_frame(tmp_path):
    log = _log(tmp_path)
    trials = [_trial(block=block) for block in range(3)]
    _fail(log, trials[0], message="tensor 0x7f is bad")
    _fail(log, trials[1], message="tensor 0x8f is bad")
    _fail(log, trials[2], file="b.py")
    other = _log(tmp_path, submission="0002")
    _fail(other, trials[0])
    ends = Attempts(tmp_path, {}).refresh().ends("0001")
    signatures = [ends[trial.id].signature for trial in trials]
    assert signatures[0] == signatures[1] != signatures[2]
    assert ends[trials[0].id].candidate == "adamw"
    assert list(Attempts(tmp_path, {}).refresh().ends("0002")) == [trials[0].id]
