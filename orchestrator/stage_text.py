"""At which stage a study is, in words and as a record: looks, what is spared, what is frozen."""

from typing import Any

from jobs.trial import Candidate
from orchestrator.space import TunedCandidate
from orchestrator.status import Status


def stage_lines(status: Status) -> list[str]:
    """Say at which look a study is and what it spares; nothing where it has one look at all."""
    stage, said = status.stage, _tuning_lines(status)
    pilots = [one for one in status.outcomes if one.trial.phase == "pilot"]
    if stage.awaits_targets:
        ended = sum(one.has_result for one in pilots)
        said.append(
            f"pilots first: {ended} of {len(pilots)} trials of the baseline have ended; targets "
            "are made from them, then the comparison begins"
        )
    elif pilots:
        listed = ", ".join(
            f"{name} {'none' if target is None else f'{target:.4g}'}"
            for name, target in stage.targets.items()
        )
        said.append(f"targets from pilots: {listed}")
    if not stage.looks:
        return said
    if stage.next_look is not None:
        seeds = stage.looks[stage.next_look - 1]
        at = f"look {stage.next_look} of {len(stage.looks)}, at {seeds} seeds"
        waits = _waits_for(status, stage.next_look)
        said.append(f"{at}: {waits}")
    for number, decision in enumerate(stage.decisions, 1):
        said.append(f"look {number}, at {decision['seeds']} seeds: {_decided(decision)}")
    if status.spared:
        said.append(
            f"decided at {stage.looks[len(stage.decisions) - 1]} of {stage.looks[-1]} seeds: "
            f"{len(status.spared)} trials spared"
        )
    return said


def tuned_values(candidate: Candidate) -> dict[str, str]:
    """Return from where the hyperparameters of a candidate are tuned, in words."""
    search = candidate.search if isinstance(candidate, TunedCandidate) else None
    return {} if search is None else {k: axis.in_words() for k, axis in search.space.items()}


def _tuning_lines(status: Status) -> list[str]:
    if not status.stage.tuned:
        return []
    tuned = [one for one in status.outcomes if one.trial.phase == "tune"]
    ended = sum(one.has_result for one in tuned)
    if status.stage.awaits_winners:
        follow = status.stage.to_suggest
        said = f"tuning first: {ended} of {len(tuned) + follow} trials have ended"
        if follow:
            return [f"{said}; the settings of {follow} are suggested by how the others fare"]
        if ended == len(tuned):
            said += "; the next `submit` or `run` chooses, where each candidate has a trial that "
            return [f"{said}logged the metric it is tuned by"]
        return [f"{said}; the settings with the best validation are compared, on other seeds"]
    return [f"settings chosen by {len(tuned)} trials of tuning"]


def stage_json(status: Status) -> dict[str, Any]:
    """Return the stage, JSON-ready."""
    stage = status.stage
    states = [standing.state for standing in status.planned.values()]
    return {
        "looks": list(stage.looks),
        "decided": len(stage.decisions),
        "next_look": stage.next_look if stage.looks else None,
        "awaits_winners": stage.awaits_winners,
        "awaits_targets": stage.awaits_targets,
        "targets": dict(stage.targets),
        "later": states.count("later"),
        "spared": states.count("spared"),
        "analysis": None if stage.frozen is None else stage.frozen.hash,
        "lines": stage_lines(status),
    }


def _waits_for(status: Status, look: int) -> str:
    here = [s for s in status.planned.values() if status.stage.is_of_look(s.outcome.trial, look)]
    open_ones = [standing for standing in here if not standing.outcome.has_result]
    if not open_ones:
        return "all trials have ended, the next `submit` or `run` decides"
    stuck = sum(not standing.in_flight and not standing.goes_again for standing in open_ones)
    said = f"{len(here) - len(open_ones)} of {len(here)} trials have ended"
    return f"{said}, and it waits for {stuck} that failed or are held" if stuck else said


def _decided(decision: Any) -> str:
    open_pairs = [f"{candidate} vs {baseline}" for candidate, baseline in decision["open"]]
    if not open_pairs:
        return "every question is decided"
    return f"undecided {', '.join(open_pairs)}"
