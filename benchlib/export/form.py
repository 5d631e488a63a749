"""What a graph is made as: its form (precision, opset) and its input shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from benchlib.case import Word

# The input shape a graph is made for.


@dataclass(frozen=True, slots=True)
class Shape:
    """Images per batch and pixels high and wide.

    ``dynamic`` leaves all three open in the graph; they are then the shape it is traced and
    calibrated at.
    """

    batch: int
    height: int
    width: int
    dynamic: bool = False

    @property
    def nchw(self) -> tuple[int, int, int, int]:
        return self.batch, 3, self.height, self.width

    def within(self, pixels: int, divisor: int) -> Shape:
        """This shape, or one of about the same aspect with at most some ``pixels`` an image.

        Sides are divided by a whole number and rounded to multiples of ``divisor``.
        """
        if self.height * self.width <= pixels:
            return self
        factor = math.ceil(math.sqrt(self.height * self.width / pixels))
        height, width = (
            max(1, round(side / factor / divisor)) * divisor for side in (self.height, self.width)
        )
        return replace(self, height=height, width=width)


# The forms in which one network can stand in an ONNX file.


OPSET = 17
"""The newest opset that TensorRT 8.6 reads; its parser misreads ReduceMean from 18 on."""

TYPED_SCALES_OPSET = 19
"""The first opset in which a quantisation scale may be FP16."""


class GraphForm(Word):
    """Which numbers the graph computes with, and for which reader it is laid out.

    ``int8-qdq``: INT8 convolutions behind explicit Q/DQ, FP32 scales, the rest FP32, for weak
    typing (TensorRT 8.6 with ``--int8 --fp16``); ``int8-qdq-fp16``: the same INT8 values with
    the rest in FP16, for strong typing (TensorRT 10 and later); ``int8-cpu``: the asymmetric
    form that ONNX Runtime's CPU kernels like and TensorRT refuses.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    INT8_QDQ = "int8-qdq"
    INT8_QDQ_FP16 = "int8-qdq-fp16"
    INT8_CPU = "int8-cpu"

    @property
    def is_int8(self) -> bool:
        """Whether the graph needs a calibration set."""
        return self in (GraphForm.INT8_QDQ, GraphForm.INT8_QDQ_FP16, GraphForm.INT8_CPU)

    @property
    def has_half(self) -> bool:
        """Whether FP16 tensors stand in the graph, so that its input and output may be FP16."""
        return self in (GraphForm.FP16, GraphForm.INT8_QDQ_FP16)
