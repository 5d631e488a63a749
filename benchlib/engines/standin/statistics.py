"""trtexec's statistics, in float32 like the original, so that the same trace prints the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the performance summary, in milliseconds.

    ``percentiles`` pairs each asked percentage with its value.
    """

    minimum: float
    maximum: float
    mean: float
    median: float
    percentiles: tuple[tuple[float, float], ...]


def metric(values: Values, percentages: tuple[float, ...]) -> Metric:
    """Summarise at least one value; raise :class:`ValueError` when there is none."""
    if not len(values):
        raise ValueError("no query to summarise")
    ordered = np.sort(values.astype(np.float32, copy=False))
    return Metric(
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        mean=float(_sum(ordered) / np.float32(len(ordered))),
        median=median(ordered),
        percentiles=tuple((p, percentile(ordered, p)) for p in percentages),
    )


def median(ordered: Values) -> float:
    """The middle of sorted values, or the mean of the two middles."""
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / np.float32(2))


def percentile(ordered: Values, percentage: float) -> float:
    """An order statistic of sorted values, without interpolation; 100 gives the maximum."""
    excluded = int((np.float32(1) - np.float32(percentage) / np.float32(100)) * len(ordered))
    return float(ordered[max(len(ordered) - 1 - excluded, 0)])


def coefficient_of_variation(values: Values) -> float:
    """Population standard deviation over mean, as a fraction."""
    ordered = np.sort(values.astype(np.float32, copy=False))
    count = np.float32(len(ordered))
    mean = _sum(ordered) / count
    return float(np.sqrt(_sum((ordered - mean) ** 2) / count) / mean)


def group_means(values: Values, size: int) -> Values:
    """Means of consecutive blocks of ``size`` values; a partial block at the end is dropped."""
    groups = len(values) // size
    blocks = values[: groups * size].reshape(groups, size)
    if not groups:
        return np.empty(0, dtype=np.float32)
    return np.cumsum(blocks, axis=1, dtype=np.float32)[:, -1] / np.float32(size)


def _sum(values: Values) -> np.float32:
    """The plain running sum in float32; numpy's own sum is pairwise and differs in the digits."""
    return np.cumsum(values, dtype=np.float32)[-1]
