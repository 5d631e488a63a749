"""INT8 in the form that ONNX Runtime's CPU kernels like.

It is another graph than TensorRT's: activations are uint8 and asymmetric, biases int32 and
every operator that can be is quantised. TensorRT refuses that form, and ONNX Runtime runs
TensorRT's form slower than FP32.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from benchlib.errors import InputError, first_line
from benchlib.graphs import placement, surgery
from benchlib.models.graph_count import RUNTIME_ERRORS

_SUFFIXES = (
    *("_scale", "_zero_point", "_quantized", "_ReduceMin", "_ReduceMax"),
    *("_QuantizeLinear_Input", "_QuantizeLinear_Output", "_DequantizeLinear_Output"),
)
"""What ONNX Runtime's quantiser puts behind a tensor's name, without a look at who has it."""

_GIVES_UP_WITH = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What it raises itself for a network that it cannot quantise."""


class _Batches(CalibrationDataReader):
    """Hands ONNX Runtime one batch at a time, so that one batch's activations are held."""

    def __init__(self, name: str, batches: Iterable[NDArray[np.float32]]) -> None:
        self._name = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def quantise(
    model: onnx.ModelProto, target: Path, input_name: str, batches: Iterable[NDArray[np.float32]]
) -> None:
    """Write the FP32 graph ``model``, which is changed, as INT8 to ``target``.

    Ranges come from ``batches`` and are minimum to maximum: the other methods of ONNX Runtime
    keep the activations of all images in memory.
    """
    has_bodies = any(True for node in model.graph.node for _ in surgery.bodies(node))
    surgery.fold(model, placement.weights(model.graph))
    _apply_beta(model.graph)
    _make_way(model.graph)
    try:
        with _quiet():
            quantize_static(
                model,
                target,
                _Batches(input_name, batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                # It leaves Relu out where a Q node clamps as well, and forgets that a branch may
                # read the Relu's output from before that node.
                extra_options={"QDQKeepRemovableActivations": has_bodies},
            )
    except (*_GIVES_UP_WITH, *RUNTIME_ERRORS) as error:
        raise InputError(
            "int8_method",
            f"ONNX Runtime's quantiser gave the network up ({first_line(error)}); "
            "NaN in the weights is one cause; take fp32",
        ) from error


def _apply_beta(graph: onnx.GraphProto) -> None:
    """Multiply each Gemm's constant bias by its beta: ONNX Runtime's quantiser divides by it."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = surgery.Names(graph)
    for node in graph.node:
        beta = next((entry for entry in node.attribute if entry.name == "beta"), None)
        bias = constants.get(node.input[2]) if len(node.input) > 2 else None
        if node.op_type != "Gemm" or beta is None or bias is None:
            continue
        values = numpy_helper.to_array(bias)
        node.input[2] = names.free(f"{bias.name}_times_beta")
        graph.initializer.append(
            numpy_helper.from_array((values * beta.f).astype(values.dtype), node.input[2])
        )
        node.attribute.remove(beta)


def _make_way(graph: onnx.GraphProto) -> None:
    """Rename the inner tensors whose names the quantiser will want for its own."""
    names = surgery.Names(graph)
    fixed = {value.name for value in (*graph.input, *graph.output)}
    aliases = {
        name: names.free(f"{name}_")
        for name in surgery.names(graph) - fixed
        if name.endswith(_SUFFIXES)
    }
    surgery.rename(graph, aliases)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back its advice to pre-process: the exporter has folded what that would fold."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
