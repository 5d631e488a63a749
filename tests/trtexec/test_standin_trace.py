"""The queries of a run: sorted, without the warm-up, told in the log and exported."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from benchlib.trtexec import exports
from benchlib.trtexec.standin.program import Log, StandinError, Trace, queries, report


def trace(count: int, compute: float | np.ndarray = 2.0, enqueue: float = 0.1) -> Trace:
    """Back-to-back queries."""
    durations = np.full(count, compute)
    ends = np.cumsum(durations)
    starts = ends - durations
    return Trace.of(starts, starts + enqueue, starts, ends, durations)


def told(given: Trace, warm_up_ms: float) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    report(Log(out, err), given, warm_up_ms)
    return out.getvalue(), err.getvalue()


def test_the_report_leaves_the_warm_up_out() -> None:
    durations = np.full(200, 2.0)
    durations[:50] = 8.0
    durations[100:104] = [1.0, 3.0, 4.0, 2.0]
    out, err = told(trace(200, durations), warm_up_ms=400)
    assert "Warmup completed 50 queries over 400 ms" in out
    assert "Timing trace has 150 queries over 0.302 s" in out
    assert "[I] GPU Compute Time: min = 1 ms, max = 4 ms, mean = 2.01333 ms, median = 2 ms\n" in out
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
        compute=np.array([1, 2, 3], dtype=np.float32),
    )
    assert reverse.sorted().compute.tolist() == [3, 2, 1]


def test_nothing_after_the_warm_up_is_an_error() -> None:
    with pytest.raises(StandinError, match="No query began after the warm-up"):
        told(trace(3), warm_up_ms=100)


def test_exported_records_are_read_back() -> None:
    given = trace(3)
    (first, *_) = exports.load_times(exports.dump_times(queries(given)))
    assert first.compute_ms == 2.0
    assert first.latency_ms == 2.0
    assert first.enqueue_ms == pytest.approx(0.1)
    assert first.h2d_ms == 0
