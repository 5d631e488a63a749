"""What a newcomer needs said: doubts first, reasons in words, a CPU set no answer about GPUs."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import load
from benchlib.errors import InputError
from benchlib.report import sections
from benchlib.report.document import Document
from benchlib.report.figures import fps
from benchlib.report.sections import findings_section
from benchlib.report.tables import latency
from benchlib.report.view import View

Write = Callable[..., Path]
SENTENCES = ["The card held its clock back; give it cooling.", "It grew slower; warm up longer."]


def doubted(folder: Path, rows: pd.DataFrame, write: Write) -> Path:
    """A set of SUSPECT rows, one of which kept its sentences."""
    ok = rows["status"] == "ok"
    rows.loc[ok, ["verdict", "reasons"]] = ["SUSPECT", "throttled;drift"]
    write(folder, rows)
    (folder / "rows").mkdir()
    row = {"detail": {"reasons": SENTENCES}}
    (folder / "rows" / f"{rows.loc[ok, 'key'].iloc[-1]}.json").write_text(json.dumps(row))
    return folder


def test_reasons_are_explained_where_failures_are_listed(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    one = load(doubted(tmp_path / "mine", rows, write))
    assert sections.meanings(one) == dict(zip(("throttled", "drift"), SENTENCES, strict=True))
    page = Document((one,)).failures()._repr_html_()
    assert all(sentence in page for sentence in SENTENCES)


def test_a_set_in_doubt_says_so_before_its_findings(
    tmp_path: Path, rows: pd.DataFrame, write: Write, invented_dir: Path
) -> None:
    page = findings_section([load(doubted(tmp_path / "mine", rows, write))])._repr_html_()
    said = "70 of 70 rows are doubted; do not choose from this run."
    assert page.index(said) < page.index("<table")
    assert SENTENCES[0] in page
    assert "do not choose" not in findings_section([load(invented_dir)])._repr_html_()


def test_a_cpu_set_answers_for_its_cpu_only(
    tmp_path: Path, rows: pd.DataFrame, write: Write, invented_dir: Path
) -> None:
    rows["engine"] = "onnxruntime_cpu"
    page = findings_section([load(write(tmp_path / "mine", rows))])._repr_html_()
    assert page.index("verdicts speak of this CPU only") < page.index("<table")
    assert "this CPU" not in findings_section([load(invented_dir)])._repr_html_()


def test_the_table_says_how_its_digits_are_cut(invented_view: View) -> None:
    table = latency.build(invented_view)
    assert "Digits are cut" in table.caption
    row = invented_view.at(Variant("fp16"), "640x480").set_index("model").loc["resnet50"]
    full = f"median {row.latency_ms:.6g} ms, 95 % interval {row.latency_ci_low_ms:.6g} to"
    at = table.rows.index("resnet50")
    assert any(full in column.cells[at].note for column in table.columns)


def test_speedups_show_whole_intervals_and_two_digits(
    rows: pd.DataFrame, view_of: Callable[..., View]
) -> None:
    hit = (rows["model"] == "resnet18") & (rows["precision"] == "int8") & (rows["width"] == 640)
    fp32 = (rows["model"] == "resnet18") & (rows["precision"] == "fp32") & (rows["width"] == 640)
    slow = float(rows.loc[fp32, "latency_ms"].iloc[0]) / 0.47
    rows.loc[hit, ["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"]] = [
        *(slow, slow / 20, slow * 4),
    ]
    view = view_of(rows)
    axes = fps.draw_speedup(view).figure.axes[0]
    gains = fps.ratios(view).query("resolution == '640x480'")
    low, high = axes.get_xlim()
    assert low < gains["low"].min()
    assert gains["high"].max() < high
    assert "0.47" in {text.get_text() for text in axes.texts}


def test_a_broken_table_is_refused_in_one_line_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a\nb,c,d\n\n1,2,3,4\n")
    with pytest.raises(InputError, match="give a measured set") as refused:
        load(tmp_path / "README.md")
    assert "\n" not in str(refused.value)


def test_the_method_says_what_a_cpu_run_lacks(root: Path) -> None:
    cells = json.loads((root / "notebooks" / "report.ipynb").read_text(encoding="utf-8"))["cells"]
    said = "".join("".join(cell["source"]) for cell in cells)
    assert "In a CPU run no clock, power draw or temperature was watched" in said
    assert "## Roofline" in said
