"""Is a difference more than noise? Intervals, bootstrap, speed-ups with theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchlib.analysis import comparable_groups

# How many times as fast a network runs at a lower precision.


@dataclass(frozen=True, slots=True)
class Gain:
    """One cell: ``ratio`` is ms at ``base`` over ms at ``precision``, so above 1 is faster.

    ``low`` and ``high`` take both intervals at their worst and are ``ratio`` without intervals.
    ``slower`` and ``faster`` say that the cell is so, against ``base``, for certain.
    """

    model: str
    resolution: str
    precision: str
    base: str
    ratio: float
    low: float
    high: float
    slower: bool
    faster: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """The gains of many cells: range, and median with an interval over networks."""

    median: float
    low: float | None
    high: float | None
    least: float
    most: float
    cells: int
    networks: int


def gains(frame: pd.DataFrame, precision: str, base: str = "fp32") -> tuple[Gain, ...]:
    """One gain per network and size that ``frame`` (one part) has at both precisions."""
    cell = ["model", "resolution"]
    bases = comparable_groups.at(frame, base).set_index(cell)
    found = []
    for row in comparable_groups.at(frame, precision).to_dict("records"):
        key = (row["model"], row["resolution"])
        if key not in bases.index:
            continue
        fast, slow = pd.Series(row), bases.loc[key]
        found.append(
            Gain(
                model=str(row["model"]),
                resolution=str(row["resolution"]),
                precision=precision,
                base=base,
                ratio=float(slow["latency_ms"] / fast["latency_ms"]),
                low=low_end(slow) / high_end(fast),
                high=high_end(slow) / low_end(fast),
                slower=significantly_faster(slow, fast),
                faster=significantly_faster(fast, slow),
            )
        )
    return tuple(found)


def summary(found: tuple[Gain, ...]) -> Summary | None:
    """Range and median of ``found``; None when there is none."""
    if not found:
        return None
    ratios = [gain.ratio for gain in found]
    wide = table(found, ratios)
    median, low, high = over_networks(wide, np.nanmedian)
    return Summary(median, low, high, min(ratios), max(ratios), len(ratios), len(wide))


def table(found: tuple[Gain, ...], values: list[float]) -> Array:
    """``values``, one per gain, as [networks, sizes]; NaN where a cell is missing."""
    cells = pd.DataFrame(
        {
            "model": [gain.model for gain in found],
            "resolution": [gain.resolution for gain in found],
            "value": values,
        }
    )
    return cells.pivot(index="model", columns="resolution", values="value").to_numpy(float)


# Which of two times is the smaller, when neither is exact.


PRACTICAL = 0.02
"""A smaller relative difference does not matter in practice: cards of one kind differ by more."""


def significantly_faster(fast: pd.Series, slow: pd.Series, threshold: float = PRACTICAL) -> bool:
    """Whether row ``fast`` is faster than row ``slow`` for certain.

    Its interval must end before the other's begins, and the medians must differ by more than
    ``threshold``. A row without an interval counts as exact, and the threshold alone decides.
    """
    parted = high_end(fast) < low_end(slow)
    return bool(parted and fast["latency_ms"] * (1 + threshold) < slow["latency_ms"])


def significantly_faster_pairs(
    rows: pd.DataFrame, threshold: float = PRACTICAL
) -> NDArray[np.bool_]:
    """:func:`significantly_faster` for all pairs of ``rows``: [i, j] says that i beats j."""
    times = rows["latency_ms"].to_numpy(float)
    lows = rows["latency_ci_low_ms"].fillna(rows["latency_ms"]).to_numpy(float)
    highs = rows["latency_ci_high_ms"].fillna(rows["latency_ms"]).to_numpy(float)
    return (highs[:, None] < lows) & (times[:, None] * (1 + threshold) < times)


def low_end(row: pd.Series) -> float:
    """Lower end of the row's interval in ms; the median where there is none."""
    return _or_median(row, "latency_ci_low_ms")


def high_end(row: pd.Series) -> float:
    """Upper end of the row's interval in ms; the median where there is none."""
    return _or_median(row, "latency_ci_high_ms")


def _or_median(row: pd.Series, name: str) -> float:
    return float(row["latency_ms"] if pd.isna(row[name]) else row[name])


# Bootstrap intervals: how far a figure would move with another draw of networks.
#
# The networks are the sample, not the rows: sizes and precisions of one network go together, so
# they are drawn together. The seed is fixed, so the same table always gives the same interval.


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
