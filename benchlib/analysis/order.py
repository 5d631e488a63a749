"""Which of two times is the smaller, when neither is exact."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PRACTICAL = 0.02
"""A smaller relative difference does not matter in practice: cards of one kind differ by more."""


def beats(fast: pd.Series, slow: pd.Series, threshold: float = PRACTICAL) -> bool:
    """Whether row ``fast`` is faster than row ``slow`` for certain.

    Its interval must end before the other's begins, and the medians must differ by more than
    ``threshold``. A row without an interval counts as exact, and the threshold alone decides.
    """
    parted = high(fast) < low(slow)
    return bool(parted and fast["latency_ms"] * (1 + threshold) < slow["latency_ms"])


def beaten(rows: pd.DataFrame, threshold: float = PRACTICAL) -> NDArray[np.bool_]:
    """:func:`beats` for all pairs of ``rows``: element [i, j] says that i beats j."""
    times = rows["latency_ms"].to_numpy(float)
    lows = rows["latency_ci_low_ms"].fillna(rows["latency_ms"]).to_numpy(float)
    highs = rows["latency_ci_high_ms"].fillna(rows["latency_ms"]).to_numpy(float)
    return (highs[:, None] < lows) & (times[:, None] * (1 + threshold) < times)


def low(row: pd.Series) -> float:
    """Lower end of the row's interval in ms; the median where there is none."""
    return _or_median(row, "latency_ci_low_ms")


def high(row: pd.Series) -> float:
    """Upper end of the row's interval in ms; the median where there is none."""
    return _or_median(row, "latency_ci_high_ms")


def _or_median(row: pd.Series, name: str) -> float:
    return float(row["latency_ms"] if pd.isna(row[name]) else row[name])
