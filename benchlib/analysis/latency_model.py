"""What explains latency: size (a fixed time, one per megapixel) and work (rank correlation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import nnls

from benchlib.analysis import comparable_groups, significance

# The latency model: a fixed time and a time per megapixel, which predicts any size.


Array = NDArray[np.float64]

FEWEST_SIZES = 3
"""Through two sizes there is always a line."""


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
    def n(self) -> int:
        """Sizes fitted."""
        return len(self.megapixels)

    def predict(self, megapixels: float) -> float:
        """Milliseconds per batch at an image of this many megapixels."""
        return self.fixed_ms + self.ms_per_megapixel * megapixels

    def fixed_share(self, megapixels: float) -> float:
        """Share of the predicted time that the fixed term is, 0 to 1."""
        return self.fixed_ms / self.predict(megapixels)


def fit(frame: pd.DataFrame) -> tuple[Fit, ...]:
    """A fit for every network and precision of ``frame`` (one part) with three sizes or more.

    Relative errors are minimised, so a small image counts as much as a large one.
    """
    fits = []
    for precision in comparable_groups.precisions(frame):
        for model, rows in comparable_groups.at(frame, precision).groupby("model", sort=True):
            sizes = rows.sort_values("megapixels")
            megapixels = sizes["megapixels"].to_numpy(float)
            if len(set(megapixels)) >= FEWEST_SIZES:
                times = sizes["latency_ms"].to_numpy(float)
                fits.append(_fit(str(model), precision, megapixels, times))
    return tuple(fits)


def by_network(fits: Sequence[Fit], value: Callable[[Fit], float]) -> Array:
    """``value`` of every fit as [networks, precisions]; NaN where a fit is missing."""
    cells = pd.DataFrame(
        {
            "model": [one.model for one in fits],
            "precision": [one.precision for one in fits],
            "value": [value(one) for one in fits],
        }
    )
    return cells.pivot(index="model", columns="precision", values="value").to_numpy(float)


def _fit(model: str, precision: str, megapixels: Array, times: Array) -> Fit:
    fixed, slope = _terms(megapixels, times)
    predicted = fixed + slope * megapixels
    residual = float(((times - predicted) ** 2).sum())
    total = float(((times - times.mean()) ** 2).sum())
    return Fit(
        model=model,
        precision=precision,
        fixed_ms=fixed,
        ms_per_megapixel=slope,
        r2=1 - residual / total if total else 1.0,
        largest_error=float(np.abs(predicted / times - 1).max()),
        held_out_error=_held_out(megapixels, times),
        megapixels=tuple(map(float, megapixels)),
    )


def _terms(megapixels: Array, times: Array) -> tuple[float, float]:
    weighted = np.column_stack([1 / times, megapixels / times])
    fixed, slope = nnls(weighted, np.ones(len(times)))[0]
    return float(fixed), float(slope)


def _held_out(megapixels: Array, times: Array) -> float | None:
    if len(times) <= FEWEST_SIZES:
        return None
    errors = []
    for index in range(1, len(times) - 1):
        rest = np.arange(len(times)) != index
        fixed, slope = _terms(megapixels[rest], times[rest])
        errors.append(abs((fixed + slope * megapixels[index]) / times[index] - 1))
    return float(max(errors))


# Does compute time go with work or size? Spearman's rank correlation over networks.


FEWEST_NETWORKS = 8
"""With seven, even a ρ of 0.78 may be chance (critical value at 5 %, two-sided: 0.786)."""

PREDICTORS = {
    "gmacs": "multiply-accumulates",
    "params_m": "parameters",
    "mactivations": "activations",
}
"""Columns that might tell compute time, in words."""


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


def dependences(frame: pd.DataFrame, predictor: str) -> tuple[Dependence, ...]:
    """One correlation per precision and size of ``frame`` (one part); column ``predictor``."""
    return tuple(
        one(comparable_groups.at(frame, precision, size), predictor, precision, size)
        for precision in comparable_groups.precisions(frame)
        for size in comparable_groups.sizes(comparable_groups.at(frame, precision))
    )


def one(
    rows: pd.DataFrame, predictor: str, precision: str, size: str, *, ties: str = "average"
) -> Dependence:
    """The correlation over ``rows``, one per network.

    ``ties``: "average" gives equal times their mean rank, as Spearman's ρ is defined; "ordinal"
    ranks them by network name.
    """
    known = rows.dropna(subset=[predictor, "latency_ms"]).sort_values("model")
    n = len(known)
    times = known["latency_ms"].to_numpy(float)
    work = known[predictor].to_numpy(float)
    if n < FEWEST_NETWORKS or len(set(times)) < 2 or len(set(work)) < 2:
        return Dependence(predictor, precision, size, None, None, None, n)
    rho = float(rank_correlation(times[None], work[None], ties=ties)[0])
    picked = significance.draws(n)
    # The same network drawn twice is a tie for certain, whatever is done with equal times
    ends = significance.interval(rank_correlation(times[picked], work[picked]))
    low, high = ends or (None, None)
    return Dependence(predictor, precision, size, rho, low, high, n)


def mean(frame: pd.DataFrame, predictor: str) -> Dependence:
    """The mean ρ over all precisions and sizes of ``frame``, networks drawn together.

    Over the networks that have every cell. ``precision`` and ``resolution`` are empty.
    """
    times, work = tables(frame, predictor)
    n = len(times)
    if n < FEWEST_NETWORKS:
        return Dependence(predictor, "", "", None, None, None, n)
    everyone = np.arange(n)[None]
    rho = float(mean_rho(times, work, everyone)[0])
    ends = significance.interval(mean_rho(times, work, significance.draws(n)))
    low, high = ends or (None, None)
    return Dependence(predictor, "", "", rho if np.isfinite(rho) else None, low, high, n)


def tables(frame: pd.DataFrame, predictor: str) -> tuple[Array, Array]:
    """ms and ``predictor``, each [networks, cells], for the networks without a gap."""
    columns = ["precision", "resolution"]
    wide = frame.pivot_table(
        index="model", columns=columns, values=["latency_ms", predictor], observed=True
    )
    if not {"latency_ms", predictor} <= set(wide.columns.get_level_values(0)):
        return np.empty((0, 0)), np.empty((0, 0))
    times, work = wide["latency_ms"], wide[predictor]
    # A predictor is known for a network or not; a cell nobody knows it for says nothing
    cells = times.columns.intersection(work.columns)
    whole = times[cells].notna().all(axis=1) & work[cells].notna().all(axis=1)
    return times.loc[whole, cells].to_numpy(float), work.loc[whole, cells].to_numpy(float)


def mean_rho(times: Array, work: Array, picked: significance.Draws) -> Array:
    """Mean ρ over the columns of ``times`` and ``work`` for each row of ``picked``."""
    cells = [
        rank_correlation(times[picked, cell], work[picked, cell]) for cell in range(times.shape[1])
    ]
    return np.mean(cells, axis=0) if cells else np.full(len(picked), np.nan)


def rank_correlation(left: Array, right: Array, *, ties: str = "average") -> Array:
    """Spearman's ρ along the last axis; NaN where one side does not vary."""
    ranks = [stats.rankdata(side, method=ties, axis=-1).astype(float) for side in (left, right)]
    a, b = (side - side.mean(axis=-1, keepdims=True) for side in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
