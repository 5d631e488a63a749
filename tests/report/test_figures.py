import base64
import html
import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from playwright.sync_api import Browser

from benchlib.analysis import ranking
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import load
from benchlib.report import document, style
from benchlib.report.figures import accuracy, fps, scatter, tiles
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View, views

ViewOf = Callable[[pd.DataFrame], View]

DRAWERS: dict[str, Callable[[View], Drawing | Absent]] = {
    "fps": lambda view: fps.draw_fps(view, Variant("fp16")),
    "fps panels": fps.panels,
    "heat map": tiles.draw_fps,
    "imagenet": lambda view: accuracy.draw(view, "ImageNet top-1"),
    "cityscapes": lambda view: accuracy.draw(view, "Cityscapes mIoU"),
    "speed-up": fps.draw_speedup,
    "work": scatter.draw_work,
    "latency model": scatter.draw_latency_model,
    "roofline": scatter.draw_roofline,
    "spread": tiles.draw_spread,
}


def draw(kind: str, view: View) -> Drawing:
    drawing = DRAWERS[kind](view)
    assert isinstance(drawing, Drawing), drawing
    return drawing


@pytest.fixture(scope="module")
def drawn(invented_view: View) -> Callable[[str], Drawing]:
    """The drawing of a kind, made once for all tests that only look at it."""
    return cache(lambda kind: draw(kind, invented_view))


def hollow(artist: Artist) -> list[tuple[float, float]]:
    """Where the marks of a figure or of axes stand that are white inside, with a coloured edge."""
    found = []
    for marks in artist.findobj(PathCollection):
        inside, edges = np.broadcast_arrays(marks.get_facecolors(), marks.get_edgecolors())
        is_hollow = (inside == 1).all(axis=1) & (edges != 1).any(axis=1)
        found += [(float(x), float(y)) for x, y in marks.get_offsets()[is_hollow]]
    return found


@pytest.mark.parametrize("kind", DRAWERS)
def test_the_same_rows_give_the_same_bytes(
    kind: str, invented_view: View, drawn: Callable[[str], Drawing]
) -> None:
    svg = drawn(kind).svg()
    assert svg == draw(kind, invented_view).svg()
    assert svg.count(b"<svg") == 1
    assert b"<dc:date>" not in svg


@pytest.mark.parametrize("kind", DRAWERS)
def test_a_matplotlibrc_of_the_users_changes_nothing(
    kind: str, invented_view: View, drawn: Callable[[str], Drawing]
) -> None:
    own = {"text.usetex": True, "savefig.dpi": 7, "legend.loc": "center", "lines.markersize": 20}
    with plt.rc_context(own):
        assert draw(kind, invented_view).svg() == drawn(kind).svg()
        assert plt.rcParams["text.usetex"], "what the user set is set again"


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["fps panels", "heat map", "roofline"])
def test_the_picture_of_the_page_looks_as_the_file_does(
    kind: str, drawn: Callable[[str], Drawing], browser: Browser
) -> None:
    drawing = drawn(kind)
    whole = f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg()).decode()}"
    assert len(drawing.data_url) < 0.5 * len(whole)
    page = browser.new_page(viewport={"width": 1400, "height": 1400})
    seen = []
    for url in (whole, drawing.data_url):
        page.set_content(f'<img width="1300" src="{html.escape(url)}">')
        page.locator("img").evaluate("one => one.decode()")
        shot = Image.open(io.BytesIO(page.locator("img").screenshot())).convert("L")
        seen.append(np.asarray(shot, dtype=float))
    page.close()
    assert seen[0].std() > 10  # it shows something
    assert (np.abs(seen[0] - seen[1]) > 40).mean() < 5e-4  # else: a letter's edge


def test_a_png_repeats_too(invented_view: View) -> None:
    png = draw("heat map", invented_view).png()
    assert png == draw("heat map", invented_view).png()
    assert b"Software" not in png


@pytest.mark.parametrize("kind", DRAWERS)
def test_words_go_with_the_picture(kind: str, drawn: Callable[[str], Drawing]) -> None:
    drawing = drawn(kind)
    assert "Invented numbers" in drawing.alt
    assert len(drawing.alt) > 60
    assert drawing.caption.endswith(".")
    assert drawing.name == drawing.name.lower()
    assert not set(drawing.name) & set(" /:.")


def test_figures_leave_no_state_behind(invented_view: View) -> None:
    before = dict(plt.rcParams)
    draw("fps", invented_view).svg()
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == []


def test_fps_states_the_fastest_and_the_slowest(published_view: View) -> None:
    drawing = fps.draw_fps(published_view, Variant("fp16"))
    assert isinstance(drawing, Drawing)
    assert "At 3840×2144 and FP16 fast_scnn_blog is fastest with 336 FPS" in drawing.alt
    assert "vgg16_bn slowest with 20.3; 14 of 16 reach 30 FPS" in drawing.alt
    assert "No interval is known" in drawing.caption


def test_what_a_rebuild_may_turn_round_is_neither_fastest_nor_slower(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    """FP16 takes 2 % more time than FP32, and each network 1 % more than the one before."""
    changed = rows[(rows["width"] == 640) & rows["precision"].isin(["fp32", "fp16"])]
    names = sorted(set(changed["model"]))[:3]
    changed = changed[changed["model"].isin(names)]
    ms = changed["model"].map(names.index) * 0.01 + (changed["precision"] == "fp16") * 0.02 + 1
    times = {"latency_ms": ms, "latency_ci_low_ms": ms * 0.999, "latency_ci_high_ms": ms * 1.001}
    view = view_of(changed.assign(fps=1000 / ms, **times))
    said = fps.finding(view, Variant("fp16"))
    assert f"{names[0]} is fastest with 980 FPS, tied with {names[1]} and {names[2]}, " in said
    assert "slower than FP32" not in fps.draw_speedup(view).alt


def test_draw_fpss_every_network_and_its_interval(invented_view: View) -> None:
    axes = draw("fps", invented_view).figure.axes[0]
    names = {text.get_text().split("  ")[0] for text in axes.texts}
    assert set(invented_view.at(Variant("fp16"))["model"]) <= names
    bars = [one for one in axes.collections if isinstance(one, LineCollection)]
    segments = [one for bar in bars for one in bar.get_segments()]
    rows = invented_view.at(Variant("fp16"))
    assert len(segments) == len(rows)
    bounds = sorted(round(float(end[1]), 6) for one in segments for end in one)
    assert bounds == sorted(round(v, 6) for v in [*rows["fps_low"], *rows["fps_high"]])


def test_suspect_rows_are_hollow_and_said_to_be(invented_view: View) -> None:
    drawing = draw("fps", invented_view)
    rows = invented_view.at(Variant("fp16"))
    suspect = rows[rows["verdict"] == "SUSPECT"]
    assert len(suspect) == 1
    assert hollow(drawing.figure) == [(suspect["megapixels"].item(), suspect["fps"].item())]
    assert "Hollow marks are SUSPECT rows" in drawing.caption
    assert "Hollow" not in fps.draw_fps(invented_view, Variant("fp32")).caption


def test_hollow_marks_are_spoken_of_only_where_they_are_drawn(
    drawn: Callable[[str], Drawing],
) -> None:
    for kind in DRAWERS:
        drawing = drawn(kind)
        assert bool(hollow(drawing.figure)) == ("Hollow" in drawing.caption), kind
    assert "1 row of these is SUSPECT." in drawn("speed-up").caption


@pytest.mark.parametrize("small", [True, False])
def test_names_at_the_ends_of_lines_stay_in_the_figure(
    rows: pd.DataFrame, view_of: ViewOf, small: bool
) -> None:
    long = rows["model"].replace({"resnet18": "onnx:WWWWMMMM_of_one_size.onnx"})
    rows = rows.assign(model=long)
    view = view_of(rows[(rows["model"] != long.iloc[0]) | (rows["width"] == 640)])
    drawing = fps.panels(view) if small else fps.draw_fps(view, Variant("fp16"))
    assert isinstance(drawing, Drawing)
    drawing.figure.set_dpi(150)  # of the PNG, in which letters are wider
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    texts = [text for axes in drawing.figure.axes for text in axes.texts]
    named = {text.get_text() for text in texts if "WWWW" in text.get_text()}
    # A small panel leaves out the number of a line that ends before the largest size
    assert named and all(one.endswith(".onnx" if small else "at 640×480") for one in named)
    assert not any("1920×1056" in text.get_text() for text in texts), "the largest goes unsaid"
    assert ("The number at a name is the FPS at 1920×1056." in drawing.caption) == small
    # Beyond the figure's right edge the name would be cut off
    ends = [text.get_window_extent(renderer).x1 for text in texts]
    assert max(ends) <= drawing.figure.bbox.x1


def test_a_single_point_is_said_and_not_drawn(rows: pd.DataFrame, view_of: ViewOf) -> None:
    alone = view_of(rows[(rows["model"] == "resnet18") & (rows["width"] == 640)])
    absent = fps.draw_fps(alone, Variant("fp16"))
    assert isinstance(absent, Absent)
    assert "At 640×480 and FP16 resnet18 runs at" in absent.reason
    front = accuracy.draw(alone, "ImageNet top-1")
    assert isinstance(front, Absent)
    assert "fewer than 2 networks" in front.reason


def test_methods_of_int8_are_told_apart_in_every_figure(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    other = rows[rows["precision"] == "int8"].assign(int8_method="made-up ranges")
    slower = other.assign(latency_ms=2 * other["latency_ms"].astype(float))
    slower = slower.assign(latency_ci_low_ms=None, latency_ci_high_ms=None)
    view = view_of(pd.concat([rows, slower], ignore_index=True))
    for kind in ("fps panels", "heat map", "imagenet", "speed-up", "work", "roofline"):
        figure = draw(kind, view).figure
        words = [text.get_text() for text in figure.findobj(Text)]
        for name in ("qdq", "made-up ranges"):
            assert any(f"({name})" in word for word in words), (kind, name)
    gains = fps.ratios(view).pivot(
        index=["model", "resolution"], columns="precision", values="ratio"
    )
    both = gains.dropna()
    assert (
        both[Variant("int8", "qdq")] / both[Variant("int8", "made-up ranges")]
    ).to_numpy() == pytest.approx(2.0)


def test_what_was_not_measured_has_no_panel_and_a_short_word(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    int8 = (rows["precision"] == "int8") & (rows["width"] == 640) & (rows["model"] != "resnet18")
    kept = rows[(rows["precision"] != "int8") | int8]
    view = view_of(pd.concat([kept, rows[int8].assign(int8_method="modelopt")], ignore_index=True))
    shown = [axes for axes in draw("work", view).figure.axes if axes.get_visible()]
    assert len(shown) == 3 + 3 + 1 + 1
    words = {text.get_text() for axes in draw("speed-up", view).figure.axes for text in axes.texts}
    assert "no INT8" in words  # rather than each of its methods


def test_a_network_without_speed_up_is_told_from_one_not_timed(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    of = (rows["model"] == "resnet18") & (rows["width"] == 640)

    def words(kept: pd.DataFrame) -> list[str]:
        axes = draw("speed-up", view_of(kept)).figure.axes[0]
        assert axes.get_title(loc="left") == "640×480"
        return [one.get_text() for one in axes.texts if one.get_text().startswith("no")]

    before = words(rows)
    for gone, word in (
        (of & (rows["precision"] == "fp32"), "no FP32"),
        (of & (rows["precision"] != "fp32"), "no FP16, INT8"),
        (of, "not measured"),
    ):
        assert sorted(words(rows[~gone])) == sorted([*before, word])


def test_one_of_several_methods_needs_no_word_where_another_is(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    """Else the words are longer than the panels and leave them no width."""
    int8 = (rows["precision"] == "int8") & (rows["model"] == "resnet18") & (rows["width"] == 640)
    other = rows[int8].assign(int8_method="qdq-no-depthwise")
    drawing = draw("speed-up", view_of(pd.concat([rows, other], ignore_index=True)))
    words = {text.get_text() for axes in drawing.figure.axes for text in axes.texts}
    assert not any("depthwise" in word for word in words)
    across = sum(axes.get_position().width for axes in drawing.figure.axes)
    assert across > 0.6


def test_numbers_of_near_methods_do_not_cover_each_other(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    int8 = rows[rows["precision"] == "int8"]
    near = int8.assign(latency_ms=1.01 * int8["latency_ms"].astype(float), int8_method="modelopt")
    near = near.assign(latency_ci_low_ms=None, latency_ci_high_ms=None)
    far = near.assign(latency_ms=2 * near["latency_ms"], int8_method="made-up ranges")
    view = view_of(pd.concat([rows, near, far], ignore_index=True))
    figure = draw("speed-up", view).figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        boxes = [one.get_window_extent(renderer) for one in axes.texts if "." in one.get_text()]
        boxes = [one.shrunk(0.9, 0.7) for one in boxes]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_what_has_no_fp32_is_named_and_not_counted(rows: pd.DataFrame, view_of: ViewOf) -> None:
    alone = (rows["model"] == "resnet18") & (rows["precision"] == "fp32")
    caption = draw("speed-up", view_of(rows[~alone])).caption
    assert caption.endswith("Not drawn, because no FP32 stands beside: resnet18.")
    assert "SUSPECT" not in caption  # the one such row is resnet18's
    assert "Not drawn" not in draw("speed-up", view_of(rows)).caption


def test_precisions_without_a_line_leave_room_to_those_with_some(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    lines = rows[(rows["precision"] != "int8") | (rows["width"] == 640)]
    drawing = draw("fps panels", view_of(lines))
    assert [axes.get_title(loc="left") for axes in drawing.figure.axes] == ["FP32", "FP16"]
    assert drawing.caption.endswith("Without a network at two sizes: INT8.")
    points = draw("fps panels", view_of(rows[rows["width"] == 640]))
    assert len(points.figure.axes) == 3
    assert "Without" not in points.caption


def test_panels_of_a_long_line_up_are_legible_on_a_repositorys_page(root: Path) -> None:
    """900 pixels wide there: names of 10 pixels or more, and a quarter of the width of lines."""
    view = views(load(root / "results" / "h100-tensorrt-8.6"))[0].drawable()
    figure = draw("fps panels", view).figure
    inches = figure.get_figwidth()
    name = figure.axes[0].texts[-1].get_fontsize()
    assert name / 72 / inches * 900 >= 10
    assert figure.axes[0].get_position().width > 0.22


def test_only_lines_are_drawn_precision_by_precision(rows: pd.DataFrame, view_of: ViewOf) -> None:
    view = view_of(rows[(rows["precision"] != "int8") | (rows["width"] == 640)])
    drawn = document._fps(view)
    assert [one.name.split("-")[1] for one in drawn] == ["panels", "fp32", "fp16"]


@pytest.mark.parametrize("panels", [2, 5])
def test_the_keys_of_a_front_cover_no_panel(panels: int, root: Path) -> None:
    view = views(load(root / "results" / "h100-tensorrt-8.6"))[0]
    few = view.frame["precision"].isin(["fp32", "fp16"]) | (panels > 2)
    figure = draw("imagenet", replace(view, frame=view.frame[few])).figure
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == panels
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in shown)


def test_a_front_of_made_up_ranges_is_said_to_have_no_accuracy(published_view: View) -> None:
    said = "INT8 with made-up ranges has a speed and no accuracy"
    assert said in draw("imagenet", published_view).caption
    frame = published_view.frame
    without = replace(published_view, frame=frame[frame["precision"] != "int8"])
    assert said not in draw("imagenet", without).caption


def test_two_panels_stand_beside_each_other_and_no_more(drawn: Callable[[str], Drawing]) -> None:
    """Else the names are too small to read on a page of a repository."""
    boxes = [axes.get_position() for axes in drawn("fps panels").figure.axes]
    assert [round(box.y0, 6) for box in boxes].count(round(boxes[0].y0, 6)) == 2
    assert len(boxes) == 3
    assert boxes[0].y0 > boxes[2].y1
    assert boxes[0].x1 < boxes[1].x0


@pytest.mark.parametrize("few", ["fp32", "int8"])
def test_every_mark_of_the_front_stands_inside_its_panel(
    few: str, rows: pd.DataFrame, view_of: ViewOf
) -> None:
    """Panels share the axis of accuracies, whichever has the fewest networks."""
    middle = rows["model"].isin(["efficientnet_b0", "vgg11_bn", "resnet18"])
    view = view_of(rows[middle | (rows["precision"] != few)])
    shown = [axes for axes in draw("imagenet", view).figure.axes if axes.get_visible()]
    assert len(shown) == 3
    for axes in shown:
        low, high = axes.get_ylim()
        assert low < rows["accuracy"][rows["task"] == "classification"].min()
        assert high > rows["accuracy"][rows["task"] == "classification"].max()


def test_remarks_on_a_front_are_of_its_rows(rows: pd.DataFrame, view_of: ViewOf) -> None:
    """The front is of 640x480; the SUSPECT row is of 1024x768."""
    assert "SUSPECT" not in draw("imagenet", view_of(rows)).caption


def test_long_names_stand_whole_beside_the_cells(rows: pd.DataFrame, view_of: ViewOf) -> None:
    long = rows["model"].replace({"resnet18": "mobilenetv4_hybrid_medium_of_mine"})
    figure = draw("heat map", view_of(rows.assign(model=long))).figure
    figure.set_dpi(150)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    names = figure.axes[0].get_yticklabels()
    assert "mobilenetv4_hybrid_medium_of_mine" in {one.get_text() for one in names}
    assert min(one.get_window_extent(renderer).x0 for one in names) >= 0


def test_a_familys_key_has_the_mark_of_its_first_network() -> None:
    looks = style.looks(
        pd.DataFrame({"model": ["hgnetv2_b0", "vgg11_bn"], "family": ["HGNet", "VGG"]})
    )
    hgnet, vgg = style.family_keys(looks, looks)
    assert hgnet.get_marker() == looks["hgnetv2_b0"].marker != vgg.get_marker()


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.01), (3.0, 9.0), (1.0, 500.0)])
def test_a_logarithmic_axis_has_ticks_that_can_be_read(low: float, high: float) -> None:
    axes = Figure().subplots()
    axes.set(yscale="log", ylim=(low, high))
    style.tidy_log_axis(axes.yaxis)
    bottom, top = axes.get_ylim()
    assert bottom <= low
    assert top >= high
    inside = [tick for tick in axes.get_yticks() if bottom <= tick <= top]
    assert inside
    assert top / bottom >= 3.99
    assert all(float(f"{tick:.1g}") == pytest.approx(tick) for tick in inside)


def test_what_is_left_out_is_counted(invented_view: View) -> None:
    caption = fps.panels(invented_view).caption
    assert "Left out: 1 failed row, 1 skipped row and 1 INVALID row." in caption


def test_heat_map_has_a_cell_for_everything(invented_view: View) -> None:
    figure = draw("heat map", invented_view).figure
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    numbers = [word for word in texts if word.replace(",", "").replace(".", "").isdigit()]
    assert len(numbers) == len(invented_view.usable)
    assert texts.count("–") == len(invented_view.frame) - len(invented_view.usable)


def test_a_heat_map_has_dashes_on_white_and_words_that_stand_out(invented_view: View) -> None:
    for axes in draw("heat map", invented_view).figure.axes[:-1]:
        for text, cell in zip(axes.texts, axes.collections[0].get_facecolors(), strict=True):
            assert (tuple(cell) == (1, 1, 1, 1)) == (text.get_text() == "–")
            linear = np.where(cell <= 0.04045, cell / 12.92, ((cell + 0.055) / 1.055) ** 2.4)
            luminance = linear[:3] @ (0.2126, 0.7152, 0.0722)
            is_white = text.get_color() == "white"
            contrast = 1.05 / (luminance + 0.05) if is_white else (luminance + 0.05) / 0.05
            assert contrast > 4.5  # WCAG 2, AA


def test_lines_have_the_colour_mark_and_dashes_of_their_network(invented_view: View) -> None:
    figure = draw("fps", invented_view).figure
    drawn = {
        (line.get_color(), line.get_marker(), line.is_dashed())
        for line in figure.axes[0].lines
        if len(line.get_xdata()) > 2
    }
    looks = invented_view.looks()
    wanted = [looks[model] for model in set(invented_view.at(Variant("fp16"))["model"])]
    assert len({look.dash for look in wanted}) > 1
    assert drawn == {(one.color, one.marker, bool(one.dash)) for one in wanted}


def test_speed_ups_are_ratios_of_the_same_network_and_size(published_view: View) -> None:
    gains = fps.ratios(published_view)
    int8 = gains[gains["precision"] == Variant("int8")]["ratio"]
    assert (round(int8.min(), 2), round(int8.max(), 2)) == (1.01, 7.19)
    assert "INT8 is 1.01× to 7.19× as fast as FP32, median" in fps.draw_speedup(published_view).alt


def test_speed_up_intervals_hold_the_ratio(invented_view: View) -> None:
    gains = fps.ratios(invented_view)
    assert ((gains["low"] < gains["ratio"]) & (gains["ratio"] < gains["high"])).all()
    assert not ((gains["model"] == "efficientnet_b0") & (gains["resolution"] == "1024x768")).any()


def test_work_names_the_rank_correlation(published_view: View) -> None:
    alt = draw("work", published_view).alt
    assert re.search(r"FP32: ρ = 0\.91 \(0\.\d\d to \d\.\d\d\), 0\.95", alt)
    assert "INT8: ρ = 0.16 (" in alt


def test_a_latency_model_says_how_far_it_misses(published_view: View) -> None:
    alt = draw("latency model", published_view).alt
    assert "FP16: fixed cost 0.17 to 3.31 ms; the line misses a time by 3 %" in alt
    few = replace(published_view, frame=published_view.frame[published_view.frame["width"] < 1500])
    assert isinstance(scatter.draw_latency_model(few), Absent)


def test_one_line_has_one_cost(rows: pd.DataFrame, view_of: ViewOf) -> None:
    one = view_of(rows[(rows["model"] == "resnet18") & (rows["precision"] == "fp16")])
    said = draw("latency model", one).caption
    assert re.search(
        r"FP16: fixed cost [\d.]+ ms \(resnet18\); the line misses a time by \d+ %", said
    )


def test_a_network_on_no_line_has_no_fixed_cost(published_view: View) -> None:
    frame = published_view.frame
    bent = (frame["model"] == "resnet18") & (frame["precision"] == "int8")
    pixels = frame["width"].astype(float) * frame["height"]
    frame = frame.assign(latency_ms=frame["latency_ms"].where(~bent, pixels**2 / 1e12))
    drawn = [draw("latency model", replace(published_view, frame=frame))]
    drawn.append(draw("latency model", published_view))
    left_out = "Not drawn, because the line misses by more than 10 %: resnet18 INT8"
    assert [left_out in one.caption for one in drawn] == [True, False]
    dots = [
        sum(len(marks.get_offsets()) for marks in one.figure.axes[0].findobj(PathCollection))
        for one in drawn
    ]
    assert dots[0] == dots[1] - 1


def test_the_keys_of_many_families_leave_the_axis_its_name(root: Path) -> None:
    view = views(load(root / "results" / "h100-tensorrt-8.6"))[0]
    figure = draw("roofline", view).figure
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()) > 12
    top = legend.get_window_extent().y1
    assert all(
        axes.xaxis.label.get_window_extent().y0 >= top for axes in figure.axes if axes.get_visible()
    )


@pytest.mark.parametrize("kind", ["roofline", "work", "imagenet"])
def test_the_keys_of_a_single_panel_are_not_cut(kind: str, root: Path) -> None:
    measured = load(root / "results" / "h100-tensorrt-8.6")
    frame = measured.frame
    one = frame[(frame["precision"] == "fp16") & (frame["width"] == 640)]
    figure = draw(kind, views(replace(measured, frame=one))[0]).figure
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.width


def test_a_name_is_not_struck_by_the_line_of_the_front(invented_view: View) -> None:
    axes = draw("imagenet", invented_view).figure.axes[0]
    (front,) = axes.lines
    *_, marks, leaders = axes.collections
    assert leaders.get_zorder() < marks.get_zorder()
    assert len(axes.texts) > 3
    for text in axes.texts:
        plate = text.get_bbox_patch()
        assert plate.get_facecolor()[:3] == (1, 1, 1)
        assert front.get_zorder() < text.get_zorder() < marks.get_zorder()


def test_a_leader_goes_from_each_mark_to_its_name(published_view: View) -> None:
    axes, *_ = draw("imagenet", published_view).figure.axes
    *_, dots, leaders = axes.collections
    marks = axes.transData.transform(dots.get_offsets())
    lines = [axes.transData.transform(line) for line in leaders.get_segments()]
    for name, mark, (begin, end) in zip(axes.texts, marks, lines, strict=True):
        box = Text.get_window_extent(name)
        assert name.get_text() and np.allclose(begin, mark)
        assert np.hypot(*(end - np.clip(end, box.min, box.max))) < 5
        nearest = min(np.hypot(*(marks - np.clip(marks, box.min, box.max)).T))
        own = np.hypot(*(mark - np.clip(mark, box.min, box.max)))
        assert own < nearest + 5


def test_the_colour_bar_of_a_narrow_scale_has_ticks_to_read(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    figure = draw("heat map", view_of(rows[rows["width"] == 640])).figure
    bar = next(axes for axes in figure.axes if axes.get_ylabel() == "FPS (log)")
    low, high = bar.get_ylim()
    inside = [one for one in bar.get_yticks() if low <= one <= high]
    assert len(inside) >= 3


def test_a_roof_that_is_beaten_is_explained(root: Path) -> None:
    view = views(load(root / "results" / "h100-tensorrt-8.6"))[0]
    said = "above the flat roof"
    assert said in draw("roofline", view).caption  # vgg16_bn in INT8, 3840x2144
    slow = view.frame.assign(latency_ms=2 * view.frame["latency_ms"])
    assert said not in draw("roofline", replace(view, frame=slow)).caption


def test_no_correlation_is_minus_nothing() -> None:
    assert list(map(scatter._hundredths, (-0.004, 0.004, -0.006))) == ["0.00", "0.00", "-0.01"]


def test_the_front_is_bold_and_named(invented_view: View) -> None:
    drawing = draw("imagenet", invented_view)
    texts = drawing.figure.axes[0].texts
    bold = {text.get_text() for text in texts if text.get_weight() == "bold"}
    rows = invented_view.at(Variant("fp32"), "640x480")
    rows = rows[rows["accuracy_metric"] == "ImageNet top-1"]
    assert bold == set(rows.loc[ranking.undominated(rows), "model"])
    assert all(name in drawing.alt.split("FP16:")[0] for name in bold)


def test_a_network_timed_without_its_classifier_is_hollow(invented_view: View) -> None:
    drawing = draw("imagenet", invented_view)
    assert "Hollow and not on the front: vgg11_bn, timed without the classifier" in drawing.caption
    rows = invented_view.at(Variant("fp32"), "640x480").set_index("model")
    cut = rows.loc["vgg11_bn"]
    assert hollow(drawing.figure.axes[0]) == [(cut["latency_ms"], cut["accuracy"])]
    assert "vgg11_bn" not in drawing.alt
    without = replace(
        invented_view, frame=invented_view.frame[invented_view.frame["model"] != "vgg11_bn"]
    )
    assert "Hollow and" not in draw("imagenet", without).caption


def test_one_whole_network_beside_a_cut_one_is_no_front(invented_view: View) -> None:
    pair = invented_view.frame[invented_view.frame["model"].isin(["vgg11_bn", "resnet18"])]
    drawing = accuracy.draw(replace(invented_view, frame=pair), "ImageNet top-1")
    assert isinstance(drawing, Absent)
    assert "fewer than 2 networks" in drawing.reason


def test_a_figure_of_one_metric_has_no_network_of_the_other(invented_view: View) -> None:
    imagenet = draw("imagenet", invented_view)
    names = {text.get_text() for axes in imagenet.figure.axes for text in axes.texts}
    assert "resnet50" in names
    assert "fast_scnn" not in names
    assert accuracy.size_for(invented_view, "ImageNet top-1") == "640x480"
    assert accuracy.size_for(invented_view, "Cityscapes mIoU") == "1920x1056"
    frame = invented_view.frame
    alone = (frame["model"] == "ddrnet23_slim") & (frame["resolution"] == "1920x1056")
    without = replace(invented_view, frame=frame[~alone])
    assert accuracy.size_for(without, "Cityscapes mIoU") == "1024x768"
    assert isinstance(accuracy.draw(without, "Cityscapes mIoU"), Drawing)
    only = replace(invented_view, frame=frame[frame["model"] != "ddrnet23_slim"])
    assert accuracy.size_for(only, "Cityscapes mIoU") == "1920x1056"


def test_spread_counts_verdicts(invented_view: View) -> None:
    assert "68 VALID, 1 SUSPECT, 1 INVALID" in draw("spread", invented_view).alt


def test_a_narrow_interval_is_not_called_none(rows: pd.DataFrame, view_of: ViewOf) -> None:
    ends = {f"latency_ci_{end}_ms": rows["latency_ms"].copy() for end in ("low", "high")}
    ends["latency_ci_high_ms"].iloc[0] *= 1.2
    figure = draw("spread", view_of(rows.assign(**ends))).figure
    words = [text.get_text() for text in figure.findobj(Text)]
    assert {"<0.1", "10.0"} <= set(words)
    assert not any(word.startswith("0.0") for word in words)


def test_spread_names_rows_of_a_single_process(rows: pd.DataFrame, view_of: ViewOf) -> None:
    assert "process" not in draw("spread", view_of(rows)).caption  # not known there
    one = (rows["model"] == "resnet50") & (rows["width"] == 640)
    caption = draw("spread", view_of(rows.assign(rounds=3 - 2 * one))).caption
    assert "3 rows (resnet50) of one timing process each: their intervals do not hold" in caption


def test_a_row_from_before_there_were_rounds_is_counted_by_its_processes(
    tmp_path: Path, rows: pd.DataFrame, write: Callable[..., Path]
) -> None:
    folder = write(tmp_path, rows)
    (folder / "rows").mkdir()
    keys = rows.loc[(rows["status"] == "ok") & (rows["model"] == "resnet50"), "key"].tolist()
    runs = [[{"n": 9}], [{"n": 9}, {"n": 9, "set_aside": True}], [{"n": 9}] * 3]
    for key, some in zip(keys, runs, strict=False):
        (folder / "rows" / f"{key}.json").write_text(json.dumps({"detail": {"runs": some}}))
    frame = load(folder).frame.set_index("key")["rounds"]
    assert frame[keys[:3]].tolist() == [1, 1, 3]
    assert frame.drop(keys[:3]).isna().all()


@pytest.mark.parametrize(("builds", "said"), [(1, True), (3, False)])
def test_spread_says_when_every_engine_was_built_once(
    builds: int, said: bool, invented_view: View
) -> None:
    view = replace(invented_view, environment={"parameters": {"fp16": {"builds": builds}}})
    assert ("Every engine was built once" in draw("spread", view).caption) is said
    assert "built once" not in draw("spread", invented_view).caption  # not known there
    cpu = replace(view, frame=view.frame.assign(engine="onnxruntime_cpu"))
    assert "built once" not in draw("spread", cpu).caption


def spoiled(rows: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "one precision":
        return rows[rows["precision"] == "fp16"]
    if how == "one size":
        return rows[rows["width"] == 640]
    if how == "one network":
        return rows[rows["model"] == "resnet18"]
    if how == "no intervals":
        return rows.assign(latency_ci_low_ms=None, latency_ci_high_ms=None, verdict=None)
    if how == "no accuracy":
        return rows.assign(accuracy=None, accuracy_metric=None)
    if how == "no families":
        return rows.assign(family=None, gmacs=None)
    if how == "a CPU":
        few = rows[rows["precision"] != "fp16"]
        return few.assign(engine="onnxruntime_cpu", device="cpu", cuda_graph=None)
    if how == "one cell":
        return rows.head(1)
    return rows.assign(status="failed", failure="crash", latency_ms=None, verdict=None)


FEW = ("resnet18", "mobilenet_v3_small", "vgg11_bn", "fast_scnn", "onnx:mine.onnx")
"""Networks of both tasks, one without a family and one with a failed row."""


@pytest.mark.parametrize(
    "how",
    [
        *("one precision", "one size", "one network", "no intervals", "no accuracy"),
        *("no families", "a CPU", "one cell", "all failed"),
    ],
)
def test_every_figure_copes(how: str, rows: pd.DataFrame, view_of: ViewOf) -> None:
    view = view_of(spoiled(rows[rows["model"].isin(FEW)], how))
    for kind, drawer in DRAWERS.items():
        drawing = drawer(view)
        if isinstance(drawing, Absent):
            assert drawing.reason.endswith("."), kind
        else:
            assert len(drawing.svg()) > 5000, kind
            assert "nan" not in drawing.alt.lower().split(), kind


@pytest.mark.parametrize("folder", ["h100-tensorrt-8.6", "rtx3090-published"])
def test_names_of_a_front_cover_no_name_and_no_mark(folder: str, root: Path) -> None:
    figure = draw("imagenet", views(load(root / "results" / folder))[0]).figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in filter(Artist.get_visible, figure.axes):
        boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
        dots = [one for one in axes.collections if isinstance(one, PathCollection)]
        marks = axes.transData.transform(np.concatenate([one.get_offsets() for one in dots]))
        assert len(marks) == len(boxes)
        assert not [box for box in boxes for mark in marks if box.contains(*mark)]
        assert all(axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) for box in boxes)
