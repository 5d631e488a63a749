"""One run's samples as a number: the median with its interval, its health, the digits it bears.

Percentiles and spread follow trtexec's own rules (contract, section 7.3), so a row agrees with
the program's log; the interval is ours, because trtexec gives none.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from benchlib.stats import autocorrelation, bimodality, drift
from benchlib.stats.bimodality import Modes
from benchlib.stats.drift import Drift, Settling

Array = NDArray[np.float64]

CONFIDENCE = 0.95
"""Probability that an interval holds the true median; the level of every interval here."""

FEWEST_FOR_INTERVAL = 6
"""Samples. With five, even the whole range misses the median more often than 1 time in 20
(2 * 0.5**5 = 6 %)."""

SAMPLES_PER_DEGREE = 3.0
"""Effective samples per degree of freedom of Student's t. An autocorrelation of r known from n
samples has a relative variance of 4/n_effective in the variance it implies, thus n_effective / 2
degrees; 3 covers the order's choice too (benchmarks/interval_coverage.py)."""

FEWEST_FOR_ORDER = 15.0
"""Independent samples' worth below which order statistics bound nothing: a few signs may all fall
on one side, so that the ends run into the slowest single query. A card at its power limit swings
in cycles of 0.75 to 1 s, of which 3 s are worth 4 to 15 signs, and got ±50 % where three processes
agree to 0.2 %. The interval is then that of the block medians, whose size counts too."""

TAIL_CHANCE = 0.025
"""A percentile is shown when its own 95 % interval ends inside the samples, that is when the
chance that no sample lies beyond it is at most this."""


MOST_SIGNIFICANT = 4
"""Digits of a time. Two machines of one kind differ by more than 0.1 %, so a fifth is noise,
however narrow the interval."""

DIGITS_OF_NOISE = 1
"""Digits of the half-width that are kept, torch.utils.benchmark's rule: the last digit shown is
the first one in doubt."""

WITHOUT_INTERVAL = 2
"""Significant digits of a number whose interval is not known."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, times in milliseconds.

    ``median`` is the headline; ``ci_low`` and ``ci_high`` bound it with 95 % confidence and are
    None below six samples. ``n_effective`` is the count of independent samples that ``n``
    correlated ones are worth. A percentile is None when ``n_effective`` does not bear it. ``cov``
    is population standard deviation over mean, a fraction. ``enqueue`` is the median host time of
    one enqueue, None when not known. ``drift`` and ``settling`` are None below 100 samples, and
    ``modes`` is None when there is one group of times.
    """

    n: int
    n_effective: float
    median: float
    ci_low: float | None
    ci_high: float | None
    mean: float
    minimum: float
    maximum: float
    p5: float | None
    p95: float | None
    p99: float | None
    cov: float
    enqueue: float | None
    drift: Drift | None
    settling: Settling | None
    modes: Modes | None

    @property
    def relative_half_width(self) -> float | None:
        """Half the interval over the median, a fraction; None without an interval."""
        if self.ci_low is None or self.ci_high is None:
            return None
        return (self.ci_high - self.ci_low) / 2 / self.median

    @property
    def steady(self) -> bool | None:
        """Whether the moving median stayed in its band from the first block; None: too short."""
        return None if self.settling is None else self.settling.steady_from == 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain numbers and nested objects, ready for JSON."""
        return asdict(self)


def summary(compute_ms: ArrayLike, enqueue_ms: ArrayLike | None = None) -> Summary:
    """Summarise one run.

    ``compute_ms`` has shape [n], milliseconds, one per query in time order; ``enqueue_ms``
    likewise, the host's time in the enqueue call. Raises ValueError when there are no samples or
    one is not a finite, positive number (an enqueue may take zero).
    """
    values = _checked("computeMs", compute_ms)
    if values.min() == 0:
        raise ValueError(f"computeMs: sample {int(values.argmin())} is 0; no query takes no time")
    enqueue = None
    if enqueue_ms is not None:
        enqueue = float(np.median(_checked("enqueue times", enqueue_ms)))
    ordered = np.sort(values)
    n_effective = autocorrelation.effective_count(values)
    low, high = median_interval(values, n_effective) or (None, None)
    mean = float(values.mean())
    return Summary(
        n=len(values),
        n_effective=n_effective,
        median=float(np.median(ordered)),
        ci_low=low,
        ci_high=high,
        mean=mean,
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        p5=_borne_percentile(ordered, 5, n_effective),
        p95=_borne_percentile(ordered, 95, n_effective),
        p99=_borne_percentile(ordered, 99, n_effective),
        cov=float(values.std()) / mean,
        enqueue=enqueue,
        drift=drift.drift(values),
        settling=drift.settling(values),
        modes=bimodality.two_modes(values, clock_step_ms(values)),
    )


def percentile(ordered: Array, percent: float) -> float:
    """trtexec's percentile of ascending ``ordered``: one of the samples, never between two."""
    n = len(ordered)
    return float(ordered[max(n - 1 - math.trunc((1 - percent / 100) * n), 0)])


def bears(percent: float, n_effective: float) -> bool:
    """Whether ``n_effective`` independent samples are enough to show this percentile.

    72 for the 5th and 95th, 368 for the 99th.
    """
    inside = max(percent, 100 - percent) / 100
    return inside**n_effective <= TAIL_CHANCE


def clock_step_ms(values: Array) -> float:
    """Resolution of the samples in milliseconds: the event clock's, or float32 stamps' if coarser.

    trtexec's times are differences of two float32 stamps counted from the start of the run.
    """
    stamp = float(np.spacing(np.float32(values.sum())))
    return max(bimodality.EVENT_STEP_MS, stamp)


def _checked(what: str, samples: ArrayLike) -> Array:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{what}: expected one row of samples, got shape {values.shape}")
    if values.size == 0:
        raise ValueError(f"{what}: no samples; the run counted no query")
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            f"{what}: {wrong.size} of {values.size} samples are negative or not finite, "
            f"the first is sample {first}: {values[first]}"
        )
    return values


def _borne_percentile(ordered: Array, percent: float, n_effective: float) -> float | None:
    return percentile(ordered, percent) if bears(percent, n_effective) else None


def median_interval(values: Array, n_effective: float | None = None) -> tuple[float, float] | None:
    """The 95 % interval of the median of ``values`` (shape [n], time order); None if n < 6.

    ``n_effective`` is their :func:`autocorrelation.effective_count`, where it is known already.
    """
    if n_effective is None:
        n_effective = autocorrelation.effective_count(values)
    if len(values) < FEWEST_FOR_INTERVAL:
        return None
    blocks = drift.block_medians(values) if n_effective < FEWEST_FOR_ORDER else None
    return _by_order(values, n_effective) if blocks is None else _by_blocks(values, blocks)


def _by_order(values: Array, n_effective: float) -> tuple[float, float]:
    """Order statistics around the middle, as far out as ``n_effective`` signs may stray."""
    n = len(values)
    degrees = max(n_effective / SAMPLES_PER_DEGREE, 2.0)
    reach = float(scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)) * 0.5 / math.sqrt(n_effective)
    positions = np.clip(n * (0.5 + np.array([-reach, reach])) - 0.5, 0, n - 1)
    low, high = np.interp(positions, np.arange(n), np.sort(values))
    return float(low), float(high)


def _by_blocks(values: Array, medians: Array) -> tuple[float, float]:
    """Around the median, as far as the mean of the block ``medians`` may stray (Student's t)."""
    logs = np.log(medians)
    variance = autocorrelation.long_run_variance(logs)
    centre = float(np.median(values))
    if variance == 0:
        return centre, centre
    worth = len(logs) * float(logs.var(ddof=1)) / variance
    degrees = max(worth / SAMPLES_PER_DEGREE, 2.0)
    reach = float(scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)) * (variance / len(logs)) ** 0.5
    return centre * math.exp(-reach), centre * math.exp(reach)


def rounded(value: float | None, low: float | None = None, high: float | None = None) -> str:
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
    return _cut(value, _place(value, low, high))


def rounded_interval(value: float | None, low: float | None, high: float | None) -> str:
    """``value`` and its interval at the same digits, as ``5.47 [5.41, 5.52]``."""
    if value is None or low is None or high is None or value == 0:
        return rounded(value, low, high)
    place = _place(value, low, high)
    return f"{rounded(value, low, high)} [{_cut(low, place)}, {_cut(high, place)}]"


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


def _cut(value: float, place: int) -> str:
    return f"{round(value, -place):.{max(-place, 0)}f}"
