"""Optimizers by name: import path, hyperparameters with their defaults, legal ranges.

Data for planning: loads neither torch nor an optimizer until `build` is called.
"""

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from thermolion.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Gate = Literal["averaged", "replicas", "local"]
Feed = Literal["gate", "all"]

GATES: tuple[str, ...] = get_args(Gate)
# The options of ThermoLion's gate, in the order in which `check_gate` takes them.
GATE_OPTIONS = ("gate", "reference_batch", "replicas_feed")
FEEDS: tuple[str, ...] = get_args(Feed)


def check_gate(gate: Any, reference_batch: Any, replicas_feed: Any) -> None:
    """Raise ValueError for an unknown word, an illegal batch, and a setting without effect."""
    for name, value, words in (("gate", gate, GATES), ("replicas_feed", replicas_feed, FEEDS)):
        if value not in words:
            raise ValueError(f"{name} is {value!r}, it must be one of {', '.join(words)}")
    whole = isinstance(reference_batch, int) and not isinstance(reference_batch, bool)
    if reference_batch is not None and not (whole and reference_batch > 0):
        raise ValueError(
            f"reference_batch is {reference_batch!r}, it must be a whole number of samples, 1 or "
            "more, or none for the share of one rank"
        )
    if gate == "replicas":
        return
    for name, value, default in (
        ("reference_batch", reference_batch, None),
        ("replicas_feed", replicas_feed, "gate"),
    ):
        if value != default:
            raise ValueError(
                f"{name} is {value!r}, but gate is {gate!r}: it has a meaning with "
                "gate: replicas only, leave it out or set that"
            )


class HyperparameterError(InputError, ValueError):
    """A hyperparameter has an illegal value; the message names the value and the legal range."""


@dataclass(frozen=True)
class OptimizerSpec:
    """Where an optimizer is defined and what a sweep may set.

    `path` is `module:Class`. `seeded` optimizers draw noise of their own; `paced` ones take the
    number of steps of the training, and of an epoch. `defaults` are recorded with every trial and
    are part of its id. A hyperparameter that is added to an optimizer later belongs in `later`:
    it is recorded only if it differs from its default, so that earlier trials keep their ids.
    `search_lr` is the centre of the learning rates that tuning tries if no space is written; None
    stands for the default. It identifies nothing.
    """

    path: str
    defaults: Mapping[str, Any]
    later: Mapping[str, Any] = field(default_factory=dict)
    seeded: bool = False
    paced: bool = False
    search_lr: float | None = None

    @property
    def settable(self) -> Mapping[str, Any]:
        """Every hyperparameter that a sweep may set, with its default."""
        return {**self.defaults, **self.later}

    def recorded(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return what identifies a candidate with these hyperparameters."""
        return {
            name: value
            for name, value in hyperparameters.items()
            if name not in self.later or value != self.later[name]
        }


_ADAM: Mapping[str, Any] = {
    "lr": 1e-3,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
}

# The form of a step is a choice of the candidate, since it may change bits; None leaves it to the
# optimizer.
_FORMS: Mapping[str, Any] = {"foreach": None, "fused": False}

OPTIMIZERS: Mapping[str, OptimizerSpec] = {
    "thermolion": OptimizerSpec(
        "thermolion.optimizer:ThermoLion",
        {
            "lr": 1e-3,
            "betas": (0.9, 0.99),
            "temp_decay": 0.99,
            "weight_decay": 0.01,
            "eps": 1e-8,
            "alignment": 0.5,
            "solid_gain": 2.0,
            "noise": True,
        },
        later={
            "gate": "averaged",
            "reference_batch": None,
            "replicas_feed": "gate",
            **_FORMS,
            "capturable": False,
        },
        seeded=True,
    ),
    "lion": OptimizerSpec(
        "thermolion.baselines.lion:Lion", {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0}
    ),
    "adam": OptimizerSpec("torch.optim:Adam", {**_ADAM, "amsgrad": False}, later=_FORMS),
    "adamw": OptimizerSpec(
        "torch.optim:AdamW", {**_ADAM, "weight_decay": 1e-2, "amsgrad": False}, later=_FORMS
    ),
    "rmsprop": OptimizerSpec(
        "torch.optim:RMSprop",
        {
            "lr": 1e-2,
            "alpha": 0.99,
            "eps": 1e-8,
            "weight_decay": 0.0,
            "momentum": 0.0,
            "centered": False,
        },
        # torch's default is ten times the rate of its publication (Tieleman and Hinton 2012).
        search_lr=1e-3,
    ),
    "sgd": OptimizerSpec(
        "torch.optim:SGD",
        {
            "lr": 1e-3,
            "momentum": 0.0,
            "dampening": 0.0,
            "weight_decay": 0.0,
            "nesterov": False,
        },
        # The default is torch's own: without momentum it hardly moves in a short training. Plain
        # SGD is published with 0.1 (He et al. 2016; Goyal et al. 2017, for batches of 256).
        search_lr=0.1,
    ),
    "nadam": OptimizerSpec(
        "torch.optim:NAdam",
        {**_ADAM, "lr": 2e-3, "momentum_decay": 4e-3, "decoupled_weight_decay": False},
    ),
    "muadam": OptimizerSpec("thermolion.baselines.muadam:MuAdam", _ADAM),
    "lookahead": OptimizerSpec(
        "thermolion.baselines.lookahead:Lookahead", {**_ADAM, "slow_every": 5, "slow_step": 0.5}
    ),
    "swats": OptimizerSpec(
        "thermolion.baselines.swats:SWATS", {**_ADAM, "eps": 1e-9, "threshold": 1e-9}
    ),
    "swats_notebook": OptimizerSpec(
        "thermolion.baselines.swats:SWATSNotebook", {**_ADAM, "switch_after": 300}
    ),
    "swa": OptimizerSpec(
        "thermolion.baselines.swa:SWA",
        {"lr": 1e-2, "momentum": 0.0, "weight_decay": 0.0, "average_from": 0.6},
        paced=True,
        search_lr=0.1,  # it averages plain SGD (Izmailov et al. 2018 begin at 0.05 to 0.1)
    ),
}


# What a hyperparameter may be, whichever optimizer has it: (is a value legal?, in words).
_Range = tuple[Callable[[Any], bool], str]
_FINITE: _Range = (math.isfinite, "a finite number")
_AT_LEAST_ZERO: _Range = (lambda value: 0 <= value < math.inf, "a finite number, 0 or more")
_FRACTION: _Range = (lambda value: 0 <= value < 1, "a number in [0, 1)")
_POSITIVE_FRACTION: _Range = (lambda value: 0 < value <= 1, "a number in (0, 1]")
_COUNT: _Range = (lambda value: isinstance(value, int) and value >= 1, "a whole number, 1 or more")
_NAMES: Mapping[_Range, str] = {
    _AT_LEAST_ZERO: "lr weight_decay eps alignment solid_gain threshold momentum_decay",
    (_FRACTION[0], "two numbers in [0, 1)"): "betas",
    _FRACTION: "momentum dampening alpha average_from",
    _POSITIVE_FRACTION: "temp_decay slow_step",
    _COUNT: "slow_every switch_after",
}
RANGES = {name: legal for legal, names in _NAMES.items() for name in names.split()}

_FLAG: _Range = (lambda value: isinstance(value, bool), "true or false")
# Of the hyperparameters whose default is a word, or null in place of true or false.
_CHOICES: Mapping[str, _Range] = {
    "foreach": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
    "gate": (GATES.__contains__, f"one of {', '.join(GATES)}"),
    "replicas_feed": (FEEDS.__contains__, f"one of {', '.join(FEEDS)}"),
}

_LARGEST = 2**63  # beyond it a whole number may be no finite float


def validate(name: str, value: Any, default: Any = None) -> Any:
    """Return `value` in the type of `default` (1 becomes 1.0), unchanged if that is None.

    Raises HyperparameterError for another type and for a value out of range.
    """
    legal, words = RANGES.get(name, _FINITE)
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or len(value) != len(default):
            raise HyperparameterError(f"{name} is {value!r}, it must be {words}")
        return [validate(name, item, like) for item, like in zip(value, default, strict=True)]
    if isinstance(default, (bool, str)) or name in _CHOICES:
        legal, words = _CHOICES.get(name, _FLAG)
        if not legal(value):
            raise HyperparameterError(f"{name} is {value!r}, it must be {words}")
        return value
    if default is None and isinstance(value, (list, tuple)):
        return [validate(name, item) for item in value]
    if default is None and isinstance(value, dict):
        return {key: validate(name, item) for key, item in value.items()}
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise HyperparameterError(f"{name} has {len(str(abs(value)))} digits, it must be {words}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (number and not legal(value)) or (isinstance(default, (int, float)) and not number):
        raise HyperparameterError(f"{name} is {value!r}, it must be {words}")
    # Adding 0.0 turns -0.0 into 0.0: one value, one trial.
    return float(value) + 0.0 if isinstance(default, float) else value


def check_together(optimizer: str, hyperparameters: Mapping[str, Any]) -> None:
    """Raise HyperparameterError for values that are legal one by one, but not together."""
    spec = OPTIMIZERS.get(optimizer)
    if spec is None:
        return
    if hyperparameters.get("nesterov"):
        momentum, dampening = (hyperparameters.get(k, 0.0) for k in ("momentum", "dampening"))
        if momentum == 0 or dampening != 0:
            raise HyperparameterError(
                f"nesterov is true with a momentum of {momentum!r} and a dampening of "
                f"{dampening!r}: it takes a momentum above 0 and a dampening of 0, such as "
                "momentum: 0.9"
            )
    if hyperparameters.get("foreach") and hyperparameters.get("fused"):
        raise HyperparameterError("foreach and fused are both true: leave one of them out")
    if "gate" in spec.later:
        gate = [hyperparameters.get(name, spec.later[name]) for name in GATE_OPTIONS]
        try:
            check_gate(*gate)
        except ValueError as error:
            raise HyperparameterError(str(error)) from error


def load(optimizer: str) -> "type[Optimizer]":
    """Import an optimizer by registered name or dotted path (`my_lab.opt:Foo`).

    Raises ImportError or AttributeError if the path names nothing.
    """
    path = OPTIMIZERS[optimizer].path if optimizer in OPTIMIZERS else optimizer
    module, colon, name = path.partition(":")
    if not colon:
        raise ImportError(
            f"no optimizer {optimizer!r} is known here: choose from {', '.join(OPTIMIZERS)}, "
            "write module:Class, or build it in your own code, which may call it what it likes"
        )
    kind: type[Optimizer] = getattr(importlib.import_module(module), name)
    return kind


def build(
    optimizer: str,
    params: "Iterable[Tensor]",
    hyperparameters: Mapping[str, Any],
    seed: int,
    steps: int | None = None,
    steps_per_epoch: int = 1,
) -> "Optimizer":
    """Construct an optimizer; `seed` goes to those that draw noise of their own.

    `steps` and `steps_per_epoch`, the numbers of steps of the training and of an epoch, go to
    those that average weights over its later part. Raises ValueError if `steps` is missing for
    one of them.
    """
    kind: Callable[..., Optimizer] = load(optimizer)
    spec = OPTIMIZERS.get(optimizer)
    if spec is None:
        takes_seed = "seed" in inspect.signature(kind).parameters
        seeded = takes_seed and "seed" not in hyperparameters
    else:
        seeded = spec.seeded
    context: dict[str, Any] = {"seed": seed} if seeded else {}
    if spec is not None and spec.paced:
        if steps is None:
            raise ValueError(
                f"{optimizer} is scored at averaged weights, which a training of your own has to "
                "see to: build thermolion.SWA(params, steps=…, steps_per_epoch=…) yourself, and "
                "score within `with optimizer.averaged():`"
            )
        context |= {"steps": steps, "steps_per_epoch": steps_per_epoch}
    return kind(params, **hyperparameters, **context)
