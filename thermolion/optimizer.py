"""ThermoLion as a torch optimizer: options, param groups and state around the step.

The arithmetic is in `step.reference` and its faster forms, the noise in `step.exploration`.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo  # as torch's own optimizers: it imports when called
from torch.optim.optimizer import ParamsT

from thermolion import option_checks, parameter_ids, state_dicts
from thermolion.closure import ClosureOptimizer
from thermolion.registry import GATE_OPTIONS, Feed, Gate, check_gate
from thermolion.step import dispatch, loss_scale, reference, sharding
from thermolion.step.dispatch import Forms, Route
from thermolion.step.exploration import Amp, Rows, explores, temperature_at
from thermolion.step.gates import DistributedGate
from thermolion.step.state import (
    MEAN_SQUARE,
    PARAM_ID,
    StepTensors,
    ensure_state,
    local_gradient,
    mean_square,
    read_hyper,
    to_array,
)
from thermolion.step.transfer import is_capturing, to_device
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
    unless `param_ids` says what it is: one whole number for each of `params`, or in a group for
    each of the group's. An optimizer that holds a part of the parameters needs names or ids.

    Raises TypeError for an option of a wrong type, ValueError for one out of range, and for
    options that exclude each other, in a parameter group as well; `step` raises RuntimeError for
    a complex, sparse or whole-number gradient, before anything has changed.
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
        param_ids: Sequence[int] | None = None,
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
        self._are_counted = False  # whether some ids say only how many parameters came before
        super().__init__(_with_ids(params, param_ids), defaults)

    @property
    def gate(self) -> str:
        """The gate of the optimizer, which is one for all groups."""
        return self.distributed_gate.kind

    def _forget(self) -> None:
        """Drop what is cached for speed; it is rebuilt when it is needed."""
        self._forms = Forms()
        self._rows: dict[object, Rows] = {}
        self._has_looked_for_scale = False
        # What CUDA graphs read and write at every replay.
        self._captured: list[object] = self.__dict__.get("_captured", [])

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._forget()
        self._are_counted = self.__dict__.get("_are_counted", False)
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
            self._are_counted |= not parameter_ids.is_chosen(group)
            group["param_ids"] = parameter_ids.choose_param_ids(group, taken)
            dispatch.check_forms(group)
            if group["noise"]:
                sharding.check_layouts(group["params"])
        except (TypeError, ValueError):
            del self.param_groups[-1]
            raise

    @_disable_dynamo
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state dict of this class, or of the author's published class.

        The published class keeps `m`, `v`, `step` and `temp`; options that it lacks stay as they
        are. Hooks before it get the state dict as it is given, those after it the loaded state.
        Raises ValueError as torch's optimizers do, and for a state that cannot be one: see
        `state_dicts.translate`.
        """
        given = dict(state_dict)
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            changed = before(self, given)
            given = given if changed is None else changed
        known = state_dicts.translate(given, self.param_groups)
        for saved, group in zip(known["param_groups"], self.param_groups, strict=False):
            if saved.get("noise"):
                sharding.check_layouts(group["params"])
        with self._without_load_hooks():
            super().load_state_dict(known)
        for group in self.param_groups:  # what is attached stays as it is
            group.update({name: self.defaults[name] for name in GATE_OPTIONS})
        for param, mean in state_dicts.find_unrounded(known, self.param_groups).items():
            self.state[param][MEAN_SQUARE] = mean
        for param, number in state_dicts.find_ids(self.param_groups).items():
            if PARAM_ID in self.state.get(param, {}):
                self.state[param][PARAM_ID] = torch.tensor(number)
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    @contextmanager
    def _without_load_hooks(self) -> Iterator[None]:
        """Keep torch from calling the hooks on loading, which have their time before and after."""
        names = ("_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks")
        kept = {name: self.__dict__[name] for name in names}
        self.__dict__.update({name: OrderedDict() for name in names})
        try:
            yield
        finally:
            self.__dict__.update(kept)

    @torch.no_grad()
    def telemetry(self, names: Mapping[Tensor, str] | None = None) -> dict[str, Layer]:
        """Return what the last step did in each parameter that has moved; see `telemetry.Layer`.

        A call costs a pass over the state and one wait for each device; steps pay nothing for it.
        """
        return measure_layers(self.param_groups, self.state, names)

    def _update(self) -> None:
        parameter_ids.check_places(self.param_groups)
        if self._are_counted:
            parameter_ids.check_alone(self.param_groups)
            parameter_ids.turns.take(self)
        moving = []
        batches = defaultdict(list)
        for number, group in enumerate(self.param_groups):
            for place, param in enumerate(group["params"]):
                if param.grad is not None:
                    moving.append(param)
                    route = dispatch.choose_route(group, param)
                    batches[number, route, param.device, param.dtype].append(place)
        self._check_capture({device for _, _, device, _ in batches})
        self.distributed_gate.begin(moving)
        for (number, route, *_), places in batches.items():
            self._step_batch(route, number, places)
        self.distributed_gate.finish()
        if not self._has_looked_for_scale:
            self._has_looked_for_scale = True
            if Amp.left_to(self) is None and not any(g["capturable"] for g in self.param_groups):
                loss_scale.warn_if_left([state.get(MEAN_SQUARE) for state in self.state.values()])

    def _check_capture(self, devices: set[torch.device]) -> None:
        """Raise RuntimeError for a step in a CUDA graph that is not capturable."""
        if all(group["capturable"] for group in self.param_groups):
            return
        for device in devices:
            if is_capturing(device):
                raise RuntimeError(
                    "a step is being captured in a CUDA graph, and capturable is false in a "
                    "parameter group: its step count and its noise would stand still in every "
                    "replay; set capturable=True"
                )

    def _step_batch(self, route: Route, number: int, places: list[int]) -> None:
        """Take the step of those parameters of a group that are of one device, type and route."""
        group = self.param_groups[number]
        params = [group["params"][place] for place in places]
        states = [ensure_state(self.state[param], param, group) for param in params]
        parameter_ids.note_ids(states, group, places)
        steps = [state["step"] for state in states]
        if not group["noise"]:
            for param in params:  # it would fall behind v, should noise be wanted again
                self.state[param].pop(MEAN_SQUARE, None)
        amp = Amp.left_to(self) if group["fused"] else None
        if route is not Route.FUSED and amp is not None and bool(amp.found_inf):
            return
        if route in (Route.FUSED, Route.ONE_PASS):
            self._advance(route, number, places, None)
        else:
            self._step_counted(route, number, places, steps)

    def _step_counted(
        self, route: Route, number: int, places: list[int], steps: list[Tensor]
    ) -> None:
        """Count the `steps` of parameters; step those that explore, and then the others."""
        group = self.param_groups[number]
        torch._foreach_add_(steps, 1)
        if not group["noise"]:
            self._advance(route, number, places, None)
        elif group["capturable"] or steps[0].device.type != "cpu":
            counts = torch.stack(steps)
            temperatures = torch.pow(group["temp_decay"], counts.double())
            self._advance(route, number, places, (counts.to(torch.int64), temperatures))
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
                chosen, *clock = map(list, zip(*noisy, strict=True))
                device = group["params"][places[0]].device
                sent = to_device(torch.tensor(clock, dtype=torch.float64), device)
                self._advance(route, number, chosen, (sent[0].to(torch.int64), sent[1]))
            if quiet:
                self._advance(route, number, quiet, None)

    def _advance(
        self, route: Route, number: int, places: list[int], clock: tuple[Tensor, Tensor] | None
    ) -> None:
        """Move parameters of one kind.

        `clock` are their steps and temperatures, on their device, if they explore; a fused step
        has its own.
        """
        group = self.param_groups[number]
        params = [group["params"][place] for place in places]
        states = [self.state[param] for param in params]
        grads = [local_gradient(param) for param in params]
        if group["maximize"]:
            grads = list(torch._foreach_neg(grads))
        amp = Amp.left_to(self) if group["fused"] else None
        if amp is not None and route is not Route.FUSED:  # their steps know of no scale
            scale = amp.on(grads[0].device).scale
            if scale is not None:
                grads = list(torch._foreach_div(grads, scale.reshape(())))
            amp = None
        moments = [[state[name] for state in states] for name in ("exp_avg", "exp_avg_sq")]
        tensors = StepTensors(
            *([to_array(tensor) for tensor in each] for each in (params, grads, *moments))
        )
        self.distributed_gate.prepare(tensors, params, states, group["betas"][1])
        device = params[0].device
        key = (number, route, device, params[0].dtype, clock is None)
        rows = self._rows_of(key, group, places)
        hyper = read_hyper(group, device)
        used: object = rows
        decay = group["temp_decay"] if group["noise"] else None
        if route is Route.FUSED:
            used = self._forms.launch(tensors, states, hyper, decay, rows, key, amp)
        elif route is Route.ONE_PASS:
            self._forms.step_in_one_pass(tensors, states, hyper, decay, rows, key)
        else:
            exploration = None
            if clock is not None:
                before = [mean_square(state) for state in states]
                exploration = rows.explore(grads, before, *clock, hyper.beta2)
            self._forms.step(route, tensors, hyper, exploration, key)
        if is_capturing(device):
            self._captured.append(used)
        self.distributed_gate.collect(tensors, hyper)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Return True if a GradScaler is to leave it to a step to unscale, and to skip itself.

        A gate over ranks needs gradients that are unscaled before the step, and so does a group
        that is not fused.
        """
        fused = all(group["fused"] for group in self.param_groups)
        return fused and self.distributed_gate.kind == "averaged"

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


def _with_ids(params: ParamsT, param_ids: Sequence[int] | None) -> ParamsT:
    """Return `params` as a group with these ids, if there are any."""
    if param_ids is None or isinstance(params, Tensor):  # which torch refuses
        return params
    listed: list[Any] = list(params)
    if any(isinstance(one, dict) for one in listed):
        raise ValueError(
            "param_ids are given for parameter groups: give each group those of its parameters, "
            "{'params': …, 'param_ids': …}"
        )
    return [{"params": listed, "param_ids": param_ids}]
