"""Numbers as people read them: three figures, thousands separated, a dash for what is unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence

DASH = "–"


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


def percent(share: float | None) -> str:
    """A share (0 to 1): ``0.18 %``, ``42 %``, ``99.8 %``; only what is whole is ``100 %``."""
    if share is None or not math.isfinite(share):
        return DASH
    if 0 < share < 0.01:
        return f"{100 * share:.2g} %"
    if 0.995 <= share < 0.9995:
        return f"{100 * share:.1f} %"
    if 0.9995 <= share < 1 - 1e-9:
        return "> 99.9 %"
    return f"{100 * share:.0f} %"


def span(low: float, high: float, form: str) -> str:
    """Both ends in the format ``form``: ``1.05 to 1.12``; ``1.05`` where they read alike."""
    return " to ".join(dict.fromkeys(format(end, form) for end in (low, high)))


def percents(shares: Sequence[float]) -> str:
    """The least and the greatest of some shares (0 to 1): ``38 to 54 %``."""
    return f"{span(100 * min(shares), 100 * max(shares), '.0f')} %"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 network``, ``3 networks``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(words: list[str], most: int = 6) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
