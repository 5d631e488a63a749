from dataclasses import replace
from pathlib import Path

from benchlib.analysis.results import MeasuredSet, load
from benchlib.report.document import Document
from benchlib.report.sections import side_by_side


def test_one_set_has_nothing_beside_it(invented: MeasuredSet) -> None:
    page = Document((invented,))
    assert page.side_by_side()._repr_html_() == ""
    assert "there is no second set" in page.not_drawn()._repr_html_()


def test_two_measured_sets_are_compared_case_by_case(invented: MeasuredSet) -> None:
    frame = invented.frame.copy()
    times = ["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"]
    frame[times] = frame[times] / 2
    found = side_by_side([invented, replace(invented, name="half", frame=frame)])
    page = found._repr_html_()
    assert "takes 0.50 times as long" in page
    assert "69 faster, 0 slower, 0 same, 0 undecided" in page
    # A heading is a button on the page: one without a word is nothing to a screen reader
    assert all(column.title for table in found.tables for column in table.columns)


def test_a_case_of_another_graph_is_told_by_its_note(invented: MeasuredSet) -> None:
    one, other = (
        replace(invented, name=name, frame=invented.frame.assign(graph_layers=nodes))
        for name, nodes in (("a", 127), ("b", 122))
    )
    assert "graph of 127 -&gt; 122 nodes" in side_by_side([one, other])._repr_html_()
    assert "nodes" not in side_by_side([one, one])._repr_html_()


def test_published_figures_stand_beside_ours(invented: MeasuredSet, published_dir: Path) -> None:
    page = side_by_side([invented, load(published_dir)])._repr_html_()
    assert "another GPU: Invented GPU, not NVIDIA GeForce RTX 3090" in page
    assert "published as" in page


def test_copies_are_no_cases_in_both_and_are_counted(invented: MeasuredSet) -> None:
    frame = invented.frame.assign(started_at="2026-11-25T13:14:04.159976Z")
    one, other = (replace(invented, name=name, frame=frame.copy()) for name in ("a", "b"))
    assert "nothing to compare. 69 cases left out" in side_by_side([one, other])._repr_html_()
    place = other.frame.index[other.frame["latency_ms"].notna()][0]
    other.frame.loc[place, "started_at"] = "2026-11-26T13:14:04.159976Z"
    page = side_by_side([one, other])._repr_html_()
    assert "Over 1 case in both" in page and "68 cases left out" in page
