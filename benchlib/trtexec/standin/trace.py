"""The queries of a run: when the loop ends, their stamps, and the report trtexec makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from benchlib.trtexec.exports import Query, number
from benchlib.trtexec.flags import Version
from benchlib.trtexec.standin.program import Log, Measuring, StandinError

# When the measuring loop ends, and how long the warm-up lasts: trtexec's rule as plain logic.


class LoopBound:
    """Counts loop passes until both the iterations and the duration are met after the warm-up.

    The caller runs one pass while :meth:`more` says so, then reports with :meth:`passed` the
    latest compute start it has read, in milliseconds since the clock event, or None when the
    pass completed no query yet. Passes that end within the warm-up do not count as iterations.
    """

    __slots__ = ("_count", "_iterations", "_latest_ms", "_limit_ms", "_skipped", "_warm_up_ms")

    def __init__(self, *, iterations: int, duration_s: float, warm_up_ms: float) -> None:
        self._iterations = iterations
        self._warm_up_ms = warm_up_ms
        self._limit_ms = math.inf if duration_s < 0 else 1000.0 * duration_s + warm_up_ms
        self._latest_ms = 0.0
        self._skipped = 0
        self._count = 0

    @property
    def warming_up(self) -> bool:
        return self._latest_ms < self._warm_up_ms

    def more(self) -> bool:
        """Whether another pass has to be made."""
        return self._count < self._iterations + self._skipped or self._latest_ms < self._limit_ms

    def passed(self, start_ms: float | None) -> None:
        """Take note of a finished pass and of the query it completed, if any."""
        self._count += 1
        if start_ms is not None and start_ms > self._latest_ms:
            self._latest_ms = start_ms
        if self._latest_ms < self._warm_up_ms and self._latest_ms:
            self._skipped += 1


# The stamps of a run, one entry per query, and what trtexec keeps of them.


Stamps = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trace:
    """Milliseconds as float32, one entry per query, in the order of enqueueing.

    ``start_enq`` and ``end_enq`` are on the host's clock, the rest on the engine's; both are zero
    at the clock event. ``compute`` is the duration between the compute stamps, measured directly
    (their float32 difference is coarser). Without transfers the copy stamps equal the compute
    stamps.
    """

    start_enq: Stamps
    end_enq: Stamps
    start_h2d: Stamps
    end_h2d: Stamps
    start_compute: Stamps
    end_compute: Stamps
    start_d2h: Stamps
    end_d2h: Stamps
    compute: Stamps

    @classmethod
    def without_transfers(
        cls,
        start_enq: npt.ArrayLike,
        end_enq: npt.ArrayLike,
        start_compute: npt.ArrayLike,
        end_compute: npt.ArrayLike,
        compute: npt.ArrayLike,
    ) -> Trace:
        """Make a trace of queries whose data was already in place."""
        start, end = _stamps(start_compute), _stamps(end_compute)
        return cls(
            start_enq=_stamps(start_enq),
            end_enq=_stamps(end_enq),
            start_h2d=start,
            end_h2d=start,
            start_compute=start,
            end_compute=end,
            start_d2h=end,
            end_d2h=end,
            compute=_stamps(compute),
        )

    @property
    def enqueue(self) -> Stamps:
        return self.end_enq - self.start_enq

    @property
    def h2d(self) -> Stamps:
        return self.end_h2d - self.start_h2d

    @property
    def d2h(self) -> Stamps:
        return self.end_d2h - self.start_d2h

    @property
    def latency(self) -> Stamps:
        """Input copies, compute and output copies; waiting between them is not in it."""
        return self.h2d + self.compute + self.d2h

    @property
    def span_ms(self) -> np.float32:
        """From the start of the first query to the end of the last."""
        return self.end_d2h[-1] - self.start_h2d[0]

    def __len__(self) -> int:
        return len(self.compute)

    def sorted(self) -> Trace:
        """The same queries in the order in which their input copies began."""
        return self._taken(np.argsort(self.start_h2d, kind="stable"))

    def after_warm_up(self, warm_up_ms: float) -> Trace:
        """Drop everything before the first query whose compute began at or after ``warm_up_ms``.

        No query at all is left when none began so late.
        """
        late = np.flatnonzero(self.start_compute >= np.float32(warm_up_ms))
        return self._taken(slice(int(late[0]) if len(late) else len(self), None))

    def _taken(self, which: npt.NDArray[np.intp] | slice) -> Trace:
        return replace(
            self, **{item.name: getattr(self, item.name)[which] for item in fields(self)}
        )


def _stamps(values: npt.ArrayLike) -> Stamps:
    return np.asarray(values, dtype=np.float32)


# trtexec's statistics, in float32 like the original, so that the same trace prints the same.


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


def metric_of(values: Values, percentages: tuple[float, ...]) -> Metric:
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


# The performance report in the log, and the check of what it warns about.


ENQUEUE_BOUND = np.float32(0.8)
"""Warn when the median enqueue takes more than this share of the median compute time."""

UNSTABLE_OLD = 0.01
UNSTABLE_NEW = 0.025
NEW_UNSTABLE_SINCE = Version(10, 13, 3)
"""Warn at a coefficient of variation above 1 % up to 10.13.2, above 2.5 % afterwards."""

GROUPS_SHOWN = 200
ALL_GROUPS_UNTIL = Version(9, 1)
"""From 9.1 only the first and last 200 group averages are shown."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between versions: the warning's threshold, and how many groups are shown."""

    unstable_above: float
    groups_shown: int | None

    @classmethod
    def of(cls, version: Version) -> Dialect:
        """The dialect trtexec speaks in ``version``."""
        return cls(
            UNSTABLE_NEW if version >= NEW_UNSTABLE_SINCE else UNSTABLE_OLD,
            None if version < ALL_GROUPS_UNTIL else GROUPS_SHOWN,
        )


NEWEST = Dialect(UNSTABLE_NEW, GROUPS_SHOWN)


def report(log: Log, trace: Trace, measuring: Measuring, dialect: Dialect) -> Trace:
    """Write the whole report and return the counted queries, in order of their start.

    Raises :class:`StandinError` when no query began after the warm-up.
    """
    ordered = trace.sorted()
    counted = ordered.after_warm_up(measuring.warm_up_ms)
    if not len(counted):
        raise StandinError("No query began after the warm-up; raise --iterations or --duration")
    warm_ups = len(ordered) - len(counted)
    log.info(f"Warmup completed {warm_ups} queries over {number(measuring.warm_up_ms)} ms")
    seconds = number(counted.span_ms / np.float32(1000))
    log.info(f"Timing trace has {len(counted)} queries over {seconds} s")
    log.info()
    _group_averages(log, counted, measuring.average_runs, dialect.groups_shown)
    _summary(log, counted, measuring, dialect)
    return counted


def queries(trace: Trace) -> tuple[Query, ...]:
    """The records of ``--exportTimes``."""
    columns = (
        trace.start_enq,
        trace.end_enq,
        trace.start_h2d,
        trace.end_h2d,
        trace.start_compute,
        trace.end_compute,
        trace.start_d2h,
        trace.end_d2h,
        trace.h2d,
        trace.compute,
        trace.d2h,
        trace.latency,
    )
    return tuple(Query(*row) for row in np.stack(columns, axis=1).tolist())


def _group_averages(log: Log, trace: Trace, size: int, shown: int | None) -> None:
    log.info("=== Trace details ===")
    log.info(f"Trace averages of {size} runs:")
    means = [group_means(column, size) for column in (trace.compute, trace.latency, trace.enqueue)]
    count = len(means[0])
    for index, (compute, latency, enqueue) in enumerate(zip(*means, strict=True)):
        if shown is not None and shown <= index < count - shown:
            if index == shown:
                log.info(f"... Omitting {(count - 2 * shown) * size} lines")
            continue
        log.info(
            f"Average on {size} runs - GPU latency: {number(compute)} ms - "
            f"Host latency: {number(latency)} ms (enqueue {number(enqueue)} ms)"
        )
    log.info()


def _summary(log: Log, trace: Trace, measuring: Measuring, dialect: Dialect) -> None:
    metrics = {
        title: metric_of(column, measuring.percentiles)
        for title, column in (
            ("Latency", trace.latency),
            ("Enqueue Time", trace.enqueue),
            ("H2D Latency", trace.h2d),
            ("GPU Compute Time", trace.compute),
            ("D2H Latency", trace.d2h),
        )
    }
    count = np.float32(len(trace))
    compute = metrics["GPU Compute Time"]
    log.info("=== Performance summary ===")
    log.info(f"Throughput: {number(count / trace.span_ms * np.float32(1000))} qps")
    for title, metric in metrics.items():
        log.info(f"{title}: {_row(metric)}")
    log.info(f"Total Host Walltime: {number(trace.span_ms / np.float32(1000))} s")
    total = np.float32(compute.mean) * count / np.float32(1000)
    log.info(f"Total GPU Compute Time: {number(total)} s")
    _warnings(log, trace, metrics, dialect)
    log.info()


def _row(metric: Metric) -> str:
    cells = [
        f"min = {number(metric.minimum)} ms",
        f"max = {number(metric.maximum)} ms",
        f"mean = {number(metric.mean)} ms",
        f"median = {number(metric.median)} ms",
    ]
    cells += [f"percentile({number(p)}%) = {number(value)} ms" for p, value in metric.percentiles]
    return ", ".join(cells)


def _warnings(log: Log, trace: Trace, metrics: dict[str, Metric], dialect: Dialect) -> None:
    compute = metrics["GPU Compute Time"].median
    bounds = {
        "Enqueue Time": metrics["Enqueue Time"].median > ENQUEUE_BOUND * np.float32(compute),
        "host-to-device transfers": metrics["H2D Latency"].median >= compute,
        "device-to-host transfers": metrics["D2H Latency"].median >= compute,
    }
    remedies = {"Enqueue Time": "measure with a CUDA graph"}
    for what, bound in bounds.items():
        if bound:
            log.warning(f"* Throughput may be bound by {what} rather than GPU Compute.")
            log.warning(f"  Remedy: {remedies.get(what, 'add --noDataTransfers')}.")
    variation = coefficient_of_variation(trace.compute)
    if variation > dialect.unstable_above:
        percent = number(variation * 100)
        log.warning(f"* GPU compute time is unstable, with coefficient of variance = {percent}%.")
        log.warning("  Remedy: lock the clocks, and let nothing else run on the device.")
