"""A user's own ONNX file at the shape that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchlib.errors import InputError
from benchlib.graphs import fidelity
from benchlib.graphs.export import export
from benchlib.graphs.form import GraphForm
from benchlib.graphs.make import Graph, make
from benchlib.graphs.shape import Shape


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as fixed.onnx (1 x 3 x 32 x 48) and as dynamic.onnx."""
    folder = tmp_path_factory.mktemp("user")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    export(network, Shape(1, 32, 48), folder / "fixed.onnx")
    export(network, Shape(1, 32, 48, dynamic=True), folder / "dynamic.onnx")
    return folder


@pytest.fixture
def graph_for(files: Path) -> Callable[..., Graph]:
    def of(name: str, form: GraphForm = GraphForm.FP32, **options: object) -> Graph:
        return make(f"onnx:{files / name}", form, **({"height": 32, "width": 48} | options))

    return of


def test_fixed_file_is_taken_as_it_is(graph_for: Callable[..., Graph]) -> None:
    graph = graph_for("fixed.onnx")
    assert graph.weights == "from file"
    assert graph.seed is None
    assert graph.input_shape == (1, 3, 32, 48)


def test_open_axes_are_fixed(graph_for: Callable[..., Graph]) -> None:
    graph = graph_for("dynamic.onnx", height=64, width=80, batch=2)
    model = onnx.load(str(graph.path))
    for value, channels in ((model.graph.input[0], 3), (model.graph.output[0], 2)):
        sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert sizes == [2, channels, 64, 80]


@pytest.mark.parametrize("form", [form for form in GraphForm if form is not GraphForm.FP32])
def test_every_form_can_be_made(graph_for: Callable[..., Graph], form: GraphForm) -> None:
    graph = graph_for("dynamic.onnx", form)
    assert graph.fidelity is not None
    assert graph.fidelity.relative_l2 is not None
    assert graph.fidelity.relative_l2 < (0.01 if form is GraphForm.FP16 else 0.1)


def test_other_sizes_than_the_fixed_ones_are_refused(graph_for: Callable[..., Graph]) -> None:
    with pytest.raises(InputError, match=r"resolutions: 64x48 .*fixed at 48x32"):
        graph_for("fixed.onnx", height=48, width=64)
    with pytest.raises(InputError, match=r"batch_sizes: .*fixed to batch 1, not 4"):
        graph_for("fixed.onnx", batch=4)
    with pytest.raises(InputError, match=r"shape_mode: .*fixed batch and height and width"):
        graph_for("fixed.onnx", dynamic=True)


def test_open_graph_stays_open_when_dynamic(graph_for: Callable[..., Graph]) -> None:
    opened = fidelity.session(graph_for("dynamic.onnx", dynamic=True).path, optimised=True)
    assert fidelity.run(opened, np.zeros((3, 3, 16, 20), np.float32)).shape == (3, 2, 16, 20)


def test_truncated_file_is_named(files: Path) -> None:
    broken = files / "broken.onnx"
    broken.write_bytes((files / "fixed.onnx").read_bytes()[:200])
    with pytest.raises(InputError, match=r"models: .*broken\.onnx"):
        make(f"onnx:{broken}", GraphForm.FP32, height=32, width=48)


def test_half_precision_images_are_refused(graph_for: Callable[..., Graph], files: Path) -> None:
    graph = graph_for("fixed.onnx", GraphForm.FP16, half_io=True)
    (files / "half.onnx").write_bytes(graph.path.read_bytes())
    with pytest.raises(InputError, match=r"half\.onnx takes float16 images"):
        graph_for("half.onnx")
