"""How far a graph's output is from the FP32 graph's, on real images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Agreement with FP32 over ``images`` images.

    ``relative_l2`` is the norm of the difference over the norm of FP32's output, ``cosine``
    that between the outputs, both over all images at once and None when either output holds a
    NaN or an infinity (``finite`` is false then) or is zero everywhere.
    With random weights they speak of the arithmetic, not of accuracy.
    """

    relative_l2: float | None
    cosine: float | None
    finite: bool
    images: int


def session(path: Path, *, optimised: bool) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU.

    FP16 scales need ``optimised`` false: ONNX Runtime then computes node by node, whereas its
    optimiser multiplies FP16 scales into biases of its own and loses their digits.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it complains of is raised as well
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(opened: onnxruntime.InferenceSession, batch: Array) -> Array:
    """First output for ``batch``, as float32; the batch is cast to what the graph reads."""
    (entry,) = opened.get_inputs()
    feed = batch.astype(np.float16) if entry.type == "tensor(float16)" else batch
    return np.asarray(opened.run(None, {entry.name: feed})[0], dtype=np.float32)


def measure(
    reference: Path, path: Path, batches: Iterable[Array], *, images: int, optimised: bool
) -> Fidelity:
    """Compare ``path`` with the FP32 graph ``reference`` on ``batches``.

    ``optimised`` speaks of ``path``; see :func:`session`. ``images`` counts distinct images.
    """
    exact = session(reference, optimised=True)
    coarse = session(path, optimised=optimised)
    return agreement(((run(exact, batch), run(coarse, batch)) for batch in batches), images)


def agreement(pairs: Iterable[tuple[Array, Array]], images: int) -> Fidelity:
    """The figures of :class:`Fidelity` for pairs of (FP32 output, output), one pair held."""
    difference = wanted = given = product = 0.0
    for exact, coarse in pairs:
        left, right = (side.ravel().astype(np.float64) for side in (exact, coarse))
        difference += float(np.sum((left - right) ** 2))
        wanted += float(left @ left)
        given += float(right @ right)
        product += float(left @ right)
    finite = bool(np.isfinite([difference, wanted, given]).all())
    if not finite or wanted == 0 or given == 0:
        return Fidelity(None, None, finite, images)
    return Fidelity(
        relative_l2=math.sqrt(difference / wanted),
        cosine=product / math.sqrt(wanted * given),
        finite=finite,
        images=images,
    )
