"""Peak rates of a device: from the maker's data sheet, and as measured once per set.

The data sheet gives the least time a card could need; a faster row was not computed. It is copied
here for some cards; of any other card nothing is known and nothing is claimed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchlib import process
from benchlib.case import Precision
from benchlib.process import ProgramMissingError
from benchlib.trtexec.command import Program

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

    None when the card or the count is not known. ``tf32``: whether FP32 may use TF32.
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
    units = {Precision.INT8: ("fp16", "int8"), Precision.FP8: ("fp16", "fp8")}
    units |= dict.fromkeys((Precision.FP32, Precision.TF32), ("fp32", "tf32"))
    return max(getattr(peak, unit) or 0 for unit in units.get(precision, ("fp16",)))


BENCH_MODULE = "benchlib.gpu.peak_bench"

BENCH_LIMIT_S = 180.0
"""Ten times what a two-core CPU takes, and a GPU takes less."""


class Roofs(BaseModel):
    """What plain matrix products and a plain copy reach, as environment.json holds it.

    Rates are 10^12 operations per second, a multiply-accumulate being two; the copy is 10^9 bytes
    per second, read and written ones counted. None is what the device or its library cannot do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    fp32_tflops: float | None = Field(None, gt=0)
    tf32_tflops: float | None = Field(None, gt=0)
    fp16_tflops: float | None = Field(None, gt=0)
    bf16_tflops: float | None = Field(None, gt=0)
    int8_tops: float | None = Field(None, gt=0)
    memory_gb_s: float | None = Field(None, gt=0)
    how: str


def measure_roofs(
    program: Program, threads: int | None, work: Path, say: Callable[[str], None]
) -> Roofs | None:
    """The roofs of the device that ``program`` runs on, or None and a reason given to ``say``.

    ``threads`` are a CPU's, None for the program's own choice. ``work`` takes the files. The
    device must be idle. A set without roofs is whole all the same, so nothing is raised.
    """
    out, log = work / "roofs.json", work / "roofs.log"
    for left in (out, log):
        left.unlink(missing_ok=True)
    argv = [sys.executable, "-m", BENCH_MODULE, f"--device={program.device}", f"--out={out}"]
    if threads is not None:
        argv.append(f"--threads={threads}")
    say("measuring the device's roofs: matrix products and a copy, about ten seconds")
    try:
        ended = process.run(argv, log=log, time_limit_s=BENCH_LIMIT_S)
        if ended.code == 0 and not ended.timed_out:
            return Roofs.model_validate_json(out.read_text(encoding="utf-8"))
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        reason = last[0] if last and not ended.timed_out else ended.words
    except OSError as error:
        reason = f"{error.strerror}; the benchmark left no file that can be read"
    except (ProgramMissingError, ValidationError) as error:
        reason = " ".join(str(error).split())
    say(f"no roofs of the device are known: {reason}")
    return None
