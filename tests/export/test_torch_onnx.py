"""Export reads back what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from benchlib.case import GraphForm, Shape
from benchlib.export.torch_onnx import WrongGraphError, export, opset, verify

SHAPE = Shape(1, 16, 24)


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()


def test_file_is_self_contained_and_folded(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "net.onnx"
    export(network, SHAPE, path)
    model = onnx.load(str(path), load_external_data=False)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"]
    assert opset(model) == 17
    assert list(tmp_path.iterdir()) == [path]


def test_equal_weights_are_read_without_a_node_between(tmp_path: Path) -> None:
    """Identity of a weight is a copy in every inference to TensorRT 8.6."""
    layers = [nn.LayerNorm((3, 4, 4)) for _ in range(3)]
    network = nn.Sequential(*layers).eval()
    export(network, Shape(1, 4, 4), tmp_path / "graph.onnx")
    graph = onnx.load(tmp_path / "graph.onnx").graph
    assert "LayerNormalization" in {node.op_type for node in graph.node}
    assert "Identity" not in {node.op_type for node in graph.node}
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    (got,) = session.run(None, {"input": image})
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_dynamic_axes_are_named(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "net.onnx"
    export(network, Shape(1, 16, 24, dynamic=True), path)
    axes = onnx.load(str(path)).graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param for axis in axes] == ["batch", "", "height", "width"]
    assert axes[1].dim_value == 3


def test_other_than_asked_is_an_error(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "net.onnx"
    export(network, SHAPE, path)
    with pytest.raises(WrongGraphError, match="input came out as"):
        verify(path, Shape(2, 16, 24))
    with pytest.raises(WrongGraphError, match="dynamic axes"):
        verify(path, Shape(1, 16, 24, dynamic=True))
    model = onnx.load(str(path))
    model.opset_import[0].version = 16
    onnx.save(model, str(path))
    with pytest.raises(WrongGraphError, match="opset 16 was written where 17 was asked for"):
        verify(path, SHAPE)


def test_torch_is_left_with_its_own_random_state(tmp_path: Path, network: nn.Module) -> None:
    before = torch.random.get_rng_state()
    export(network, SHAPE, tmp_path / "net.onnx")
    assert torch.equal(before, torch.random.get_rng_state())


def test_smaller_size_keeps_aspect_and_divisor() -> None:
    small = Shape(2, 2176, 3840).within(1024 * 768, 64)
    assert (small.batch, small.height, small.width) == (2, 512, 960)
    assert Shape(1, 480, 640).within(1024 * 768, 64) == Shape(1, 480, 640)


@pytest.mark.parametrize("form", list(GraphForm))
def test_forms_know_what_they_hold(form: GraphForm) -> None:
    assert form.is_int8 == ("int8" in form)
    assert form.has_half == ("fp16" in form)
