"""Three components of variance: within a run, between processes, between builds.

Queries of one run share a process, with its memory layout and clock history; processes of one
build share an engine, with the kernels that its builder happened to choose. Samples of one run
show neither, however many they are. So the headline's interval is made at the
highest level that was repeated, of that level's values, into which the lower levels' noise enters
by itself: up to five values, which no order bounds, their mean with Student's t over their spread;
from six on their median between order statistics, which a machine's slow phases do not move. It is
made of logarithms, because run-to-run effects are factors (a clock, a kernel), and never narrower
than the lower levels' own noise.

Processes are timed in rounds, and :class:`Until` says when a case has had enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import scipy

from benchlib.case import Word
from benchlib.stats.summary import CONFIDENCE, FEWEST_FOR_INTERVAL, Summary

_TWO_SIDED_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)

STOPPED_CONFIDENCE = 0.97
"""Level at which the interval over processes is made where its width decided how many there are.
Such an interval ends rather when it is narrow by chance: made at 95 %, it holds the truth 90 to
95 times of 100, at 97 % 93 to 97 times (benchmarks/coverage.py)."""

GPU_TARGET = 0.005
"""Half-width over latency at which a case needs no more rounds on a GPU. Processes of one engine
differ by 0.05 to 0.3 % there (H100, eight series of five), which three to ten rounds resolve; the
difference between two builds or cards is larger."""

CPU_TARGET = 0.03
"""The same on a CPU, where other load changes a process's times by several percent."""


class Ending(Word):
    """Why no further round is timed of a case, or that the rounds were broken off."""

    SURE = "sure"
    CEILING = "ceiling"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Until:
    """The rule that ends the rounds of a case; ``target`` is half-width over latency."""

    target: float
    min_rounds: int
    max_rounds: int
    time_ceiling_s: float

    def ending(self, rounds: int, half_width: float | None, timing_s: float) -> Ending | None:
        """Why the case ends after ``rounds``, in which it was timed for ``timing_s`` seconds of
        wall time and its interval has this ``half_width``, a fraction; None: it goes on."""
        if rounds < self.min_rounds:
            return None
        if half_width is not None and half_width <= self.target:
            return Ending.SURE
        at_end = rounds >= self.max_rounds or timing_s >= self.time_ceiling_s
        return Ending.CEILING if at_end else None


class Level(Word):
    """The highest level that was repeated, so what the interval covers: it and all below it."""

    RUN = "within one run"
    PROCESS = "processes of one build"
    BUILD = "builds"


@dataclass(frozen=True, slots=True)
class Replication:
    """The headline over all runs, in the unit of the samples (milliseconds).

    ``latency`` is the median of the one run, or the mean (of logarithms) of the levels' means of
    run medians. The three spreads are standard deviations as fractions of the latency: of a
    run's median as its own samples have it, of processes beyond that, of builds beyond both;
    None where the level was not repeated, 0.0 where the lower levels explain all of it.
    """

    latency: float
    ci_low: float | None
    ci_high: float | None
    level: Level
    builds: int
    processes: int
    within_run: float | None
    between_processes: float | None
    between_builds: float | None

    @property
    def relative_half_width(self) -> float | None:
        """Half the interval over the latency, a fraction; None without an interval."""
        if self.ci_low is None or self.ci_high is None:
            return None
        return (self.ci_high - self.ci_low) / 2 / self.latency

    @property
    def sentence(self) -> str:
        """What the interval covers, for the reader of a table."""
        if self.level is Level.RUN:
            return (
                "One process of one build: the interval is that of the run's own samples and "
                "says nothing of other processes or builds."
            )
        if self.level is Level.PROCESS:
            return (
                f"{self.processes} processes of one build: the interval covers runs and processes "
                "and says nothing of other builds."
            )
        return f"{self.processes} processes over {self.builds} builds: the interval covers all."

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "level": self.level.value, "sentence": self.sentence}


def combine(builds: Sequence[Sequence[Summary]], stopped: bool = False) -> Replication:
    """Combine runs: ``builds[i][j]`` is the summary of process j of build i.

    Builds may have unlike numbers of processes; empty ones are left out. ``stopped`` is whether
    the interval's width decided how many processes there are. Raises ValueError when no run is
    left.
    """
    kept = [runs for runs in builds if runs]
    if not kept:
        raise ValueError("no runs to combine; every process of every build failed")
    logs = [np.log([run.median for run in runs]) for runs in kept]
    processes = sum(map(len, kept))
    noise = _within([run for runs in kept for run in runs])
    between_processes, mean_variances = _processes(logs, noise)
    between_builds = _builds(logs, mean_variances)
    if len(kept) > 1:
        level, points = Level.BUILD, np.array([values.mean() for values in logs])
    elif processes > 1:
        level, points = Level.PROCESS, logs[0]
    else:
        level, points = Level.RUN, logs[0]
    only = kept[0][0]
    if level is Level.RUN:
        latency, low, high = only.median, only.ci_low, only.ci_high
    else:
        level_of_interval = STOPPED_CONFIDENCE if stopped and len(kept) == 1 else CONFIDENCE
        latency, low, high = _interval(points, noise, processes, level_of_interval)
    return Replication(
        latency=latency,
        ci_low=low,
        ci_high=high,
        level=level,
        builds=len(kept),
        processes=processes,
        within_run=None if noise is None else noise**0.5,
        between_processes=None if between_processes is None else between_processes**0.5,
        between_builds=None if between_builds is None else between_builds**0.5,
    )


def _within(runs: Sequence[Summary]) -> float | None:
    """Mean variance of the logarithm of a run's median, from the runs' own intervals."""
    widths = [
        math.log(run.ci_high / run.ci_low)
        for run in runs
        if run.ci_low is not None and run.ci_high is not None
    ]
    if not widths:
        return None
    return float(np.mean([(width / 2 / _TWO_SIDED_Z) ** 2 for width in widths]))


def _processes(
    logs: Sequence[np.ndarray], noise: float | None
) -> tuple[float | None, list[float] | None]:
    """Variance of processes beyond the samples' own, and that of each build's mean."""
    freedom = sum(len(values) - 1 for values in logs)
    if freedom == 0:
        return None, None if noise is None else [noise / len(values) for values in logs]
    pooled = sum(float(((values - values.mean()) ** 2).sum()) for values in logs) / freedom
    whole = max(pooled, noise or 0.0)
    return whole - (noise or 0.0), [whole / len(values) for values in logs]


def _builds(logs: Sequence[np.ndarray], mean_variances: list[float] | None) -> float | None:
    """Variance of builds beyond that of their means."""
    if len(logs) < 2:
        return None
    whole = float(np.var([values.mean() for values in logs], ddof=1))
    return max(0.0, whole - (float(np.mean(mean_variances)) if mean_variances else 0.0))


def _interval(
    points: np.ndarray, noise: float | None, processes: int, confidence: float
) -> tuple[float, float, float]:
    n = len(points)
    if n < FEWEST_FOR_INTERVAL:
        centre = float(points.mean())
        error = float(points.std(ddof=1)) / n**0.5
        reach = float(scipy.stats.t.ppf(0.5 + confidence / 2, n - 1)) * error
        low, high = centre - reach, centre + reach
    else:
        centre = float(np.median(points))
        low, high = _by_order(np.sort(points), confidence)
    # A few runs may agree by chance; the interval still has to cover the samples' own noise
    least = _TWO_SIDED_Z * ((noise or 0.0) / processes) ** 0.5
    low, high = min(low, centre - least), max(high, centre + least)
    return math.exp(centre), math.exp(low), math.exp(high)


def _by_order(ordered: np.ndarray, confidence: float) -> tuple[float, float]:
    """The interval of the median between two order statistics of ascending values, interpolated
    so that its level is ``confidence`` (Hettmansperger and Sheather, 1986)."""
    n = len(ordered)
    levels = 1 - 2 * scipy.stats.binom.cdf(np.arange(n // 2), n, 0.5)
    depth = max(int((levels >= confidence).sum()), 1)
    outer, inner = levels[depth - 1], levels[depth] if depth < len(levels) else 0.0
    if outer <= confidence:
        return float(ordered[0]), float(ordered[-1])
    share = (outer - confidence) / (outer - inner)
    weight = (n - depth) * share / (depth + (n - 2 * depth) * share)
    low = (1 - weight) * ordered[depth - 1] + weight * ordered[depth]
    high = (1 - weight) * ordered[n - depth] + weight * ordered[n - depth - 1]
    return float(low), float(high)
