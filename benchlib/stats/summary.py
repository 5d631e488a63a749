"""What one run's samples say: the headline median with its interval, and the run's health.

Percentiles and spread follow trtexec's own rules (contract, section 7.3), so a row agrees with
the program's log; the interval is ours, because trtexec gives none.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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
    low, high = _interval(values, n_effective) or (None, None)
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


def median_interval(values: Array) -> tuple[float, float] | None:
    """The 95 % interval of the median of ``values`` (shape [n], time order); None if n < 6."""
    return _interval(values, autocorrelation.effective_count(values))


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


def _interval(values: Array, n_effective: float) -> tuple[float, float] | None:
    if len(values) < FEWEST_FOR_INTERVAL:
        return None
    blocks = drift.block_medians(values) if n_effective < FEWEST_FOR_ORDER else None
    return _by_order(values, n_effective) if blocks is None else _by_blocks(values, blocks)


def _by_order(values: Array, n_effective: float) -> tuple[float, float]:
    """Order statistics around the middle, as far out as ``n_effective`` signs may stray."""
    n = len(values)
    degrees = max(n_effective / SAMPLES_PER_DEGREE, 2.0)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)) * 0.5 / math.sqrt(n_effective)
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
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)) * (variance / len(logs)) ** 0.5
    return centre * math.exp(-reach), centre * math.exp(reach)
