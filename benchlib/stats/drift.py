"""Whether a run stood still: drift, where its moving median settles, how long to warm up.

The programs warm up for the milliseconds of ``--warmUp`` and export only what comes after, so
whether that was enough is seen in what they counted. The rule: a timing process whose counted
part began cold and then came to rest is set aside, its series kept, and timed again with a
warm-up longer by what was cold and at least doubled, until one is warm from its first counted
query or :data:`CEILING_MS` is reached. The processes after it begin with the length found. A run
that never becomes steady is not warmed up longer: the verdict and its retry deal with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from benchlib.case import Word
from benchlib.gpu.telemetry import TelemetrySample, timed_window

Array = NDArray[np.float64]

BLOCKS = 20
"""Blocks of a moving median: each is 5 % of the run, short enough to see a warm-up tail."""

SHORTEST_BLOCK = 5
"""Samples per block below which a block's median is mostly noise; the run is then not judged."""

STEADY_BAND = 0.02
"""Share of the settled median that a block may differ by. Twice trtexec's 1 % instability rule
for single samples (8.6 to 10.13.2), so that a block median outside it is no accident."""

NOISE_WIDTHS = 3.0
"""Standard errors of a block's median added to the band, so that noisy but level runs pass."""

SETTLED_BY = 0.5
"""Fraction of the run. The median is of the whole run; a start that lasts longer than half of
it is the run."""

SHORTEST_REST = 4
"""Blocks through which a line is drawn; through fewer, one block decides it."""

MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean, normal samples: sqrt(pi / 2)."""

MAD_TO_SD = 1.4826
"""Standard deviation over median absolute deviation, normal samples."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A trend over one run, or over the runs of a case.

    ``change`` is the rise of the fitted line from the first to the last block as a fraction of
    the median (0.03: 3 % slower at the end); Theil-Sen, so a few slow blocks do not make it.
    ``p_value`` is Kendall's, two-sided, of block medians against time.
    """

    change: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Settling:
    """Where the moving median came to rest.

    ``steady_from`` is the fraction of the run after which every block median stays within the
    band around the median of the second half: 0.0 is steady from the start, 1.0 never.
    ``start_excess`` is the first block over that median, minus one. ``outside`` is the
    fraction of blocks of the second half that leave the band. ``rest_change`` is the rise of the
    line through the steady part, a fraction of the median: near 0 for a warm-up that ended, and
    not for a slope that the band merely cut in two; None when less than four blocks are steady.
    ``shift`` is the median of the second half over that of the first, minus one.
    """

    steady_from: float
    start_excess: float
    outside: float
    rest_change: float | None
    shift: float

    @property
    def starts_apart(self) -> bool:
        """Whether a start that is unlike the rest ended in a rest: a warm-up that was too short."""
        return (
            0 < self.steady_from <= SETTLED_BY
            and abs(self.start_excess) > STEADY_BAND
            and self.rest_change is not None
            and abs(self.rest_change) <= STEADY_BAND
        )


def block_medians(values: Array) -> Array | None:
    """Medians of consecutive equal blocks, shape [BLOCKS]; None when the run is too short."""
    length = len(values) // BLOCKS
    if length < SHORTEST_BLOCK:
        return None
    return np.median(values[: BLOCKS * length].reshape(BLOCKS, length), axis=1)


def drift(values: Array) -> Drift | None:
    """Trend of ``values`` (shape [n], time order, positive); None below 100 samples."""
    medians = block_medians(values)
    return None if medians is None else trend(medians)


def trend(medians: Array) -> Drift:
    """Trend of medians in time order: of a run's blocks, or of the rounds' runs."""
    if np.ptp(medians) == 0:
        return Drift(0.0, 1.0)
    p_value = float(scipy.stats.kendalltau(np.arange(len(medians)), medians).pvalue)
    return Drift(_rise(medians) / float(np.median(medians)), p_value)


def settling(values: Array) -> Settling | None:
    """Where ``values`` (shape [n], time order, positive) settle; None below 100 samples."""
    medians = block_medians(values)
    if medians is None:
        return None
    length = len(values) // BLOCKS
    blocks = values[: BLOCKS * length].reshape(BLOCKS, length)
    spread = MAD_TO_SD * float(np.median(np.abs(blocks - medians[:, None])))
    late = medians[BLOCKS // 2 :]
    settled = float(np.median(late))
    noise = NOISE_WIDTHS * MEDIAN_ERROR * spread / length**0.5
    beyond = np.abs(medians - settled) > STEADY_BAND * settled + noise
    last = np.flatnonzero(beyond)
    first_steady = int(last[-1]) + 1 if len(last) else 0
    rest = medians[first_steady:]
    return Settling(
        steady_from=first_steady / BLOCKS,
        start_excess=float(medians[0]) / settled - 1.0,
        outside=float(beyond[BLOCKS // 2 :].mean()),
        rest_change=_rise(rest) / settled if len(rest) >= SHORTEST_REST else None,
        shift=float(np.median(values[len(values) // 2 :]) / np.median(values[: len(values) // 2]))
        - 1.0,
    )


def _rise(medians: Array) -> float:
    """From the first to the last of evenly spaced points along the Theil-Sen line."""
    times = np.arange(len(medians))
    return float(scipy.stats.theilslopes(medians, times).slope) * (len(medians) - 1)


CEILING_MS = 3200.0
"""Longest warm-up the rule asks for: sixteen times trtexec's default. Clocks are up after some
hundred milliseconds; what is still cold after seconds is the card's temperature, which takes
minutes."""

GROWTH = 2.0
"""Least factor between two warm-ups, so that four further processes reach the ceiling from the
default of 200 ms."""

CLOCK_BAND = STEADY_BAND
"""Fraction of the settled SM clock that a clock which is up may be below it: compute time follows
the clock one to one."""

FEWEST_READINGS = 8
"""Readings in the counted part below which its halves say nothing of the clock."""


class Ending(Word):
    """Why the warm-up was not made longer."""

    STEADY = "steady"
    CEILING = "ceiling"
    RESTLESS = "restless"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class Trial:
    """One timing process and how warm it began.

    ``warm_up_ms`` is what it was given. ``cold_ms`` are the milliseconds of its counted part
    before times and clock were steady: 0.0 when they were from the start, None when that cannot
    be told. ``ended_by`` is None when the process was set aside and timed again.
    """

    build: int
    process: int
    warm_up_ms: float
    cold_ms: float | None
    ended_by: Ending | None

    @property
    def next_ms(self) -> float:
        """The warm-up to go on with: longer when this trial was set aside."""
        if self.ended_by is not None or self.cold_ms is None:
            return self.warm_up_ms
        wanted = max(GROWTH * self.warm_up_ms, self.warm_up_ms + self.cold_ms)
        return min(float(np.ceil(wanted)), CEILING_MS)

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "ended_by": self.ended_by and self.ended_by.value}


def judge_warm_up(
    which: tuple[int, int],
    warm_up_ms: float,
    settled: Settling | None,
    readings: Sequence[TelemetrySample],
    span_s: float,
) -> Trial:
    """Judge the timing process ``which`` (build, process) that had ``warm_up_ms``.

    ``settled`` is what :func:`settling` says of its counted part, which took ``span_s`` seconds;
    ``readings`` are the telemetry of the whole process, empty where there is none.
    """
    clock_ms = clock_rise_ms(readings, span_s)
    if settled is None and clock_ms is None:
        return Trial(*which, warm_up_ms, None, Ending.UNTOLD)
    times_ms = 0.0
    if settled is not None and settled.starts_apart:
        times_ms = settled.steady_from * span_s * 1000
    cold_ms = max(times_ms, clock_ms or 0.0)
    if cold_ms > 0:
        ended_by = Ending.CEILING if warm_up_ms >= CEILING_MS else None
    elif settled is not None and settled.steady_from > 0:
        return Trial(*which, warm_up_ms, None, Ending.RESTLESS)
    else:
        ended_by = Ending.STEADY
    return Trial(*which, warm_up_ms, cold_ms, ended_by)


def clock_rise_ms(readings: Sequence[TelemetrySample], span_s: float) -> float | None:
    """Milliseconds of the last ``span_s`` seconds until the SM clock was up.

    Up is within :data:`CLOCK_BAND` of the second half's median; 0.0 when it was up from the
    start or still moved in the second half (a clock without rest is no warm-up), None when there
    are too few readings.
    """
    clocks = [
        (one.time_s, one.sm_clock_mhz)
        for one in timed_window(readings, span_s)
        if one.sm_clock_mhz is not None
    ]
    if len(clocks) < FEWEST_READINGS:
        return None
    half = len(clocks) // 2
    up = (1 - CLOCK_BAND) * median(clock for _, clock in clocks[half:])
    low = [index for index, (_, clock) in enumerate(clocks) if clock < up]
    if not low or low[-1] >= half:
        return 0.0
    return (clocks[low[-1] + 1][0] - clocks[0][0]) * 1000
