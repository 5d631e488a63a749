import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import MeasuredSet, load
from benchlib.report import methods, sections
from benchlib.report.document import Document
from benchlib.report.tables import grid, latency
from benchlib.report.tables.grid import Cell, Column, Mark, Table
from benchlib.report.view import View, views

ViewOf = Callable[[pd.DataFrame], View]


@pytest.fixture(scope="module")
def table(invented_view: View) -> Table:
    return latency.build(invented_view)


def cell(table: Table, model: str, group: str, title: str) -> Cell:
    column = next(one for one in table.columns if (one.group, one.title) == (group, title))
    return column.cells[table.rows.index(model)]


def test_best_and_worst_of_a_column_are_marked(table: Table, invented_view: View) -> None:
    column = next(one for one in table.columns if (one.group, one.title) == ("640×480", "FP16"))
    by_mark = {one.mark: row for row, one in zip(table.rows, column.cells, strict=True)}
    rows = invented_view.at(Variant("fp16"), "640x480").set_index("model")["latency_ms"]
    assert by_mark[Mark.BEST] == rows.idxmin()
    assert by_mark[Mark.WORST] == rows.idxmax()


def test_the_published_table_marks_what_the_blog_shows(published_view: View) -> None:
    table = latency.build(published_view)
    assert cell(table, "fast_scnn_blog", "3840×2144", "INT8") == Cell("1.78", 1.78, Mark.BEST)
    assert cell(table, "vgg16_bn", "3840×2144", "FP32").mark is Mark.WORST
    assert cell(table, "vgg16_bn", "3840×2144", "FP32").text == "160"
    assert cell(table, "resnet18", "640×480", "INT8").mark is Mark.BEST  # a tie has two best
    assert cell(table, "fast_scnn_blog", "640×480", "INT8").mark is Mark.BEST
    assert cell(table, "bisenetv2_blog", "Network", "Top-1 %").text == "–"


def test_an_accuracy_is_ranked_within_its_metric(table: Table) -> None:
    assert cell(table, "resnet50", "Network", "Top-1 %").mark is Mark.BEST
    assert cell(table, "ddrnet23_slim", "Network", "mIoU %").mark is Mark.BEST
    assert cell(table, "fast_scnn", "Network", "mIoU %").mark is Mark.WORST
    assert cell(table, "fast_scnn", "Network", "Top-1 %").value is None


def test_more_is_worse_for_work_and_better_for_accuracy(table: Table) -> None:
    assert cell(table, "vgg11_bn", "Network", "GMACs at 640×480").mark is Mark.WORST
    assert cell(table, "mobilenet_v3_small", "Network", "Top-1 %").mark is Mark.WORST


def test_a_dash_has_its_reason(table: Table) -> None:
    failed = cell(table, "vgg11_bn", "1920×1056", "INT8")
    assert (failed.text, failed.value) == ("–", None)
    assert failed.note == "failed (timeout): no end after 900 s"
    assert f"{failed.reference}: {failed.note}" in table.footnotes
    skipped = cell(table, "onnx:mine.onnx", "640×480", "INT8")
    assert skipped.note.startswith("skipped (unsupported)")
    assert skipped.reference != failed.reference


def test_a_case_that_was_never_asked_for_says_so(rows: pd.DataFrame, view_of: ViewOf) -> None:
    few = rows[~((rows["model"] == "resnet18") & (rows["width"] == 640))]
    missing = cell(latency.build(view_of(few)), "resnet18", "640×480", "FP32")
    assert missing.note == "not in this run"


def test_doubted_rows_carry_their_symbol_and_reasons(table: Table) -> None:
    suspect = cell(table, "resnet18", "1024×768", "FP16")
    assert suspect.text.endswith(" !")
    assert "SUSPECT: throttled, drift" in suspect.note
    invalid = cell(table, "efficientnet_b0", "1024×768", "FP32")
    assert invalid.text.endswith(" ✕")
    assert invalid.mark is Mark.REJECTED


def test_a_card_at_its_power_limit_is_noted_with_its_clock(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    fp32 = (rows["model"] == "resnet18") & (rows["precision"] == "fp32")
    first, second = rows.index[fp32][:2]
    rows[["verdict", "reasons"]] = ["VALID", None]
    rows.loc[[first, second], "limited_by"] = "power"
    rows.loc[[first, second], "sm_clock_mhz"] = [1800.0, 1650.0]
    rows.loc[first, ["verdict", "reasons"]] = ["VALID", "power_limited"]
    rows.loc[second, ["verdict", "reasons"]] = ["SUSPECT", "drift;power_limited;spread"]
    rows.loc[second, "latency_p95_ms"] = 7.25
    view = view_of(rows)
    table = latency.build(view)
    noted = [one for c in table.columns for one in c.cells if "power_limited" in one.note]
    assert [one.text.endswith("!") for one in noted] == [False, True]
    assert noted[0].mark is not Mark.DOUBTED
    words = ["power_limited (sustained clock 1800 MHz)"]
    words.append(
        "SUSPECT: drift, power_limited (sustained clock 1650 MHz), spread (95th percentile 7.25 ms)"
    )
    for one, word in zip(noted, words, strict=True):
        assert f"{one.reference}: {word}" in table.footnotes
        assert one.note.startswith(word)
    assert "A letter alone points to a note" in table.caption
    said = "In 2 rows the card ran at its power limit (power_limited), its sustained clock 1650 to"
    assert f"{said} 1800 MHz." in view.remarks()
    assert "power limit" not in view.remarks("fp16")


def test_rows_at_the_power_limit_share_a_letter_and_keep_their_clocks(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    some = rows.index[(rows["model"] == "resnet18") & (rows["precision"] == "fp32")]
    clocks = [1980.0, 1575.0, 1800.0, None][: len(some)]
    rows[["verdict", "reasons"]] = ["VALID", None]
    rows.loc[some, "reasons"] = "power_limited"
    rows.loc[some, "sm_clock_mhz"] = clocks
    table = latency.build(view_of(rows))
    noted = [one for c in table.columns for one in c.cells if "power_limited" in one.note]
    (letter,) = {one.reference for one in noted}
    said = [one for one in table.footnotes if "power_limited" in one]
    assert said == [f"{letter}: power_limited (sustained clock 1575 to 1980 MHz)"]
    for one, clock in zip(noted, clocks, strict=True):
        own = "power_limited" + (f" (sustained clock {clock:.0f} MHz)" if clock else "")
        assert one.note.split(";")[0] == own


def test_energy_has_a_table_that_says_how_far_it_is_good(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    assert latency.build_energy(view_of(rows)) is None
    first = rows.index[(rows["model"] == "resnet18") & (rows["precision"] == "fp32")][0]
    told = {"energy_mj": 361.08, "energy_source": "power", "power_w": 172.9, "peak_memory_mb": 1135}
    for name, value in told.items():
        rows.loc[first, name] = value
    table = latency.build_energy(view_of(rows))
    assert table.rows == ("resnet18",)
    (column,) = table.columns
    assert (column.group, column.title, column.cells[0].text) == ("640×480", "FP32", "360")
    assert column.cells[0].note.startswith("173 W; by power; 1,135 MB in use at most")
    assert "good to 5 %" in table.caption and "power readings, integrated" in table.caption
    assert any(term == "Energy per image" for term, _ in methods.definition_lines(view_of(rows)))


def test_an_invalid_row_is_never_best_or_worst(rows: pd.DataFrame, view_of: ViewOf) -> None:
    at = rows.index[(rows["model"] == "resnet18") & (rows["precision"] == "fp32")][0]
    rows.loc[at, ["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"]] = [0.001, 0.001, 0.001]
    rows.loc[at, ["verdict", "reasons"]] = ["INVALID", "impossible"]
    table = latency.build(view_of(rows))
    assert cell(table, "resnet18", "640×480", "FP32").mark is Mark.REJECTED
    assert Mark.BEST in [
        one.mark
        for c in table.columns
        if (c.group, c.title) == ("640×480", "FP32")
        for one in c.cells
    ]


def test_digits_follow_the_interval(rows: pd.DataFrame, view_of: ViewOf) -> None:
    at = rows.index[(rows["model"] == "resnet18") & (rows["precision"] == "fp32")][0]
    rows.loc[at, ["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"]] = [5.4321, 5.1, 5.8]
    table = latency.build(view_of(rows))
    assert cell(table, "resnet18", "640×480", "FP32").text == "5.4"


def test_html_says_all_of_it(table: Table) -> None:
    page = table._repr_html_()
    assert 'title="failed (timeout): no end after 900 s"' in page
    assert "no calibration images &lt;here&gt;" in page
    assert "<here>" not in page
    assert page.count('scope="colgroup"') == 4
    assert page.count("<tr>") == 2 + len(table.rows)
    assert 'class="best"' in page
    assert " id=" not in page.replace(' id="table-', "")


def test_csv_holds_the_full_numbers(table: Table, invented_view: View) -> None:
    lines = list(csv.reader(io.StringIO(grid.comma_separated(table))))
    assert len(lines) == 1 + len(table.rows)
    at = lines[0].index("640×480 FP32")
    rows = invented_view.at(Variant("fp32"), "640x480").set_index("model")["latency_ms"]
    for line in lines[1:]:
        assert float(line[at]) == pytest.approx(rows[line[0]])


def test_latex_is_a_tabular_with_its_specials_escaped(table: Table) -> None:
    text = grid.latex(table)
    assert text.startswith(r"\begin{tabular}{l")
    assert r"mobilenet\_v3\_small" in text
    assert r"\textbf{" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(table.rows)
    assert {line.count(" & ") for line in body} == {len(table.columns)}


def test_failures_list_every_doubted_row(invented: MeasuredSet) -> None:
    built = latency.build_failures("Invented", invented.frame)
    assert len(built.rows) == 4
    reasons = [one.text for one in next(c for c in built.columns if c.title == "Reason").cells]
    assert "timeout: no end after 900 s" in reasons
    assert "throttled, drift" in reasons


def test_asked_and_got_takes_the_lowest_share(
    rows: pd.DataFrame, tmp_path: Path, write: Callable[..., Path]
) -> None:
    at = rows.index[(rows["model"] == "resnet18") & (rows["precision"] == "int8")][1]
    rows.loc[at, "low_precision_share"] = 0.25
    folder = write(tmp_path / "set", rows)
    keep_shares(folder, "resnet50-int8-640x480", {"int8": 0.75, "fp16": 0.25}, None)
    keep_shares(
        folder, "resnet50-int8-1024x768", {"int8": 0.9}, {"int8": 0.3, "fp32": 0.2, "moving": 0.5}
    )
    measured = load(folder)
    built = latency.build_precision(views(measured)[0], measured)
    assert built is not None
    assert cell(built, "resnet18", "INT8", "layers").text == "25 %"
    assert cell(built, "resnet50", "INT8", "layers").text == "91 %"
    assert cell(built, "resnet50", "INT8", "MACs").text == "75 %"
    assert cell(built, "resnet50", "INT8", "time").text == "60 %"
    assert cell(built, "resnet18", "INT8", "time").note == "not known"
    assert "A dash under MACs" not in built.caption  # no row of these has a time and no work

    keep_shares(folder, "fast_scnn-int8-640x480", None, {"fp32": 0.9, "int8": 0.1})
    measured = load(folder)
    built = latency.build_precision(views(measured)[0], measured)
    assert built is not None
    assert cell(built, "fast_scnn", "INT8", "MACs").text == "–"
    assert "A dash under MACs alone: the builder fused layers" in built.caption


def keep_shares(folder: Path, key: str, macs: object, time: object) -> None:
    """Leave a row's shares where a run leaves them."""
    detail = {"shares": {"layers": None, "macs": macs, "time": time}}
    (folder / "rows").mkdir(exist_ok=True)
    (folder / "rows" / f"{key}.json").write_text(json.dumps({"detail": detail}))


def test_asked_and_got_leaves_out_what_no_row_knows(
    invented: MeasuredSet, invented_view: View
) -> None:
    built = latency.build_precision(invented_view, invented)
    assert built is not None
    assert {one.title for one in built.columns} == {"layers", "made by"}


def test_asked_and_got_is_left_out_where_unknown(published_dir: Path) -> None:
    published = load(published_dir)
    assert latency.build_precision(views(published)[0], published) is None


def test_environment_lays_sets_side_by_side(invented: MeasuredSet) -> None:
    built = sections.environment_table([invented])
    assert dict(zip(built.rows, built.columns[0].cells, strict=True))["gpu name"] == Cell(
        "Invented GPU"
    )


def test_the_definition_box_follows_the_columns(
    invented_view: View, published_view: View, rows: pd.DataFrame, view_of: ViewOf
) -> None:
    said = dict(methods.definition_lines(invented_view))
    assert said["Copies to and from the device"] == "left out."
    assert said["CUDA graph"] == "used."
    median, interval = said["Latency"].split(" Its 95 % ")
    assert median == "the median of 400 timed queries, for a batch of 1."
    assert interval.startswith("interval is of the engine timed")
    assert interval.endswith("intervals are more than twice that apart, 3 %.")
    assert (
        "does not say which statistic" in dict(methods.definition_lines(published_view))["Latency"]
    )
    cpu = dict(methods.definition_lines(view_of(rows.assign(engine="onnxruntime_cpu"))))
    assert "ONNX Runtime on the CPU" in cpu["Inside the timed span"]
    assert "CUDA graph" not in cpu


def test_a_grid_without_groups_has_one_line_of_headings() -> None:
    one = Table("x", "caption", "Row", ("a",), (Column("", "T", (Cell("1"),)),))
    assert one._repr_html_().count("<tr>") == 2
    assert r"\multicolumn" not in grid.latex(one)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1898, "0.190"),
        (0.19113, "0.191"),
        (0.9934, "0.993"),
        (2.34, "2.34"),
        (0, "0"),
        (2e-5, "0"),
    ],
)
def test_a_number_has_three_figures(value: float, text: str) -> None:
    """Most times of a fast card are below a millisecond: with two figures they look alike."""
    said = grid.number(value)
    assert said.value == value
    assert said.text == text or (value == 2e-5 and "e" not in said.text)


def test_the_lines_of_the_latency_model_predict_a_size(published_view: View) -> None:
    table = latency.build_lines(published_view)
    row = table.frame.loc["resnet18"]["FP16"]
    frame = published_view.frame
    of = (frame["model"] == "resnet18") & (frame["precision"] == "fp16") & (frame["width"] == 1920)
    predicted = row["fixed, ms"] + row["ms per megapixel"] * 1920 * 1056 / 1e6
    assert predicted == pytest.approx(float(frame.loc[of, "latency_ms"].iloc[0]), rel=row["off by"])
    assert "width × height / 10⁶" in table.caption
    shown = table.columns[
        table.columns.index(next(c for c in table.columns if c.title == "off by"))
    ]
    assert all(cell.text.endswith("%") or cell.note for cell in shown.cells)


def test_a_heading_over_nothing_is_no_heading() -> None:
    """A screen reader would stop at it and say nothing."""
    columns = tuple(grid.Column(group, "x", (grid.Cell("1"),)) for group in ("", "ms"))
    shown = grid.Table("t", "", "Network", ("resnet18",), columns)._repr_html_()
    assert shown.count('scope="colgroup"') == 1


def test_a_saved_table_is_its_csv_and_its_latex(table: Table, tmp_path: Path) -> None:
    names = grid.save(table, tmp_path / "new")
    assert names == ("latency-invented.csv", "latency-invented.tex")
    texts = [(tmp_path / "new" / name).read_text(encoding="utf-8") for name in names]
    assert texts == [grid.comma_separated(table), grid.latex(table)]


def test_methods_of_int8_are_columns_and_nothing_is_a_column_of_dashes(
    rows: pd.DataFrame, tmp_path: Path, write: Callable[..., Path]
) -> None:
    other = rows[(rows["precision"] == "int8") & (rows["width"] == 640)]
    both = pd.concat([rows, other.assign(int8_method="modelopt")], ignore_index=True)
    measured = load(write(tmp_path / "set", both))
    view = views(measured)[0]
    titles = [(one.group, one.title) for one in latency.build(view).columns]
    assert ("640×480", "INT8 (modelopt)") in titles
    assert ("1024×768", "INT8 (qdq)") in titles
    assert ("1024×768", "INT8 (modelopt)") not in titles
    built = latency.build_precision(view, measured)
    assert built is not None
    assert [one.group for one in built.columns] == ["FP16", "INT8 (qdq)", "INT8 (modelopt)"]


def test_a_reconstruction_is_marked_wherever_its_rows_are_shown(
    rows: pd.DataFrame, view_of: ViewOf
) -> None:
    frame = rows.copy()
    frame.loc[frame["model"] == frame["model"].iloc[0], "model"] = "dapspnet"
    view = view_of(frame)
    shown = set(view.frame["model"])
    assert "dapspnet (reconstruction)" in shown
    assert "dapspnet" not in shown
    assert "dapspnet (reconstruction)" in latency.build(view)._repr_html_()


def test_the_definition_says_where_the_timed_graphs_end(published_view: View) -> None:
    ends = dict(methods.definition_lines(published_view))["The graph ends at"]
    assert "per pixel of the input size; no argmax (fassdnet_l2)" in ends
    assert "at 1/8 of the input size; no last resize, no argmax (fast_scnn_blog)" in ends


def test_a_cell_of_the_report_can_be_filtered(root: Path) -> None:
    section = Document((load(root / "results" / "h200-tensorrt-8.6"),)).latencies()
    frame = section.tables[0].frame
    assert frame.index.name == "Network"
    cell = frame.loc["resnet18", ("640×480", "FP16")]
    rows = load(root / "results" / "h200-tensorrt-8.6").frame
    row = rows[
        (rows["model"] == "resnet18")
        & (rows["resolution"] == "640x480")
        & (rows["precision"] == "fp16")
    ]
    assert cell == row["latency_ms"].item()


def test_the_first_screen_says_which_choice_gives_less_than_the_input_size(root: Path) -> None:
    measured = load(root / "results" / "h200-tensorrt-8.6")
    less = "; fast_scnn_blog gives 1 class score (logit) at 1/8 of the input size only."
    (told,) = Document((measured,)).answer().tables[0].footnotes
    assert less in told
    without = replace(measured, frame=measured.frame.query("model != 'fast_scnn_blog'"))
    (told,) = Document((without,)).answer().tables[0].footnotes
    assert "of the input size" not in told


def test_a_figure_of_the_report_is_a_matplotlib_figure_with_its_words(root: Path) -> None:
    section = Document((load(root / "results" / "h200-tensorrt-8.6"),)).roofline()
    (drawing,) = section.figures
    assert isinstance(drawing.figure, Figure)
    assert drawing.caption in unescape(section._repr_html_())
    assert drawing.alt


def test_what_a_table_says_cannot_become_markup() -> None:
    one = Table("x", "a <b>", "c", ("<i>&",), (Column("", "t", (Cell("<s>", note='"n"'),)),))
    page = one._repr_html_()
    assert "<s>" not in page and "<i>" not in page and "a <b>" not in page
    assert unescape(page).count('"n"') == 1


def test_each_network_has_the_size_it_was_made_for(
    rows: pd.DataFrame, view_of: Callable[..., View]
) -> None:
    rows.loc[rows["model"] == "fast_scnn", "accuracy_source"] = "paper; resized to 1024x512; read"
    table = latency.build(view_of(rows))
    column = next(one for one in table.columns if one.title == "Made for")
    sizes = dict(zip(table.rows, (cell.text for cell in column.cells), strict=True))
    # Of its own source, of the line-up's card, of a file that nobody knows.
    assert sizes["fast_scnn"] == "1024×512"
    assert sizes["resnet18"] == "224×224"
    assert sizes["onnx:mine.onnx"] == "–"


def test_each_network_has_the_year_of_its_paper(
    rows: pd.DataFrame, view_of: Callable[..., View]
) -> None:
    rows["model"] = rows["model"].replace("efficientnet_b0", "mobilenetv4_conv_small")
    table = latency.build(view_of(rows))
    column = next(one for one in table.columns if one.title == "Year")
    years = dict(zip(table.rows, (cell.value for cell in column.cells), strict=True))
    assert (years["vgg11_bn"], years["mobilenetv4_conv_small"]) == (2015, 2024)
    assert years["onnx:mine.onnx"] is None
    unknown = latency.build(view_of(rows[rows["model"] == "onnx:mine.onnx"]))
    assert "Year" not in {one.title for one in unknown.columns}
    assert "Year" not in unknown.caption
