"""The real exporter in its process: which graph a case gets."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest

from benchlib import config
from benchlib.case import Case, Engine, GraphForm, ShapeMode
from benchlib.config import Parameters
from benchlib.measure import matrix
from benchlib.measure.exporter import Exporter, traced_shape
from benchlib.measure.record import CaseError
from benchlib.process import end_group
from benchlib.trtexec.command import BLOG_MIN, Program

TRTEXEC = Program(Engine.TRTEXEC, (sys.executable,), "10.16.1", "cuda:0")


def given(**values: object) -> Parameters:
    return config.read_parameters(
        {
            "models": ["mobilenet_v3_small"],
            "resolutions": ["128x96", "96x64", "64x64"],
            "shape_modes": ["static", "dynamic", "blog"],
            "min_shape": [1, 64, 64],
            "opt_shape": [1, 96, 128],
            "max_shape": [1, 96, 128],
            **values,
        }
    )


def of_mode(asked: Parameters, mode: ShapeMode) -> list[Case]:
    return [case for case in matrix.cases(asked, TRTEXEC) if case.shape_mode is mode]


def test_a_dynamic_graph_is_traced_at_one_size_for_all_cases() -> None:
    asked = given()
    traced = {
        mode: {traced_shape(case, asked) for case in of_mode(asked, mode)} for mode in ShapeMode
    }
    assert traced[ShapeMode.STATIC] == {(1, 96, 128), (1, 64, 96), (1, 64, 64)}
    assert traced[ShapeMode.DYNAMIC] == {(1, 96, 128)}
    assert traced[ShapeMode.BLOG] == {(1, 64, 64)}
    blog = given(min_shape=None, max_shape=None, shape_modes=["blog"])
    assert {traced_shape(case, blog) for case in of_mode(blog, ShapeMode.BLOG)} == {(1, *BLOG_MIN)}


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    made = Exporter(given(), tmp_path / "log", 120)
    yield made
    made.close()


def test_the_work_in_a_graphs_nodes_adds_up_to_the_networks(exporter: Exporter) -> None:
    for case in of_mode(given(), ShapeMode.STATIC)[:2]:
        work = exporter.work(case, exporter.graph(case, GraphForm.FP32))
        assert sum(work.values()) == pytest.approx(exporter.describe(case).gmacs * 1e9)
        assert len(work) == 54  # its convolutions and the two matrix products of the head


def test_all_sizes_of_a_dynamic_engine_get_one_open_graph(exporter: Exporter) -> None:
    cases = of_mode(given(), ShapeMode.BLOG)
    graphs = [exporter.graph(case, GraphForm.FP32) for case in cases]
    assert len(graphs) == 3
    (path,) = {graph.path for graph in graphs}
    assert {graph.sha256 for graph in graphs} == {graphs[0].sha256}
    (value,) = onnx.load(path, load_external_data=False).graph.input
    assert [size.dim_value for size in value.type.tensor_type.shape.dim] == [0, 3, 0, 0]
    # The facts are each size's own.
    counts = {exporter.describe(case).gmacs for case in cases}
    assert len(counts) == 3
    (static,) = [case for case in of_mode(given(), ShapeMode.STATIC) if case.width == 96]
    fixed = exporter.graph(static, GraphForm.FP32)
    assert (fixed.input_shape, fixed.dynamic) == ((1, 3, 64, 96), False)


def test_an_exporter_that_is_stopped_leaves_no_graph_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "BENCHLIB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "TMPDIR").mkdir()
    asks = given(resolutions=["64x64"], shape_modes=["static"])
    (case,) = (step.case for step in matrix.steps(asks, TRTEXEC))
    exporter = Exporter(asks, tmp_path / "exporter.log", 60)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(exporter.graph, case, GraphForm.FP16)
        while not list(tmp_path.glob("TMPDIR/tmp*/*.onnx")) and not asked.done():
            time.sleep(0.005)
        end_group(exporter._process)
        assert isinstance(asked.exception(), CaseError)
    assert not list(tmp_path.glob("TMPDIR/tmp*"))
    assert not [one for one in tmp_path.glob("BENCHLIB_CACHE/.*") if one.is_dir()]
