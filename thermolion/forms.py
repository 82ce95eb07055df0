"""The forms of the step, by route, and what they keep for speed. Decides on no route."""

import torch

from thermolion import lists, loop
from thermolion.chunks import Chunks
from thermolion.exploration import Amp, Exploration, Rows
from thermolion.fused import Launcher
from thermolion.routes import Route
from thermolion.work import Rates, Work


class Forms:
    """Takes steps of one optimizer; what it keeps can be dropped between any two of them."""

    def __init__(self) -> None:
        self._chunks: dict[torch.dtype, Chunks] = {}
        self._launchers: dict[object, Launcher] = {}

    def step(
        self,
        route: Route,
        work: Work,
        rates: Rates,
        exploration: Exploration | None,
        rows: Rows,
        key: object,
        amp: Amp | None,
    ) -> None:
        """Move the parameters of `work`: what a gate over several ranks builds on.

        Fill `work.gate_sqs` to gate on another second moment than `exp_avg_sqs`. Fill
        `work.directions` with tensors to find the updates there, not yet applied, and call
        `lists.apply_` with what becomes of them. All of `work` is of one device and type; what is
        kept is known by `key`.
        """
        if route is Route.LOOP:
            loop.step(work, rates, exploration)
        elif route is Route.LISTS:
            lists.step(work, rates, exploration)
        elif route is Route.FUSED:
            if key not in self._launchers or self._launchers[key].rows is not rows:
                self._launchers[key] = Launcher(rows, work.params[0].device)
            self._launchers[key].step(work, rates, exploration, amp)
        else:
            dtype = work.params[0].dtype
            if dtype not in self._chunks:
                self._chunks[dtype] = Chunks(dtype)
            self._chunks[dtype].step(work, rates, exploration, key)
