"""The registry: its defaults are the constructors' own, its checks speak plainly, it is light."""

import inspect
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thermolion
from thermolion import registry
from thermolion.ddp.attach import attach
from thermolion.registry import (
    OPTIMIZERS,
    HyperparameterError,
    build,
    check_together,
    load,
    validate,
)

REPO = Path(__file__).parents[2]

LEGAL_OTHERS = {
    "lr": 0.05,
    "betas": [0.5, 0.6],
    "temp_decay": 0.5,
    "weight_decay": 0.1,
    "eps": 1e-4,
    "alignment": 0.1,
    "solid_gain": 1.0,
    "noise": False,
    "amsgrad": True,
    "alpha": 0.5,
    "momentum": 0.5,
    "centered": True,
    "dampening": 0.5,
    "nesterov": True,
    "gate": "local",
    "reference_batch": 3,
    "replicas_feed": "all",
    "fused": True,
    "momentum_decay": 0.01,
    "decoupled_weight_decay": True,
    "slow_every": 3,
    "slow_step": 0.25,
    "threshold": 1e-5,
    "switch_after": 7,
    "average_from": 0.25,
    "foreach": False,
    "capturable": True,
}
# Which data, which draws, and which way is down.
NOT_SWEPT = {"param_ids", "params", "seed", "maximize"}
NOT_SWEPT |= {"steps", "steps_per_epoch"}
# What else makes sense of a value.
NEEDS: dict[str, dict[str, Any]] = {
    "nesterov": {"momentum": 0.9},
    "reference_batch": {"gate": "replicas"},
    "replicas_feed": {"gate": "replicas"},
}
HYPERPARAMETERS = [(name, key) for name, spec in OPTIMIZERS.items() for key in spec.settable]


def _parameter() -> nn.Parameter:
    param = nn.Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    return param


def test_the_registered_names_are_those_of_the_documentation() -> None:
    ours = ["muadam", "lookahead", "swats", "swats_notebook", "swa"]
    torchs = ["adam", "adamw", "rmsprop", "sgd", "nadam"]
    assert list(OPTIMIZERS) == ["thermolion", "lion", *torchs, *ours]


@pytest.mark.parametrize(("name", "key"), HYPERPARAMETERS)
def test_a_registered_default_is_the_constructors_own(name: str, key: str) -> None:
    own = inspect.signature(load(name)).parameters[key].default
    if key == "fused":
        own = bool(own)  # None, to leave it to us, is the same
    assert OPTIMIZERS[name].settable[key] == own
    assert isinstance(OPTIMIZERS[name].settable[key], bool) is isinstance(own, bool)


@pytest.mark.parametrize(
    "name", [name for name, spec in OPTIMIZERS.items() if spec.path.startswith("thermolion")]
)
def test_every_hyperparameter_of_our_own_optimizers_can_be_swept(name: str) -> None:
    own = set(inspect.signature(load(name)).parameters) - NOT_SWEPT
    assert set(OPTIMIZERS[name].settable) == own


@pytest.mark.parametrize(("name", "key"), HYPERPARAMETERS)
def test_a_registered_hyperparameter_is_checked_accepted_and_used(name: str, key: str) -> None:
    default = OPTIMIZERS[name].settable[key]
    value = validate(key, LEGAL_OTHERS[key], default)
    param = _parameter()
    optimizer = build(name, [param], {key: value, **NEEDS.get(key, {})}, seed=1, steps=9)
    attach(optimizer, nn.ParameterList([param]), global_batch=3)
    optimizer.step()
    used = optimizer.param_groups[0][key]
    assert (list(used) if isinstance(default, tuple) else used) == value
    assert used != default


@pytest.mark.parametrize(("name", "key"), HYPERPARAMETERS)
def test_a_registered_default_passes_its_own_check(name: str, key: str) -> None:
    default = OPTIMIZERS[name].settable[key]
    same = validate(key, default, default)
    assert same == (list(default) if isinstance(default, tuple) else default)


def test_a_whole_number_becomes_the_type_of_the_default() -> None:
    assert isinstance(validate("lr", 1, 0.001), float)
    assert [type(beta) for beta in validate("betas", [0, 0.5], (0.9, 0.99))] == [float, float]
    assert validate("noise", True, False) is True


def test_without_a_default_a_value_stays_as_it_is() -> None:
    assert validate("depth", 3) == 3
    assert isinstance(validate("depth", 3), int)
    assert validate("kind", "wide") == "wide"
    assert validate("flag", True) is True
    assert validate("sizes", (3, 4)) == [3, 4]


@pytest.mark.parametrize(
    ("name", "value", "default", "message"),
    [
        ("lr", math.nan, 1e-3, "lr is nan, it must be a finite number, 0 or more"),
        ("lr", math.inf, 1e-3, "lr is inf, it must be a finite number, 0 or more"),
        ("lr", -1, 1e-3, "lr is -1, it must be a finite number, 0 or more"),
        ("lr", True, 1e-3, "lr is True, it must be a finite number, 0 or more"),
        ("lr", "1e-3", 1e-3, "lr is '1e-3', it must be a finite number, 0 or more"),
        ("lr", None, 1e-3, "lr is None, it must be a finite number, 0 or more"),
        ("lr", [0.1], 1e-3, "lr is [0.1], it must be a finite number, 0 or more"),
        ("eps", -1e-8, 1e-8, "eps is -1e-08, it must be a finite number, 0 or more"),
        ("temp_decay", 0, 0.99, "temp_decay is 0, it must be a number in (0, 1]"),
        ("temp_decay", 1.5, 0.99, "temp_decay is 1.5, it must be a number in (0, 1]"),
        ("momentum", 1, 0.0, "momentum is 1, it must be a number in [0, 1)"),
        ("alpha", -0.1, 0.99, "alpha is -0.1, it must be a number in [0, 1)"),
        ("betas", 0.9, (0.9, 0.99), "betas is 0.9, it must be two numbers in [0, 1)"),
        ("betas", [0.9], (0.9, 0.99), "betas is [0.9], it must be two numbers in [0, 1)"),
        ("betas", [0.9, 1.0], (0.9, 0.99), "betas is 1.0, it must be two numbers in [0, 1)"),
        ("betas", [0.9, "x"], (0.9, 0.99), "betas is 'x', it must be two numbers in [0, 1)"),
        ("slow_step", 0, 0.5, "slow_step is 0, it must be a number in (0, 1]"),
        ("slow_every", 0, 5, "slow_every is 0, it must be a whole number, 1 or more"),
        ("slow_every", 2.5, 5, "slow_every is 2.5, it must be a whole number, 1 or more"),
        ("slow_every", True, 5, "slow_every is True, it must be a whole number, 1 or more"),
        ("switch_after", "x", 300, "switch_after is 'x', it must be a whole number, 1 or more"),
        ("threshold", -1, 1e-9, "threshold is -1, it must be a finite number, 0 or more"),
        ("noise", 1, True, "noise is 1, it must be true or false"),
        ("noise", "no", True, "noise is 'no', it must be true or false"),
        ("fused", 1, False, "fused is 1, it must be true or false"),
        ("foreach", "yes", None, "foreach is 'yes', it must be true, false or null"),
        ("capturable", None, False, "capturable is None, it must be true or false"),
        ("depth", math.nan, None, "depth is nan, it must be a finite number"),
        ("sizes", [1, math.inf], None, "sizes is inf, it must be a finite number"),
    ],
)
def test_an_illegal_value_is_refused_with_value_and_range(
    name: str, value: Any, default: Any, message: str
) -> None:
    with pytest.raises(HyperparameterError) as caught:
        validate(name, value, default)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_seed_reaches_those_that_draw_noise_and_no_other(name: str) -> None:
    group = build(name, [_parameter()], {}, seed=77, steps=9).param_groups[0]
    assert group.get("seed") == (77 if name == "thermolion" else None)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A user's module with an optimizer that takes a seed and one that does not."""
    name = "lab_of_a_user"
    (tmp_path / f"{name}.py").write_text(
        "import torch\n\n"
        "class Plain(torch.optim.SGD):\n"
        "    pass\n\n"
        "class Noisy(torch.optim.SGD):\n"
        "    def __init__(self, params, lr=0.1, seed=0):\n"
        "        super().__init__(params, lr)\n"
        "        self.seed = seed\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_dotted_path_finds_a_users_own_optimizer(lab: str) -> None:
    param = _parameter()
    optimizer = build(f"{lab}:Plain", [param], {"lr": 0.5}, seed=3)
    assert type(optimizer) is load(f"{lab}:Plain")
    optimizer.step()
    assert torch.equal(param.detach(), torch.full((3,), 0.5))


def test_a_users_optimizer_gets_the_seed_if_it_takes_one_and_none_was_given(lab: str) -> None:
    derived: Any = build(f"{lab}:Noisy", [_parameter()], {}, seed=3)
    given: Any = build(f"{lab}:Noisy", [_parameter()], {"seed": 8}, seed=3)
    assert (derived.seed, given.seed) == (3, 8)


def test_a_path_that_leads_nowhere_is_an_import_or_attribute_error(lab: str) -> None:
    with pytest.raises(ImportError, match="no_such_module"):
        load("no_such_module:Foo")
    with pytest.raises(AttributeError, match="Missing"):
        load(f"{lab}:Missing")


def test_the_package_exports_its_optimizers_lazily_and_nothing_else() -> None:
    assert thermolion.ThermoLion is load("thermolion")
    assert thermolion.Lion is load("lion")
    with pytest.raises(AttributeError, match="'thermolion' has no attribute 'Tiger'"):
        getattr(thermolion, "Tiger")  # noqa: B009 - the attribute does not exist


@pytest.mark.parametrize("module", ["thermolion", "thermolion.registry"])
def test_importing_it_loads_no_torch(module: str) -> None:
    code = (
        f"import sys, {module}; registry = sys.modules.get('thermolion.registry')\n"
        "if registry: registry.validate('lr', 1, registry.OPTIMIZERS['adamw'].defaults['lr'])\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_what_was_added_later_is_recorded_if_it_differs_from_its_default() -> None:
    spec = OPTIMIZERS["thermolion"]
    before = {"lr": 0.1, "noise": True}
    assert spec.recorded({**before, **spec.later}) == before
    chosen = {"gate": "replicas", "reference_batch": 128}
    assert spec.recorded({**before, **spec.later, **chosen}) == before | chosen


def test_values_that_are_legal_one_by_one_and_not_together_are_refused() -> None:
    check_together("thermolion", {"gate": "replicas", "reference_batch": 128})
    check_together("adamw", {"lr": 0.1})
    check_together("lab:Mine", {"gate": "anything", "reference_batch": "x"})
    with pytest.raises(
        HyperparameterError, match="reference_batch is 128, but gate is 'averaged'"
    ):
        check_together("thermolion", {"reference_batch": 128})
    check_together("sgd", {"nesterov": True, "momentum": 0.9, "dampening": 0.0})
    for wrong in ({"momentum": 0.0}, {"momentum": 0.9, "dampening": 0.5}):
        with pytest.raises(HyperparameterError, match="nesterov is true with a momentum of"):
            check_together("sgd", {"nesterov": True, **wrong})
    with pytest.raises(HyperparameterError, match=r"reference_batch is 12\.5, it must be a whole"):
        check_together("thermolion", {"gate": "replicas", "reference_batch": 12.5})


def test_a_range_stands_for_every_registered_number() -> None:
    numbers = {
        key
        for spec in OPTIMIZERS.values()
        for key, default in spec.defaults.items()
        if not isinstance(default, (bool, str))
    }
    assert numbers == set(registry.RANGES)
