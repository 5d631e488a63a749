"""Numbers with as many digits as the noise lets them have."""

from __future__ import annotations

import math

MOST_SIGNIFICANT = 4
"""Digits of a time. Two machines of one kind differ by more than 0.1 %, so a fifth says nothing,
however narrow the interval."""

DIGITS_OF_NOISE = 1
"""Digits of the half-width that are kept, torch.utils.benchmark's rule: the last digit shown is
the first one in doubt."""

WITHOUT_INTERVAL = 2
"""Significant digits of a number whose interval is not known."""


def text(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """``value`` as plain decimal text, cut to the digits that [``low``, ``high``] bears.

    All in one unit. At most four significant digits, at least one; two without an interval;
    empty for None. Raises ValueError for a value that is not finite.
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number to show; leave the cell empty")
    if value == 0:
        return "0"
    return _rounded(value, _place(value, low, high))


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """``value`` and its interval at the same digits, as ``5.47 [5.41, 5.52]``."""
    if value is None or low is None or high is None or value == 0:
        return text(value, low, high)
    place = _place(value, low, high)
    return f"{text(value, low, high)} [{_rounded(low, place)}, {_rounded(high, place)}]"


def _place(value: float, low: float | None, high: float | None) -> int:
    """Decimal place of the last digit to show: -2 is hundredths, 1 is tens."""
    # Of the number as it will be shown: 9.9996 has its first digit in the tens
    leading = int(f"{value:.{MOST_SIGNIFICANT - 1}e}".partition("e")[2])
    finest = leading - MOST_SIGNIFICANT + 1
    if low is None or high is None or not math.isfinite(high - low):
        return leading - WITHOUT_INTERVAL + 1
    half = abs(high - low) / 2
    if half == 0:
        return finest
    doubtful = math.floor(math.log10(half)) - DIGITS_OF_NOISE + 1
    return min(max(doubtful, finest), leading)


def _rounded(value: float, place: int) -> str:
    return f"{round(value, -place):.{max(-place, 0)}f}"
