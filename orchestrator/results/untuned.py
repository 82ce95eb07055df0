"""Says which candidates of a study nobody searched settings for, and what to run to do so.

A verdict on settings as declared is one about those settings. The command that is named was tried:
its sweep resolves. If none can be named, the reason is. Sends nothing.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs.contract.trial import Candidate
from orchestrator.study.study import Study, default_root
from orchestrator.sweep.document import Invalid, SweepError, join_location, read_document
from orchestrator.sweep.search_space import Axis, TunedCandidate
from orchestrator.sweep.sweep import resolve_sweep
from orchestrator.sweep.tune_spaces import rates_around, usual_space

if TYPE_CHECKING:
    from tracking.compare.tuning import Untuned

_TRIALS = 8  # as in docs/tuning.md
_RATE = "lr"
_UNKNOWN = Axis("log", 1e-4, 1e-2)  # the rates of an optimizer of which none is known
_ENDING = "-tuned"
_LONGEST_NAME = 64  # of a study


def find_untuned(study: Study, frozen: bool = False) -> "Untuned | None":
    """Return the candidates that are compared as declared; None if every one is tuned.

    If the analysis of the study is `frozen`, tuning them is an attempt to confirm it.
    """
    as_declared = [one for one in study.sweep.candidates if not isinstance(one, TunedCandidate)]
    if not as_declared:
        return None
    why = _find_unsearchable(study)
    if why is not None:
        return describe_untuned(as_declared, obstacle=why)
    recorded = study.layout.sweep.is_file()
    path = study.layout.sweep if recorded else study.sweep.document.path
    name = study.name[: _LONGEST_NAME - len(_ENDING)] + _ENDING
    overrides = [f"{key}={_flow(value)}" for key, value in _changes(study)]
    try:
        resolve_sweep(read_document(path, overrides))
    except SweepError as error:
        why = _find_alike(as_declared) or _give_reason(error)
        return describe_untuned(as_declared, obstacle=why)
    place = ["--confirm", name] if frozen else ["--set", f"study={name}"]
    target = study.name if recorded else str(path)
    return describe_untuned(as_declared, _write_command(study, [target, *place], overrides))


def describe_untuned(
    as_declared: Sequence[Candidate], command: str | None = None, obstacle: str | None = None
) -> "Untuned | None":
    """Return candidates that are compared as declared; None if there are none."""
    from tracking.compare.tuning import Untuned

    rates = ((one.name, one.hyperparameters.get(_RATE)) for one in as_declared)
    known = tuple((name, rate) for name, rate in rates if rate is not None)
    names = tuple(one.name for one in as_declared)
    return Untuned(names, known, command, obstacle) if names else None


def _find_unsearchable(study: Study) -> str | None:
    """Return why no search can be proposed for some candidate; None if one can for each."""
    for name, entry in _searched(study).items():
        rate = entry.get(_RATE)
        is_number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        if rate is not None and not is_number and not isinstance(rate, list):
            return (
                f"{_RATE} of {name} is {_flow(rate)}, and a search tries numbers: give those in "
                "it names of their own, and write their ranges as `tune: {space: …}`"
            )
        # A class takes `lr`, as all of torch do; of a training's own words nothing is known.
        is_class = ":" in str(entry.get("optimizer", name))
        if (
            rate is None
            and not is_class
            and not usual_space(name, entry)
            and not _has_space(study)
        ):
            return (
                f"no {_RATE} of {name} is declared, and what else its training takes is not known "
                "here: write what to search as `tune: {space: …}`"
            )
    return None


def _has_space(study: Study) -> bool:
    tune = study.sweep.keys.tune
    return tune is not None and "*" in (tune.space or {})


def _find_alike(as_declared: Sequence[Candidate]) -> str | None:
    """Say which candidates would be one if their learning rates were searched, if any would."""
    alike: dict[str, list[str]] = {}
    for one in as_declared:
        others = {key: v for key, v in one.settings.items() if key != _RATE}
        content = json.dumps([one.optimizer, others, one.replica, one.noise_seed], sort_keys=True)
        alike.setdefault(content, []).append(one.name)
    named = [" and ".join(names) for names in alike.values() if len(names) > 1]
    if not named:
        return None
    return (
        f"{'; '.join(named)} differ in {_RATE} alone, so that with {_RATE} searched they are one "
        "candidate. Keep one of them to have it tuned"
    )


def _give_reason(error: SweepError) -> str:
    """Return the mistake alone: the place is in a sweep that nobody has written."""
    mistake = error.__cause__
    if not isinstance(mistake, Invalid):
        return str(error)
    return str(mistake).removeprefix(f"{join_location(mistake.location)}: ")


def _searched(study: Study) -> Mapping[str, Mapping[str, Any]]:
    """Return the candidates, as written, that are to be searched for."""
    keys = study.sweep.keys
    names = keys.candidates if keys.tune is None else keys.tune.untuned
    return {name: keys.candidates[name] or {} for name in names}


def _write_command(study: Study, arguments: Sequence[str], overrides: Iterable[str]) -> str:
    root, usual = study.layout.root.absolute(), default_root().absolute()
    options = [text for one in overrides for text in ("--set", one)]
    options += [] if root == usual else ["--root", str(root)]
    return shlex.join(["thermolion", "run", *arguments, *options])


def _changes(study: Study) -> Iterator[tuple[str, Any]]:
    """Yield what has to change, by key: `tune`, and the rates that it replaces."""
    keys = study.sweep.keys
    entries = _searched(study)
    yield "tune", _extend_tune(study.sweep.document.data.get("tune"), entries)
    without = {
        name: {key: value for key, value in entry.items() if key != _RATE}
        for name, entry in entries.items()
        if _RATE in entry
    }
    if all(re.fullmatch(r"[A-Za-z_][\w-]*", name) for name in without):
        yield from ((f"candidates.{name}", entry) for name, entry in without.items())
    else:  # `--set` would take a dot for a key below
        yield "candidates", dict(keys.candidates) | without


def _extend_tune(
    written: Mapping[str, Any] | None, entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a `tune:` section in which the candidates of `entries` are tuned as well."""
    tune = {key: value for key, value in (written or {}).items() if key != "untuned"}
    trials = tune.setdefault("trials", _TRIALS)
    if isinstance(trials, dict):
        tune["trials"] = trials | dict.fromkeys(entries, max(trials.values()))
    space = dict(tune.get("space") or {})
    for name, entry in entries.items():
        if name not in space and "*" not in space and not usual_space(name, entry):
            rate = entry.get(_RATE)
            known = rate if isinstance(rate, (int, float)) and rate > 0 else None
            space[name] = {_RATE: (rates_around(known) if known else _UNKNOWN).to_json()}
    return tune | ({"space": space} if space else {})


def _flow(value: Any) -> str:
    """Write a value in one line of YAML: JSON without the quotes of plain keys."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r'"(?!true"|false"|null")([A-Za-z_][\w-]*)":', r"\1:", text)
