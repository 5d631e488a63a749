"""The readers on files that TensorRT 8.6.0 left on a real GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchlib.case import Precision
from benchlib.engines import exporttimes, layers, log
from benchlib.engines.command import Phase
from benchlib.engines.outcome import judge_phase
from benchlib.engines.version import Version

REAL = Path(__file__).parent / "data" / "real-8.6.0-h200"


def test_the_build_log_tells_version_time_and_success():
    read = log.read((REAL / "build.log").read_text())
    assert read.version == Version(8, 6, 0)
    assert read.built_s == pytest.approx(38.5953)
    assert read.passed
    assert not read.errors


def test_the_metric_rows_agree_with_the_exported_times():
    read = log.read((REAL / "time.log").read_text())
    queries = exporttimes.read(REAL / "times.json")
    compute = np.array([query.compute_ms for query in queries])
    assert len(compute) == 200
    median = read.metrics["GPU Compute Time"].median_ms
    assert median == pytest.approx(0.22624)
    # The first 200 queries of the run lie within half a percent of the whole run's median.
    assert np.median(compute) == pytest.approx(median, rel=5e-3)


def test_a_timing_that_left_its_times_is_judged_good():
    read = log.read((REAL / "time.log").read_text())
    assert judge_phase(Phase.TIME, 0, read, REAL / "times.json").ok
    assert not judge_phase(Phase.TIME, 0, read, REAL / "missing.json").ok


def test_every_convolution_of_the_fp16_engine_is_fp16():
    read = layers.read(REAL / "layers.json")
    kinds = {layer.type for layer in read}
    assert "CaskConvolution" in kinds
    assert layers.low_precision_share(read, Precision.FP16) == 1.0
