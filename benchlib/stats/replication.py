"""Three spreads told apart: within a run, between processes, between builds.

Queries of one run share a process, with its memory layout and clock history; processes of one
build share an engine, with the kernels that its builder happened to choose. Samples of one run
know nothing of the latter two, however many they are. So the headline's interval is made at the
highest level that was repeated: a mean of that level's means with Student's t over their spread,
into which the lower levels' noise enters by itself. It is made of logarithms, because run-to-run
effects are factors (a clock, a kernel), and never narrower than the lower levels' own noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy import stats

from benchlib.case import Word
from benchlib.stats.summary import CONFIDENCE, Summary

_TWO_SIDED_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


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


def combine(builds: Sequence[Sequence[Summary]]) -> Replication:
    """Combine runs: ``builds[i][j]`` is the summary of process j of build i.

    Builds may have unlike numbers of processes; empty ones are left out. Raises ValueError when
    no run is left.
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
        latency, low, high = _interval(points, noise, processes)
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
    points: np.ndarray, noise: float | None, processes: int
) -> tuple[float, float, float]:
    centre = float(points.mean())
    error = float(points.std(ddof=1)) / len(points) ** 0.5
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(points) - 1)) * error
    # A few runs may agree by luck; the samples' own noise is then still there
    least = _TWO_SIDED_Z * ((noise or 0.0) / processes) ** 0.5
    reach = max(reach, least)
    return math.exp(centre), math.exp(centre - reach), math.exp(centre + reach)
