"""Which edges of a graph get Q/DQ, node by node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from benchlib.case import GraphForm, Shape
from benchlib.export.build import Graph
from benchlib.export.qdq import ATTENTION, census, place, quantise
from benchlib.export.torch_onnx import export


def origin(graph: onnx.GraphProto, tensor: str) -> str:
    """The module that wrote ``tensor``, as the exporter names it, or the tensor itself."""
    for node in graph.node:
        if tensor in node.output:
            return node.name.strip("/").replace("/", ".")
    return tensor


def edges(model: onnx.ModelProto, **options: bool) -> Iterator[tuple[str, int, str]]:
    """Reading node, slot and writer of each chosen edge."""
    graph = model.graph
    for edge in place(graph, **options).edges:
        assert graph.node[edge.node].input[edge.slot] == edge.tensor
        reader = graph.node[edge.node].name.strip("/").replace("/", ".")
        yield reader, edge.slot, origin(graph, edge.tensor)


def test_every_product_is_quantised_at_its_input(tiny: onnx.ModelProto) -> None:
    found = {reader for reader, slot, _ in edges(tiny) if slot == 0 and "Add" not in reader}
    convolutions = {
        *("stem", "first", "second", "shortcut", "identity"),
        *("depthwise", "squeeze", "excite", "merge"),
    }
    assert found == {f"{name}.Conv" for name in convolutions} | {"head.Gemm"}


def test_one_input_of_each_residual_add_is_quantised(tiny: onnx.ModelProto) -> None:
    adds = [(slot, writer) for reader, slot, writer in edges(tiny) if "Add" in reader]
    shortcut, identity = adds
    assert shortcut == (1, "shortcut.Conv"), "the projected shortcut, not the block's end"
    assert identity[0] == 1
    assert identity[1].startswith("Relu")


def test_a_concat_is_quantised_after_it(tiny: onnx.ModelProto) -> None:
    (writer,) = [writer for reader, _, writer in edges(tiny) if reader == "merge.Conv"]
    assert writer == "Concat"
    assert not [reader for reader, _, _ in edges(tiny) if "Concat" in reader]


@pytest.mark.parametrize("kind", ["Relu", "HardSwish", "Sigmoid", "Resize", "Mul", "Concat"])
def test_nothing_stands_in_front_of(kind: str, tiny: onnx.ModelProto) -> None:
    readers = {tiny.graph.node[edge.node].op_type for edge in place(tiny.graph).edges}
    assert any(node.op_type == kind for node in tiny.graph.node)
    assert kind not in readers


@pytest.mark.parametrize("pool", ["ReduceMean", "GlobalAveragePool", "GlobalMaxPool"])
def test_grouped_and_gate_convolutions_can_be_left_out(pool: str, tiny: onnx.ModelProto) -> None:
    gate = next(node for node in tiny.graph.node if node.op_type == "ReduceMean")
    if pool != gate.op_type:
        gate.op_type = pool
        gate.ClearField("attribute")
    all_products = {reader for reader, _, _ in edges(tiny)}
    kept = {reader for reader, _, _ in edges(tiny, grouped=False)}
    assert all_products - kept == {"depthwise.Conv", "squeeze.Conv", "excite.Conv"}


def test_a_convolution_that_others_read_too_is_not_fused(tiny: onnx.ModelProto) -> None:
    """With its sum read elsewhere the Add cannot swallow the convolution: no edge there."""
    second = next(node for node in tiny.graph.node if node.name == "/second/Conv")
    shortcut = next(node for node in tiny.graph.node if node.name == "/shortcut/Conv")
    for node in (second, shortcut):
        name = node.output[0]
        tiny.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    adds = [reader for reader, _, _ in edges(tiny) if "Add" in reader]
    assert len(adds) == 1


@pytest.mark.parametrize(
    ("kind", "group", "weights", "quantised"),
    [
        ("Conv", 4, (4, 1, 3, 3), True),  # depth-wise
        ("Conv", 4, (24, 1, 3, 3), False),  # six channels of each: no INT8 kernel in TensorRT 8.6
        ("Conv", 2, (4, 2, 3, 3), True),  # grouped, as RegNet's
        ("Conv", 1, (24, 4, 3, 3), True),
        ("ConvTranspose", 4, (4, 1, 3, 3), True),
        ("ConvTranspose", 4, (4, 2, 3, 3), False),
    ],
)
def test_a_depthwise_convolution_that_widens_is_never_quantised(
    kind: str, group: int, weights: tuple[int, ...], quantised: bool
) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[1,4,8,8] x) => (float[1,N,H,W] y) {{ y = {kind}<group: int = {group}>(x, w) }}"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(weights, np.float32), "w"))
    assert bool(place(model.graph).products) is quantised


def test_bisenetv2_keeps_its_eight_widening_convolutions(graph_of: Callable[..., Graph]) -> None:
    graph = onnx.load(str(graph_of("bisenetv2", GraphForm.INT8_QDQ).path)).graph
    written = {name: node.op_type for node in graph.node for name in node.output}
    plain = [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and written.get(node.input[0]) != "DequantizeLinear"
    ]
    assert len(plain) == 8
    assert all(name.endswith("main/main.1/main.1.0/Conv") for name in plain)


class Block(nn.Module):
    """A transformer block behind a patch embedding: LayerNorm, attention, GELU, residual sums."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, stride=8)
        self.first, self.second = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        queries, keys, values = self.qkv(self.first(tokens)).chunk(3, -1)
        shares = (queries @ keys.transpose(1, 2) / 4).softmax(-1)
        tokens = tokens + self.proj(shares @ values)
        tokens = tokens + self.down(nn.functional.gelu(self.up(self.second(tokens))))
        return tokens.mean(1)


def test_an_attention_keeps_its_two_products_and_its_softmax_out_of_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "block.onnx"
    export(Block().eval(), Shape(1, 32, 48), path)
    model = onnx.load(str(path))
    found = [(reader, slot) for reader, slot, _ in edges(model)]
    assert found == [
        *(("patch.Conv", 0), ("qkv.MatMul", 0), ("proj.MatMul", 0)),
        *(("up.MatMul", 0), ("down.MatMul", 0)),
    ]
    batch = np.random.default_rng(0).normal(size=(1, 3, 32, 48)).astype(np.float32)
    counted = census(quantise(model, "input", [batch]).graph)
    assert counted.quantised == 5
    assert [(one.why, one.on_purpose) for one in counted.left_out] == [(ATTENTION, True)] * 2
