"""The verb of one trial: what is known of it, or itself, in this terminal.

One trial under the hand: run in this process, in a folder of its own that is deleted after.

By the same code as a lane, so that what fails there fails here. Nothing is recorded anywhere.
"""

import os
import pdb
import signal
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.layout import Layout
from jobs.contract.pack import LANE_ENVIRONMENT, Pack
from jobs.contract.trial import Trial
from orchestrator.cli.terminal import DONE, FAILED, INTERRUPTED, print_result, say
from orchestrator.study.study import Study, default_root, open_study
from orchestrator.study.trial_ids import FoundTrial, find_in_root, find_in_study
from orchestrator.submit.code_snapshot import make_importable
from orchestrator.submit.preflight import check_before_start
from orchestrator.sweep.document import SweepError, choices
from tracking.outcomes import Outcome, read_outcomes

Report = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Here:
    """How the trial is run: `steps` ends it early, `debug` enters the debugger where it raises."""

    report: Report
    data_root: Path | None = None
    steps: int | None = None
    debug: bool = False


@dataclass(frozen=True)
class TrialEnd:
    """What came of it: the outcome, and whether a person ended it (Ctrl-C)."""

    outcome: Outcome
    stopped_by_hand: bool


def same_place(trial: Trial, study: Study) -> Trial:
    """Return the trial of a changed plan that has the workload, candidate and block of `trial`.

    Raises SweepError where the change has taken them away.
    """
    place = _place(trial)
    places = {_place(other): other for other in study.trials}
    if place not in places:
        raise SweepError(
            f"the changed sweep has no trial {place!r} (workload / candidate / block): "
            f"{choices(place, list(places)[:20])}"
        )
    return places[place]


def run_here(study: Study, trial: Trial, how: Here) -> TrialEnd:
    """Run a trial in the foreground; with `debug`, an exception leads into the debugger.

    Raises SweepError or DataError before anything is started.
    """
    if trial.world_size > 1:
        raise SweepError(
            f"trial {trial.id} is trained by {trial.world_size} ranks, this terminal is one "
            "process: choose a workload of one rank, or submit the sweep"
        )
    # Before torch is imported, as a pool does for its lanes.
    os.environ.update(LANE_ENVIRONMENT)
    from jobs.lane import run_pack
    from jobs.ranks.launch import Launch

    folder = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="thermolion-") as root, make_importable(folder):
        layout = Layout(Path(root), study.name)
        layout.folder.mkdir()
        check_before_start(Study(study.sweep, layout), [trial], how.data_root, download=False)
        pack = Pack(
            layout=layout,
            submission="0001",
            number=0,
            trials=(trial,),
            data_root=None if how.data_root is None else how.data_root.absolute(),
            # No `code_root`: the code is imported, and a command started, where the user is.
        )
        launch = Launch(
            device=study.sweep.keys.resources.device,
            threads=study.sweep.keys.resources.cpus_per_task,
            stop_after=how.steps,
            on_log=how.report,
            post_mortem=how.debug,
        )
        with _as_it_was(signal.SIGINT, signal.SIGTERM):
            launch.stop.listen(signal.SIGINT, signal.SIGTERM)
            try:
                run_pack(pack, launch)
            except (Exception, SystemExit) as error:  # whatever a training may raise
                if not how.debug:
                    raise
                signal.signal(signal.SIGINT, signal.default_int_handler)
                print(f"{type(error).__name__}: {error}")  # noqa: T201 - to whoever debugs
                pdb.post_mortem(error.__traceback__)
        by_hand = launch.stop.reason in ("SIGINT", "SIGTERM")
        return TrialEnd(read_outcomes(layout.events, [trial])[trial.id], by_hand)


@contextmanager
def _as_it_was(*signals: signal.Signals) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _place(trial: Trial) -> str:
    return f"{trial.workload.name} / {trial.candidate.name} / {trial.block}"


def trial(arguments: Namespace) -> int:
    """Print all that is known of a trial; with `--here`, run it in the foreground instead."""
    found = _found(arguments)
    if arguments.here:
        return _here(found, arguments)
    for option in ("pdb", "steps"):
        if getattr(arguments, option):
            raise SweepError(f"--{option} is for a trial that runs in this terminal: add --here")
    from orchestrator.views.trial import trial_record, trial_text

    record = trial_record(found)
    print_result(record if arguments.json else trial_text(record))
    return DONE


def _found(arguments: Namespace) -> FoundTrial:
    root = (arguments.root or default_root()).absolute()
    if arguments.study is None:
        return find_in_root(arguments.id, root)
    return find_in_study(arguments.id, open_study(arguments.study, root))


def _here(found: FoundTrial, arguments: Namespace) -> int:

    planned = {trial.id: trial for trial in found.study.trials}
    if found.trial not in planned:
        raise SweepError(
            f"trial {found.trial} is recorded and not planned any more: only what the sweep asks "
            "for can be run"
        )
    study, chosen = found.study, planned[found.trial]
    if arguments.set:
        target = arguments.study or study.name
        study = open_study(target, study.layout.root, arguments.set)
        chosen = same_place(chosen, study)
    labels = f"{chosen.workload.name} / {chosen.candidate.name} / block {chosen.block}"
    say(f"{labels}, in this terminal; nothing is recorded (Ctrl-C ends it)")
    ended = run_here(
        study, chosen, Here(_progress, arguments.data, arguments.steps, debug=arguments.pdb)
    )
    outcome = ended.outcome
    if outcome.traceback:
        say(outcome.traceback.rstrip())
    numbers = outcome.metrics or (outcome.curve[-1].metrics if outcome.curve else {})
    told = ", ".join(f"{name} {value:.6g}" for name, value in numbers.items()) or "no metrics"
    because = f" ({outcome.error})" if outcome.error else ""
    print_result(f"{outcome.state}{because}: {told}; nothing was recorded")
    if ended.stopped_by_hand:
        return INTERRUPTED
    return FAILED if outcome.state in ("failed", "running", "waiting") else DONE


def _progress(step: int, metrics: Mapping[str, float]) -> None:
    numbers = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    say(f"step {step:<8} {numbers}")
