"""What explains latency: size (a fixed time, one per megapixel) and work (rank correlation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchlib.analysis import significance
from benchlib.analysis.comparable_groups import Cells

# The latency model: a fixed time and a time per megapixel, which predicts any size.


Array = NDArray[np.float64]

FEWEST_SIZES = 3
"""Through two sizes there is always a line."""

PREDICTABLE = 0.10
"""Relative error within which a time counts as predicted: less than the gap between networks."""


@dataclass(frozen=True, slots=True)
class Fit:
    """ms = ``fixed_ms`` + ``ms_per_megapixel`` * megapixels, for one network and precision.

    Both terms are at least 0. ``r2`` is of the milliseconds; ``largest_error`` is the largest
    relative error at a fitted size, ``held_out_error`` the largest when a size between the
    smallest and the largest is predicted from the others (None below four sizes).
    ``megapixels`` are those of the sizes fitted.
    """

    model: str
    precision: str
    fixed_ms: float
    ms_per_megapixel: float
    r2: float
    largest_error: float
    held_out_error: float | None
    megapixels: tuple[float, ...]

    @property
    def error(self) -> float:
        """What the fit is judged by: the error at a size left out where one is known."""
        return self.largest_error if self.held_out_error is None else self.held_out_error

    @property
    def holds(self) -> bool:
        """Whether the times are on the line; a network with attention leaves it upwards."""
        return self.error <= PREDICTABLE

    def predict(self, megapixels: float) -> float:
        """Milliseconds per batch at an image of this many megapixels."""
        return self.fixed_ms + self.ms_per_megapixel * megapixels

    def fixed_share(self, megapixels: float) -> float:
        """Share of the predicted time that the fixed term is, 0 to 1."""
        return self.fixed_ms / self.predict(megapixels)


def fit(part: pd.DataFrame | Cells) -> tuple[Fit, ...]:
    """A fit for every network and precision of ``part`` with three sizes or more.

    Relative errors are minimised, so a small image counts as much as a large one.
    """
    cells = Cells.of(part)
    if not len(cells.frame):
        return ()
    # One fit a line: networks within precisions. Sizes stand in the order of their pixels.
    times, megapixels = (
        cells[name].swapaxes(0, 1).reshape(-1, len(cells.sizes))
        for name in ("latency_ms", "megapixels")
    )
    known = ~np.isnan(times)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_one, of_pixels = np.where(known, [1 / times, megapixels / times], 0.0)
        products = np.array([of_one**2, of_one * of_pixels, of_pixels**2, of_one, of_pixels])
        sums = products.sum(axis=-1, keepdims=True)
        fixed, slope = _terms(sums)
        errors = np.abs((fixed + slope * megapixels) / times - 1)
        rest = _terms(sums - products)
        held_out = np.abs((rest[0] + rest[1] * megapixels) / times - 1)
    fits = []
    for line in np.flatnonzero(known.sum(axis=1) >= FEWEST_SIZES):
        there = np.flatnonzero(known[line])
        pixels, some = megapixels[line, there], times[line, there]
        if len(set(pixels)) < FEWEST_SIZES:
            continue
        ends = float(fixed[line, 0]), float(slope[line, 0])
        residual = float(((some - (ends[0] + ends[1] * pixels)) ** 2).sum())
        total = float(((some - some.mean()) ** 2).sum())
        between = held_out[line, there[1:-1]]
        fits.append(
            Fit(
                *(cells.networks[line % len(cells.networks)],),
                *(cells.precisions[line // len(cells.networks)], *ends),
                r2=1 - residual / total if total else 1.0,
                largest_error=float(errors[line, there].max()),
                held_out_error=float(between.max()) if len(there) > FEWEST_SIZES else None,
                megapixels=tuple(map(float, pixels)),
            )
        )
    return tuple(fits)


def by_network(fits: Sequence[Fit], value: Callable[[Fit], float]) -> Array:
    """``value`` of every fit as [networks, precisions]; NaN where a fit is missing."""
    places = [(one.model, one.precision) for one in fits]
    return significance.spread_out(places, [value(one) for one in fits])


def _terms(sums: Array) -> Array:
    """Fixed time and slope with the least squares of the relative errors, neither below 0.

    ``sums`` are those of the products that the normal equations are made of.
    """
    a, b, c, d, e = sums
    fixed, slope = (c * d - b * e) / (a * c - b * b), (a * e - b * d) / (a * c - b * b)
    # With one term below 0, the best is the other alone.
    fixed, slope = np.where(slope < 0, d / a, fixed), np.where(slope < 0, 0.0, slope)
    return np.array([np.maximum(fixed, 0.0), np.where(fixed < 0, e / c, slope)])


# Does compute time go with work or size? Spearman's rank correlation over networks.


FEWEST_NETWORKS = 8
"""With seven, even a ρ of 0.78 may be chance (critical value at 5 %, two-sided: 0.786)."""

PREDICTORS = {
    "gmacs": "multiply-accumulates",
    "params_m": "parameters",
    "mactivations": "activations",
}
"""Columns that might predict compute time, in words."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """ρ of ``latency_ms`` against ``predictor`` over ``n`` networks at one precision and size.

    ``rho`` is None with fewer than :data:`FEWEST_NETWORKS` networks or without spread.
    """

    predictor: str
    precision: str
    resolution: str
    rho: float | None
    low: float | None
    high: float | None
    n: int


def dependences(part: pd.DataFrame | Cells, predictor: str) -> tuple[Dependence, ...]:
    """One correlation per precision and size of ``part``; column ``predictor``."""
    cells = Cells.of(part)
    times, work = cells["latency_ms"], cells[predictor]
    return tuple(
        one(times[:, i, j], work[:, i, j], predictor, precision, size)
        for i, precision in enumerate(cells.precisions)
        for j, size in enumerate(cells.sizes)
        if (cells.rows[:, i, j] >= 0).any()
    )


def one(
    times: Array, work: Array, predictor: str, precision: str, size: str, *, ties: str = "average"
) -> Dependence:
    """The correlation over networks in the order of their names, NaN where one is not known.

    ``ties``: "average" gives equal times their mean rank, as Spearman's ρ is defined; "ordinal"
    ranks them by network name.
    """
    known = ~(np.isnan(times) | np.isnan(work))
    times, work = times[known], work[known]
    n = len(times)
    if n < FEWEST_NETWORKS or times.min() == times.max() or work.min() == work.max():
        return Dependence(predictor, precision, size, None, None, None, n)
    # The same network drawn twice is a tie, however equal times are ranked
    rho, drawn = rank_correlation(times, work)
    if ties == "ordinal":
        rho, _ = rank_correlation(np.argsort(np.argsort(times, kind="stable")), work)
    low, high = significance.interval(drawn) or (None, None)
    return Dependence(predictor, precision, size, rho, low, high, n)


def mean(part: pd.DataFrame | Cells, predictor: str) -> Dependence:
    """The mean ρ over the precisions and sizes of ``part`` that enough networks have, networks
    drawn together. ``precision`` and ``resolution`` are empty.
    """
    times, work = tables(part, predictor)
    n = len(times)
    if not n:
        most = (~np.isnan(Cells.of(part)[predictor])).sum(axis=0).max(initial=0)
        return Dependence(predictor, "", "", None, None, None, int(most))
    rho, drawn = mean_rho(times, work)
    low, high = significance.interval(drawn) or (None, None)
    return Dependence(predictor, "", "", rho if np.isfinite(rho) else None, low, high, n)


def tables(part: pd.DataFrame | Cells, predictor: str, *also: str) -> tuple[Array, Array]:
    """ms and ``predictor``, each [networks, cells], of the cells that enough networks have.

    NaN where a network lacks the cell, or one of the columns ``also`` there.
    """
    cells = Cells.of(part)
    shape = (len(cells.networks), len(cells.precisions) * len(cells.sizes))
    columns = [cells[name].reshape(shape) for name in ("latency_ms", predictor, *also)]
    return enough(columns[0], columns[1], ~np.isnan(columns).any(axis=0))


def enough(left: Array, right: Array, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Both [networks, cells] where ``known``, without the cells that too few networks have."""
    kept = known.sum(axis=0) >= FEWEST_NETWORKS
    networks = known[:, kept].any(axis=1)
    left, right = (np.where(known, side, np.nan)[networks][:, kept] for side in (left, right))
    return left, right


def mean_rho(left: Array, right: Array) -> tuple[float, Array]:
    """Mean ρ over the columns of both, and the same of every resample of their lines."""
    each = [rank_correlation(*pair) for pair in zip(left.T, right.T, strict=True)]
    drawn = np.array([drawn for _, drawn in each])
    known = ~np.isnan(drawn)
    with np.errstate(invalid="ignore"):
        means = np.where(known, drawn, 0).sum(axis=0) / known.sum(axis=0)
    return float(np.mean([rho for rho, _ in each])), means


def rank_correlation(left: Array, right: Array) -> tuple[float, Array]:
    """Spearman's ρ, and that of every resample of :func:`significance.draws`.

    Of the places where both are known; NaN where one side does not vary.
    """
    known = ~(np.isnan(left) | np.isnan(right))
    orders = []
    for side in (left, right):
        # A rank correlation depends only on the values' order, equal ones in one place
        order = np.full(len(side), -1, dtype=np.int32)
        by_value = np.flatnonzero(known)[np.argsort(side[known], kind="stable")]
        order[by_value] = np.cumsum(np.diff(side[by_value], prepend=side[by_value[:1]]) != 0)
        orders.append(order.tobytes())
    found = _rank_correlation(*orders)
    return float(found[0]), found[1:]


@lru_cache(maxsize=256)
def _rank_correlation(left: bytes, right: bytes) -> Array:
    (counts, a, of_a), (_, b, of_b) = (_ranks(order) for order in (left, right))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("ij,ij,ij->j", counts, a, b) / np.sqrt(of_a * of_b)


@lru_cache(maxsize=16)
def _ranks(order: bytes) -> tuple[Array, Array, Array]:
    """How often each known value counts, by resample after all of them once; its mean rank less
    the mean of these; and the sum of their squares.

    The rank of a value is the number of smaller ones and half of the equal ones.
    """
    places = np.frombuffer(order, dtype=np.int32)
    counts = _counts(len(places))
    if places.min() < 0:
        counts, places = counts[places >= 0], places[places >= 0]
    by_place = np.argsort(places, kind="stable")
    equal = counts[by_place]
    if places.max() + 1 < len(places):
        equal = np.add.reduceat(equal, np.flatnonzero(np.diff(places[by_place], prepend=-1)))
    ranks = significance.cumulated(equal.copy())
    ranks = (ranks - equal / 2 - ranks[-1] / 2)[places]
    return counts, ranks, np.einsum("ij,ij,ij->j", counts, ranks, ranks)


@lru_cache(maxsize=4)
def _counts(n: int) -> Array:
    """Every network once, then the draws."""
    return np.hstack([np.ones((n, 1)), significance.draws(n)])
