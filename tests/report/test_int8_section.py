"""The paragraph on INT8 methods, from invented cells and from the measured set."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from benchlib.analysis.measured import MeasuredSet, load
from benchlib.report.int8_section import int8_section

BASES = {"resnet50": 0.5, "fast_scnn": 2.0, "efficientnet_b0": 0.9}
GRAPH_NODES = {"made-up ranges": 50, "qdq": 100, "qdq-no-depthwise": 80}


@pytest.fixture
def several(rows: pd.DataFrame, tmp_path: Path, write: Callable[..., Path]) -> MeasuredSet:
    """INT8 is twice as fast as FP16 for one network, half as fast for another, one is mixed."""
    chosen = rows[rows["model"].isin(BASES) & (rows["width"] == 640)]
    fp16 = chosen[chosen["precision"] == "fp16"]
    made = []
    for method, factor in (("made-up ranges", 1.0), ("qdq", 1.1), ("qdq-no-depthwise", 1.21)):
        one = fp16.assign(precision="int8", int8_method=method, graph_layers=GRAPH_NODES[method])
        for name in ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"):
            base = one["model"].map(BASES)
            one[name] = one[name] * base * factor
        made.append(one.assign(key=one["model"] + method[:5] + method[-5:], build_s=10 * factor))
    folder = write(tmp_path / "several", pd.concat([fp16, *made], ignore_index=True))
    (folder / "rows").mkdir()
    for model in BASES:
        for method, fp32 in (("qdq", 0.1), ("qdq-no-depthwise", 0.4)):
            shares = {"layers": {"int8": 1 - fp32, "fp32": fp32}, "time": {"moving": fp32 / 2}}
            path = folder / "rows" / f"{model}{method[:5]}{method[-5:]}.json"
            path.write_text(json.dumps({"detail": {"shares": shares}}))
    return load(folder)


def test_the_paragraph_says_what_the_cells_show(several: MeasuredSet) -> None:
    said = unescape(int8_section([several]))
    for sentence in (
        "Calibrated Q/DQ takes 1.10 times as long as made-up ranges (3 cells).",
        "INT8 is faster than FP16 for resnet50 (1.65 to 2.00 times as fast).",
        "INT8 is slower than FP16 for fast_scnn (0.41 to 0.50 times as fast).",
        "depends on how it is made for efficientnet_b0 (0.92 times as fast by qdq-no-depthwise, "
        "1.11 by made-up ranges).",
        "efficientnet_b0, fast_scnn and resnet50 take 1.10 times as long as with them in: "
        "FP32 has 40 % of the layers instead of 10 %, and moving or converting data takes 20 % "
        "of the time instead of 5 %.",
        "Building takes 10 s with made-up ranges and 11 to 12 s with Q/DQ.",
    ):
        assert sentence in said
    assert said.count("<tr>") >= 6


def test_where_no_method_differs_from_fp16_nothing_depends_on_it(
    rows: pd.DataFrame, tmp_path: Path, write: Callable[..., Path]
) -> None:
    fp16 = rows[(rows["precision"] == "fp16") & (rows["model"] == "resnet50")]
    made = [
        fp16.assign(precision="int8", int8_method=method, key=fp16["key"] + method[:4])
        for method in ("qdq", "made-up ranges")
    ]
    said = int8_section([load(write(tmp_path / "even", pd.concat([fp16, *made])))])
    assert "as long as made-up ranges" in said
    assert "than FP16" not in said


def test_a_set_with_one_method_has_no_paragraph(invented: MeasuredSet) -> None:
    assert int8_section([invented]) == (
        '<p class="absent">No set here made INT8 in more than one way.</p>'
    )


def test_the_measured_set_has_its_paragraph(root: Path) -> None:
    said = unescape(int8_section([load(root / "results" / "h100-tensorrt-8.6")]))
    assert "INT8 is slower than FP16 for fast_scnn and shufflenet_v2_x1_5 (" in said
    assert "mnasnet1_0 (0.63 times as fast by qdq-no-depthwise, 1.19 by made-up ranges)" in said
    assert "Building takes" in said


def test_one_way_is_not_called_every_way(root: Path) -> None:
    said = unescape(int8_section([load(root / "results" / "h200-tensorrt-8.6")]))
    assert "By every method measured, INT8 is slower than FP16 for fast_scnn" in said
