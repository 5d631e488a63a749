"""Whether a run was steady: drift, where its moving median settles, how long to warm up.

The programs warm up for the milliseconds of ``--warmUp`` and export only what comes after, so
whether that was enough is seen in what they counted. The rule: a timing process whose counted
part began cold and then became steady is set aside, its series kept, and timed again with a
warm-up longer by what was cold and at least doubled, until one is warm from its first counted
query or :data:`CEILING_MS` is reached. The processes after it begin with the length found. A run
that never becomes steady is not warmed up longer: the verdict deals with it.

At the card's power limit (:data:`Limit.POWER`) the same rule looks at whole seconds, since the
limiter swings clock and times with a period of 0.75 to 1 s, and at the power reading too. The load
must have lasted :data:`LIMITED_LOAD_MS` before, the timing takes :data:`LIMITED_RUN_S`, and the
ceiling is :data:`LIMITED_CEILING_MS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from benchlib.case import Word
from benchlib.gpu.telemetry import (
    Limit,
    TelemetrySample,
    limited_by,
    throttle_words,
    timed_window,
)

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

FEWEST_STEADY = 4
"""Blocks through which a line is fitted; of fewer, one block determines its slope."""

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
    """Where the moving median became steady.

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
        """Whether only the start was unlike the rest: a warm-up that was too short."""
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
    noise = NOISE_WIDTHS * MEDIAN_ERROR * spread / length**0.5
    settled, beyond, first_steady = _steady(medians, noise)
    rest = medians[first_steady:]
    return Settling(
        steady_from=first_steady / BLOCKS,
        start_excess=float(medians[0]) / settled - 1.0,
        outside=float(beyond[BLOCKS // 2 :].mean()),
        rest_change=_rise(rest) / settled if len(rest) >= FEWEST_STEADY else None,
        shift=float(np.median(values[len(values) // 2 :]) / np.median(values[: len(values) // 2]))
        - 1.0,
    )


def _steady(medians: Array, noise: float = 0.0) -> tuple[float, NDArray[np.bool_], int]:
    """The median of the later half of ``medians``; which of them leave the band around it, widened
    by ``noise``; and the place of the first after which none does."""
    settled = float(np.median(medians[len(medians) // 2 :]))
    beyond = np.abs(medians - settled) > STEADY_BAND * settled + noise
    last = np.flatnonzero(beyond)
    return settled, beyond, int(last[-1]) + 1 if len(last) else 0


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
"""Telemetry samples in the counted part, of which each half needs some for its median clock."""


POWER_BAND = STEADY_BAND
"""Fraction of the settled power that a reading may be below it. At the limit the readings, each the
mean of a second, stay within 1 % of it (H100)."""

LIMITED_LOAD_MS = 2000.0
"""Least warm-up at the power limit: the limiter's swings decay within two seconds of load, and a
power reading needs one to fill (H100: resnet50 at 1920x1056)."""

LIMITED_CEILING_MS = 30_000.0
"""Longest warm-up there: a card that starts cool reaches its limit only once it is warm."""

LIMITED_RUN_S = 3.0
"""Least seconds of timing there: three or more of the limiter's periods of 0.75 to 1 s."""


class Ending(Word):
    """Why the warm-up was not made longer."""

    STEADY = "steady"
    CEILING = "ceiling"
    NEVER_STEADY = "restless"
    UNKNOWN = "untold"


@dataclass(frozen=True, slots=True)
class Trial:
    """One timing process and how warm it began.

    ``warm_up_ms`` is what it was given. ``cold_ms`` are the milliseconds of its counted part
    before times and clock were steady: 0.0 when they were from the start, None when that is not
    known. ``ended_by`` is None when the process was set aside and timed again;
    ``power_limited`` says that the card was at its power limit, and ``too_short`` that it was timed
    for less than that needs.
    """

    build: int
    process: int
    warm_up_ms: float
    cold_ms: float | None
    ended_by: Ending | None
    power_limited: bool = False
    too_short: bool = False

    @property
    def next_ms(self) -> float:
        """The warm-up to go on with: longer when this trial was set aside."""
        if self.ended_by is not None or not self.cold_ms:
            return self.warm_up_ms
        wanted = max(GROWTH * self.warm_up_ms, self.warm_up_ms + self.cold_ms)
        return min(float(np.ceil(wanted)), self.ceiling_ms)

    @property
    def ceiling_ms(self) -> float:
        """The longest warm-up that the rule asks for."""
        return LIMITED_CEILING_MS if self.power_limited else CEILING_MS

    @property
    def least_run_s(self) -> float:
        """Seconds that timing has to take, 0.0 where any will do."""
        return LIMITED_RUN_S if self.power_limited else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "ended_by": self.ended_by and self.ended_by.value}


def judge_warm_up(
    which: tuple[int, int],
    warm_up_ms: float,
    asked_s: float,
    compute_ms: Array,
    settled: Settling | None,
    readings: Sequence[TelemetrySample],
    span_s: float,
) -> Trial:
    """Judge the timing process ``which`` (build, process) that had ``warm_up_ms`` and was
    asked to time for ``asked_s`` seconds.

    ``compute_ms`` are its counted queries, shape [n], which took ``span_s`` seconds; ``settled`` is
    what :func:`settling` says of them; ``readings`` are the telemetry of the whole process, empty
    where there is none.
    """
    window = timed_window(readings, span_s)
    clock_ms = _rise_ms(window, lambda one: one.sm_clock_mhz, CLOCK_BAND)
    words = {word for one in window for word in throttle_words(one.event_bits or 0)}
    if limited_by(words) is Limit.POWER:
        power_ms = _rise_ms(window, lambda one: one.power_w, POWER_BAND)
        seconds_ms = _first_steady_second(compute_ms, span_s) * 1000
        load_ms = LIMITED_LOAD_MS - warm_up_ms
        cold_ms = max(0.0, clock_ms or 0.0, power_ms or 0.0, seconds_ms, load_ms)
        too_short = asked_s < LIMITED_RUN_S
        trial = Trial(*which, warm_up_ms, cold_ms, None, True, too_short)
        if too_short or (cold_ms > 0 and warm_up_ms < trial.ceiling_ms):
            return trial
        return replace(trial, ended_by=Ending.CEILING if cold_ms > 0 else Ending.STEADY)
    if settled is None and clock_ms is None:
        return Trial(*which, warm_up_ms, None, Ending.UNKNOWN)
    times_ms = 0.0
    if settled is not None and settled.starts_apart:
        times_ms = settled.steady_from * span_s * 1000
    cold_ms = max(times_ms, clock_ms or 0.0)
    if cold_ms > 0:
        ended_by = Ending.CEILING if warm_up_ms >= CEILING_MS else None
    elif settled is not None and settled.steady_from > 0:
        return Trial(*which, warm_up_ms, None, Ending.NEVER_STEADY)
    else:
        ended_by = Ending.STEADY
    return Trial(*which, warm_up_ms, cold_ms, ended_by)


def _first_steady_second(compute_ms: Array, span_s: float) -> int:
    """How many whole seconds at the start have medians outside the band around the last half's.

    Queries are taken as evenly spread over ``span_s``; 0 as well when it never became steady.
    """
    seconds = int(span_s)
    if seconds < 2 or len(compute_ms) < seconds:
        return 0
    medians = np.array([np.median(part) for part in np.array_split(compute_ms, seconds)])
    _, _, first_steady = _steady(medians)
    return first_steady if first_steady <= SETTLED_BY * seconds else 0


def _rise_ms(
    window: Sequence[TelemetrySample],
    value: Callable[[TelemetrySample], float | None],
    band: float,
) -> float | None:
    """Milliseconds of ``window`` until ``value`` was up: within ``band`` (a fraction) below the
    median of its second half.

    0.0 when it was up from the start or was lower again in the second half (what never settles is
    no warm-up), None when there are too few samples.
    """
    values = [(one.time_s, number) for one in window if (number := value(one)) is not None]
    if len(values) < FEWEST_READINGS:
        return None
    half = len(values) // 2
    up = (1 - band) * median(number for _, number in values[half:])
    low = [index for index, (_, number) in enumerate(values) if number < up]
    if not low or low[-1] >= half:
        return 0.0
    return (values[low[-1] + 1][0] - values[0][0]) * 1000
