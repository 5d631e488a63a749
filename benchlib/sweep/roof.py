"""The least time a card could need, from its peak rates: what is faster was not computed.

Only for cards whose data sheet is copied here; for any other card nothing is known and nothing
is claimed. The measured roofs of the report are another matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchlib.case import Precision

OPERATIONS_PER_MAC = 2

WINOGRAD_GAIN = 4.0
"""Multiplications that the largest Winograd tile in use, F(4x4, 3x3), saves: 144 become 36. It
serves floating point only; with it a network may beat its count of multiply-accumulates."""

CLOCK_MARGIN = 1.1
"""Data sheets state the rate at the nominal boost clock; cards were seen up to 10 % above."""


@dataclass(frozen=True, slots=True)
class Peak:
    """Dense peak rates in 10^12 operations per second; None where the card has no such unit."""

    name: re.Pattern[str]
    fp32: float
    tf32: float | None
    fp16: float
    int8: float | None
    fp8: float | None
    source: str


PEAKS: tuple[Peak, ...] = (
    Peak(re.compile(r"\bT4$"), 8.1, None, 65, 130, None, "T4 data sheet"),
    Peak(re.compile(r"\bV100\b"), 15.7, None, 125, 62.8, None, "V100 data sheet, SXM2"),
    Peak(re.compile(r"\bA100\b"), 19.5, 156, 312, 624, None, "A100 data sheet"),
    Peak(re.compile(r"RTX 3090$"), 35.6, 35.6, 142, 284, None, "GA102 white paper, appendix A"),
    Peak(re.compile(r"RTX 4090$"), 82.6, 82.6, 330, 661, 661, "Ada white paper, appendix A"),
    Peak(re.compile(r"\bL4$"), 30.3, 60, 121, 242, 242, "L4 data sheet, half of the sparse rates"),
    Peak(
        re.compile(r"\bH[12]00\b"), 67, 495, 990, 1979, 1979, "H200 data sheet, SXM, half of sparse"
    ),
)
"""The fastest variant of each name: a floor that is too low only lets a row pass."""


def floor_ms(
    device: str | None, precision: Precision, tf32: bool, gmacs: float | None, batch: int
) -> float | None:
    """Milliseconds below which ``batch`` images of ``gmacs`` 10^9 MACs each cannot be computed.

    None when the card or the count is not known. ``tf32`` says whether FP32 may use TF32.
    """
    if device is None or gmacs is None:
        return None
    peak = next((peak for peak in PEAKS if peak.name.search(device)), None)
    if peak is None:
        return None
    rate = _rate(peak, precision, tf32)
    gain = CLOCK_MARGIN if precision in _NO_WINOGRAD else CLOCK_MARGIN * WINOGRAD_GAIN
    # 10^9 operations over 10^12 per second are milliseconds
    return OPERATIONS_PER_MAC * gmacs * batch / (rate * gain)


_NO_WINOGRAD = frozenset({Precision.INT8, Precision.FP8})


def _rate(peak: Peak, precision: Precision, tf32: bool) -> float:
    """The fastest rate that a network of this precision may use on the card."""
    if precision is Precision.FP32 and not tf32:
        return peak.fp32
    if precision in (Precision.FP32, Precision.TF32):
        return max(peak.fp32, peak.tf32 or 0)
    if precision is Precision.INT8:
        return max(peak.fp16, peak.int8 or 0)
    if precision is Precision.FP8:
        return max(peak.fp16, peak.fp8 or 0)
    return peak.fp16
