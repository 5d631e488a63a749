"""Numbers as people read them: three figures, thousands separated, a dash for what is unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchlib.analysis.wording import DASH


def short(value: float | None) -> str:
    """Three significant figures at most, never an exponent: 0.35, 4.27, 42.7, 427, 4,270."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    decimals = 1 if size >= 9.995 else 2 if size >= 0.0995 else 3
    return f"{value:.{decimals}f}"


def span(low: float, high: float, form: str) -> str:
    """Both ends in the format ``form``: ``1.05 to 1.12``; ``1.05`` where they read alike."""
    return " to ".join(dict.fromkeys(format(end, form) for end in (low, high)))


def percents(shares: Sequence[float]) -> str:
    """The least and the greatest of some shares (0 to 1): ``38 to 54 %``."""
    return f"{span(100 * min(shares), 100 * max(shares), '.0f')} %"
