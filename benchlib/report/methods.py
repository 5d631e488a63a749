"""How it was done: the commands really run, the blog's faults, and where the numbers come from."""

from __future__ import annotations

import hashlib
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version

from benchlib import __version__
from benchlib.analysis.measured import TABLE, MeasuredSet
from benchlib.case import Status
from benchlib.report import theme
from benchlib.report.section import Bullets, Command, Part, Section, Words
from benchlib.report.tables.grid import Cell, Column, Table
from benchlib.report.view import title

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
    headings = ("What was found", "What is done here")
    return Table(
        sortable=False,
        name="faults",
        caption="The blog that this report reproduces: what it says, what was found in its code "
        "and its table, and what is done about it.",
        corner="It says",
        rows=tuple(fault[0] for fault in FAULTS),
        columns=tuple(
            Column("", heading, tuple(Cell(fault[index]) for fault in FAULTS))
            for index, heading in enumerate(headings, start=1)
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
            parts.append(Words(f"{theme.precision_label(precision)}:"))
            parts.append(Command("\n\n".join(shlex.join(argv) for argv in lines)))
    missing = [Words("The commands were not kept with this set.")]
    return Section.of([Words("", strong=title(measured)), *(parts or missing)])


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
    for name, word in (("date", "measured"), ("git_commit", "commit"), ("preset", "preset")):
        if known.get(name):
            parts.append(f"{word} {known[name]}")
    if measured.published:
        parts.append("published, not measured here")
    return ", ".join(parts)
