"""How many independent samples a series of correlated samples is worth.

Neighbouring queries share a clock state, a temperature and a neighbour on the machine, so 3000
samples may fix the median no better than 300 independent ones would. The count is found on
ranks (normal scores), so it is the same for any monotone change of the unit, and heavy tails do
not disturb it:

1. an autoregressive model of the scores, its order by Akaike's criterion, gives their
   autocorrelation; the arcsine law turns it into that of the above/below-the-median signs, the
   only thing the variance of a median depends on;
2. for long series the same is done on the signs' means over blocks, which shows slow swings and
   switching between two states that a low-order model of neighbours misses.

The second counts when it is smaller by more than chance. What no estimate can see is a swing
longer than the run can show: 200 samples of which a third of the variance has a memory of 100 are
taken for 80 and are worth 5, and their interval covers half of the time, not 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

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
"""Samples per block; with fewer, the blocks repeat what neighbours show already."""

BEYOND_CHANCE = 1.0 + 2.0 * (2.0 / BLOCKS) ** 0.5
"""Ratio of the two variances from which the slow one is believed: two standard errors of a
variance found from that many blocks. Taking the larger at all times over-covers by a point."""

NEAREST_TO_UNIT_ROOT = 0.02
"""Smallest 1 - (sum of coefficients), which bounds what neighbours alone can take off the count
at a factor of about 100; a drifting series would get zero. Drift is reported on its own."""

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
