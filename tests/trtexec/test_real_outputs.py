"""The readers on files that TensorRT 8.6.0 left on a real GPU."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchlib.case import Failure, GraphForm, Int8Method, Precision
from benchlib.export import build
from benchlib.measure import store
from benchlib.models.macs import macs_by_node
from benchlib.stats import summary
from benchlib.trtexec import exit_check, exports
from benchlib.trtexec.command import Phase
from benchlib.trtexec.exit_check import judge_phase
from benchlib.trtexec.flags import Version

DATA = Path(__file__).parent / "data"
REAL = DATA / "real-8.6.0-h200"
RESULTS = DATA.parents[2] / "results" / "h100-trtexec-8.6"


def test_the_build_log_tells_version_time_and_success():
    read = exit_check.read_log((REAL / "build.log").read_text())
    assert read.version == Version(8, 6, 0)
    assert read.built_s == pytest.approx(38.5953)
    assert read.passed
    assert not read.errors


def test_the_printed_median_agrees_with_the_exported_times():
    log = (REAL / "time.log").read_text()
    queries = exports.read_times(REAL / "times.json")
    compute = np.array([query.compute_ms for query in queries])
    assert len(compute) == 200
    median = float(re.search(r"GPU Compute Time: .*, median = ([\d.]+) ms", log)[1])
    assert median == pytest.approx(0.22624)
    # The first 200 queries of the run lie within half a percent of the whole run's median.
    assert np.median(compute) == pytest.approx(median, rel=5e-3)


def test_the_time_of_an_enqueue_is_what_trtexec_itself_printed():
    """Of NVIDIA's own trtexec, on an H100; the export's stamps are multiples of 0.01 ms there."""
    (samples,) = (RESULTS / "samples").glob("fast_scnn_blog-fp16-b1-1024x768-*.parquet")
    (run, *_) = store.load_samples(samples)
    log = store.read_log(RESULTS / "logs" / f"{samples.stem}.log.xz")
    printed = float(re.search(r"Enqueue Time: .*?mean = ([\d.]+) ms", log)[1])
    assert np.median(run.enqueue_ms) == 0
    found = summary.summary(run.compute_ms, run.enqueue_ms)
    assert found.enqueue == pytest.approx(printed, rel=0.02)


def test_a_timing_that_left_its_times_is_judged_good():
    read = exit_check.read_log((REAL / "time.log").read_text())
    assert judge_phase(Phase.TIME, 0, read, REAL / "times.json").failure is None
    missing = judge_phase(Phase.TIME, 0, read, REAL / "missing.json")
    assert missing.failure is Failure.BAD_OUTPUT


def test_every_convolution_of_the_fp16_engine_is_fp16():
    read = exports.read(REAL / "layers.json")
    kinds = {layer.type for layer in read}
    assert "CaskConvolution" in kinds
    assert exports.low(exports.share(read), Precision.FP16) == 1.0


def test_a_real_engine_does_all_the_networks_work_in_its_layers(tmp_path):
    graph = build.make("resnet18", GraphForm.FP32, height=480, width=640, cache_dir=tmp_path)
    work = macs_by_node(graph.path, 1, 480, 640)
    read = exports.read(REAL / "layers.json")
    macs = exports.macs(read, work)
    # As many as torchvision publishes for this network, none lost in fusing, none counted twice.
    assert sum(count or 0 for count in macs) == sum(work.values()) == 11_103_948_800
    assert exports.share(read, macs) == {"fp16": 1.0}
    assert all(count for layer, count in zip(read, macs, strict=True) if "Conv" in layer.type)


def test_a_real_int8_engine_owns_up_to_what_was_left_out_of_int8(tmp_path):
    graph = build.make(
        "fast_scnn",
        GraphForm.INT8_QDQ,
        height=480,
        width=640,
        int8_method=Int8Method.QDQ_NO_DEPTHWISE,
        cache_dir=tmp_path,
    )
    work = macs_by_node(graph.path, 1, 480, 640)
    read = exports.read(DATA / "real-8.6.0-h100" / "layers.json")
    macs = exports.macs(read, work)
    assert sum(count or 0 for count in macs) == sum(work.values())
    # FP16 was allowed, and the builder took FP32 for every one of the 14 depth-wise convolutions.
    spared = [
        layer
        for layer in read
        if layer.type == "CaskConvolution" and layer.precision == "fp32" and layer.computes
    ]
    assert len(spared) == 14
    shares = exports.share(read, macs)
    assert shares is not None
    assert shares["int8"] == pytest.approx(0.952, abs=5e-4)
    assert exports.low(exports.share(read), Precision.INT8) == pytest.approx(0.679, abs=5e-4)
    assert "fp16" not in shares


def test_a_real_refusal_names_the_layer_that_has_no_kernel(tmp_path):
    read = exit_check.read_log((DATA / "real-8.6.0-h100" / "no-tactic.log").read_text())
    judged = judge_phase(Phase.BUILD, 1, read, tmp_path / "none")
    assert judged.failure is Failure.NO_TACTIC
    assert "stage3.0/main/main.1/main.1.0/Conv" in judged.message
    assert judged.message.endswith("precision or int8_method may build it")
    assert len(f"build {judged.message}") <= 300
