"""Which of two times is the smaller, when neither is exact."""

from __future__ import annotations

import pandas as pd

PRACTICAL = 0.02
"""A smaller relative difference does not matter in practice: cards of one kind differ by more."""


def beats(fast: pd.Series, slow: pd.Series, threshold: float = PRACTICAL) -> bool:
    """Whether row ``fast`` is faster than row ``slow`` for certain.

    Its interval must end before the other's begins, and the medians must differ by more than
    ``threshold``. A row without an interval counts as exact, and the threshold alone decides.
    """
    parted = high(fast) < low(slow)
    return parted and fast["latency_ms"] * (1 + threshold) < slow["latency_ms"]


def low(row: pd.Series) -> float:
    """Lower end of the row's interval in ms; the median where there is none."""
    return _or_median(row, "latency_ci_low_ms")


def high(row: pd.Series) -> float:
    """Upper end of the row's interval in ms; the median where there is none."""
    return _or_median(row, "latency_ci_high_ms")


def _or_median(row: pd.Series, name: str) -> float:
    return float(row["latency_ms"] if pd.isna(row[name]) else row[name])
