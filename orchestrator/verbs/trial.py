"""The verb of one trial: what is known of it, or itself, in this terminal."""

from argparse import Namespace
from collections.abc import Mapping

from orchestrator.study import default_root, open_study
from orchestrator.sweep_file import SweepError
from orchestrator.trial_ids import Found, find_below, find_in_study
from orchestrator.verbs.terminal import DONE, FAILED, INTERRUPTED, result, say


def trial(arguments: Namespace) -> int:
    """Print all that is known of a trial; with `--here`, run it in the foreground instead."""
    found = _found(arguments)
    if arguments.here:
        return _here(found, arguments)
    for option in ("pdb", "steps"):
        if getattr(arguments, option):
            raise SweepError(f"--{option} is for a trial that runs in this terminal: add --here")
    from orchestrator.dossier import dossier, dossier_text

    record = dossier(found)
    result(record if arguments.json else dossier_text(record))
    return DONE


def _found(arguments: Namespace) -> Found:
    root = (arguments.root or default_root()).absolute()
    if arguments.study is None:
        return find_below(arguments.id, root)
    return find_in_study(arguments.id, open_study(arguments.study, root))


def _here(found: Found, arguments: Namespace) -> int:
    from orchestrator.one_trial import Here, run_here, same_place

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
    result(f"{outcome.state}{because}: {told}; nothing was recorded")
    if ended.stopped_by_hand:
        return INTERRUPTED
    return FAILED if outcome.state in ("failed", "running", "waiting") else DONE


def _progress(step: int, metrics: Mapping[str, float]) -> None:
    numbers = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    say(f"step {step:<8} {numbers}")
