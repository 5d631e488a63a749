"""Does compute time go with work or size? Spearman's rank correlation over networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchlib.analysis import parts, resampling

Array = NDArray[np.float64]

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
        one(parts.at(frame, precision, size), predictor, precision, size)
        for precision in parts.precisions(frame)
        for size in parts.sizes(parts.at(frame, precision))
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
    picked = resampling.draws(n)
    # The same network drawn twice is a tie for certain, whatever is done with equal times
    ends = resampling.interval(rank_correlation(times[picked], work[picked]))
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
    ends = resampling.interval(mean_rho(times, work, resampling.draws(n)))
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


def mean_rho(times: Array, work: Array, picked: resampling.Draws) -> Array:
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
