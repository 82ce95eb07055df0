"""The verb `trial`: what is known of one trial, or the trial itself, run in this terminal.

Run here by the same code as in a lane, so that what fails there fails here, in a folder that is
deleted after. Nothing is recorded.
"""

import os
import pdb
import signal
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jobs.contract.layout import Layout
from jobs.contract.pack import LANE_ENVIRONMENT, Pack
from jobs.contract.trial import Trial
from orchestrator.cli.terminal import Exit, print_result, say
from orchestrator.study.study import Study, default_root, open_study
from orchestrator.study.trial_lookup import FoundTrial, find_in_root, find_in_study
from orchestrator.submit.code_snapshot import make_importable
from orchestrator.submit.preflight import check_before_start
from orchestrator.sweep.document import SweepError, choices
from tracking.outcomes import Outcome, read_outcomes


def trial(arguments: Namespace) -> int:
    """Print all that is known of a trial; with `--here`, run it in the foreground instead."""
    found = _find_trial(arguments)
    if arguments.here:
        return _run_here(found, arguments)
    for option in ("pdb", "steps"):
        if getattr(arguments, option):
            raise SweepError(f"--{option} is for a trial that runs in this terminal: add --here")
    from orchestrator.views.trial import trial_record, trial_text

    record = trial_record(found)
    print_result(record if arguments.json else trial_text(record))
    return Exit.DONE


def _find_trial(arguments: Namespace) -> FoundTrial:
    root = (arguments.root or default_root()).absolute()
    if arguments.study is None:
        return find_in_root(arguments.id, root)
    return find_in_study(arguments.id, open_study(arguments.study, root))


def _run_here(found: FoundTrial, arguments: Namespace) -> int:
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
        chosen = _find_same_place(chosen, study)
    labels = f"{chosen.workload.name} / {chosen.candidate.name} / block {chosen.block}"
    say(f"{labels}, in this terminal; nothing is recorded (Ctrl-C ends it)")
    outcome, stopped_by_hand = _run_in_foreground(
        study, chosen, arguments.data, arguments.steps, arguments.pdb
    )
    if outcome.traceback:
        say(outcome.traceback.rstrip())
    numbers = outcome.metrics or (outcome.curve[-1].metrics if outcome.curve else {})
    shown = ", ".join(f"{name} {value:.6g}" for name, value in numbers.items()) or "no metrics"
    because = f" ({outcome.error})" if outcome.error else ""
    print_result(f"{outcome.state}{because}: {shown}; nothing was recorded")
    if stopped_by_hand:
        return Exit.INTERRUPTED
    return Exit.FAILED if outcome.state in ("failed", "running", "waiting") else Exit.DONE


def _print_progress(step: int, metrics: Mapping[str, float]) -> None:
    numbers = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    say(f"step {step:<8} {numbers}")


def _find_same_place(trial: Trial, study: Study) -> Trial:
    """Return the trial of a changed plan that has the workload, candidate and block of `trial`.

    Raises SweepError if the change has removed them.
    """
    place = _name_place(trial)
    places = {_name_place(other): other for other in study.trials}
    if place not in places:
        raise SweepError(
            f"the changed sweep has no trial {place!r} (workload / candidate / block): "
            f"{choices(place, list(places)[:20])}"
        )
    return places[place]


def _run_in_foreground(
    study: Study, trial: Trial, data_root: Path | None, steps: int | None, debug: bool
) -> tuple[Outcome, bool]:
    """Run a trial in this process; return its outcome, and True if a person ended it (Ctrl-C).

    `steps` ends it early; with `debug`, an exception leads into the debugger. Raises SweepError
    or DataError before anything is started.
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
        check_before_start(Study(study.sweep, layout), [trial], data_root, download=False)
        pack = Pack(
            layout=layout,
            submission="0001",
            number=0,
            trials=(trial,),
            data_root=None if data_root is None else data_root.absolute(),
            # No `code_root`: the code is imported, and a command started, where the user is.
        )
        launch = Launch(
            device=study.sweep.keys.resources.device,
            threads=study.sweep.keys.resources.cpus_per_task,
            stop_after=steps,
            on_log=_print_progress,
            post_mortem=debug,
        )
        with _restore_handlers(signal.SIGINT, signal.SIGTERM):
            launch.stop.listen(signal.SIGINT, signal.SIGTERM)
            try:
                run_pack(pack, launch)
            except (Exception, SystemExit) as error:  # whatever a training may raise
                if not debug:
                    raise
                signal.signal(signal.SIGINT, signal.default_int_handler)
                print(f"{type(error).__name__}: {error}")  # noqa: T201 - to whoever debugs
                pdb.post_mortem(error.__traceback__)
        by_hand = launch.stop.reason in ("SIGINT", "SIGTERM")
        return read_outcomes(layout.events, [trial])[trial.id], by_hand


@contextmanager
def _restore_handlers(*signals: signal.Signals) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _name_place(trial: Trial) -> str:
    return f"{trial.workload.name} / {trial.candidate.name} / {trial.block}"
