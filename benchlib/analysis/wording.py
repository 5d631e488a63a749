"""Numbers, shares, ratios and lists as people read them in a sentence or a cell."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence

DASH = "–"
"""Stands for what is not known."""


def word(precision: str) -> str:
    """``FP16`` for ``fp16``."""
    return precision.upper()


def size(resolution: object) -> str:
    """``640×480`` for ``640x480``."""
    return str(resolution).replace("x", "×")


def times(ratio: float) -> str:
    """A ratio with two decimals: ``1.27×``."""
    return f"{ratio:.2f}×"


def percent(share: float | None, *, tenths: bool = True) -> str:
    """A share of 1: ``0.18 %``, ``6.6 %``, ``42 %``, ``99.8 %``; only what is whole is ``100 %``.

    Without ``tenths`` 6.6 % is ``7 %``. A dash for what is not known.
    """
    if share is None or not math.isfinite(share):
        return DASH
    size = abs(share)
    if size == 0:
        return "0 %"
    if size < 0.01:
        return f"{100 * share:.2g} %"
    if 0.9995 <= share < 1 - 1e-9:
        return "> 99.9 %"
    if 1e-9 < abs(size - 1) < 0.0051:
        return f"{100 * share:.1f} %"
    return f"{100 * share:.1f} %" if tenths and size < 0.0995 else f"{100 * share:.0f} %"


def plural(number: int, noun: str) -> str:
    """``1 network``, ``3 networks``."""
    return f"{number} {noun if number == 1 else noun + 's'}"


def listed(words: Iterable[str], most: int = 6) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted."""
    names = list(words)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), "".join(names[-1:]))))


# Numbers as people read them: three figures, thousands separated, a dash for what is unknown.


def short(value: float | None) -> str:
    """Three significant figures at most, never an exponent: 0.35, 4.27, 42.7, 427, 4,270."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 99.95:
        return f"{float(f'{value:.3g}'):,.0f}"
    decimals = 1 if size >= 9.995 else 2 if size >= 0.0995 else 3
    return f"{value:.{decimals}f}"


def span(low: float, high: float, form: str) -> str:
    """Both ends in the format ``form``: ``1.05 to 1.12``; ``1.05`` where they read alike."""
    return " to ".join(dict.fromkeys(format(end, form) for end in (low, high)))


def percents(shares: Sequence[float]) -> str:
    """The least and the greatest of some shares (0 to 1): ``38 to 54 %``."""
    return f"{span(100 * min(shares), 100 * max(shares), '.0f')} %"


# Names for files and anchors.


_SAFE = re.compile(r"[^A-Za-z0-9]+")

_LONGEST_SLUG = 120
"""Letters. With the figure's own name and ending it stays below the 255 bytes of a file name."""


def slug(text: str) -> str:
    """``text`` for a file name or an anchor: small letters, digits and single hyphens.

    A text that is cut, or loses letters of other scripts, gets digits that keep it apart.
    """
    plain = _SAFE.sub("-", text).strip("-").lower()
    if text.isascii() and plain and len(plain) <= _LONGEST_SLUG:
        return plain
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[:_LONGEST_SLUG]}-{digest}".lstrip("-")
