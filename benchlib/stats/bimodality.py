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
"""Samples below which a group of a tenth is under five, which chance gives any shape."""

SMALLEST_SHARE = 0.1
"""Fraction of the samples the smaller group must hold; fewer are outliers, which the spread and
the percentiles show."""

SMALLEST_GAP = 0.02
"""Gap between the groups' medians over the whole median that matters to a reader: the width
within which a moving median counts as steady."""

EVENT_STEP_MS = 0.001
"""Milliseconds. Twice the resolution of CUDA events (contract, section 5.1: about 0.5 us), so
that a card with a coarser clock does not fool it either."""

GAP_STEPS = 4
"""Clock steps between the groups: with fewer, the teeth of a comb look like groups, or one
narrow group straddles a step."""

SMALLEST_SEPARATION = 4.0
"""Gap over the larger group's standard deviation. Halving one hump at its best split gives at
most 3.5 (uniform; 2.2 for a normal one), so that 4 needs two."""

CHANCE_WIDTHS = 3.0
"""Standard deviations (of Poisson counts) by which the emptiest window between the groups holds
less than the windows around their medians: a gap in the few samples of a tail is chance."""

WINDOW = 0.25
"""Width of those windows over the gap."""

_MAD_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class Modes:
    """Two groups of times: medians in the unit of the samples, and the upper group's share."""

    lower: float
    upper: float
    upper_share: float


def two_modes(values: Array, step: float = EVENT_STEP_MS) -> Modes | None:
    """Return the two groups of ``values`` (shape [n], milliseconds), or None if there is one.

    ``step`` is the resolution of the clock in the same unit.
    """
    n = len(values)
    if n < FEWEST_SAMPLES:
        return None
    ordered = np.sort(values)
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
    by_chance = CHANCE_WIDTHS * (peak + valley) ** 0.5
    return peak - valley > by_chance
