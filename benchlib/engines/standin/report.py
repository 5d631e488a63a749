"""The performance report in the log, and the check of what it warns about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchlib.engines.exporttimes import Query, number
from benchlib.engines.standin import statistics
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.standin.options import Measuring
from benchlib.engines.standin.trace import Trace
from benchlib.engines.version import Version

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
    means = [
        statistics.group_means(column, size)
        for column in (trace.compute, trace.latency, trace.enqueue)
    ]
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
        title: statistics.metric(column, measuring.percentiles)
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


def _row(metric: statistics.Metric) -> str:
    cells = [
        f"min = {number(metric.minimum)} ms",
        f"max = {number(metric.maximum)} ms",
        f"mean = {number(metric.mean)} ms",
        f"median = {number(metric.median)} ms",
    ]
    cells += [f"percentile({number(p)}%) = {number(value)} ms" for p, value in metric.percentiles]
    return ", ".join(cells)


def _warnings(
    log: Log, trace: Trace, metrics: dict[str, statistics.Metric], dialect: Dialect
) -> None:
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
    variation = statistics.coefficient_of_variation(trace.compute)
    if variation > dialect.unstable_above:
        percent = number(variation * 100)
        log.warning(f"* GPU compute time is unstable, with coefficient of variance = {percent}%.")
        log.warning("  Remedy: lock the clocks, and let nothing else run on the device.")
