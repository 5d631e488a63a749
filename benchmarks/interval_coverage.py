"""How often the 95 % interval of a run's median holds the true median, on synthetic runs.

The test suite does this with a few hundred runs per case; here are thousands, more kinds of
dependence and more lengths. Prints one line per case: coverage in percent with its own standard
error, and the median effective sample size.

    python benchmarks/interval_coverage.py [RUNS]        (default 2000: about four minutes)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from benchlib.stats.summary import effective_count, median_interval

Array = NDArray[np.float64]
Source = Callable[[np.random.Generator, int], Array]

BURN_IN = 1000
LENGTHS = (200, 500, 1000, 2000, 5000)
SEED = 20
EXP_0 = 1.0
"""True median of every source below: exp of a process whose median is 0."""


def autoregressive(rho: float) -> Source:
    """Log-normal samples whose logarithms are AR(1), standard deviation 5 %."""

    def draw(rng: np.random.Generator, n: int) -> Array:
        steps = rng.standard_normal(n + BURN_IN)
        series = signal.lfilter([1.0], [1.0, -rho], steps)[BURN_IN:]
        return np.exp(0.05 * series * (1 - rho**2) ** 0.5)

    return draw


def buried(rho: float, share: float) -> Source:
    """An AR(1) swing that makes up ``share`` of the variance, the rest independent noise."""

    def draw(rng: np.random.Generator, n: int) -> Array:
        swing = np.log(autoregressive(rho)(rng, n))
        noise = 0.05 * rng.standard_normal(n)
        return np.exp(share**0.5 * swing + (1 - share) ** 0.5 * noise)

    return draw


def stepped(source: Source, step: float) -> Source:
    """The same, rounded to a clock's step."""
    return lambda rng, n: np.round(source(rng, n) / step) * step


CASES: dict[str, Source] = {
    "independent": autoregressive(0.0),
    "AR(1) 0.3": autoregressive(0.3),
    "AR(1) 0.6": autoregressive(0.6),
    "AR(1) 0.8": autoregressive(0.8),
    "AR(1) 0.9": autoregressive(0.9),
    "AR(1) -0.4": autoregressive(-0.4),
    "half AR(1) 0.9, half noise": buried(0.9, 0.5),
    "third AR(1) 0.99, rest noise": buried(0.99, 0.33),
    "AR(1) 0.9 in steps of 1 %": stepped(autoregressive(0.9), 0.01),
}


def coverage(source: Source, n: int, runs: int) -> tuple[float, float]:
    """Fraction of ``runs`` whose interval holds the truth, and the median effective count."""
    rng = np.random.default_rng(SEED)
    held, counts = 0, []
    for _ in range(runs):
        values = source(rng, n)
        low, high = median_interval(values) or (np.inf, -np.inf)
        held += low <= EXP_0 <= high
        counts.append(effective_count(values))
    return held / runs, median(counts)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for name, source in CASES.items():
        for n in LENGTHS:
            held, count = coverage(source, n, runs)
            error = (held * (1 - held) / runs) ** 0.5
            print(f"{name:30} n={n:5}  {100 * held:5.1f} ± {100 * error:.1f} %  worth {count:.0f}")


if __name__ == "__main__":
    main()
