"""What the trials of a simulated study give: two arms of one law, or of a known difference.

Unless a scenario says otherwise, paired differences of final accuracy have a standard deviation of
1 percentage point beside what the trials of a block share, and those of the area under the curve
one of 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.simulation.simulated_studies import (
    AUC_A_STEP,
    CHANCE,
    COMPLETED,
    DIVERGED,
    EQUAL,
    LOST,
    RAISED,
    Design,
    Draws,
    Plan,
    Truth,
    Values,
    follow,
    judge,
    peek,
)
from tracking.questions.analysis import Primary
from tracking.questions.endpoint import FINAL, STANDARD, Endpoint

LEVEL = 85.0  # of final accuracy, in percent
LATE = 3.0  # steps by which a curve rises late
SD_FINAL, SD_AUC = 1.0, 4.0  # of paired differences, in percentage points
_SHARED = 0.5  # of a block, in percentage points

FIVE_LOOKS = (3, 5, 7, 10)
COLUMNS: Sequence[Design] = tuple(
    Design(workloads, 10 if looks else seeds, looks)
    for workloads in (1, 4, 12)
    for seeds, looks in ((3, ()), (5, ()), (10, ()), (10, FIVE_LOOKS))
)

Draw = Callable[[Generator, Design], Draws]
Law = Callable[[Generator, tuple[int, ...]], Values]


@dataclass(frozen=True)
class Scenario:
    """A kind of study: how its trials are drawn, their truth, and what is declared of them.

    `title` is its row on the page. `bars` are the numbers of
    workloads of cells that have a bar. `peeks`: ordinary answers after each seed from the third
    on, in place of what the product does. It has no cell with less than the `fewest` workloads.
    """

    name: str
    title: str
    draw: Draw
    truth: Truth = EQUAL
    endpoints: tuple[Endpoint, ...] = STANDARD
    margin: float = 0.2
    has_target: bool = False
    primary: Primary = "mean"
    bars: tuple[int, ...] = ()
    peeks: bool = False
    fewest: int = 1

    @property
    def designs(self) -> Sequence[Design]:
        """The columns in which it has a cell."""
        if self.peeks:
            return [one for one in COLUMNS if one.seeds == 10 and not one.looks]
        return [one for one in COLUMNS if one.workloads >= self.fewest]

    def simulate(self, rng: Generator, design: Design) -> dict[str, bool]:
        """Simulate one study, and judge it."""
        plan = Plan(design, self.endpoints, self.margin, self.has_target, self.primary)
        draws = self.draw(rng, design)
        found, said = (peek if self.peeks else follow)(plan, draws)
        return judge(plan, found, said, self.truth, bool((draws.ends == DIVERGED).any()))


def normal(rng: Generator, shape: tuple[int, ...]) -> Values:
    return rng.standard_normal(shape)


def heavy_tailed(rng: Generator, shape: tuple[int, ...]) -> Values:
    """Draw from Student's t with three degrees of freedom, scaled to variance one."""
    return rng.standard_t(3, shape) / 3**0.5


def skewed(sigma: float) -> Law:
    """Return a lognormal law with its long tail to bad results, of mean 0 and variance 1."""
    mean, spread = np.exp(sigma**2 / 2), np.exp(sigma**2)
    sd = ((spread - 1) * spread) ** 0.5
    return lambda rng, shape: (mean - np.exp(sigma * rng.standard_normal(shape))) / sd


def draw_noise(
    rng: Generator, design: Design, law: Law = normal, correlation: float = 0
) -> Values:
    """Draw what makes trials differ: (workloads, seeds, arms, endpoints), of variance one."""
    noise = law(rng, (design.workloads, design.seeds, 2, 2))
    mixed = correlation * noise[..., 0] + (1 - correlation**2) ** 0.5 * noise[..., 1]
    return np.stack([noise[..., 0], mixed], axis=-1)


def measure(
    rng: Generator, noise: Values, shift: float = 0.0, ends: NDArray[np.int64] | None = None
) -> Draws:
    """Return results of trials with this noise; the candidate is better by `shift` sds."""
    noise = noise / 2**0.5
    noise[:, :, 0] += shift
    shared = _SHARED * normal(rng, noise.shape[:2])[..., None]
    return Draws(
        np.clip(LEVEL + shared + SD_FINAL * noise[..., 0], 0, 100),
        LATE - SD_AUC / AUC_A_STEP * noise[..., 1],
        np.zeros(noise.shape[:3], dtype=np.int64) if ends is None else ends,
    )


def alike(law: Law = normal, correlation: float = 0.0, shift: float = 0.0) -> Draw:
    """Return a draw of two arms of one law, but for the candidate's `shift` in sds."""
    return lambda rng, design: measure(rng, draw_noise(rng, design, law, correlation), shift)


def _stepped(rng: Generator, design: Design) -> Draws:
    """Draw accuracies of so little noise that they lie on few of the steps of 10,000 images."""
    drawn = measure(rng, 0.02 * draw_noise(rng, design))
    return replace(drawn, final=np.round(drawn.final, 2))


def _unequal_workloads(rng: Generator, design: Design) -> Draws:
    """Draw workloads whose standard deviations go from a third of the usual to three times it."""
    scales = np.geomspace(1, 10, design.workloads) / 10**0.5
    return measure(rng, scales[:, None, None, None] * draw_noise(rng, design))


def _skewed_arm(sigma: float) -> Draw:
    """Return a draw of a skewed candidate, and of a baseline of a third of its noise."""

    def draw(rng: Generator, design: Design) -> Draws:
        noise = draw_noise(rng, design) / 3
        noise[:, :, 0] = skewed(sigma)(rng, noise[:, :, 0].shape)
        return measure(rng, noise)

    return draw


def _lost(share: float) -> Draw:
    """Return a draw in which machines lose a share of the trials of either arm."""

    def draw(rng: Generator, design: Design) -> Draws:
        noise = draw_noise(rng, design)
        lost = rng.random(noise.shape[:3]) < share
        return measure(rng, noise, ends=np.where(lost, LOST, COMPLETED))

    return draw


def _worst_fifth_lost(end: int) -> Draw:
    """Return a draw in which a candidate's trial ends like this if it is of its worst fifth."""

    def draw(rng: Generator, design: Design) -> Draws:
        noise = draw_noise(rng, design, correlation=0.7)
        ends = np.full(noise.shape[:3], COMPLETED)
        ends[:, :, 0][noise[:, :, 0, 0] < -0.8416] = end  # the normal quantile of 20%
        return measure(rng, noise, ends=ends)

    return draw


def _diverging(shares: tuple[float, float], shift: float = 0.0) -> Draw:
    """Return a draw in which shares of the trials of (candidate, baseline) diverge."""

    def draw(rng: Generator, design: Design) -> Draws:
        noise = draw_noise(rng, design)
        diverged = rng.random(noise.shape[:3]) < np.array(shares)
        return measure(rng, noise, shift, np.where(diverged, DIVERGED, COMPLETED))

    return draw


def _rarely(rng: Generator, design: Design) -> Draws:
    """Draw curves so late that a third of them reach the target before their end."""
    drawn = measure(rng, draw_noise(rng, design))
    return replace(drawn, delay=drawn.delay + 2.8)


def _at_margin(rng: Generator, design: Design) -> Draws:
    """Draw so little noise that a difference could be said to be within the margin."""
    return measure(rng, 0.1 * draw_noise(rng, design), shift=0.2)


# By how much a diverged trial is worse, in points of final accuracy.
_LOSS = LEVEL - 100 * CHANCE
# Of how many trials in a study one diverges, and by how much the others make up for it.
_OFTEN, _SELDOM = 0.1, 0.05
_MAKES_UP = _OFTEN * _LOSS / (1 - _OFTEN)
_FINAL = (FINAL,)

SCENARIOS: Sequence[Scenario] = (
    Scenario("one_test", "Gaussian, one endpoint", alike(), endpoints=_FINAL, bars=(1,)),
    Scenario("gaussian", "Gaussian, two endpoints", alike(), has_target=True, bars=(1,)),
    Scenario("wins", "Gaussian, by the probability to win", alike(), primary="win_probability"),
    Scenario("correlated", "endpoints that correlate by 0.9", alike(correlation=0.9)),
    Scenario("heavy_tails", "heavy tails (Student's t, 3 degrees)", alike(heavy_tailed)),
    Scenario("stepped", "accuracies on few steps of 0.01 points", _stepped, margin=0.002),
    Scenario("unequal", "workloads whose noise differs tenfold", _unequal_workloads, fewest=4),
    Scenario("target_rare", "a target that a third of the runs reach", _rarely, has_target=True),
    Scenario("machine_losses", "the machine loses 10% of trials", _lost(0.1)),
    Scenario("worst_lost", "an arm's worst fifth raises exceptions", _worst_fifth_lost(RAISED)),
    Scenario("both_diverge", "10% of both arms diverge", _diverging((_OFTEN, _OFTEN))),
    Scenario(
        "one_diverges",
        "10% of one arm diverge, the rest is equal",
        _diverging((_OFTEN, 0.0)),
        Truth(-_OFTEN * _LOSS, -1.0, diverges_more=True),
    ),
    Scenario(
        "equal_means",
        "10% of one arm diverge, the rest makes up for it",
        _diverging((_OFTEN, 0.0), _MAKES_UP / SD_FINAL),
        Truth(diverges_more=True),
        endpoints=_FINAL,
    ),
    Scenario("skewed_arm", "one arm skewed (lognormal, sigma 1)", _skewed_arm(1.0)),
    Scenario("very_skewed_arm", "one arm very skewed (lognormal, sigma 2)", _skewed_arm(2.0)),
    Scenario("margin", "a difference at the margin", _at_margin, Truth(0.2), endpoints=_FINAL),
    Scenario("half_sd", "0.5 standard deviations", alike(shift=0.5), Truth(0.5, 2.0)),
    Scenario("one_sd", "1 standard deviation", alike(shift=1.0), Truth(1.0, 4.0)),
    Scenario(
        "diverging_mean",
        "+1 point, 5% of both arms diverge: by the mean",
        _diverging((_SELDOM, _SELDOM), 1.0),
        Truth(1.0 - _SELDOM, 1.0),
    ),
    Scenario(
        "diverging_wins",
        "the same by the probability to win",
        _diverging((_SELDOM, _SELDOM), 1.0),
        Truth(1.0 - _SELDOM, 1.0),
        primary="win_probability",
    ),
    Scenario(
        "peeking",
        "not what it does: ordinary answers after every seed",
        alike(),
        endpoints=_FINAL,
        peeks=True,
    ),
)
