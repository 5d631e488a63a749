"""trtexec's arithmetic: order statistics, float32 sums, groups; and the report made of it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from benchlib.trtexec import exit_check, exports
from benchlib.trtexec.flags import Version
from benchlib.trtexec.standin import trace as standin_trace
from benchlib.trtexec.standin.program import Log, Measuring, StandinError
from benchlib.trtexec.standin.trace import NEWEST, Dialect, Trace, queries, report


def values(*numbers: float) -> standin_trace.Values:
    return np.array(numbers, dtype=np.float32)


def trace(count: int, compute: float = 2.0, enqueue: float = 0.1, spread: float = 0.0) -> Trace:
    """Back-to-back queries; every second one takes ``spread`` milliseconds longer."""
    durations = np.full(count, compute)
    durations[1::2] += spread
    ends = np.cumsum(durations)
    starts = ends - durations
    return Trace.without_transfers(starts, starts + enqueue, starts, ends, durations)


def told(given: Trace, measuring: Measuring, dialect: Dialect = NEWEST) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    report(Log(out, err), given, measuring, dialect)
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("count", "percentage", "expected"),
    [(100, 99, 99), (100, 95, 94), (10, 99, 9), (10, 90, 8), (3, 100, 2), (3, 0, 0), (1, 50, 0)],
)
def test_percentiles_are_order_statistics(count: int, percentage: float, expected: int) -> None:
    # In float32, 1 - 0.99 is a little less than a hundredth, so of 100 values none is left out.
    ordered = np.arange(count, dtype=np.float32)
    assert standin_trace.percentile(ordered, percentage) == expected


def test_the_median_of_an_even_count_lies_between_the_middles() -> None:
    metric = standin_trace.metric_of(values(4, 1, 3, 2), (100.0,))
    assert (metric.minimum, metric.median, metric.maximum) == (1.0, 2.5, 4.0)
    assert metric.percentiles == ((100.0, 4.0),)


def test_the_mean_is_a_running_sum_of_sorted_float32_values() -> None:
    # 2**24 swallows ones added to it one by one, but not the ones that were summed before it.
    metric = standin_trace.metric_of(values(2**24, 1, 1, 1), ())
    assert metric.mean == float(np.float32(2**24 + 4) / np.float32(4))
    assert standin_trace.metric_of(values(-(2.0**25), 1, 1, 1), ()).mean == -(2.0**25) / 4


def test_spread_is_the_populations() -> None:
    assert standin_trace.coefficient_of_variation(values(1, 3)) == 0.5


def test_a_partial_group_is_dropped() -> None:
    assert standin_trace.group_means(values(1, 3, 5, 7, 100), 2).tolist() == [2.0, 6.0]
    assert len(standin_trace.group_means(values(1.0), 2)) == 0


def test_no_value_has_no_summary() -> None:
    with pytest.raises(ValueError, match="no query"):
        standin_trace.metric_of(values(), ())


def test_the_report_reads_back_and_leaves_the_warm_up_out() -> None:
    given = trace(200)
    out, err = told(given, Measuring(warm_up_ms=100, average_runs=50, percentiles=(99.0,)))
    log = exit_check.read_log(out)
    assert log.metrics["GPU Compute Time"].median_ms == 2.0
    assert log.metrics["GPU Compute Time"].percentiles == {99.0: 2.0}
    assert log.metrics["Enqueue Time"].median_ms == pytest.approx(0.1, rel=1e-3)
    assert log.throughput_qps == 500
    assert "Warmup completed 50 queries over 100 ms" in out
    assert "Timing trace has 150 queries over 0.3 s" in out
    assert out.count("Average on 50 runs - GPU latency: 2 ms - Host latency: 2 ms (enqueue ") == 3
    assert not err


def test_warm_up_ends_at_the_first_late_query_even_if_an_earlier_one_follows() -> None:
    given = trace(10)
    counted = given.after_warm_up(7)
    assert len(counted) == 6
    assert counted.start_compute[0] == 8


def test_queries_are_sorted_by_the_start_of_their_copies() -> None:
    given = trace(3)
    reverse = replace(
        given,
        start_h2d=given.start_h2d[::-1],
        start_compute=given.start_compute[::-1],
        compute=values(1, 2, 3),
    )
    assert reverse.sorted().compute.tolist() == [3, 2, 1]


def test_nothing_after_the_warm_up_is_an_error() -> None:
    with pytest.raises(StandinError, match="No query began after the warm-up"):
        told(trace(3), Measuring(warm_up_ms=100))


@pytest.mark.parametrize(
    ("given", "warning"),
    [
        (trace(10, compute=2.0, enqueue=1.5), None),
        (trace(10, compute=2.0, enqueue=1.7), "bound by Enqueue Time"),
        (trace(10, compute=2.0, spread=0.2), "coefficient of variance = 4.76"),
    ],
)
def test_warnings_follow_trtexecs_thresholds(given: Trace, warning: str | None) -> None:
    _, err = told(given, Measuring(warm_up_ms=0))
    assert (warning in err) if warning else not err


def test_the_instability_threshold_depends_on_the_version() -> None:
    shaky = trace(10, compute=2.0, spread=0.06)
    for version, warned in (
        (Version(8, 6), True),
        (Version(10, 13, 2), True),
        (Version(11, 1), False),
    ):
        _, err = told(shaky, Measuring(warm_up_ms=0), Dialect.of(version))
        assert ("unstable" in err) is warned, version


def test_groups_in_the_middle_are_left_out_from_9_1_on() -> None:
    many = trace(450, compute=1.0)
    measuring = Measuring(warm_up_ms=0, average_runs=1)
    old, _ = told(many, measuring, Dialect.of(Version(8, 6)))
    new, _ = told(many, measuring, Dialect.of(Version(10, 0, 1)))
    assert old.count("Average on") == 450
    assert new.count("Average on") == 400
    assert "... Omitting 50 lines" in new


def test_exported_records_are_read_back() -> None:
    given = trace(3)
    (first, *_) = exports.load_times(exports.dump_times(queries(given)))
    assert first.compute_ms == 2.0
    assert first.latency_ms == 2.0
    assert first.enqueue_ms == pytest.approx(0.1)
    assert first.h2d_ms == 0
