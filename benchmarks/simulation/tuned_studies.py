"""Simulated studies of two equal optimizers, each tuned: any better or worse of them is wrong.

The training is made up: accuracy falls off with the square of the distance from the best learning
rate, which every workload has of its own. Points, winners and units are the product's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from benchmarks.simulation.simulated_studies import (
    AUC_A_STEP,
    COMPLETED,
    EQUAL,
    QUESTION,
    STEPS,
    Design,
    Draws,
    Plan,
    Truth,
    Values,
    follow,
    judge,
)
from orchestrator.sweep.search_space import Axis, point, search_root
from tracking.compare.tuning import TriedSetting, best_setting
from tracking.questions.units import Units

SETTINGS = 8  # a search
RATES = Axis("log", 3.2e-4, 0.32)
_LARGEST_SHIFT = 0.6  # of the best rate from 0.01, in decades
_BLOCK_SD, _OWN_SD = 0.005, 0.003
_TEST_IMAGES = 10_000
_OF_EACH = ("datasets", "workload")
_MARGIN = 0.01  # points: so little that no wrong word is hidden by an equivalent
# The mean height of the curve, as a share of its end.
_HEIGHT = float(np.trapezoid(1 - np.exp(-0.5 * np.arange(STEPS + 1)))) / STEPS

EIGHT_SEEDS = tuple(Design(workloads, 8) for workloads in (1, 8, 48))
BY_LOOKS = tuple(Design(workloads, 10, (3, 5, 7, 10)) for workloads in (1, 8, 48))


@dataclass(frozen=True)
class TunedScenario:
    """A way to tune two equal optimizers, and what is said of them.

    Each candidate is tuned `searches` times a workload; `images` are those of a validation set
    that scores settings, None if it is so large that it adds no noise. With `shared` points a
    search tries the same ones on all workloads, as nobody should. `of_settings`: a word is about
    the settings that the search has chosen, and right if these differ so.
    """

    name: str
    title: str
    searches: int
    images: int | None
    designs: Sequence[Design] = EIGHT_SEEDS
    shared: bool = False
    of_settings: bool = False
    has_bar: bool = False

    def simulate(self, rng: Generator, design: Design) -> dict[str, bool]:
        """Simulate one study, and judge it."""
        losses = self._winners(rng, design)
        draws = self._train(rng, design, losses)
        units = Units(self.searches, frozenset({QUESTION.candidate, QUESTION.baseline}))
        plan = Plan(design, margin=_MARGIN, units=units)
        truth = EQUAL
        if self.of_settings:
            better = float((losses[..., 1] - losses[..., 0]).mean())
            truth = Truth(100 * better, 100 * better * _HEIGHT)
        judged = judge(plan, *follow(plan, draws), truth)
        if self.of_settings:  # the truth of a single workload is another
            judged = {name: held for name, held in judged.items() if name not in _OF_EACH}
        return judged

    def _winners(self, rng: Generator, design: Design) -> Values:
        """Tune; return what the winners lose to the best rate: (workloads, searches, 2)."""
        root = int(rng.integers(2**63))
        keys = [f"w{number:02}" for number in range(design.workloads)]
        rates = np.array(
            [
                [draw_rates(root, search, key, key == keys[0]) for search in range(self.searches)]
                for key in keys
            ]
        )
        if self.shared:
            rates = rates[:1].repeat(len(keys), axis=0)
        shift = rng.uniform(-_LARGEST_SHIFT, _LARGEST_SHIFT, (design.workloads, 1, 1))
        loss = 0.03 * (np.log10(rates) + 2 - shift) ** 2
        quality = 0.8 - loss + _BLOCK_SD * rng.standard_normal((*loss.shape[:2], 1))
        scores = quality[..., None] + _OWN_SD * rng.standard_normal((*loss.shape, 2))
        if self.images is not None:
            scores = rng.binomial(self.images, scores) / self.images
        chosen = np.array(
            [[[_choose(tried) for tried in search.T] for search in on] for on in scores]
        )
        return np.take_along_axis(loss[..., None], chosen[:, :, None, :], axis=2)[:, :, 0]

    def _train(self, rng: Generator, design: Design, losses: Values) -> Draws:
        """Train each block with the winners of its search."""
        used = losses[:, np.arange(design.seeds) % self.searches]
        quality = 0.8 - used + _BLOCK_SD * rng.standard_normal((*used.shape[:2], 1))
        final = quality + _OWN_SD * rng.standard_normal(used.shape)
        curve_sd = 0.0 if self.images is None else 0.4 / (self.images * STEPS) ** 0.5
        higher = _HEIGHT * (final - 0.8) + curve_sd * rng.standard_normal(used.shape)
        return Draws(
            100 * rng.binomial(_TEST_IMAGES, final) / _TEST_IMAGES,
            3.0 - 100 * higher / AUC_A_STEP,
            np.full(used.shape, COMPLETED),
        )


TUNED: Sequence[TunedScenario] = tuple(
    scenario
    for key, images, noise in (
        ("low", None, "validation without noise"),
        ("high", 100, "100 validation images"),
    )
    for scenario in (
        TunedScenario(
            f"tuned_{key}", f"five searches (the default), {noise}", 5, images, has_bar=True
        ),
        TunedScenario(f"three_{key}", f"three searches, {noise}", 3, images),
        TunedScenario(f"looks_{key}", f"one search a block, looks, {noise}", 10, images, BY_LOOKS),
        TunedScenario(
            f"settings_{key}", f"one search, of its settings, {noise}", 1, images, of_settings=True
        ),
        TunedScenario(
            f"one_{key}",
            f"not what it says: one search, of optimizers, {noise}",
            1,
            images,
            shared=True,
        ),
    )
)


def draw_rates(root: int, search: int, workload: str, is_first: bool) -> list[float]:
    """Return the learning rates that a search tries on a workload, as a plan has them.

    `workload` is its key; `is_first`: the sweep names it first.
    """
    seed = search_root(root, search, None if is_first and search == 0 else workload)
    return [RATES.value_at(point(number, 1, seed)[0]) for number in range(SETTINGS)]


def _choose(scores: Sequence[float]) -> int:
    """Return the number of the setting that wins, by the rule of the product."""
    tried = [TriedSetting(str(number), {}, score, 0) for number, score in enumerate(scores)]
    winner = best_setting(tried, lower_is_better=False)
    assert winner is not None
    return int(winner.name)
