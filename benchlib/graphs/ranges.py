"""The range each tensor needs, seen on real images one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from benchlib.errors import InputError, first_line
from benchlib.models.graph_count import RUNTIME_ERRORS

PERCENTILE = 99.99
"""Percent of a batch's values that the range must hold: a single outlier costs all the others."""

_SAMPLE = 400_000
"""Values per tensor and batch that decide its percentile; evenly spaced when there are more."""


def amplitudes(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    input_name: str,
    batches: Iterable[NDArray[np.float32]],
    percentile: float = PERCENTILE,
) -> dict[str, float]:
    """Largest absolute value of each tensor, up to ``percentile`` of each batch's values.

    The activations of one batch are held at a time.
    """
    inner = [name for name in tensors if name != input_name]
    opened = _session(model, inner)
    found = dict.fromkeys(tensors, 0.0)
    for batch in batches:
        values = opened.run(inner, {input_name: batch}) if inner else []
        for name, value in zip((*inner, input_name), (*values, batch), strict=True):
            if name in found:
                found[name] = max(found[name], amplitude(value, percentile))
    return found


def amplitude(values: NDArray[np.float32], percentile: float) -> float:
    """The absolute value that ``percentile`` percent of the finite ``values`` do not exceed."""
    size = np.abs(values).ravel()
    size = size[np.isfinite(size)]
    if not size.size:
        return 0.0
    if percentile >= 100:
        return float(size.max())
    size = size[:: max(1, size.size // _SAMPLE)]
    rank = min(size.size - 1, int(size.size * percentile / 100))
    return float(np.partition(size, rank)[rank])


def _session(model: onnx.ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """``model`` on the CPU with ``tensors`` as further outputs."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    known = {value.name for value in tapped.graph.output}
    for name in tensors:
        if name not in known:
            tapped.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it complains of is raised as well
    try:
        return onnxruntime.InferenceSession(
            tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except RUNTIME_ERRORS as error:
        raise InputError(
            "form",
            "INT8 ranges are seen by running the network, and ONNX Runtime does not run it "
            f"({first_line(error)}); take fp32 or fp16",
        ) from error
