"""Our row beside the published figure: the ratio, and why it need not be 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from benchlib.analysis.measured import MeasuredSet, usable
from benchlib.case import Engine, Int8Method, Precision, ShapeMode

VARIANTS = {
    "bisenetv2": "bisenetv2_blog",
    "fast_scnn": "fast_scnn_blog",
    "fassdnet": "fassdnet_l2",
    "fassdnet_l1": "fassdnet_l2",
}
"""Networks of the papers, and the variant that the blog timed."""


@dataclass(frozen=True, slots=True)
class Beside:
    """One case of ours with the published figure, ms of one batch.

    ``ratio`` is ours over theirs. ``reasons`` are the known differences that may explain it; no
    reason means that none is known, not that there is none.
    """

    model: str
    published_model: str
    precision: str
    resolution: str
    batch: int
    ours_ms: float
    published_ms: float
    ratio: float
    reasons: tuple[str, ...]


def beside(measured: MeasuredSet, published: MeasuredSet) -> tuple[Beside, ...]:
    """The rows of ``measured`` that ``published`` has a figure for, in the order of the former.

    Matched by network (or its variant of :data:`VARIANTS`), precision, size and batch.
    """
    key = ["model", "precision", "batch", "height", "width"]
    figures = {
        tuple(row[name] for name in key): row for _, row in usable(published.frame).iterrows()
    }
    found = []
    for _, ours in usable(measured.frame).iterrows():
        name = str(ours["model"])
        for model in (name, VARIANTS.get(name)):
            theirs = figures.get((model, *(ours[word] for word in key[1:])))
            if theirs is None:
                continue
            found.append(
                Beside(
                    model=name,
                    published_model=str(model),
                    precision=str(ours["precision"]),
                    resolution=str(ours["resolution"]),
                    batch=int(ours["batch"]),
                    ours_ms=float(ours["latency_ms"]),
                    published_ms=float(theirs["latency_ms"]),
                    ratio=float(ours["latency_ms"] / theirs["latency_ms"]),
                    reasons=tuple(_reasons(ours, theirs)),
                )
            )
            break
    return tuple(found)


def _reasons(ours: pd.Series, theirs: pd.Series) -> Iterator[str]:
    if ours["engine"] == Engine.FAKE.value:
        yield "made-up times: no program measured"
    if ours["engine"] == Engine.ONNXRUNTIME_CPU.value:
        yield "a CPU, and ONNX Runtime in place of TensorRT"
    elif _differ(ours, theirs, "device"):
        yield f"another GPU: {ours['device']}, not {theirs['device']}"
    if ours["engine"] != Engine.ONNXRUNTIME_CPU.value and _differ(ours, theirs, "engine_version"):
        yield f"TensorRT {ours['engine_version']}, not {theirs['engine_version']}"
    if ours["model"] != theirs["model"]:
        yield f"another network: the published figure is of {theirs['model']}"
    if _differ(ours, theirs, "shape_mode") and theirs["shape_mode"] == ShapeMode.BLOG.value:
        yield "the published engine was tuned for its largest size, 3840x2144"
    if _differ(ours, theirs, "cuda_graph"):
        yield "the published run had no CUDA graph" if ours["cuda_graph"] else "no CUDA graph here"
    if _differ(ours, theirs, "transfers"):
        yield "transfers between host and device are in one of the two times"
    if ours["precision"] == Precision.FP32.value and _differ(ours, theirs, "tf32"):
        yield "TF32 was on in the published run" if theirs["tf32"] else "TF32 is on here"
    if ours["precision"] == Precision.INT8.value and _differ(ours, theirs, "int8_method"):
        made_up = theirs["int8_method"] == Int8Method.MADE_UP_RANGES.value
        yield f"INT8 by {ours['int8_method']}" + (", not with made-up ranges" if made_up else "")


def _differ(ours: pd.Series, theirs: pd.Series, name: str) -> bool:
    """Whether both know ``name`` and it is not the same."""
    if pd.isna(ours[name]) or pd.isna(theirs[name]):
        return False
    return bool(ours[name] != theirs[name])
