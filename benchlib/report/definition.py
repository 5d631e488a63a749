"""The definition box: what the milliseconds under it hold and what they leave out."""

from __future__ import annotations

import pandas as pd

from benchlib.case import Engine, ShapeMode
from benchlib.models import lineup
from benchlib.report.section import Definitions
from benchlib.report.view import REBUILT, View

_SPANS = {
    Engine.TRTEXEC.value: (
        "the GPU's work for one batch, from the first kernel to the last, timed by CUDA events"
    ),
    Engine.TENSORRT_PYTHON.value: (
        "the GPU's work for one batch, from the first kernel to the last, timed by CUDA events"
    ),
    Engine.ONNXRUNTIME_CPU.value: (
        "one call of ONNX Runtime on the CPU, from input in memory to output in memory"
    ),
    Engine.FAKE.value: "nothing: the times are made up, to test this software",
}
_SHAPES = {
    ShapeMode.STATIC.value: "an engine of its own for every size",
    ShapeMode.DYNAMIC.value: "one engine for all sizes, with a stated optimum",
    ShapeMode.BLOG.value: (
        "one engine for all sizes with a minimum and a maximum and no optimum, so tuned for the "
        "largest size"
    ),
}


def lines(view: View) -> list[tuple[str, str]]:
    """Terms and what they mean for the rows of ``view``."""
    frame = view.frame
    engine, shapes = (_only(frame[name]) for name in ("engine", "shape_mode"))
    said = [
        ("Inside the timed span", f"{_SPANS.get(engine, f'as {engine} times it')}."),
        ("Copies to and from the device", _switch(frame["transfers"], "inside", "left out")),
        ("Latency", _latency(view)),
        (
            "Images per second (FPS)",
            f"1000 × {view.batch} / latency in ms: how many images a single stream gets through "
            "when each batch waits for the one before. Throughput with queries queued back to "
            "back is another number, kept in the column throughput_img_s.",
        ),
        ("Engine", f"{_SHAPES.get(shapes, shapes)}."),
    ]
    if engine != Engine.ONNXRUNTIME_CPU.value:
        said += [
            ("CUDA graph", _switch(frame["cuda_graph"], "used", "not used")),
            ("Host waits by", _switch(frame["spin_wait"], "polling", "sleeping")),
            ("TF32 in FP32 rows", _switch(frame["tf32"], "allowed", "not allowed")),
        ]
    if ends := _ends(frame["model"]):
        said.append(("The graph ends at", ends))
    weights = ", ".join(sorted(set(frame["weights"].dropna()))) or "not recorded"
    said.append(("Weights", f"{weights}. The accuracy is the literature's, not of these engines."))
    return said


def box(view: View) -> Definitions:
    """The box over or under a table of ``view``."""
    return Definitions("What the numbers hold", tuple(lines(view)))


def _ends(models: pd.Series) -> str:
    """Where the timed graphs end, said once for networks that end alike; empty for a user's own."""
    where: dict[str, list[str]] = {}
    for model in sorted(set(models)):
        name = model.removesuffix(REBUILT)
        if name.removesuffix("@stride") in lineup.names():
            where.setdefault(lineup.card(name).output, []).append(model)
    if len(where) == 1:
        return f"{next(iter(where))}."
    return "; ".join(f"{end} ({', '.join(names)})" for end, names in where.items())


def _latency(view: View) -> str:
    if view.published:
        return "as published; the source does not say which statistic it is."
    counts = view.usable["n_samples"].dropna()
    if not len(counts):
        return f"the median, for a batch of {view.batch}."
    fewest, most = f"{counts.min():,.0f}", f"{counts.max():,.0f}"
    often = fewest if fewest == most else f"{fewest} to {most}"
    return f"the median of {often} timed queries, for a batch of {view.batch}."


def _only(column: pd.Series) -> str:
    return ", ".join(sorted({str(value) for value in column.dropna()}))


def _switch(column: pd.Series, yes: str, no: str) -> str:
    values = set(column.dropna())
    if not values:
        return "not recorded."
    return f"{' or '.join(yes if value else no for value in sorted(values, reverse=True))}."
