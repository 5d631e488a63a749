"""Is a difference more than noise? Intervals, bootstrap, speed-ups with theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchlib.analysis.comparable_groups import Cells, Variant
from benchlib.analysis.wording import percent

# How many times as fast a network runs at a lower precision.


@dataclass(frozen=True, slots=True)
class Gain:
    """One cell: ``ratio`` is ms at ``base`` over ms at ``precision``, so above 1 is faster.

    ``low`` and ``high`` take both intervals at their worst and are ``ratio`` without intervals.
    ``slower`` and ``faster`` say that the cell is certainly so, compared with ``base``.
    """

    model: str
    resolution: str
    precision: str | Variant
    base: str | Variant
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


def gains(
    part: pd.DataFrame | Cells, precision: str | Variant, base: str | Variant = "fp32"
) -> tuple[Gain, ...]:
    """One gain per network and size that ``part`` has at both precisions."""
    cells = Cells.of(part)
    places = [cells.place(one) for one in (precision, base)]
    if max(places) == len(cells.precisions):
        return ()
    fast, slow = (Times.of(cells, (slice(None), place)) for place in places)
    ratio, low, high = slow.ms / fast.ms, slow.low / fast.high, slow.high / fast.low
    slower, faster = slow.faster_than(fast), fast.faster_than(slow)
    return tuple(
        Gain(
            *(cells.networks[i], cells.sizes[j], precision, base),
            *(float(ratio[i, j]), float(low[i, j]), float(high[i, j])),
            *(bool(slower[i, j]), bool(faster[i, j])),
        )
        for i, j in np.argwhere(~np.isnan(ratio))
    )


def summary(found: tuple[Gain, ...]) -> Summary | None:
    """Range and median of ``found``; None when there is none."""
    if not found:
        return None
    ratios = [gain.ratio for gain in found]
    wide = table(found, ratios)
    return Summary(*over_networks(wide, median), min(ratios), max(ratios), len(ratios), len(wide))


def table(found: tuple[Gain, ...], values: list[float]) -> Array:
    """``values``, one per gain, as [networks, sizes]; NaN where a cell is missing."""
    return spread_out([(gain.model, gain.resolution) for gain in found], values)


def spread_out(places: list[tuple[str, str]], values: list[float]) -> Array:
    """``values`` as [rows, columns], by the row and column named in ``places``; else NaN."""
    rows, columns = (
        {name: place for place, name in enumerate(dict.fromkeys(names))}
        for names in zip(*places, strict=True)
    )
    wide = np.full((len(rows), len(columns)), np.nan)
    for (row, column), value in zip(places, values, strict=True):
        wide[rows[row], columns[column]] = value
    return wide[[rows[name] for name in sorted(rows)]]


# Which of two times is the smaller, given their intervals.


REBUILD = 0.03
"""Relative. Two times whose intervals are less than this apart are a tie, for another build of the
engines might turn them round: a row's interval is of one engine on one card in one sitting.

37 cells (FP16, 11 networks, 0.19 to 9 ms) stand in both results/h100-tensorrt-8.6 and
results/h100-trtexec-8.6, built apart and timed on other cards: their times differ by 1.6 % (root
mean square; 1.1 to 2.1 % over networks), of which 1.5 % are beyond the rows' own intervals. This is
twice that. It holds below 0.5 ms (1.6 %, 14 cells) and above 1 ms (1.4 %, 13) alike. Six builds of
one network on one card give the same (1.1 % each, so 1.6 % a pair: benchmarks/bundle.h100.json), so
it comes of the builder. By this rule one of the 37 is called different. The finding
:data:`~benchlib.analysis.claims.catalogue.SAME_TIME` recomputes it from whatever sets it is given.
"""

WITHIN = percent(REBUILD, tenths=False)
"""As sentences say it."""

ENERGY_REBUILD = 0.07
"""The same for energies, which have no interval: those of the 37 cells differ by 3.2 % (1.8 to
4.5 % over networks), one of them by more than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Times in ms with the ends of their intervals; the ends are the time where there is none."""

    ms: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, columns: pd.DataFrame | pd.Series | Cells, place: object = ...) -> Times:
        """The times in ``columns``, or those at ``place`` of its arrays."""
        ms, low, high = (
            np.asarray(columns[f"latency{end}_ms"], dtype=float)[place]
            for end in ("", "_ci_low", "_ci_high")
        )
        return cls(ms, np.where(np.isnan(low), ms, low), np.where(np.isnan(high), ms, high))

    def at(self, place: object) -> Times:
        """The times at ``place``."""
        return Times(self.ms[place], self.low[place], self.high[place])

    def faster_than(self, other: Times, threshold: float = REBUILD) -> NDArray[np.bool_]:
        """Whether these are certainly faster than ``other``: by more than ``threshold`` from where
        their intervals end to where the others' begin. A time without an interval counts as exact.
        """
        return self.high * (1 + threshold) < other.low


def significantly_faster_pairs(rows: pd.DataFrame | Times) -> NDArray[np.bool_]:
    """:meth:`Times.faster_than` for all pairs of ``rows``: [i, j] is of i against j."""
    times = rows if isinstance(rows, Times) else Times.of(rows)
    return times.at((slice(None), None)).faster_than(times)


# Bootstrap intervals: how much a figure would change with another sample of networks.
#
# The networks are the sample, not the rows: sizes and precisions of one network go together, so
# they are drawn together. The seed is fixed, so the same table always gives the same interval.
# What a figure needs of a draw is how often each network is in it, so that no table is drawn.


Array = NDArray[np.float64]

RESAMPLES = 2000
"""Enough to fix the ends of a 95 % interval to some 5 % of its half-width."""

MOST_DRAWN = 1_000_000
"""Networks drawn in all. Beyond 500 networks fewer resamples do: the interval is narrow, and the
time must not grow faster than the table. Chosen so that 100,000 rows take seconds."""

FEWEST_RESAMPLES = 200
"""Below it an end of the interval would rest on fewer than five resamples."""

CONFIDENCE = 0.95

FEWEST = 6
"""Networks. A percentile interval never leaves the range of the sample, and with five even the
whole range misses the median more often than 1 time in 20 (2 * 0.5**5 = 6 %)."""

_SEED = 20240504


@lru_cache(maxsize=8)
def draws(n: int) -> Array:
    """How often each of ``n`` networks is in each resample of ``n`` of them: [n, resamples]."""
    resamples = min(RESAMPLES, max(FEWEST_RESAMPLES, MOST_DRAWN // n))
    picked = np.random.default_rng(_SEED).integers(0, n, size=(resamples, n))
    flat = (picked + n * np.arange(resamples)[:, None]).ravel()
    counts = np.bincount(flat, minlength=n * resamples).reshape(resamples, n)
    found = np.ascontiguousarray(counts.T, dtype=float)
    found.flags.writeable = False
    return found


def interval(values: Array) -> tuple[float, float] | None:
    """The middle 95 % of resampled ``values``; None when fewer than half could be computed."""
    known = np.sort(values[np.isfinite(values)])
    if len(known) * 2 < len(values) or not len(known):
        return None
    last = len(known) - 1
    tail = (1 - CONFIDENCE) / 2 * last
    # As numpy.quantile does, whose checks take longer than the rest of a finding
    low, high = np.interp([tail, last - tail], np.arange(len(known)), known)
    return float(low), float(high)


def over_networks(
    values: Array, statistic: Callable[[Array, Array], Array]
) -> tuple[float, float | None, float | None]:
    """``statistic`` of ``values`` with its interval, drawing rows (networks) of it.

    ``values`` has shape [networks, cells], NaN where a cell is missing. ``statistic`` is
    :func:`mean` or :func:`median`: it takes them and how often each network counts, of shape
    [networks, resamples]. The ends are None with fewer than :data:`FEWEST` networks.
    """
    estimate = float(statistic(values, np.ones((len(values), 1)))[0])
    if len(values) < FEWEST:
        return estimate, None, None
    ends = interval(statistic(values, draws(len(values))))
    return (estimate, None, None) if ends is None else (estimate, *ends)


def mean(values: Array, counts: Array) -> Array:
    """The mean of the known ``values`` for each column of ``counts``."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (np.nansum(values, axis=1) @ counts) / (known.sum(axis=1) @ counts)


def median(values: Array, counts: Array) -> Array:
    """The median of the known ``values`` for each column of ``counts``; NaN without any."""
    network, cell = np.nonzero(~np.isnan(values))
    known = values[network, cell]
    order = np.argsort(known, kind="stable")
    known, network = known[order], network[order]
    return np.concatenate(
        [_median(known, counts[network, part]) for part in _blocks(counts, len(known))]
    )


def _median(known: Array, counts: Array) -> Array:
    """As :func:`median`, of values in order; ``counts``, a row for each, are written over."""
    if not len(known):
        return np.full(counts.shape[1], np.nan)
    reached = cumulated(counts)
    total = reached[-1]
    middle = [
        known[np.minimum((reached <= place).sum(axis=0), len(known) - 1)]
        for place in ((total - 1) // 2, total // 2)
    ]
    return np.where(total > 0, (middle[0] + middle[1]) / 2, np.nan)


def cumulated(rows: Array) -> Array:
    """The running sum of ``rows``, in their place."""
    # Twice to four times as fast as numpy.cumsum along this axis
    for above, row in pairwise(rows):
        row += above
    return rows


def _blocks(counts: Array, rows: int) -> Iterator[slice]:
    """Columns of ``counts`` in portions of at most :data:`MOST_DRAWN` numbers."""
    step = max(1, MOST_DRAWN // max(rows, 1))
    return (slice(start, start + step) for start in range(0, counts.shape[1], step))
