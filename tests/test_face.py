"""``import benchlib``: what a script gets, and that it costs nothing until it is used."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pandas as pd
import pytest
from matplotlib.figure import Figure

import benchlib
from benchlib import pipeline
from benchlib.analysis.claims import findings as claims
from benchlib.analysis.results import MeasuredSet
from benchlib.case import Status
from benchlib.errors import InputError, MachineError
from benchlib.report.style import Absent, Drawing
from benchlib.report.tables.grid import Table
from benchlib.report.view import views

FIGURES = (
    *("fps", "heatmap", "speedup", "accuracy", "work", "roofline"),
    *("latency_model", "layer_times", "spread"),
)
TABLES = ("latency", "precision", "layer_times", "int8_methods", "failures", "claims")
FINDING = ["claim", "subset", "test", "estimate", "ci_low", "ci_high", "n", "verdict", "sentence"]
TINY = {
    "models": ["mobilenet_v3_small"],
    "resolutions": ["128x96"],
    "precisions": ["fp32"],
    "duration_s": 0.1,
    "warm_up_ms": 10,
    "min_rounds": 1,
    "max_rounds": 1,
    "roofs": False,
}


@pytest.fixture(scope="module")
def h200(root: Path) -> MeasuredSet:
    return benchlib.load(root / "results" / "h200-tensorrt-8.6")


@pytest.fixture(scope="module")
def h100(root: Path) -> MeasuredSet:
    return benchlib.load(root / "results" / "h100-tensorrt-8.6")


@pytest.fixture(scope="module")
def two_views(h200: MeasuredSet) -> MeasuredSet:
    """The set, and a part of it once more at batch 2, which cannot stand in the same figure."""
    fewer = h200.frame[h200.frame["model"] == "resnet18"].assign(batch=2.0)
    frame = pd.concat([h200.frame, fewer], ignore_index=True)
    both = MeasuredSet("both", frame, h200.environment, published=False)
    assert len(views(both)) == 2
    return both


def python(code: str, root: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Without the user's site packages, whose .pth files import what they like.
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_it_brings_no_package_but_the_standard_library(root, tmp_path):
    code = (
        "before = set(sys.modules)\n"
        "import benchlib\n"
        "brought = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(brought - set(sys.stdlib_module_names)))\n"
        "print([n for n in ('numpy', 'pandas', 'torch', 'matplotlib') if n in sys.modules])\n"
    )
    done = python(code, root, tmp_path)
    assert done.stdout.splitlines() == ["['benchlib']", "[]"], done.stderr


def test_every_word_of_the_face_is_there_after_any_import(root, tmp_path):
    code = (
        "import benchlib, benchlib.export.build\n"
        "assert set(benchlib.__all__) <= set(dir(benchlib))\n"
        "words = ('load', 'plan', 'run', 'export', 'findings', 'compare')\n"
        "print(all(callable(getattr(benchlib, word)) for word in words))\n"
    )
    done = python(code, root, tmp_path)
    assert done.stdout.strip() == "True", done.stderr
    with pytest.raises(AttributeError, match="figurs"):
        benchlib.figurs  # noqa: B018
    for word in ("load", "plan", "run", "findings", "compare"):
        assert inspect.getdoc(getattr(benchlib, word))
    assert "build.make" in inspect.getdoc(benchlib.export)


def test_loads_a_set_and_refuses_a_folder_without_one(h200, root, tmp_path):
    rows = (root / "results" / "h200-tensorrt-8.6" / "rows").glob("*.json")
    assert len(h200.frame) == len(list(rows)) > 0
    with pytest.raises(InputError, match=r"no table\.csv"):
        benchlib.load(tmp_path)


def test_findings_are_a_frame_of_the_same_tests_as_the_commands(h100):
    found = benchlib.findings(h100)
    assert list(found.columns) == FINDING
    assert found["estimate"].dtype == float
    shown = found.astype(object).where(found.notna(), None).to_dict("records")
    assert shown == [one.as_json() for one in claims.of(h100)]
    assert "refuted" in set(found["verdict"])


def test_findings_of_a_set_without_a_usable_row_have_the_columns_too(h200):
    failed = h200.frame.assign(status=Status.FAILED.value)
    found = benchlib.findings(MeasuredSet("none", failed, {}, published=False))
    assert list(found.columns) == FINDING
    assert set(found["verdict"]) == {"can't tell"}
    assert found["estimate"].isna().all()


def test_compares_two_sets_case_by_case(h200):
    slower = h200.frame.copy()
    times = ["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"]
    slower[times] *= 1.5
    second = MeasuredSet("slower", slower, h200.environment, published=False)
    found = benchlib.compare(h200, second)
    assert len(found.frame) == len(found.rows) == len(h200.frame)
    assert found.frame["ratio"].tolist() == pytest.approx([1.5] * len(h200.frame))
    assert set(found.frame["outcome"]) == {"slower"}
    assert set(benchlib.compare(h200, second, threshold=0.9).frame["outcome"]) == {"same"}
    nothing = MeasuredSet("none", slower.iloc[:0], {}, published=False)
    assert list(benchlib.compare(h200, nothing).frame.columns) == list(found.frame.columns)


def test_plans_without_running_and_refuses_an_unknown_parameter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = benchlib.plan(
        tensorrt="10.16", models=["resnet18", "fast_scnn"], precisions=["fp16"], batch_sizes=[1, 4]
    )
    assert len(planned) == len(planned.frame) == 8
    assert set(planned.frame["precision"]) == {"fp16"}
    assert "--exportTimes" in planned.script()
    assert planned.script(first=1).count("\n# ") == 1
    assert planned.script().count("\n# ") == 8
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="did you mean models"):
        benchlib.plan(modles=["resnet18"])
    with pytest.raises(InputError, match="out= in Python"):
        benchlib.plan(out_dir="here")


def test_exports_a_graph_and_refuses_a_form_that_there_is_not():
    made = benchlib.export("mobilenet_v3_small", height=64, width=96, batch=2)
    (entry,) = onnx.load(made.path).graph.input
    assert [one.dim_value for one in entry.type.tensor_type.shape.dim] == [2, 3, 64, 96]
    with pytest.raises(InputError, match="form"):
        benchlib.export("mobilenet_v3_small", "fp17", height=64, width=96)
    with pytest.raises(InputError, match="int8_method"):
        benchlib.export("mobilenet_v3_small", "int8-qdq", height=64, width=96, int8_method="qqq")


def test_runs_and_returns_the_set(tmp_path):
    measured = benchlib.run(out=tmp_path / "set", report=False, engine="onnxruntime_cpu", **TINY)
    assert measured.frame["status"].tolist() == ["ok"]
    assert (measured.frame["latency_ms"] > 0).all()
    assert not (tmp_path / "set" / "report.html").exists()
    with pytest.raises(InputError, match="preset"):
        benchlib.run("quik", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def ended(problem: str = "", interrupted: bool = False, **counts: int) -> pipeline.Ended:
    executions = (pipeline.Execution(Path("benchmark_fp32.ipynb"), problem),)
    return pipeline.Ended(Path("set"), executions, counts, None, interrupted)


def test_a_run_that_stopped_raises_and_a_failed_case_is_logged(caplog):
    with pytest.raises(KeyboardInterrupt):
        ended(interrupted=True, ok=1).check()
    with pytest.raises(MachineError, match=r"benchmark_fp32\.ipynb: kernel died"):
        ended("kernel died", ok=1).check()
    ended(ok=2).check()
    assert not caplog.records
    ended(ok=1, failed=1).check()
    assert "1 case failed" in caplog.text


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_of_a_set_is_a_drawing_with_its_words(name, h100):
    drawn = getattr(benchlib.figures, name)(h100)
    some = drawn if isinstance(drawn, list) else [drawn]
    assert some
    for one in some:
        assert isinstance(one, Drawing)
        assert isinstance(one.figure, Figure)
        assert one.alt and one.caption
        assert one.alt.split()[0] in one._repr_html_()


def test_a_figure_is_chosen_by_keyword(h100, two_views):
    one = benchlib.figures.fps(h100, precision="fp16")
    assert len(one.figure.axes) == 1
    both = benchlib.figures.fps(two_views)
    assert [type(drawn) for drawn in both] == [Drawing, Drawing]
    alone = benchlib.figures.fps(two_views, view=1)
    assert alone.name == both[1].name != both[0].name
    metric = benchlib.figures.accuracy(h100, metric="ImageNet top-1")
    assert isinstance(metric, Drawing)
    for wrong in (
        lambda: benchlib.figures.fps(h100, precision="fp17"),
        lambda: benchlib.figures.fps(two_views, view=2),
        lambda: benchlib.figures.accuracy(h100, metric="top"),
    ):
        with pytest.raises(InputError):
            wrong()


def test_what_cannot_be_drawn_says_why(h200):
    failed = MeasuredSet("none", h200.frame.assign(status="failed"), {}, published=False)
    for name in FIGURES:
        drawn = getattr(benchlib.figures, name)(failed)
        assert isinstance(drawn, Absent), name
        assert drawn.reason
    empty = MeasuredSet("empty", h200.frame.iloc[:0], {}, published=False)
    with pytest.raises(InputError, match="no rows"):
        benchlib.figures.fps(empty)


@pytest.mark.parametrize("name", TABLES)
def test_each_table_of_a_set_has_a_frame(name, h100):
    made = getattr(benchlib.tables, name)(h100)
    assert isinstance(made, Table)
    assert len(made.frame) == len(made.rows) > 0
    assert "<table" in made._repr_html_()


def test_the_numbers_of_a_table_are_those_of_the_set(h200, two_views):
    frame = benchlib.tables.latency(h200).frame
    row = h200.frame.query("model == 'resnet18' and precision == 'fp16' and width == 640")
    shown = frame.loc["resnet18"].to_numpy()
    assert float(row["latency_ms"].iloc[0]) in shown
    assert len(benchlib.tables.latency(two_views)) == 2
    assert isinstance(benchlib.tables.latency(two_views, view=0), Table)


def test_environments_and_the_lineup_are_tables(h100, h200):
    assert benchlib.tables.environment(h100, h200).frame.columns.tolist() == [
        *(h100.name, h200.name)
    ]
    counted = benchlib.tables.lineup(["resnet18", "vgg11_bn"], height=64, width=64).frame
    assert len(counted) == 2
    nothing = MeasuredSet("none", h200.frame.assign(status="failed"), {}, published=False)
    for name in ("precision", "layer_times", "int8_methods"):
        assert isinstance(getattr(benchlib.tables, name)(nothing), Absent)


def test_the_example_of_the_readme_runs(root, tmp_path):
    text = (root / "README.md").read_text(encoding="utf-8")
    section = text.split("## From Python\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "results").symlink_to(root / "results")
    done = python(code, root, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resnet18" in done.stdout
    assert "--exportTimes" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"results", "fps.pdf", "latency.csv"}


def test_a_folder_stands_for_its_set(root: Path, h200: MeasuredSet) -> None:
    folder = root / "results" / "h200-tensorrt-8.6"
    pd.testing.assert_frame_equal(benchlib.findings(str(folder)), benchlib.findings(h200))
    assert benchlib.compare(folder, h200).copied == len(h200.frame)
    with pytest.raises(InputError, match=r"results: no table\.csv in nowhere"):
        benchlib.findings("nowhere")
