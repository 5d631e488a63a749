"""The way to opset 17 in a torch that has lost the tracing exporter.

The other exporter starts at opset 18, where ReduceMean takes its axes as an input. TensorRT 8.6
would not refuse that: it would average over all axes. So the means over height and width become
global pooling before the graph is converted down.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import helper, numpy_helper

from benchlib.errors import InputError
from benchlib.graphs import surgery
from benchlib.graphs.form import OPSET

if TYPE_CHECKING:
    import torch
    from torch import nn

_IR_VERSION = 8  # the file format's version that goes with opset 17
_EXPORTED_OPSET = 18


def export(
    network: nn.Module,
    example: torch.Tensor,
    axes: dict[str, dict[int, str]] | None,
    path: Path,
) -> None:
    """Write ``network`` to ``path`` at opset 17; input and output are named by the caller's axes.

    Needs the package onnxscript; raises :class:`InputError` without it.
    """
    import torch

    from benchlib.graphs.export import INPUT, OUTPUT

    shapes = None
    if axes is not None:
        shapes = ({axis: torch.export.Dim(name) for axis, name in axes[INPUT].items()},)
    try:
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=_EXPORTED_OPSET,
            dynamic_shapes=shapes,
            dynamo=True,
        )
    except ModuleNotFoundError as error:
        raise InputError(
            "models", f"this torch exports by way of {error.name}; pip install {error.name}"
        ) from error
    onnx.save(at_opset_17(program.model_proto), str(path))


def at_opset_17(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an opset 18 graph at opset 17, in the operators that TensorRT 8.6 reads.

    onnx's own converter has no way down for Split. What is new in opset 18 is taken out where
    it says nothing; anything else that is new is left for the checker, which refuses it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    surgery.lift_constants(copy.graph)
    pool_means(copy.graph)
    surgery.drop_unused(copy.graph)
    for node in copy.graph.node:
        kept = [entry for entry in node.attribute if not _says_nothing(node.op_type, entry)]
        del node.attribute[:]
        node.attribute.extend(kept)
    for entry in copy.opset_import:
        if not entry.domain:
            entry.version = OPSET
    copy.ir_version = _IR_VERSION
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _says_nothing(kind: str, entry: onnx.AttributeProto) -> bool:
    """Whether an attribute that opset 17 does not know asks for what opset 17 does anyway."""
    if kind == "Split":
        return entry.name == "num_outputs"
    if kind == "Resize":
        return (entry.name == "antialias" and entry.i == 0) or (
            entry.name == "keep_aspect_ratio_policy" and entry.s == b"stretch"
        )
    return False


def pool_means(graph: onnx.GraphProto) -> None:
    """Write every ReduceMean over height and width as GlobalAveragePool."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type != "ReduceMean" or axes is None:
            nodes.append(node)
            continue
        if sorted(int(axis) % 4 for axis in numpy_helper.to_array(axes)) != [2, 3]:
            nodes.append(node)
            continue
        keeps = next((entry.i for entry in node.attribute if entry.name == "keepdims"), 1)
        source, (result,) = node.input[0], node.output
        pooled = result if keeps else f"{result}_pooled"
        nodes.append(helper.make_node("GlobalAveragePool", [source], [pooled], name=node.name))
        if not keeps:
            nodes.append(helper.make_node("Flatten", [pooled], [result], axis=1))
    surgery.replace_nodes(graph, nodes)
