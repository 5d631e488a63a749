"""The paragraph on INT8 methods, from invented cells and from the measured set."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from benchlib.analysis.results import MeasuredSet, load
from benchlib.report.document import Document
from benchlib.report.sections import int8_section

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
            off = {"resnet50": 0.3, "fast_scnn": 0.2, "efficientnet_b0": 0.25}[model]
            graph = {"fidelity": {"relative_l2": off}}
            path.write_text(json.dumps({"detail": {"shares": shares, "graph": graph}}))
    return load(folder)


def test_the_paragraph_says_what_the_cells_show(several: MeasuredSet) -> None:
    said = unescape(int8_section([several])._repr_html_())
    for sentence in (
        "By calibrated Q/DQ, INT8 against FP16 is faster for resnet50 (1.82 times as fast); "
        "not to be told apart for efficientnet_b0 (1.01 times as fast); "
        "slower for fast_scnn (0.45 times as fast).",
        "By made-up ranges, INT8 against FP16 is faster for resnet50 and efficientnet_b0 (1.11 to "
        "2.00 times as fast); slower for fast_scnn (0.50 times as fast).",
        "leaving them out takes 1.10 times as long for efficientnet_b0, fast_scnn and resnet50: "
        "FP32 has 40 % of the layers instead of 10 %, and moving or converting data takes 20 % "
        "of the time instead of 5 %.",
        "Calibrated Q/DQ takes 1.10 times as long as made-up ranges (3 cells).",
        "calibrated graphs lie 20 % (fast_scnn) to 30 % (resnet50) off FP32's",
        "Building takes 10 s with made-up ranges and 11 to 12 s with Q/DQ.",
    ):
        assert sentence in said
    assert said.count("<tr>") >= 6


def test_a_set_with_one_method_has_no_paragraph(invented: MeasuredSet) -> None:
    page = Document((invented,))
    assert page.int8_methods()._repr_html_() == ""
    assert "none made INT8 in more than one way" in page.not_drawn()._repr_html_()


def test_the_measured_set_has_its_paragraph(h100_first: MeasuredSet) -> None:
    said = unescape(int8_section([h100_first])._repr_html_())
    assert (
        "By calibrated Q/DQ, INT8 against FP16 is faster for vgg11_bn, resnet18 and mnasnet1_0 "
        "(1.19 to 1.45 times as fast); not to be told apart for fast_scnn_blog (1.00 times as "
        "fast); slower for shufflenet_v2_x1_5, fast_scnn and bisenetv2 (0.90 to 0.91 times as "
        "fast)."
    ) in said
    # ResNet-18 and VGG have nothing to leave out: the same engine is no second finding.
    assert (
        "By Q/DQ without depth-wise convolutions, INT8 against FP16 is slower for fast_scnn, "
        in said
    )
    assert "3 % (resnet18) to 53 % (fast_scnn_blog) off FP32's" in said
    assert "!: the row is SUSPECT" in said
    assert "Building takes" in said


def test_networks_at_several_sizes_are_named_with_their_size(
    rows: pd.DataFrame, tmp_path: Path, write: Callable[..., Path]
) -> None:
    fp16 = rows[(rows["precision"] == "fp16") & (rows["model"] == "resnet50")]
    made = []
    for method in ("qdq", "made-up ranges"):
        one = fp16.assign(precision="int8", int8_method=method, key=fp16["key"] + method[:4])
        factor = one["width"].map({640: 0.5, 1024: 1.0, 1920: 2.0})
        for name in ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"):
            one[name] = one[name] * factor
        made.append(one)
    said = unescape(
        int8_section([load(write(tmp_path / "sizes", pd.concat([fp16, *made])))])._repr_html_()
    )
    assert (
        "faster for resnet50 at 640×480 (2.00 times as fast); "
        "not to be told apart for resnet50 at 1024×768 (1.00 times as fast); "
        "slower for resnet50 at 1920×1056 (0.50 times as fast)."
    ) in said
    assert ">640×480<" in said
