"""What Optuna's TPE would try next of one candidate on one workload, from how others have fared.

Its answers go into a decision, so nothing has to be drawn again, and any backend trains them.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from orchestrator.space import Axis, Space
from orchestrator.sweep_file import SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from tracking.tuning import Fared


def require_optuna() -> None:
    """Raise SweepError where Optuna is not installed."""
    if find_spec("optuna") is None:
        raise SweepError(
            "tune.search: optuna, and Optuna is not installed: pip install 'thermolion[search]', "
            "or write sobol"
        )


def suggest(
    space: Space, settings: Sequence["Fared"], lower_is_better: bool, count: int, seed: str
) -> list[dict[str, Any]]:
    """Return `count` settings, the values by hyperparameter, which are to run side by side.

    TPE (Bergstra et al. 2011) with Optuna's defaults and a constant liar, so that they differ.
    Settings without a score teach nothing. Equal input and an equal Optuna give equal settings.
    """
    require_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = sorted(space)
    distributions = {name: _distribution(space[name]) for name in names}
    draw = int.from_bytes(hashlib.sha256(f"tpe/{seed}".encode()).digest()[:4], "big")
    sampler = optuna.samplers.TPESampler(seed=draw, n_startup_trials=0, constant_liar=True)
    study = optuna.create_study(
        direction="minimize" if lower_is_better else "maximize", sampler=sampler
    )
    for one in settings:
        if one.score is None:
            continue
        told = {name: _told(space[name], one.hyperparameters[name]) for name in names}
        study.add_trial(
            optuna.trial.create_trial(params=told, distributions=distributions, value=one.score)
        )
    asked = [study.ask(distributions).params for _ in range(count)]
    return [{name: _meant(space[name], said[name]) for name in names} for said in asked]


def _distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if axis.kind == "choice":
        return CategoricalDistribution(range(len(axis.choices)))  # a choice may be of any type
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "log")


def _told(axis: Axis, value: Any) -> Any:
    if axis.kind != "choice":
        return min(max(float(value), axis.low), axis.high)
    return [_plain(choice) for choice in axis.choices].index(_plain(value))


def _meant(axis: Axis, said: Any) -> Any:
    return axis.choices[said] if axis.kind == "choice" else axis.legal(said)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
