"""A graph in FP16: weights, activations and, where there are some, quantisation scales."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnxconverter_common import float16

from benchlib.graphs import surgery

_SCALES = 2  # the slot of Resize that the standard wants in float32
_UNBLOCKED = ("Resize", "Upsample")


def to_half(model: onnx.ModelProto, *, half_io: bool = False) -> onnx.ModelProto:
    """Return ``model`` with every float32 tensor in FP16; ``model`` is left as it is.

    Input and output stay float32 behind a Cast each unless ``half_io``. Values out of FP16's
    range are clamped to it, and those that would vanish become its smallest.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    blocked = [kind for kind in float16.DEFAULT_OP_BLOCK_LIST if kind not in _UNBLOCKED]
    with warnings.catch_warnings():
        # One warning per weight tensor that holds a value too small for FP16.
        warnings.simplefilter("ignore")
        half = float16.convert_float_to_float16(
            copy, keep_io_types=not half_io, op_block_list=blocked
        )
    _restore_scales(half.graph)
    surgery.merge_casts(half.graph)
    return half


def _restore_scales(graph: onnx.GraphProto) -> None:
    """Give every Resize its ``scales`` in float32 again: FP16 ones break the standard."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for entry in node.attribute:
            if node.op_type == "Constant" and entry.name == "value":
                tensors[node.output[0]] = entry.t
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) <= _SCALES:
            continue
        scales = tensors.get(node.input[_SCALES])
        if scales is None or scales.data_type != onnx.TensorProto.FLOAT16:
            continue
        name = f"{scales.name or node.input[_SCALES]}_float32"
        if name not in tensors:
            values = numpy_helper.to_array(scales).astype(np.float32)
            tensors[name] = numpy_helper.from_array(values, name)
            graph.initializer.append(tensors[name])
        node.input[_SCALES] = name
