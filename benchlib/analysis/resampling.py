"""Bootstrap intervals: how far a figure would move with another draw of networks.

The networks are the sample, not the rows: sizes and precisions of one network go together, so
they are drawn together. The seed is fixed, so the same table always gives the same interval.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Draws = NDArray[np.intp]

RESAMPLES = 2000
"""Enough to fix the ends of a 95 % interval to some 5 % of its half-width."""

CONFIDENCE = 0.95

FEWEST = 6
"""Networks. A percentile interval never leaves the range of the sample, and with five even the
whole range misses the median more often than 1 time in 20 (2 * 0.5**5 = 6 %)."""

_SEED = 20240504


def draws(n: int) -> Draws:
    """Positions of shape [RESAMPLES, n], each row ``n`` of ``n`` drawn with replacement."""
    return np.random.default_rng(_SEED).integers(0, n, size=(RESAMPLES, n))


def interval(values: Array) -> tuple[float, float] | None:
    """The middle 95 % of resampled ``values``; None when fewer than half could be computed."""
    known = values[np.isfinite(values)]
    if len(known) * 2 < len(values) or not len(known):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def over_networks(
    table: Array, statistic: Callable[..., Array]
) -> tuple[float, float | None, float | None]:
    """``statistic`` of ``table`` with its interval, drawing rows (networks) of it.

    ``table`` has shape [networks, cells], NaN where a cell is missing. ``statistic`` is called
    with it and with ``axis``, as ``np.nanmedian`` is. The ends are None with fewer than
    :data:`FEWEST` networks.
    """
    both = (-2, -1)
    estimate = float(statistic(table, axis=both))
    if len(table) < FEWEST:
        return estimate, None, None
    ends = interval(statistic(table[draws(len(table))], axis=both))
    return (estimate, None, None) if ends is None else (estimate, *ends)
