"""Samples and telemetry go to disk and come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchlib.gpu.telemetry import TelemetrySample
from benchlib.measure.series import (
    Samples,
    dump_samples,
    dump_telemetry,
    load_samples,
    load_telemetry,
)


def test_runs_come_back_in_their_order_with_the_digits_that_trtexec_prints(tmp_path: Path) -> None:
    times = np.array([0.227349, 1234.56, 0.000123456, 9.99999])
    runs = [Samples(times, times / 10), Samples(times[::-1], times)]
    path = tmp_path / "a.parquet"
    path.write_bytes(dump_samples(runs))
    for run, back in zip(runs, load_samples(path), strict=True):
        assert [f"{value:.6g}" for value in back.compute_ms] == [
            f"{value:.6g}" for value in run.compute_ms
        ]
        assert back.enqueue_ms == pytest.approx(run.enqueue_ms, rel=1e-6)
        assert back.h2d_ms is None and back.d2h_ms is None


def test_copies_are_kept_where_one_took_time(tmp_path: Path) -> None:
    times = np.array([1.0, 2.0])
    runs = [Samples(times, times, np.zeros(2), np.zeros(2)), Samples(times, times, times, times)]
    path = tmp_path / "a.parquet"
    path.write_bytes(dump_samples(runs))
    first, second = load_samples(path)
    assert list(first.h2d_ms) == [0, 0]
    assert list(second.d2h_ms) == [1, 2]


def test_six_thousand_queries_take_a_few_kilobytes() -> None:
    steps = np.random.default_rng(0).integers(220, 224, 6100) * 0.001024
    assert len(dump_samples([Samples(steps, steps / 40)])) < 12_000


def test_readings_come_back_with_what_was_not_told(tmp_path: Path) -> None:
    told = TelemetrySample(1.25, 1980, 2619, 391.125, 44, 123456789012, 0x4, 1024.5, (17, 4))
    silent = TelemetrySample(2.5)
    path = tmp_path / "t.parquet"
    path.write_bytes(dump_telemetry([(), (told, silent)]))
    assert load_telemetry(path, 2) == ((), (told, silent))


def test_a_run_without_a_reading_is_still_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(dump_telemetry([()]))
    assert load_telemetry(path, 1) == ((),)
    assert pq.read_table(path).num_rows == 0
