"""How findings name things: precisions, sizes, ratios and lists in a sentence."""

from __future__ import annotations

from collections.abc import Iterable


def word(precision: str) -> str:
    """``FP16`` for ``fp16``."""
    return precision.upper()


def size(resolution: str) -> str:
    """``640×480`` for ``640x480``."""
    return resolution.replace("x", "×")


def times(ratio: float) -> str:
    """A ratio with two decimals: ``1.27×``."""
    return f"{ratio:.2f}×"


def percent(share: float) -> str:
    """A share of 1 in percent, one decimal below ten: ``6.6 %``."""
    return f"{100 * share:.1f} %" if abs(share) < 0.0995 else f"{100 * share:.0f} %"


def plural(number: int, noun: str) -> str:
    """``1 network``, ``3 networks``."""
    return f"{number} {noun if number == 1 else noun + 's'}"


def listed(words: Iterable[str], most: int = 6) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted."""
    names = list(words)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), "".join(names[-1:]))))
