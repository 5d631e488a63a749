"""One run's samples as a number: the median with its interval and digits, and two modes.

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

from benchlib.stats import drift
from benchlib.stats.drift import MAD_TO_SD, Drift, Settling

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
"""Effective samples below which order statistics bound nothing: a few signs may all fall on one
side, so that the ends reach the slowest single query. A card at its power limit swings in cycles
of 0.75 to 1 s, of which 3 s have 4 to 15 effective samples, and got ±50 % where three processes
agree to 0.2 %. The interval is then that of the block medians, whose size counts too."""

TAIL_CHANCE = 0.025
"""A percentile is shown when its own 95 % interval ends inside the samples: when the probability
that no sample lies beyond it is at most this."""


MOST_SIGNIFICANT = 4
"""Digits of a time. Two machines of one kind differ by more than 0.1 %, so a fifth is noise,
however narrow the interval."""

DIGITS_OF_NOISE = 1
"""Digits of the half-width that are kept, torch.utils.benchmark's rule: the last digit shown is
the first one in doubt."""

WITHOUT_INTERVAL = 2
"""Significant digits of a number whose interval is not known."""


@dataclass(frozen=True, slots=True)
class Modes:
    """Two groups of times: medians in the unit of the samples, and the upper group's share."""

    lower: float
    upper: float
    upper_share: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, times in milliseconds.

    ``median`` is the headline; ``ci_low`` and ``ci_high`` bound it with 95 % confidence and are
    None below six samples. ``n_effective`` is the effective sample size of the ``n`` correlated
    samples. A percentile is None when ``n_effective`` is too small for it. ``cov`` is population
    standard deviation over mean, a fraction. ``enqueue`` is the mean host time of one enqueue, None
    when not known: an export's stamps have six digits, so that after a second they are multiples of
    0.01 ms and the median of their differences is often 0. ``drift`` and ``settling`` are None
    below 100 samples, and ``modes`` is None when there is one group of times.
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
        enqueue = float(_checked("enqueue times", enqueue_ms).mean())
    ordered = np.sort(values)
    n_effective = effective_count(values)
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
        p5=_supported_percentile(ordered, 5, n_effective),
        p95=_supported_percentile(ordered, 95, n_effective),
        p99=_supported_percentile(ordered, 99, n_effective),
        cov=float(values.std()) / mean,
        enqueue=enqueue,
        drift=drift.drift(values),
        settling=drift.settling(values),
        modes=two_modes(values, clock_step_ms(values)),
    )


def percentile(ordered: Array, percent: float) -> float:
    """trtexec's percentile of ascending ``ordered``: one of the samples, never between two."""
    n = len(ordered)
    return float(ordered[max(n - 1 - math.trunc((1 - percent / 100) * n), 0)])


def supports(percent: float, n_effective: float) -> bool:
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
    return max(EVENT_STEP_MS, stamp)


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


def _supported_percentile(ordered: Array, percent: float, n_effective: float) -> float | None:
    return percentile(ordered, percent) if supports(percent, n_effective) else None


def median_interval(values: Array, n_effective: float | None = None) -> tuple[float, float] | None:
    """The 95 % interval of the median of ``values`` (shape [n], time order); None if n < 6.

    ``n_effective`` is their :func:`effective_count`, where it is known already.
    """
    if n_effective is None:
        n_effective = effective_count(values)
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
    variance = long_run_variance(logs)
    centre = float(np.median(values))
    if variance == 0:
        return centre, centre
    worth = len(logs) * float(logs.var(ddof=1)) / variance
    degrees = max(worth / SAMPLES_PER_DEGREE, 2.0)
    reach = float(scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, degrees)) * (variance / len(logs)) ** 0.5
    return centre * math.exp(-reach), centre * math.exp(reach)


def rounded(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """``value`` as plain decimal text, with as many digits as [``low``, ``high``] justifies.

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


# Whether a run's times fall into two groups, in which case its median describes neither. The best
# two-way split of the sorted times must pass rules against outliers, unimportant gaps, one broad
# hump, and the steps of the event clock, which make every sub-millisecond histogram look like a
# comb.


FEWEST_SAMPLES = 50
"""Samples below which a group of a tenth is under five, which chance gives any shape."""

SMALLEST_SHARE = 0.1
"""Fraction of the samples the smaller group must hold; fewer are outliers, which the spread and
the percentiles show."""

SMALLEST_GAP = 0.02
"""Gap between the groups' medians over the whole median that matters to a reader: the width
within which a moving median counts as steady."""

EVENT_STEP_MS = 0.001
"""Milliseconds. Twice the resolution of CUDA events (contract, section 5.1: about 0.5 us), so
that a card with a coarser clock does not fool it either."""

GAP_STEPS = 4
"""Clock steps between the groups: with fewer, the teeth of a comb look like groups, or one
narrow group straddles a step."""

SMALLEST_SEPARATION = 4.0
"""Gap over the larger group's standard deviation. Halving one hump at its best split gives at
most 3.5 (uniform; 2.2 for a normal one), so that 4 needs two."""

CHANCE_WIDTHS = 3.0
"""Standard deviations (of Poisson counts) by which the emptiest window between the groups holds
less than the windows around their medians: a gap in the few samples of a tail is chance."""

WINDOW = 0.25
"""Width of those windows over the gap."""


def two_modes(values: Array, step: float = EVENT_STEP_MS) -> Modes | None:
    """Return the two groups of ``values`` (shape [n], milliseconds), or None if there is one.

    ``step`` is the resolution of the clock in the same unit.
    """
    n = len(values)
    if n < FEWEST_SAMPLES:
        return None
    ordered = np.sort(values)
    split = _best_split(ordered)
    groups = ordered[:split], ordered[split:]
    lower, upper = (float(np.median(group)) for group in groups)
    gap = upper - lower
    spread = max(
        MAD_TO_SD * float(np.median(np.abs(group - centre)))
        for group, centre in zip(groups, (lower, upper), strict=True)
    )
    if gap < max(SMALLEST_GAP * float(np.median(values)), GAP_STEPS * step):
        return None
    if gap < SMALLEST_SEPARATION * spread or not _has_valley(ordered, lower, upper):
        return None
    # The split keeps a tenth on either side by force; the midpoint shows outliers for what they are
    share = float(np.mean(ordered > (lower + upper) / 2))
    if not SMALLEST_SHARE <= share <= 1 - SMALLEST_SHARE:
        return None
    return Modes(lower, upper, share)


def _best_split(ordered: Array) -> int:
    """Index that leaves the least variance within both parts (Otsu), outliers cut to p1..p99."""
    n = len(ordered)
    clipped = np.clip(ordered, *np.quantile(ordered, [0.01, 0.99]))
    clipped = clipped - clipped.mean()
    edge = int(np.ceil(SMALLEST_SHARE * n))
    sizes = np.arange(edge, n - edge + 1)
    below = np.cumsum(clipped)[sizes - 1]
    between = below**2 * (1.0 / sizes + 1.0 / (n - sizes))
    return int(sizes[np.argmax(between)])


def _has_valley(ordered: Array, lower: float, upper: float) -> bool:
    width = WINDOW * (upper - lower)

    def counts(centres: Array) -> Array:
        first = np.searchsorted(ordered, centres - width / 2)
        return np.searchsorted(ordered, centres + width / 2) - first

    peak = int(counts(np.array([lower, upper])).min())
    valley = int(counts(np.linspace(lower + width, upper - width, 41)).min())
    by_chance = CHANCE_WIDTHS * (peak + valley) ** 0.5
    return peak - valley > by_chance


# The effective sample size of a series of correlated samples.
#
# Consecutive queries share a clock state, a temperature and other load on the machine, so 3000
# samples may determine the median no better than 300 independent ones would. The count is found on
# ranks (normal scores), so it is the same for any monotone change of the unit, and heavy tails do
# not disturb it:
#
# 1. an autoregressive model of the scores, its order by Akaike's criterion, gives their
#    autocorrelation; the arcsine law turns it into that of the above/below-the-median signs, the
#    only thing the variance of a median depends on;
# 2. for long series the same is done on the signs' means over blocks, which shows slow swings and
#    switching between two states that a low-order model of the samples misses.
#
# The second counts when it is smaller by more than chance. What no estimate can see is a swing
# longer than the run can show: 200 samples of which a third of the variance has a memory of 100 are
# taken for 80 and are in fact 5, and their interval covers half of the time, not 95 %.


SHORTEST_MODELLED = 16
"""Samples. Below it an autocorrelation cannot be estimated at all; they count as independent."""

ORDERS_PER_DECADE = 5
"""Highest autoregressive order per factor of ten of samples: half of the customary 10 log10(n)
(R's ar), because the blocks see what reaches further."""

SAMPLES_PER_ORDER = 8
"""At least this many samples per fitted coefficient, the usual floor for autoregressive fits."""

BLOCKS = 250
"""Blocks for the slow half of the estimate. 125 to 500 cover alike in simulation
(benchmarks/interval_coverage.py); with 250 it begins at 1000 samples."""

SHORTEST_BLOCK = 4
"""Samples per block; with fewer, the blocks repeat what single samples show already."""

BEYOND_CHANCE = 1.0 + 2.0 * (2.0 / BLOCKS) ** 0.5
"""Ratio of the two variances from which the slow one counts: two standard errors of a
variance found from that many blocks. Taking the larger at all times over-covers by a point."""

NEAREST_TO_UNIT_ROOT = 0.02
"""Smallest 1 - (sum of coefficients): it limits what short correlation can take off the count to a
factor of about 100; a drifting series would get zero. Drift is reported on its own."""

LARGEST_REFLECTION = 0.995
"""Bound of a partial autocorrelation, for the same reason."""

MEAN_CORRECTIONS = 3
"""Rounds of adding back what subtracting the sample mean took from the autocovariances. At AR(1)
with 0.9 and 200 samples a first round alone counts a tenth too many; the fourth changes 0.1 %."""

MODEL_LAGS = 2000
"""Lags of the fitted model that are summed; at the largest reflection the rest is below 1e-4."""


def effective_count(values: Array) -> float:
    """Return the count of independent samples whose median is as uncertain as this one's.

    ``values`` has shape [n] in time order, any unit. The result lies in [1, n]; an
    anti-correlated series gets n, not more.
    """
    n = len(values)
    centred = values - np.median(values)
    if n < SHORTEST_MODELLED or not np.any(centred):
        return float(n)
    scores = scipy.special.ndtri((scipy.stats.rankdata(values) - 0.5) / n)
    inflation = _sign_inflation(scores)
    length = n // BLOCKS
    if length >= SHORTEST_BLOCK:
        means = np.sign(centred)[: BLOCKS * length].reshape(BLOCKS, length).mean(axis=1)
        if np.ptp(means) > 0:
            slow = length * _model(means).long_run_variance
            if slow > BEYOND_CHANCE * inflation:
                inflation = slow
    return float(np.clip(n / max(inflation, 1.0), 1.0, n))


def long_run_variance(values: Array) -> float:
    """n times the variance of the mean of ``values`` (shape [n], time order), unit squared.

    Never less than that of independent values: a swing that a few values show as regular is not
    trusted to go on so.
    """
    centred = values - values.mean()
    independent = float(centred.var(ddof=1))
    if len(values) < SHORTEST_MODELLED or independent == 0:
        return independent
    return max(independent, _model(centred).long_run_variance)


@dataclass(frozen=True, slots=True, eq=False)
class _Autoregression:
    """Coefficients of a stationary autoregressive model and the variance of its innovations."""

    coefficients: Array
    innovation: float

    @property
    def long_run_variance(self) -> float:
        """n times the variance of the mean of n samples, for large n."""
        memory = max(1.0 - float(self.coefficients.sum()), NEAREST_TO_UNIT_ROOT)
        return self.innovation / memory**2

    def autocorrelation(self) -> Array:
        """Autocorrelations of the model at lags 0 .. MODEL_LAGS - 1."""
        impulse = np.zeros(MODEL_LAGS)
        impulse[0] = 1.0
        response = scipy.signal.lfilter([1.0], np.concatenate([[1.0], -self.coefficients]), impulse)
        covariance = _autocovariance_sums(response, MODEL_LAGS - 1)
        return covariance / covariance[0]


def _sign_inflation(scores: Array) -> float:
    """Variance of the mean sign over that of independent signs (arcsine law, Gaussian scores)."""
    correlation = np.clip(_model(scores).autocorrelation()[1:], -1.0, 1.0)
    return 1.0 + 2.0 * float(np.sum(2.0 / math.pi * np.arcsin(correlation)))


def _autocovariance_sums(series: Array, lags: int) -> Array:
    size = scipy.fft.next_fast_len(len(series) + lags, real=True)
    spectrum = scipy.fft.rfft(series, size)
    return scipy.fft.irfft(spectrum * spectrum.conj(), size)[: lags + 1]


def _model(series: Array) -> _Autoregression:
    """Fit by Levinson-Durbin, with the bias that centring leaves in the covariances undone."""
    n = len(series)
    order = max(1, int(min(n / SAMPLES_PER_ORDER, ORDERS_PER_DECADE * math.log10(n))))
    raw = _autocovariance_sums(series - series.mean(), order) / (n - np.arange(order + 1))
    missing = 0.0
    fitted = _Autoregression(np.zeros(0), float(raw[0]))
    for _ in range(MEAN_CORRECTIONS):
        fitted = _levinson(raw + missing, n)
        missing = min(fitted.long_run_variance / n, 0.5 * float(raw[0]))
    return fitted


def _levinson(covariance: Array, n: int) -> _Autoregression:
    """The order with the smallest n log(innovation) + 2 order (Akaike)."""
    coefficients = np.zeros(0)
    innovation = float(covariance[0])
    best, best_score = _Autoregression(coefficients, innovation), n * math.log(innovation)
    for order in range(1, len(covariance)):
        predicted = float(coefficients @ covariance[order - 1 : 0 : -1])
        reflection = (float(covariance[order]) - predicted) / innovation
        reflection = max(-LARGEST_REFLECTION, min(LARGEST_REFLECTION, reflection))
        coefficients = np.append(coefficients - reflection * coefficients[::-1], reflection)
        innovation *= 1.0 - reflection**2
        score = n * math.log(innovation) + 2 * order
        if score < best_score:
            best, best_score = _Autoregression(coefficients, innovation), score
    return best
