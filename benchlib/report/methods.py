"""How it was done: what the milliseconds hold, the commands that ran, where numbers come from."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from operator import itemgetter

import pandas as pd

from benchlib import __version__
from benchlib.analysis.results import TABLE, MeasuredSet
from benchlib.analysis.significance import REBUILD, WITHIN
from benchlib.analysis.wording import percent
from benchlib.case import Engine, ShapeMode, Status
from benchlib.gpu.telemetry import ENERGY_UNCERTAINTY, FEWEST_TICKS
from benchlib.models import registry
from benchlib.report import style
from benchlib.report.parts import Bullets, Command, Definitions, Part, Section, Words
from benchlib.report.tables.grid import Table, columns
from benchlib.report.view import REBUILT, View, on_cpu

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
}
_SHAPES = {
    ShapeMode.STATIC.value: "an engine of its own for every size",
    ShapeMode.DYNAMIC.value: "one engine for all sizes, with a stated optimum",
    ShapeMode.BLOG.value: (
        "one engine for all sizes with a minimum and a maximum and no optimum, so tuned for the "
        "largest size"
    ),
}


_GOOD_TO = percent(ENERGY_UNCERTAINTY, tenths=False)


def definition_lines(view: View, models: pd.Series | None = None) -> list[tuple[str, str]]:
    """Terms and what they mean for the rows of ``view``; where the graphs of ``models`` end, its
    own where none are given."""
    frame = view.frame
    engine, shapes = (_only(frame[name]) for name in ("engine", "shape_mode"))
    lines = [
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
        lines += [
            ("CUDA graph", _switch(frame["cuda_graph"], "used", "not used")),
            ("Host waits by", _switch(frame["spin_wait"], "polling", "sleeping")),
            ("TF32 in FP32 rows", _switch(frame["tf32"], "allowed", "not allowed")),
        ]
    if frame["energy_mj"].notna().any():
        lines += [
            (
                "Energy per image",
                f"the board's, within {_GOOD_TO} (NVML's own word): its power readings integrated "
                "over the part of each run in which their average over a second holds the load "
                "alone, over that run's own images per second; or the energy "
                f"counter, where that made {FEWEST_TICKS} steps in that part. The column "
                "energy_source says which. What the host draws is not in it.",
            ),
            (
                "GPU memory",
                "peak_memory_mb, the most in use on the card in a run, as NVML counts: the CUDA "
                "context is in it, and what the driver keeps for itself (some 500 MB on an H100), "
                "which nvidia-smi, and so a bundle, leaves out.",
            ),
        ]
    if ends := _ends(frame["model"] if models is None else models):
        lines.append(("The graph ends at", ends))
    weights = ", ".join(sorted(set(frame["weights"].dropna()))) or "not recorded"
    lines.append(("Weights", f"{weights}. The accuracy is the literature's, not of these engines."))
    return lines


def box(some: Sequence[View]) -> Definitions:
    """The box for tables of several views of one kind: what they share said once, differences
    with the names of their views."""
    meanings: dict[str, dict[str, list[str]]] = {}
    models = pd.concat([view.frame["model"] for view in some])
    for view in some:
        for term, meaning in definition_lines(view, models):
            meanings.setdefault(term, {}).setdefault(meaning, []).append(view.label)
    pairs = []
    for term, told in meanings.items():
        everywhere = len(told) == 1 and sum(map(len, told.values())) == len(some)
        pairs += [
            (term, meaning if everywhere else f"{'; '.join(labels)}: {meaning}")
            for meaning, labels in told.items()
        ]
    kind = "published" if some[0].published else "CPU runs" if on_cpu(some[0]) else "measured"
    name = f"What the numbers hold ({kind})" if len(some) > 1 or kind != "measured" else ""
    return Definitions(name or "What the numbers hold", tuple(pairs))


def _ends(models: pd.Series) -> str:
    """Where the timed graphs end, said once for networks that end alike; empty for a user's own."""
    where: dict[str, list[str]] = {}
    for model in sorted(set(models)):
        name = model.removesuffix(REBUILT)
        if name.removesuffix("@stride") in registry.names():
            where.setdefault(registry.card(name).output, []).append(model)
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
    text = f"the median of {often} timed queries, for a batch of {view.batch}."
    if view.usable["latency_ci_low_ms"].isna().all():
        return text
    return (
        f"{text} Its 95 % interval is of the engine timed, on its device and in its sitting. It "
        "holds other builds only with builds above 1, and other cards never: FP16 engines of one "
        "network, built apart and timed on several H100s, differ beyond it by "
        f"{percent(REBUILD / 2)} (root mean square). So a network is called faster or slower only "
        f"where the intervals are more than twice that apart, {WITHIN}."
    )


def _only(column: pd.Series) -> str:
    return ", ".join(sorted({str(value) for value in column.dropna()}))


def _switch(column: pd.Series, yes: str, no: str) -> str:
    values = set(column.dropna())
    if not values:
        return "not recorded."
    return f"{' or '.join(yes if value else no for value in sorted(values, reverse=True))}."


_DRAWN_WITH = ("matplotlib", "numpy", "pandas", "seaborn")

FAULTS: tuple[tuple[str, str, str], ...] = (
    (
        "Flags --cudaGraphs, --noDataTransfer and --useSpinLock.",
        "None exists. The names are --useCudaGraph, --noDataTransfers and --useSpinWait; its code "
        "passed the last two and no CUDA-graph flag.",
        "Every flag is checked against the version's own list, and one it lacks is an error. CUDA "
        "graph, transfers and spin wait are always passed on a GPU and are columns of the table.",
    ),
    (
        "--avgRuns=50 records more runs.",
        "It only sets the averaging window of the log; the run stays at 3 s.",
        "Every query's time is kept. The run ends by time and by count, and the median has an "
        "interval.",
    ),
    (
        "INT8.",
        "No calibration, made-up ranges and random weights, beside the literature's accuracy.",
        "Every INT8 row names its method; made-up ranges are SUSPECT, and what was calibrated "
        "names its photos. Weights are named too, and no accuracy is said to be of these engines.",
    ),
    (
        "One engine per network and precision.",
        "Built with minimum 1x3x480x640 and maximum 1x3x2144x3840 and no optimum, so tuned for "
        "the largest; every smaller size ran the kernels of the largest.",
        "An engine per size by default. The blog's way is a shape mode of its own, named in every "
        "row, so both can be measured.",
    ),
    (
        "The FP16 plot.",
        "Its code takes every row whose FP16 flag is set, INT8 rows too: a point mixes both.",
        "One row is one precision, and a figure takes its own rows only.",
    ),
    (
        "Resolution on the x axis.",
        "Four labels at equal distances, not pixels. FPS is a reciprocal, so it is never linear.",
        "Sizes stand at their megapixels, both axes logarithmic; linearity is tested as ms against "
        "megapixels.",
    ),
    (
        "Compute time is independent of model size and GFLOPs.",
        "In its own table Spearman's ρ of ms against GFLOPs is 0.93 to 0.95 at FP32, 0.74 to 0.91 "
        "at FP16, and 0.03, 0.58, 0.71, 0.73 at INT8 from the smallest to the largest size (13 "
        "networks). Its rounded times hold ties, ranked by name here; with mean ranks, as ρ is "
        "defined, the smallest size has 0.76 at FP16 and 0.02 at INT8.",
        "The correlation is computed for every set, precision and size.",
    ),
    (
        "INT8 is 200 to 700 % faster than FP32.",
        "In its own table 1.01 to 7.19 times as fast, and slower than FP16 in 4 of 64 cells.",
        "Ratios are given as times, with their range and median, and the slower cells are named.",
    ),
    (
        "ResNets, MobileNets and VGG side by side.",
        "Whole classifiers, but VGG is its convolutional features only.",
        "The same networks are measured, and the line-up says where each graph ends.",
    ),
    (
        "Fast-SCNN, BiSeNetV2 and FASSD-Net.",
        "The first two differ from their papers; the third is the L2 variant.",
        "The blog's forms are called fast_scnn_blog, bisenetv2_blog and fassdnet_l2; the papers' "
        "own are in the line-up beside them.",
    ),
)
"""What the blog says, what was found, and what is done about it here."""


def faults() -> Table:
    """The blog's faults as a table of words."""
    return Table(
        sortable=False,
        name="faults",
        caption="The blog that this report reproduces: what it says, what was found in its code "
        "and its table, and what is done about it.",
        corner="It says",
        rows=tuple(fault[0] for fault in FAULTS),
        columns=columns(
            FAULTS, ("", "What was found", itemgetter(1)), ("", "What is done here", itemgetter(2))
        ),
    )


def commands(measured: MeasuredSet) -> Section:
    """The commands of one good row per precision, without folders; repeats are left out.

    The first row that ran most kinds of them: where an engine was found, none was built.
    """
    rows = measured.frame[measured.frame["status"] == Status.OK.value]
    parts: list[Part] = []
    for precision, some in rows.groupby("precision", observed=True):
        lines = max((_distinct(measured.commands(str(key))) for key in some["key"]), key=len)
        if lines:
            parts.append(Words(f"{style.precision_label(precision)}:"))
            parts.append(Command("\n\n".join(shlex.join(argv) for argv in lines)))
    return Section(tuple(parts or [Words("The commands were not kept with this set.")]))


def _distinct(lines: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The first command with each set of flags: repeats differ in their files' names only."""
    first: dict[tuple[str, ...], Sequence[str]] = {}
    for argv in lines:
        first.setdefault(tuple(word.partition("=")[0] for word in argv), argv)
    return list(first.values())


def provenance(sets: Sequence[MeasuredSet]) -> Bullets:
    """Which files this page was made from and with what. No date: same input, same page."""
    drawn = ", ".join(f"{name} {version(name)}" for name in _DRAWN_WITH)
    python = f"Python {platform.python_version()}"
    origins = map(_origin, sets)
    return Bullets((f"benchlib {__version__}, {python}, {drawn}", *origins), kind="provenance")


def _origin(measured: MeasuredSet) -> str:
    known = measured.environment
    parts = [f"{measured.name}: {len(measured.frame)} rows"]
    if measured.folder is not None and (measured.folder / TABLE).is_file():
        digest = hashlib.sha256((measured.folder / TABLE).read_bytes()).hexdigest()
        parts.append(f"{TABLE} sha256 {digest[:16]}…")
    # A set may be gone on with, so that its rows are younger than its date
    stamps = (known.get("date"), *measured.frame["started_at"].dropna())
    if days := sorted({str(one)[:10] for one in stamps if one}):
        parts.append(f"measured {days[0]}" + f" to {days[-1]}" * (len(days) > 1))
    for name, word in (("git_commit", "commit"), ("preset", "preset")):
        if known.get(name):
            parts.append(f"{word} {known[name]}")
    if measured.published:
        parts.append("published, not measured here")
    return ", ".join(parts)
