"""The line-up shown: records, text, tables, figures, and the notebook run for real."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from importlib.resources import as_file, files
from itertools import combinations
from pathlib import Path

import nbformat
import papermill
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchlib.errors import InputError
from benchlib.models import registry
from benchlib.report import document
from benchlib.report.figures import accuracy
from benchlib.report.style import Absent, Drawing
from benchlib.report.tables import lineup

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "lineup.ipynb"
CLASS = "classification"
SOME = ("mobilenet_v3_small", "fast_scnn", "fast_scnn_blog", "dapspnet")


@pytest.fixture(scope="module")
def rows() -> tuple[lineup.Record, ...]:
    return lineup.read_all(SOME, 480, 640)


@pytest.fixture
def features(rows: tuple[lineup.Record, ...]) -> lineup.Record:
    return replace(rows[0], name="vgg_like", features_only=True, accuracy=80.0)


def test_records_are_json(monkeypatch) -> None:
    monkeypatch.setattr(registry, "names", lambda: SOME)
    documents = lineup.records(height=480, width=640)
    back = json.loads(json.dumps(documents, allow_nan=False))
    assert [one["name"] for one in back] == list(SOME)
    assert back[1]["gmacs"] == pytest.approx(0.983, abs=5e-4)
    assert back[2]["accuracy"] is None
    said = lineup.text(back)
    assert "At 640x480" in said and "dapspnet (reconstruction)" in said
    assert "IMAGENET1K_V1" in said


def test_the_lineup_is_grouped_by_year_and_cut_to_tasks_and_families(monkeypatch) -> None:
    monkeypatch.setattr(registry, "names", lambda: ("repvit_m0_9", "fast_scnn", "resnet18"))
    said = lineup.text(lineup.records(height=64, width=64)).splitlines()
    years = [line for line in said if line.isdigit()]
    assert years == ["2016", "2019", "2024"]
    assert said[said.index("2019") + 1].startswith("fast_scnn")
    assert "repvit_m0_9: weights under apache-2.0" in said
    (one,) = lineup.records(height=64, width=64, families=["repvit"])
    assert (one["year"], one["weights_licence"]) == (2024, "apache-2.0")
    (one,) = lineup.records(height=64, width=64, tasks=["Segmentation"])
    assert one["name"] == "fast_scnn"
    with pytest.raises(InputError, match=r"family: .*'VGG'; there are Real-time.*RepViT, ResNet"):
        lineup.records(height=64, width=64, families=["VGG"])


def test_published_latencies_name_device_program_and_source(rows) -> None:
    known = replace(rows[0], name="efficientvit_b1")
    table = lineup.elsewhere([known, *rows])
    assert set(table.rows) == {"efficientvit_b1", "mobilenet_v3_small"}
    cells = {column.title: column.cells[0].text for column in table.columns}
    assert (cells["Device"], cells["Size"], cells["ms per image"]) == (
        "Jetson AGX Orin",
        "224x224",
        "1.48",
    )
    assert "transfer" in cells["Ours differ by"] and "mit-han-lab" in cells["Source"]


def test_every_published_latency_is_of_the_lineup() -> None:
    every = [replace(_blank(), name=name) for name in registry.names()]
    with as_file(files("benchlib.models") / "published_latencies.csv") as path:
        lines = list(csv.DictReader(path.open()))
    assert len(lineup.elsewhere(every).rows) == len(lines) >= 10
    assert all(line["differs"] and line["source"] and line["device"] for line in lines)
    assert all(float(line["latency_ms"]) > 0 for line in lines)


def _blank() -> lineup.Record:
    return lineup.Record(**dict.fromkeys(lineup.Record.__dataclass_fields__))


def test_a_failed_count_is_a_dash_with_its_reason() -> None:
    rows = lineup.read_all(("fast_scnn",), 480, 650)
    said = lineup.text([lineup.asdict(row) for row in rows])
    assert "multiples of 32" in said
    cells = {column.title: column.cells[0] for column in lineup.costs(rows).columns}
    assert cells["GMACs"].text == "–" and "multiples of 32" in cells["GMACs"].note
    assert cells["Params, M"].text == "1.14"
    assert isinstance(accuracy.work(rows), Absent)


def test_accuracies_of_two_metrics_have_two_columns(rows) -> None:
    columns = {column.title: column for column in lineup.costs(rows).columns}
    assert [cell.text for cell in columns["ImageNet top-1"].cells] == ["67.7", "–", "–", "–"]
    assert [cell.text for cell in columns["Cityscapes mIoU"].cells] == ["–", "68.6", "–", "–"]


def test_tables_mark_the_reconstruction_and_say_where_graphs_end(rows) -> None:
    page = lineup.facts(rows)._repr_html_()
    assert "dapspnet (reconstruction)" in page
    assert "per pixel of the input size" in page and "1/8 of the input size" in page


def test_work_says_least_and_most(rows) -> None:
    large = lineup.read_all(SOME, 768, 1024)
    drawing = accuracy.work([*rows, *large])
    assert isinstance(drawing, Drawing)
    assert "mobilenet_v3_small takes least with 0.86" in drawing.alt
    assert "dapspnet most with 13.6" in drawing.alt
    assert "Ten times the pixels cost 9.9 to 10.0 times" in drawing.caption
    assert drawing.svg() == drawing.svg()


def test_accuracy_is_drawn_per_task(rows, features) -> None:
    drawing = accuracy.accuracy([*rows, features], CLASS)
    assert "ImageNet top-1" in drawing.alt and "fast_scnn" not in drawing.alt
    assert "vgg_like has the highest with 80.0 %" in drawing.alt
    assert "Hollow" in drawing.caption
    assert isinstance(accuracy.accuracy(rows[:1], "segmentation"), Absent)


def test_names_of_crowded_marks_do_not_overlap(rows) -> None:
    near = [
        replace(rows[0], name=f"network_{n}", accuracy=70 + n / 4, params=2_000_000 + n * 1000)
        for n in range(5)
    ]
    figure = accuracy.accuracy([*near, replace(rows[0], name="far", accuracy=80.0)], CLASS).figure
    axes = figure.axes[0]
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(axes.bbox.containsx(edge) for box in boxes for edge in (box.x0, box.x1))


def test_a_page_needs_a_size_and_known_names() -> None:
    with pytest.raises(InputError, match="resolutions"):
        document.read_lineup([], [])
    with pytest.raises(InputError, match="did you mean resnet18"):
        document.read_lineup(["resnet81"], ["640x480"])


def test_one_name_and_one_size_may_be_a_text() -> None:
    """``papermill -p models NAME`` gives a text where a list is declared."""
    (records,) = document.read_lineup("resnet18", "640x480").sizes
    assert [record.name for record in records] == ["resnet18"]


def test_the_notebook_runs_under_papermill(tmp_path: Path) -> None:
    papermill.execute_notebook(
        NOTEBOOK,
        tmp_path / "lineup.ipynb",
        {
            "models": list(SOME),
            "resolutions": ["640x480", "1024x768"],
            "figures_dir": str(tmp_path / "figures"),
        },
        cwd=NOTEBOOK.parent,
        kernel_name="python3",
        progress_bar=False,
    )
    outputs = [
        output["data"]["text/html"]
        for cell in nbformat.read(tmp_path / "lineup.ipynb", 4).cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    shown = "".join(outputs)
    assert shown.count("<table") == 3 and shown.count("<img") == 3
    assert len(list((tmp_path / "figures").glob("*.svg"))) == 3
