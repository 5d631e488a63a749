"""Whether a run's times fall into two groups, in which case its median describes neither.

The best two-way split of the sorted times is found, and must then pass rules that each stand
against one way of being fooled: outliers, unimportant gaps, one broad hump, and the steps of the
event clock, which make every sub-millisecond histogram look like a comb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST_SAMPLES = 50
"""Samples below which a group of a tenth is five samples and no shape can be told."""

SMALLEST_SHARE = 0.1
"""Fraction of the samples the smaller group must hold; fewer are outliers, which the spread and
the percentiles show."""

SMALLEST_GAP = 0.02
"""Gap between the groups' medians over the whole median that matters to a reader: the width
within which a moving median counts as steady."""

EVENT_STEP_MS = 0.001024
"""Milliseconds. Coarsest step seen of CUDA event times (others are 0.5 us and 32 ns)."""

GAP_STEPS = 4
"""Clock steps between the groups: fewer may be one group straddling a step."""

SMALLEST_SEPARATION = 4.0
"""Gap over the larger group's standard deviation. Halving one hump at its best split gives at
most 3.5 (uniform; 2.2 for a normal one), so that 4 needs two."""

DEEPEST_VALLEY = 0.5
"""Count in the emptiest window between the groups over that around the lower group's median."""

WINDOW = 0.25
"""Width of those windows over the gap."""

_MAD_TO_SD = 1.4826
_DITHER_SEED = 0


@dataclass(frozen=True, slots=True)
class Modes:
    """Two groups of times: medians in the unit of the samples, and the upper group's share."""

    lower: float
    upper: float
    upper_share: float


def two_modes(values: Array, step: float = EVENT_STEP_MS) -> Modes | None:
    """Return the two groups of ``values`` (shape [n], milliseconds), or None if there is one.

    ``step`` is the resolution of the clock in the same unit; noise of one step is added before
    looking (always the same), which turns a comb back into a hump.
    """
    n = len(values)
    if n < FEWEST_SAMPLES:
        return None
    dither = np.random.default_rng(_DITHER_SEED).uniform(-step / 2, step / 2, n)
    ordered = np.sort(values + dither)
    split = _best_split(ordered)
    groups = ordered[:split], ordered[split:]
    lower, upper = (float(np.median(group)) for group in groups)
    gap = upper - lower
    spread = max(
        _MAD_TO_SD * float(np.median(np.abs(group - centre)))
        for group, centre in zip(groups, (lower, upper), strict=True)
    )
    if gap < max(SMALLEST_GAP * float(np.median(values)), GAP_STEPS * step):
        return None
    if gap < SMALLEST_SEPARATION * spread or not _has_valley(ordered, lower, upper):
        return None
    # The split keeps a tenth on either side by force; the midpoint shows outliers for what they are
    share = float(np.mean(ordered > (lower + upper) / 2))
    if not SMALLEST_SHARE <= share <= 1 - SMALLEST_SHARE:
        return None
    return Modes(lower, upper, share)


def _best_split(ordered: Array) -> int:
    """Index that leaves the least variance within both parts (Otsu), outliers cut to p1..p99."""
    n = len(ordered)
    clipped = np.clip(ordered, *np.quantile(ordered, [0.01, 0.99]))
    clipped = clipped - clipped.mean()
    edge = int(np.ceil(SMALLEST_SHARE * n))
    sizes = np.arange(edge, n - edge + 1)
    below = np.cumsum(clipped)[sizes - 1]
    between = below**2 * (1.0 / sizes + 1.0 / (n - sizes))
    return int(sizes[np.argmax(between)])


def _has_valley(ordered: Array, lower: float, upper: float) -> bool:
    width = WINDOW * (upper - lower)

    def counts(centres: Array) -> Array:
        first = np.searchsorted(ordered, centres - width / 2)
        return np.searchsorted(ordered, centres + width / 2) - first

    peak = int(counts(np.array([lower, upper])).min())
    valley = int(counts(np.linspace(lower + width, upper - width, 41)).min())
    return valley <= DEEPEST_VALLEY * peak
