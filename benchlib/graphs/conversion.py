"""From the FP32 graph to every other form."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray

from benchlib.case import Int8Method
from benchlib.graphs import fp16, int8_cpu, modelopt, qdq, ranges
from benchlib.graphs.form import TYPED_SCALES_OPSET, GraphForm

METHODS: dict[GraphForm, tuple[Int8Method, ...]] = {
    GraphForm.INT8_QDQ: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_QDQ_FP16: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_CPU: (Int8Method.ORT_STATIC,),
}
"""The quantisers that make each INT8 form; the first is taken unless another is asked for."""


def convert(
    source: Path,
    target: Path,
    form: GraphForm,
    *,
    input_name: str,
    batches: Iterable[NDArray[np.float32]] = (),
    witness: Path | None = None,
    method: Int8Method | None = None,
    half_io: bool = False,
    percentile: float = ranges.PERCENTILE,
) -> None:
    """Write the FP32 graph ``source`` in another ``form`` to ``target`` and check it.

    ``batches`` (N x 3 x H x W) set the ranges of the INT8 forms; ours are seen on the FP32 graph
    ``witness`` where one is given, see :func:`benchlib.graphs.qdq.quantise`. ``method`` is one
    of ``METHODS[form]``. Raises :class:`onnx.checker.ValidationError` when the result breaks the
    standard.
    """
    if form is GraphForm.INT8_CPU:
        int8_cpu.quantise(source, target, input_name, batches)
    else:
        model = onnx.load(str(source))
        if method is Int8Method.MODELOPT:
            model = modelopt.quantise(source, input_name, batches)
        elif form.is_int8:
            model = qdq.quantise(
                model,
                input_name,
                batches,
                witness=None if witness is None else onnx.load(str(witness)),
                grouped=method is not Int8Method.QDQ_NO_DEPTHWISE,
                stored_weights=form is GraphForm.INT8_QDQ_FP16,
                percentile=percentile,
            )
        if form is GraphForm.INT8_QDQ_FP16:
            model = _at_typed_scales(model)
        if form.has_half:
            model = fp16.to_half(model, half_io=half_io)
        onnx.save(model, str(target))
    onnx.checker.check_model(str(target), full_check=True)


def _at_typed_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` at an opset that allows FP16 scales; ModelOpt's is there already."""
    versions = [entry.version for entry in model.opset_import if not entry.domain]
    if max(versions) >= TYPED_SCALES_OPSET:
        return model
    return onnx.version_converter.convert_version(model, TYPED_SCALES_OPSET)
