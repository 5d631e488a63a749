"""A torch network as an ONNX file, at the opset that was asked for.

By torch's tracing exporter: the other one starts at opset 18, where ReduceMean takes its axes as an
input. TensorRT 8.6 does not refuse that: it averages over all axes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from benchlib.case import OPSET, Shape
from benchlib.export import calibration
from benchlib.models.onnx_file import bodies, drop_unused, opset, parts

if TYPE_CHECKING:
    from torch import nn


class Names:
    """The names taken in a graph and in the bodies of its control flow."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._taken = names(graph) | {node.name for node in parts(graph, onnx.NodeProto)}

    def free(self, wish: str) -> str:
        """``wish``, or with a number behind it where that is taken; taken from now on."""
        name, count = wish, 1
        while name in self._taken:
            count += 1
            name = f"{wish}_{count}"
        self._taken.add(name)
        return name


def names(graph: onnx.GraphProto) -> set[str]:
    """The names of all tensors in a graph and in its bodies."""
    kinds = (onnx.ValueInfoProto, onnx.TensorProto)
    taken = {one.name for kind in kinds for one in parts(graph, kind)}
    return taken.union(*((*one.input, *one.output) for one in parts(graph, onnx.NodeProto)))


def reads_from_outside(graph: onnx.GraphProto) -> set[str]:
    """The tensors that a body takes from the graphs around it."""
    made = {value.name for value in (*graph.input, *graph.initializer)}
    made |= {name for node in graph.node for name in node.output}
    read = {value.name for value in graph.output}
    for node in graph.node:
        read |= set(reads(node))
    return read - made - {""}


def reads(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node takes, those of its bodies included."""
    return [*node.input, *(name for body in bodies(node) for name in reads_from_outside(body))]


def lift_constants(model: onnx.ModelProto) -> None:
    """Make initialisers of Constant nodes and of Identity on initialisers.

    A weight behind a node would be passed over by the quantiser.
    """
    lifted = ir.from_proto(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(lifted)
    _name_merged(lifted)
    model.CopyFrom(ir.to_proto(lifted))


def _name_merged(model: ir.Model) -> bool:
    """Read an initialiser where an Identity of it is read; whether there was any.

    The exporter merges equal weights, of which networks with random weights have many, behind
    Identity. TensorRT 8.6 copies each of them in every inference: a third of the time of
    convnext_atto in FP16.
    """
    merged = [
        node
        for node in model.graph
        if node.op_type == "Identity"
        and node.inputs[0].is_initializer()
        and not node.outputs[0].is_graph_output()
    ]
    for node in merged:
        node.outputs[0].replace_all_uses_with(node.inputs[0])
        model.graph.remove(node, safe=True)
    return bool(merged)


def fold(model: onnx.ModelProto, wanted: Iterable[str]) -> None:
    """Make initialisers of the ``wanted`` tensors that are computed from constants alone.

    So a weight behind Cast, Transpose, Reshape or weight norm's arithmetic is found. ONNX Runtime
    computes them. What is dequantised stays: it is quantised already.
    """
    graph = model.graph
    constant = {tensor.name for tensor in graph.initializer}
    writers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if _folds(node) and all(name in constant for name in node.input if name):
            constant.update(node.output)
            writers.update(dict.fromkeys(node.output, node))
    targets = sorted(set(wanted) & writers.keys())
    if not targets:
        return
    needed: set[str] = set()
    pending = list(targets)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += writers[name].input if name in writers else ()
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(node for node in graph.node if needed.intersection(node.output))
    part.graph.initializer.extend(one for one in graph.initializer if one.name in needed)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in targets)
    opened = calibration.graph_session(part.SerializeToString())
    taken = Names(graph)
    for name, value in zip(targets, opened.run(targets, {}), strict=True):
        graph.initializer.append(numpy_helper.from_array(value, name))
        written = writers[name].output  # another of which may still be read
        written[:] = [taken.free(one) if one == name else one for one in written]
    drop_unused(graph)


_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli")
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")


def _folds(node: onnx.NodeProto) -> bool:
    """Whether a node of the standard gives the same from the same constants."""
    return (
        node.domain in ("", "ai.onnx")
        and node.op_type not in (*_RANDOM, *_QUANTISING, "Multinomial")
        and not any(bodies(node))
    )


def rename(graph: onnx.GraphProto, aliases: Mapping[str, str]) -> None:
    """Give tensors of a graph and its bodies other names, where they are made and read."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = aliases.get(value.name, value.name)
    for node in graph.node:
        for slots in (node.input, node.output):
            slots[:] = [aliases.get(name, name) for name in slots]
        for body in bodies(node):
            rename(body, aliases)


INPUT = "input"
OUTPUT = "output"


class WrongGraphError(RuntimeError):
    """The exporter gave a graph other than the one that was asked for."""


def export(network: nn.Module, shape: Shape, path: Path) -> None:
    """Write ``network`` to ``path`` as one self-contained file, then read it back and check it.

    Raises :class:`WrongGraphError` when the file's opset, input or output is not as asked.
    """
    import torch

    example = torch.zeros(shape.nchw)
    axes = dynamic_axes(_rank(network, shape)) if shape.dynamic else None
    _trace(network, example, axes, path)
    verify(path, shape)


def dynamic_axes(output_rank: int) -> dict[str, dict[int, str]]:
    """Names of the axes left open; a map (rank 4) as output has its height and width open too."""
    output = {0: "batch"}
    if output_rank == 4:
        output |= {2: "output_height", 3: "output_width"}
    return {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: output}


def _rank(network: nn.Module, shape: Shape) -> int:
    import torch

    with torch.no_grad():
        return network(torch.zeros(shape.nchw)).ndim


def _trace(
    network: nn.Module, example: Any, axes: dict[str, dict[int, str]] | None, path: Path
) -> None:
    import torch

    # torch (2.15) takes this function for its answer, and prints the whole graph when it fails.
    quiet = mock.patch.object(torch._C, "_jit_is_onnx_log_enabled", False, create=True)
    with warnings.catch_warnings(), torch.no_grad(), quiet:
        # It warns that it will go away, and at every shape read while tracing.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
        )
    model = ir.load(path)
    if _name_merged(model):
        ir.save(model, path)


def verify(path: Path, shape: Shape) -> None:
    """Check a file that was just exported; raise :class:`WrongGraphError` if it is not as asked."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    version = opset(model)
    if version != OPSET:
        raise WrongGraphError(f"opset {version} was written where {OPSET} was asked for")
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    if names != [INPUT, OUTPUT]:
        raise WrongGraphError(f"inputs and outputs are {names}, not {[INPUT, OUTPUT]}")
    axes = model.graph.input[0].type.tensor_type.shape.dim
    if shape.dynamic:
        open_axes = [axis.dim_param for axis in axes]
        if open_axes != ["batch", "", "height", "width"]:
            raise WrongGraphError(f"the dynamic axes came out as {open_axes}")
    elif [axis.dim_value for axis in axes] != list(shape.nchw):
        raise WrongGraphError(f"the input came out as {[axis.dim_value for axis in axes]}")
