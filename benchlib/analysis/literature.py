"""Our row beside the published figure: the ratio, and why it need not be 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchlib.analysis import parts
from benchlib.analysis.measured import MeasuredSet, usable
from benchlib.case import Engine, Int8Method, Precision, ShapeMode

VARIANTS = {
    "bisenetv2": "bisenetv2_blog",
    "fast_scnn": "fast_scnn_blog",
    "fassdnet": "fassdnet_l2",
    "fassdnet_l1": "fassdnet_l2",
}
"""Networks of the papers, and the variant that the blog timed."""

_CASE = ("model", "precision", "batch", "height", "width")
_APART = ("engine", "typing", "shape_mode")
"""What sets our rows of one case apart, besides the INT8 method."""


@dataclass(frozen=True, slots=True)
class Beside:
    """One case of ours with the published figure, ms of one batch.

    ``int8_method`` is how our INT8 was made. ``ratio`` is ours over theirs. ``reasons`` are the
    known differences that may explain it; no reason means that none is known, not that there is
    none.
    """

    model: str
    published_model: str
    precision: str
    int8_method: str | None
    resolution: str
    batch: int
    ours_ms: float
    published_ms: float
    ratio: float
    reasons: tuple[str, ...]


def beside(measured: MeasuredSet, published: MeasuredSet) -> tuple[Beside, ...]:
    """The rows of ``measured`` that ``published`` has a figure for, in the order of the former.

    Matched by network, precision, size and batch. A network of :data:`VARIANTS` stands beside its
    variant only where the variant itself was not measured. Of several INT8 methods the published
    one is taken, or the first in the order of the enum.
    """
    ours, theirs = usable(measured.frame), usable(published.frame)
    own, figures = (_by_case(frame) for frame in (ours, theirs))
    found = []
    for (name, *rest), rows in ours.groupby(
        [*_CASE, *_APART], sort=False, observed=True, dropna=False
    ):
        case = tuple(rest[: len(_CASE) - 1])
        variant = VARIANTS.get(str(name))
        for model in (name, None if (variant, *case) in own else variant):
            if (model, *case) in figures:
                figure = figures[(model, *case)]
                found.append(_beside(_of_methods(rows, figure), figure))
                break
    return tuple(found)


def _by_case(frame: pd.DataFrame) -> dict[tuple[Any, ...], pd.Series]:
    return {tuple(row[name] for name in _CASE): row for _, row in frame.iterrows()}


def _of_methods(rows: pd.DataFrame, theirs: pd.Series) -> pd.Series:
    """The row of one case whose INT8 was made as the published one, else by the first method."""
    made = parts.methods(rows)
    if not made:
        return rows.iloc[0]
    method = theirs["int8_method"] if theirs["int8_method"] in made else made[0]
    return rows[rows["int8_method"] == method].iloc[0]


def _beside(ours: pd.Series, theirs: pd.Series) -> Beside:
    return Beside(
        model=str(ours["model"]),
        published_model=str(theirs["model"]),
        precision=str(ours["precision"]),
        int8_method=None if pd.isna(ours["int8_method"]) else str(ours["int8_method"]),
        resolution=str(ours["resolution"]),
        batch=int(ours["batch"]),
        ours_ms=float(ours["latency_ms"]),
        published_ms=float(theirs["latency_ms"]),
        ratio=float(ours["latency_ms"] / theirs["latency_ms"]),
        reasons=tuple(_reasons(ours, theirs)),
    )


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
