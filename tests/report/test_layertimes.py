"""The section on where the time goes: figure, words and table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from benchlib.analysis import roofline
from benchlib.analysis.results import MeasuredSet, load
from benchlib.report.document import Document
from benchlib.report.figures import layer_times
from benchlib.report.style import Absent, Drawing
from benchlib.report.tables import latency
from benchlib.report.view import View, views


def keep(folder: Path, key: str, costly: float, moving: float, macs: object) -> None:
    """A row's layers: one big convolution, one that is dear, one that moves data."""
    plain = 1.0 - costly - moving
    layers = [
        {"name": "onnx::Conv_1 + a/Conv", "type": "Conv", "macs": 995, "time_ms": plain},
        {"name": "b" * 50 + "/Conv", "type": "Conv", "macs": 5, "time_ms": costly},
        {"name": "c", "type": "Reformat", "macs": None, "time_ms": moving},
    ]
    for one in layers[:2]:
        one["precision"] = "fp16"
    shares = {"macs": macs, "time": {"fp16": 1.0}}
    (folder / "rows").mkdir(exist_ok=True)
    (folder / "rows" / f"{key}.json").write_text(
        json.dumps({"detail": {"shares": shares, "layers": layers}})
    )


@pytest.fixture
def profiled(rows: pd.DataFrame, tmp_path: Path, write: Callable[..., Path]) -> MeasuredSet:
    folder = write(tmp_path / "profiled", rows)
    for width, costly in ((640, 0.5), (1024, 0.4)):
        size = {640: "640x480", 1024: "1024x768"}[width]
        keep(folder, f"resnet50-fp16-{size}", costly, 0.1, {"fp16": 1.0})
        keep(folder, f"resnet18-fp16-{size}", 0.03, 0.6, {"fp16": 1.0})
    keep(folder, "resnet50-int8-1024x768", 0.3, 0.1, {"int8": 1.0})
    keep(folder, "vgg11_bn-int8-1024x768", 0.3, 0.1, None)
    return load(folder)


@pytest.fixture
def view(profiled: MeasuredSet) -> View:
    return views(profiled)[0]


def test_the_words_name_what_stands_out_at_the_size_with_most(
    view: View, profiled: MeasuredSet
) -> None:
    drawing = layer_times.draw(view, roofline.breakdowns(view.usable, profiled))
    assert isinstance(drawing, Drawing)
    for words in (
        "Where the time goes at 1024×768",
        "resnet50: 1 layer with 0.5 % of the multiply-accumulates takes 30 to 40 % of the time "
        "(counting those of 2 % or more).",
        "Moving or converting data takes a third or more of the time in some engine of "
        "resnet18 (60 %).",
        "add up to 0.33 to 0.77 times the latency.",
    ):
        assert words in drawing.caption
    assert "vgg11_bn:" not in drawing.caption  # its work is not known
    assert "Layers without multiply-accumulates" not in drawing.caption
    assert drawing.svg() == layer_times.draw(view, roofline.breakdowns(view.usable, profiled)).svg()


def test_a_line_of_panels_names_only_networks_that_it_shows(
    rows: pd.DataFrame, tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Five precisions: three beside each other, two below, which resnet18 alone has."""
    some = rows[(rows["width"] == 640) & rows["model"].isin(["resnet18", "resnet50"])]
    int8 = some[(some["precision"] == "int8") & (some["model"] == "resnet18")]
    more = [
        int8.assign(int8_method=word, key=f"resnet18-{word}")
        for word in ("qdq-no-depthwise", "made-up ranges")
    ]
    whole = pd.concat([some, *more], ignore_index=True)
    folder = write(tmp_path / "five", whole)
    for key in whole["key"]:
        keep(folder, key, 0.3, 0.1, None)
    measured = load(folder)
    view = views(measured)[0]
    drawing = layer_times.draw(view, roofline.breakdowns(view.usable, measured))
    assert isinstance(drawing, Drawing)
    shown = [axes for axes in drawing.figure.axes if axes.get_visible()]
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in shown]  # left ones
    assert sorted(names[0]) == ["resnet18", "resnet50"]
    assert names[3] == ["resnet18"]


def test_what_was_not_measured_is_told_from_what_was_not_profiled(
    view: View, profiled: MeasuredSet
) -> None:
    """At 1024x768 resnet18's FP16 alone is profiled of it; its INT8 was timed, or taken out."""
    int8 = (view.frame["model"] == "resnet18") & (view.frame["precision"] == "int8")
    for kept, words in ((view.frame, "not profiled"), (view.frame[~int8], "not measured")):
        some = replace(view, frame=kept)
        drawing = layer_times.draw(some, roofline.breakdowns(some.usable, profiled))
        assert isinstance(drawing, Drawing)
        panels = {axes.get_title(loc="left"): axes for axes in drawing.figure.axes}
        names = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
        said = {
            names[round(text.get_position()[1])]: text.get_text()
            for text in panels["INT8"].texts
            if text.get_text().startswith("not")
        }
        assert said["resnet18"] == words


def test_the_largest_of_sizes_with_as_many_rows_is_drawn(view: View, profiled: MeasuredSet) -> None:
    half = replace(view, frame=view.frame[view.frame["precision"] == "fp16"])
    drawing = layer_times.draw(half, roofline.breakdowns(half.usable, profiled))
    assert isinstance(drawing, Drawing)
    assert "Where the time goes at 1024×768" in drawing.caption


def test_the_table_has_a_line_per_profiled_row(view: View, profiled: MeasuredSet) -> None:
    built = latency.build_layer_times(view, roofline.breakdowns(view.usable, profiled))
    lines = {
        (name, *(column.cells[index].text for column in built.columns[:2])): {
            f"{column.group} {column.title}".strip(): column.cells[index]
            for column in built.columns
        }
        for index, name in enumerate(built.rows)
    }
    assert len(lines) == 6
    dear = lines["resnet50", "640×480", "FP16"]
    assert dear["Out of proportion layers"].text == "1"
    assert dear["Out of proportion MACs"].text == "0.5 %"
    assert dear["Out of proportion time"].text == "50 %"
    assert dear["Layers timed"].text == "3"
    assert dear["Slowest layer name"].text == f"…{'b' * 26}/Conv"
    assert dear["Slowest layer name"].note.startswith("b" * 50)
    plain = lines["vgg11_bn", "1024×768", "INT8"]
    assert plain["Slowest layer name"].text == "a/Conv", "not the weight named before it"
    assert plain["Out of proportion layers"].note == "the layers' work is not known"
    assert plain["Time without MACs"].note == "not known"
    assert plain["Time moving"].text == "10 %"
    assert lines["resnet18", "640×480", "FP16"]["Slowest layer type"].text == "moving"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("w.weight + w.weight_axis0_quantised_node + /stem/conv/Conv", "/stem/conv/Conv"),
        ("stem.conv.bias", "stem.conv.bias"),
        (
            "{ForeignNode[head.weight...(Unnamed Layer* 9) [Cast]]}",
            "{ForeignNode[head.weight...(Unn…",
        ),
    ],
)
def test_a_layer_is_named_by_its_node(name: str, short: str) -> None:
    layer = roofline.LayerTime(name, roofline.Kind.WORK, None, share=1.0, work=1.0)
    assert latency._name(layer).text == short


def test_a_set_without_a_profile_says_how_to_get_one(invented: MeasuredSet) -> None:
    view = views(invented)[0]
    drawing = layer_times.draw(view, roofline.breakdowns(view.usable, invented))
    assert isinstance(drawing, Absent)
    page = Document((invented,))
    assert page.layer_times()._repr_html_() == ""
    assert "-p profile true" in page.not_drawn()._repr_html_()


def test_the_measured_set_shows_where_bisenetv2_loses_its_time(h100_first: MeasuredSet) -> None:
    said = unescape(Document((h100_first,)).layer_times()._repr_html_())
    assert "bisenetv2: 7 to 8 layers with 0.15 to 0.18 % of the multiply-accumulates" in said
    assert "shufflenet_v2_x1_5 (38 to 54 %)" in said
    assert "1.25 to 2.45 times the latency: it stops after every layer" in said
    assert said.count("<figure") == 2
