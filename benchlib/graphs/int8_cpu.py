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
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)


class _Batches(CalibrationDataReader):
    """Hands ONNX Runtime one batch at a time, so that one batch's activations are held."""

    def __init__(self, name: str, batches: Iterable[NDArray[np.float32]]) -> None:
        self._name = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def quantise(
    source: Path, target: Path, input_name: str, batches: Iterable[NDArray[np.float32]]
) -> None:
    """Write the FP32 graph ``source`` as INT8 to ``target``, ranges from ``batches``.

    Ranges are minimum to maximum: the other methods of ONNX Runtime keep the activations of
    all images in memory.
    """
    with _quiet():
        quantize_static(
            source,
            target,
            _Batches(input_name, batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


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
