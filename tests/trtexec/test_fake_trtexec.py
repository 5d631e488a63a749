"""The fake trtexec speaks the contract: flags, files and log lines are what the readers read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fake_trtexec
import numpy as np
import pytest

from benchlib.case import Precision
from benchlib.trtexec import exit_check, exports


def call(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, fake_trtexec.__file__, *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_build_leaves_a_plan_and_layers(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("resnet18 fp16")
    done = call(
        f"--onnx={tmp_path / 'a.onnx'}",
        f"--saveEngine={tmp_path / 'a.plan'}",
        "--skipInference",
        "--stronglyTyped",
        f"--exportLayerInfo={tmp_path / 'a.json'}",
    )
    assert done.returncode == 0
    exports.check_engine(tmp_path / "a.plan")
    found = exports.read(tmp_path / "a.json")
    assert exports.low(exports.share(found), Precision.FP16) == 1.0
    said = exit_check.read_log(done.stdout)
    assert said.passed
    assert said.built_s == 0.25


def test_a_real_graph_is_taken_though_it_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x08\x12\x07pytorch\xff\xfe\x80int8")
    done = call(
        f"--onnx={tmp_path / 'a.onnx'}",
        f"--saveEngine={tmp_path / 'a.plan'}",
        "--skipInference",
        f"--exportLayerInfo={tmp_path / 'a.json'}",
    )
    assert done.returncode == 0, done.stderr
    found = exports.read(tmp_path / "a.json")
    assert exports.low(exports.share(found), Precision.INT8) == 0.0


def test_timing_leaves_times_that_are_the_same_each_time(tmp_path: Path) -> None:
    argv = ("--loadEngine=a", f"--exportTimes={tmp_path / 't.json'}", "--duration=1")
    call(*argv)
    first = (tmp_path / "t.json").read_bytes()
    call(*argv)
    assert (tmp_path / "t.json").read_bytes() == first
    queries = exports.read_times(tmp_path / "t.json")
    assert len(queries) == 500
    assert np.median([query.compute_ms for query in queries]) == pytest.approx(2.0, rel=0.01)


def test_an_unknown_flag_is_answered_as_trtexec_does() -> None:
    done = call("--cudaGraphs")
    assert done.returncode == 1
    assert exit_check.read_log(done.stdout + done.stderr).unknown_flag == "--cudaGraphs"


@pytest.mark.parametrize("story", ["drift", "bimodal", "warming", "throttle"])
def test_stories_change_the_course(story: str) -> None:
    course = [fake_trtexec._factor(story, step / 100) for step in range(100)]
    assert max(course) / min(course) > 1.1
    assert len(set(map(fake_trtexec._factor, ["steady"] * 3, [0.1, 0.5, 0.9]))) == 1
