"""Suggests by Optuna's TPE which settings of one candidate to try next, given earlier scores.

The answers go into a decision, so nothing is drawn again, and any backend trains them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from orchestrator.sweep.document import SweepError
from orchestrator.sweep.search_space import Axis, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from tracking.compare.tuning import TriedSetting


_PATIENCE = 50  # illegal settings for one that is legal


def require_optuna() -> None:
    """Raise SweepError if Optuna is not installed."""
    if find_spec("optuna") is None:
        raise SweepError(
            "tune.search: optuna, and Optuna is not installed: pip install 'thermolion[search]', "
            "or write sobol"
        )


def suggest(
    space: Space,
    settings: Sequence["TriedSetting"],
    lower_is_better: bool,
    count: int,
    seed: str,
    is_legal: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> list[dict[str, Any]]:
    """Return `count` settings, the values by hyperparameter, which are to run side by side.

    Fewer, or none, if hardly any is legal: values that are legal alone may not be together.
    TPE (Bergstra et al. 2011) with Optuna's defaults and a constant liar, so that they differ.
    Settings without a score teach nothing. Equal input and an equal Optuna give equal settings.
    """
    require_optuna()
    import optuna

    names = sorted(space)
    distributions = {name: _make_distribution(space[name]) for name in names}
    draw = int.from_bytes(hashlib.sha256(f"tpe/{seed}".encode()).digest()[:4], "big")
    sampler = optuna.samplers.TPESampler(seed=draw, n_startup_trials=0, constant_liar=True)
    study = _make_optuna_study(space, settings, lower_is_better, sampler)
    suggestions: list[dict[str, Any]] = []
    for _ in range(_PATIENCE * count):
        trial = study.ask(distributions)
        values = {name: _decode(space[name], trial.params[name]) for name in names}
        if is_legal(values):
            suggestions.append(values)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)  # counts as bad
        if len(suggestions) == count:
            break
    return suggestions


def compute_importances(
    space: Space, settings: Sequence["TriedSetting"], lower_is_better: bool
) -> Mapping[str, float]:
    """Return what part of the spread of scores each hyperparameter explains, the largest first.

    fANOVA (Hutter et al. 2014) by Optuna; empty without it, of one hyperparameter, and if all
    scores are equal.
    """
    scores = {one.score for one in settings if one.score is not None}
    if find_spec("optuna") is None or len(space) == 1 or len(scores) < 2:
        return {}
    import optuna

    study = _make_optuna_study(space, settings, lower_is_better, None)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _make_optuna_study(
    space: Space,
    settings: Sequence["TriedSetting"],
    lower_is_better: bool,
    sampler: "BaseSampler | None",
) -> "Study":
    """Return a study of Optuna's with the settings that have a score."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="minimize" if lower_is_better else "maximize", sampler=sampler
    )
    distributions = {name: _make_distribution(axis) for name, axis in space.items()}
    for one in settings:
        if one.score is None:
            continue
        params = {name: _encode(axis, one.hyperparameters[name]) for name, axis in space.items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=one.score)
        )
    return study


def _make_distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if axis.kind == "choice":
        return CategoricalDistribution(range(len(axis.choices)))  # a choice may be of any type
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "log")


def _encode(axis: Axis, value: Any) -> Any:
    if axis.kind != "choice":
        return min(max(float(value), axis.low), axis.high)
    return [_plain(choice) for choice in axis.choices].index(_plain(value))


def _decode(axis: Axis, value: Any) -> Any:
    return axis.choices[value] if axis.kind == "choice" else axis.snap(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
