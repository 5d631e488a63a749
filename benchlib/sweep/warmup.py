"""How long to warm up: until the clock is up and the times are steady, within a ceiling.

The programs warm up for the milliseconds of ``--warmUp`` and export only what comes after, so
whether that was enough is seen in what they counted. The rule: a timing process whose counted
part began cold and then came to rest is set aside, its series kept, and timed again with a
warm-up longer by what was cold and at least doubled, until one is warm from its first counted
query or :data:`CEILING_MS` is reached. The processes after it begin with the length found. A run
that never rests is none of this rule's: it is left to the verdict and its retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchlib.case import Word
from benchlib.sweep import trend
from benchlib.sweep.readings import Reading, timed_window

CEILING_MS = 3200.0
"""Longest warm-up the rule asks for: sixteen times trtexec's default. Clocks are up after some
hundred milliseconds; what is still cold after seconds is the card's temperature, which takes
minutes."""

GROWTH = 2.0
"""Least factor between two warm-ups, so that four further processes reach the ceiling from the
default of 200 ms."""

CLOCK_BAND = trend.STEADY_BAND
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


def judge(
    which: tuple[int, int],
    warm_up_ms: float,
    compute_ms: NDArray[np.float64],
    readings: Sequence[Reading],
    span_s: float,
) -> Trial:
    """Judge the timing process ``which`` (build, process) that had ``warm_up_ms``.

    ``compute_ms`` has shape [n], in time order, and took ``span_s`` seconds; ``readings`` are the
    telemetry of the whole process, empty where there is none.
    """
    settling = trend.settling(compute_ms)
    clock_ms = clock_rise_ms(readings, span_s)
    if settling is None and clock_ms is None:
        return Trial(*which, warm_up_ms, None, Ending.UNTOLD)
    times_ms = 0.0
    if settling is not None and settling.starts_apart:
        times_ms = settling.steady_from * span_s * 1000
    cold_ms = max(times_ms, clock_ms or 0.0)
    if cold_ms > 0:
        ended_by = Ending.CEILING if warm_up_ms >= CEILING_MS else None
    elif settling is not None and settling.steady_from > 0:
        return Trial(*which, warm_up_ms, None, Ending.RESTLESS)
    else:
        ended_by = Ending.STEADY
    return Trial(*which, warm_up_ms, cold_ms, ended_by)


def clock_rise_ms(readings: Sequence[Reading], span_s: float) -> float | None:
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
