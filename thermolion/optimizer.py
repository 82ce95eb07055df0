"""ThermoLion as a torch optimizer: options, param groups and state around the step.

The arithmetic is in `step.reference` and its faster forms, the noise in `step.exploration`.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from thermolion import option_checks, state_dicts
from thermolion.closure import ClosureOptimizer
from thermolion.registry import GATE_OPTIONS, Feed, Gate, check_gate
from thermolion.step import dispatch, noise, reference, sharding
from thermolion.step.dispatch import Forms, Route
from thermolion.step.exploration import Amp, Rows, explores, last_noisy_step, temperature_at
from thermolion.step.gates import DistributedGate
from thermolion.step.state import (
    MEAN_SQUARE,
    StepTensors,
    ensure_state,
    local_gradient,
    mean_square,
    read_hyper,
    to_array,
)
from thermolion.telemetry import Layer, measure_layers


def check_options(options: Mapping[str, Any]) -> None:
    """Raise for an illegal option, with its name, value and range.

    TypeError for a wrong type; ValueError for a value out of range, and for two options that
    exclude each other.
    """
    numbers = ("lr", "betas", "temp_decay", "weight_decay", "eps", "alignment", "solid_gain")
    flags = ("noise", "foreach", "fused", "capturable", "maximize")
    option_checks.check_options(options, (*numbers, "seed", *flags))
    check_gate(*(options[name] for name in GATE_OPTIONS))
    if options["replicas_feed"] == "all" and options["betas"][1] == 0:
        raise ValueError('betas[1] is 0, with which replicas_feed="all" has nothing to feed')
    if options["foreach"] and options["fused"]:
        raise ValueError("foreach and fused are both true: choose one, or leave both to us")


def choose_param_ids(group: Mapping[str, Any], taken: set[int]) -> list[int]:
    """Return the ids by which the parameters of a new group are told apart in the noise.

    These are the `param_ids` of the group, if it has any; else a digest of each name; else the
    next numbers. `taken` are the ids of the other groups.

    Raises ValueError for ids that are not whole numbers, too many or too few, or not unique.
    """
    count = len(group["params"])
    if group.get("param_ids") is not None:
        ids = list(group["param_ids"])
    elif "param_names" in group:
        ids = [noise.digest(name) for name in group["param_names"]]
    else:
        free = (number for number in range(len(taken), 2**63) if number not in taken)
        ids = [next(free) for _ in range(count)]
    whole = all(isinstance(number, int) and 0 <= number < 2**63 for number in ids)
    if not whole or len(ids) != count:
        raise ValueError(
            f"param_ids is {ids!r}, it must be {count} whole numbers from 0 to 2**63-1"
        )
    twice = {number for number in ids if number in taken or ids.count(number) > 1}
    if twice:
        raise ValueError(
            f"param_ids has {min(twice)} twice: two parameters would share their noise"
        )
    return ids


def check_gradient(param: Tensor) -> None:
    """Raise RuntimeError for a gradient that ThermoLion cannot step with."""
    grad = param.grad
    assert grad is not None
    if grad.layout != torch.strided or param.is_complex():
        raise RuntimeError(
            f"ThermoLion takes dense real gradients, got {grad.layout}, {grad.dtype}: "
            "use another optimizer for this parameter"
        )


class ThermoLion(ClosureOptimizer):
    """Gate every parameter between a sign and a magnitude update by its signal-to-noise ratio.

    Source: arXiv 2512.01881. `lr` (a number, or a tensor of one element), `weight_decay`
    (decoupled) and `eps` are non-negative; `temp_decay` in (0, 1] cools the exploration noise,
    `noise=False` leaves it out; `alignment` boosts the sign step of elements whose momentum and
    gradient agree; `solid_gain` scales the magnitude step. `foreach`, `fused`, `capturable` and
    `maximize` are as in torch's own optimizers, except that `foreach` is the default on a CPU as
    well; there it works in pieces that fit the cache, and `fused` is C that is compiled on first
    use.

    `gate` says whose moments are gated on under data parallelism (docs/gates.md): those of the
    gradients as they come, averaged over the replicas; those of the `"replicas"`, at a batch of
    `reference_batch` samples (None: one rank's share), which feed the gate or `"all"` of v; or
    each rank's own (`"local"`). The last two need `thermolion.attach`.

    Draws of the noise depend on `seed`, the step, the id of the parameter and the place of the
    element alone, so replicas and resumed runs see the same ones. The id is fixed when a
    parameter is added: a digest of its name if it comes with one, else how many came before it,
    unless the group has `param_ids`.

    Raises TypeError for an option of a wrong type, ValueError for one out of range, and for
    options that exclude each other, in a parameter group as well; `step` raises RuntimeError for
    a complex or sparse gradient, before anything has changed.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        temp_decay: float = 0.99,
        weight_decay: float = 0.01,
        eps: float = 1e-8,
        alignment: float = reference.ALIGNMENT_BOOST,
        solid_gain: float = reference.SOLID_GAIN,
        noise: bool = True,
        seed: int = 0,
        gate: Gate = "averaged",
        reference_batch: int | None = None,
        replicas_feed: Feed = "gate",
        *,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "temp_decay": temp_decay,
            "weight_decay": weight_decay,
            "eps": eps,
            "alignment": alignment,
            "solid_gain": solid_gain,
            "noise": noise,
            "seed": seed,
            "gate": gate,
            "reference_batch": reference_batch,
            "replicas_feed": replicas_feed,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
            "maximize": maximize,
        }
        check_options(defaults)
        self._forget()
        self.distributed_gate = DistributedGate(gate, reference_batch, replicas_feed)
        super().__init__(params, defaults)

    @property
    def gate(self) -> str:
        """The gate of the optimizer, which is one for all groups."""
        return self.distributed_gate.kind

    def _forget(self) -> None:
        """Drop what is cached for speed; it is rebuilt when it is needed."""
        self._forms = Forms()
        self._rows: dict[object, Rows] = {}
        self._noisy_steps_left: dict[object, float] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._forget()
        if "distributed_gate" not in self.__dict__:  # a copy, which has to be attached for itself
            self.distributed_gate = DistributedGate(
                *(self.defaults[name] for name in GATE_OPTIONS)
            )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its parameters get the next ids of the noise, unless it has `param_ids`.

        Raises TypeError or ValueError for an illegal option, and for ids that are taken.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got a {type(param_group).__name__}")
        check_options({**self.defaults, **param_group})
        self.distributed_gate.check_group(param_group)
        super().add_param_group(param_group)
        *others, group = self.param_groups
        try:
            taken = {number for other in others for number in other["param_ids"]}
            group["param_ids"] = choose_param_ids(group, taken)
            dispatch.check_forms(group)
            if group["noise"]:
                sharding.check_layouts(group["params"])
        except ValueError:
            del self.param_groups[-1]
            raise

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state dict of this class, or of the author's published class.

        The published class keeps `m`, `v`, `step` and `temp`; options that it lacks stay as they
        are. Raises ValueError as torch's optimizers do, and for a `temp` that is not a power of
        `temp_decay`.
        """
        known = state_dicts.translate(state_dict, self.param_groups)
        super().load_state_dict(known)
        for group in self.param_groups:  # what is attached stays as it is
            group.update({name: self.defaults[name] for name in GATE_OPTIONS})
        for param, mean in state_dicts.find_unrounded(known, self.param_groups).items():
            self.state[param][MEAN_SQUARE] = mean.clone()

    @torch.no_grad()
    def telemetry(self, names: Mapping[Tensor, str] | None = None) -> dict[str, Layer]:
        """Return what the last step did in each parameter that has moved; see `telemetry.Layer`.

        A call costs a pass over the state and one wait for each device; steps pay nothing for it.
        """
        return measure_layers(self.param_groups, self.state, names)

    def _update(self) -> None:
        params = [param for group in self.param_groups for param in group["params"]]
        moving = [param for param in params if param.grad is not None]
        for param in moving:
            check_gradient(param)
        self.distributed_gate.begin(moving)
        for number, group in enumerate(self.param_groups):
            batches = defaultdict(list)
            for place, param in enumerate(group["params"]):
                if param.grad is not None:
                    kind = (dispatch.choose_route(group, param), param.device, param.dtype)
                    batches[kind].append(place)
            for (route, *_), places in batches.items():
                self._step_batch(route, number, places)
        self.distributed_gate.finish()

    def _step_batch(self, route: Route, number: int, places: list[int]) -> None:
        """Take the step of those parameters of a group that are of one device, type and route."""
        group = self.param_groups[number]
        params = [group["params"][place] for place in places]
        steps = [ensure_state(self.state[param], param, group)["step"] for param in params]
        if not group["noise"]:
            for param in params:  # it would fall behind v, should noise be wanted again
                self.state[param].pop(MEAN_SQUARE, None)
        amp = Amp.left_to(self) if group["fused"] else None
        if route is not Route.FUSED and amp is not None and bool(amp.found_inf):
            return
        if route is Route.ONE_PASS:
            self._advance(route, number, places, None)
        else:
            self._step_counted(route, number, places, steps, amp)

    def _step_counted(
        self, route: Route, number: int, places: list[int], steps: list[Tensor], amp: Amp | None
    ) -> None:
        """Count the `steps` of parameters; step those that explore, and then the others."""
        group = self.param_groups[number]
        torch._foreach_add_(steps, 1)
        if amp is not None and route is Route.FUSED:
            skip = amp.found_inf.to(steps[0]).reshape(())
            torch._foreach_sub_(steps, [skip] * len(steps))
        if not group["noise"]:
            self._advance(route, number, places, None)
        elif group["capturable"] or route is Route.FUSED:
            counts = torch.stack(steps)
            clock = None
            if group["capturable"] or self._still_explores(number, places, counts):
                clock = counts, torch.pow(group["temp_decay"], counts.double())
            self._advance(route, number, places, clock)
        else:
            noisy: list[tuple[int, int, float]] = []
            quiet: list[int] = []
            for place, count in zip(places, map(int, steps), strict=True):
                temperature = temperature_at(group["temp_decay"], count)
                if explores(temperature):
                    noisy.append((place, count, temperature))
                else:
                    quiet.append(place)
            if noisy:
                chosen, numbers, temperatures = map(list, zip(*noisy, strict=True))
                clock = torch.tensor(numbers), torch.tensor(temperatures, dtype=torch.float64)
                self._advance(route, number, chosen, clock)
            if quiet:
                self._advance(route, number, quiet, None)

    def _advance(
        self, route: Route, number: int, places: list[int], clock: tuple[Tensor, Tensor] | None
    ) -> None:
        """Move parameters of one kind; `clock` is their steps and temperatures if they explore."""
        group = self.param_groups[number]
        params = [group["params"][place] for place in places]
        states = [self.state[param] for param in params]
        grads = [local_gradient(param) for param in params]
        if group["maximize"]:
            grads = list(torch._foreach_neg(grads))
        amp = Amp.left_to(self) if group["fused"] else None
        if amp is not None and route is not Route.FUSED:  # their steps know of no scale
            if amp.scale is not None:
                grads = list(torch._foreach_div(grads, amp.scale.reshape(())))
            amp = None
        moments = [[state[name] for state in states] for name in ("exp_avg", "exp_avg_sq")]
        tensors = StepTensors(
            *([to_array(tensor) for tensor in each] for each in (params, grads, *moments))
        )
        self.distributed_gate.prepare(tensors, params, states, group["betas"][1])
        key = (number, route, params[0].device, params[0].dtype, clock is None)
        rows = self._rows_of(key, group, places)
        exploration = None
        if clock is not None:
            steps, temperatures = clock
            exploration = rows.explore(
                grads,
                [mean_square(state) for state in states],
                steps.to(params[0].device, torch.int64),
                temperatures.to(params[0].device),
                group["betas"][1],
                amp,
            )
        hyper = read_hyper(group)
        if route is Route.ONE_PASS:
            decay = group["temp_decay"] if group["noise"] else None
            self._forms.step_in_one_pass(tensors, states, hyper, decay, rows, key)
        else:
            self._forms.step(route, tensors, hyper, exploration, rows, key, amp)
        self.distributed_gate.collect(tensors, hyper)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Return True if a GradScaler is to leave it to a step to unscale, and to skip itself.

        A gate over ranks needs gradients that are unscaled before the step, and so does a group
        that is not fused.
        """
        fused = all(group["fused"] for group in self.param_groups)
        return fused and self.distributed_gate.kind == "averaged"

    def _still_explores(self, number: int, places: list[int], steps: Tensor) -> bool:
        """Return True if a tensor may still explore, for steps that are counted on the device.

        Waits for the device at the first step, and when the last noisy step may be behind all
        tensors: not before, because a skipped step only makes that later.
        """
        key = (number, tuple(places))
        left = self._noisy_steps_left.get(key, 0)
        if left == 0:
            left = last_noisy_step(self.param_groups[number]["temp_decay"]) - int(steps.min()) + 1
        self._noisy_steps_left[key] = left - 1 if left > 0 else -1
        return left > 0

    def _rows_of(self, key: object, group: dict[str, Any], places: list[int]) -> Rows:
        identity = (
            group["seed"],
            tuple(
                (group["param_ids"][i], sharding.extent(group["params"][i], group["noise"]))
                for i in places
            ),
        )
        if key not in self._rows or self._rows[key].identity != identity:
            self._rows[key] = Rows(*identity, group["params"][places[0]].device)
        return self._rows[key]
