"""The table of the blog, what did not run, and tables of what engines are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchlib.analysis import comparable_groups, latency_model, roofline, wording
from benchlib.analysis.results import MeasuredSet, codes
from benchlib.analysis.roofline import Breakdown, Kind, LayerTime
from benchlib.case import Precision, Status, Verdict
from benchlib.gpu.telemetry import ENERGY_UNCERTAINTY, EnergySource
from benchlib.report import style
from benchlib.report.tables import grid
from benchlib.report.tables.grid import Cell, Column, Mark, Table, share
from benchlib.report.view import View, made_for, shown, slug, year
from benchlib.stats.quality_checks import Reason
from benchlib.stats.summary import rounded
from benchlib.trtexec import exports
from benchlib.trtexec.exports import JOINTS

# The precision that was asked for beside the share of the engine that got it.


_LOW = {precision.value for precision in Precision} - {Precision.FP32.value, Precision.TF32.value}
_TITLES = {"layers": "layers", "macs": "MACs", "time": "time"}
_WORDS = {"layers": "layers", "macs": "multiply-accumulates (MACs)", "time": "time"}
_OF_TIME = (
    "The time is that of the computing layers in a profiled run apart: moving and converting data "
    "has no precision. "
)
_FUSED = " A dash under MACs alone: the builder fused layers whose work cannot be told apart."


def build_precision(view: View, measured: MeasuredSet) -> Table | None:
    """Lowest shares over the sizes per network and low precision; None when none is known.

    ``measured`` is the set of the view, whose rows hold the shares of work and time.
    """
    rows = view.usable.dropna(subset=["low_precision_share"])
    rows = rows[rows["precision"].isin(_LOW)]
    if rows.empty:
        return None
    got = pd.DataFrame([_got(row, measured) for row in rows.to_dict("records")], index=rows.index)
    shares = got.groupby([rows["model"], rows["variant"]], observed=True).min()
    models = sorted(set(rows["model"]))
    fused = (shares["macs"].isna() & shares["time"].notna()).any() and shares["macs"].notna().any()
    known = [kind for kind in _TITLES if shares[kind].notna().any()]
    columns = []
    for precision in [one for one in view.precisions if one in set(rows["variant"])]:
        for kind in [kind for kind in known if shares.xs(precision, level=1)[kind].notna().any()]:
            cells = tuple(share(shares[kind].get((model, precision))) for model in models)
            columns.append(Column(style.precision_label(precision), _TITLES[kind], cells))
    if not any(one.method for one in view.precisions):
        columns.append(_methods(rows, models))
    return Table(
        name=f"precision-{view.slug}",
        caption=(
            "Asked and got: the share of the engine's "
            f"{wording.listed(map(_WORDS.get, known))} in the precision asked for or a lower one, "
            "the least over the sizes; "
            f"{view.label}. {_OF_TIME if 'time' in known else ''}What is missing "
            f"went to a higher precision.{_FUSED if fused else ''}"
        ),
        corner="Network",
        rows=tuple(models),
        columns=tuple(columns),
    )


def _got(row: Mapping[str, object], measured: MeasuredSet) -> dict[str, float | None]:
    precision = Precision(row["precision"])
    known = measured.shares(str(row["key"]))
    return {
        "layers": row["low_precision_share"],
        "macs": exports.low(known.get("macs"), precision),
        "time": exports.low(exports.computing_time(known.get("time")), precision),
    }


def _methods(rows: pd.DataFrame, models: list[str]) -> Column:
    methods = rows.dropna(subset=["int8_method"]).groupby("model")["int8_method"].first()
    cells = tuple(Cell(str(methods.get(model, wording.DASH))) for model in models)
    return Column("INT8", "made by", cells)


# Where the time goes, row by row, with each engine's slowest layer.


_LONGEST = 32
_AUXILIARY = re.compile(
    r"^onnx::|_(?:quantised|dequantised)_node$|(?:Quantize|Dequantize)Linear|\.(?:weight|bias)$"
)


def build_layer_times(view: View, found: Sequence[Breakdown]) -> Table:
    """A row for each of the view's breakdowns, one or more."""
    resolutions = [one.resolution for one in found]
    only = grid.only_size(resolutions)
    at = f" at {only}" if only else ""
    return Table(
        name=f"layertimes-{view.slug}",
        caption=(
            f"Each engine's profiled time{at}, {view.label}. Out of proportion: layers that take "
            f"{100 * roofline.NOTICED:.0f} % of the time or more and at least "
            f"{roofline.COSTLY:.0f} times their share of the multiply-accumulates (MACs)."
        ),
        corner="Network",
        rows=tuple(one.model for one in found),
        columns=(
            *grid.sizes(resolutions),
            *grid.columns(
                found,
                ("", "Precision", lambda one: style.precision_label(one.precision)),
                ("Layers", "timed", lambda one: _count(len(one.layers))),
                ("Layers", "that take half", lambda one: _count(one.half)),
                ("Out of proportion", "layers", _costly),
                ("Out of proportion", "MACs", _costly_work),
                ("Out of proportion", "time", _costly_time),
                ("Time", "without MACs", lambda one: _share(one, Kind.OTHER)),
                ("Time", "moving", lambda one: _share(one, Kind.MOVING)),
                ("Slowest layer", "time", lambda one: share(one.layers[0].share)),
                ("Slowest layer", "type", lambda one: _type(one.layers[0])),
                ("Slowest layer", "name", lambda one: _name(one.layers[0])),
            ),
        ),
    )


def _count(number: int) -> Cell:
    return Cell(str(number), float(number))


def _share(one: Breakdown, kind: Kind) -> Cell:
    is_split = kind is Kind.MOVING or not one.share(Kind.COMPUTING)
    return share(one.share(kind) if is_split else None)


def _costly(one: Breakdown) -> Cell:
    if one.share(Kind.COMPUTING):
        return Cell(wording.DASH, note="the layers' work is not known")
    names = "; ".join(layer.name for layer in one.costly)
    return Cell(str(len(one.costly)), float(len(one.costly)), note=names)


def _costly_work(one: Breakdown) -> Cell:
    return share(sum(layer.work or 0.0 for layer in one.costly) if one.costly else None)


def _costly_time(one: Breakdown) -> Cell:
    return share(one.share(Kind.COSTLY) if one.costly else None)


def _name(layer: LayerTime) -> Cell:
    """The first of the nodes that the layer was made from, cut from the left, or from the right
    where the builder says first that it fused a range of them; all in the note.

    Weights and Q/DQ nodes, which the builder names too, are passed over where there is another.
    """
    nodes = JOINTS.split(layer.name)
    first = next((node for node in nodes if not _AUXILIARY.search(node)), nodes[0])
    cut = f"{first[: _LONGEST - 1]}…" if first.startswith("{") else f"…{first[1 - _LONGEST :]}"
    short = first if len(first) <= _LONGEST else cut
    return Cell(short, note="" if short == layer.name else layer.name)


def _type(layer: LayerTime) -> str:
    if layer.kind is Kind.MOVING:
        return "moving"
    return layer.precision.upper() if layer.precision else wording.DASH


# What did not run, or ran and is not believed: one line per row with its reason.

_OK = Status.OK.value


def build_failures(name: str, frame: pd.DataFrame) -> Table:
    """Failed, skipped, INVALID and SUSPECT rows of ``frame``; an empty grid when there is none."""
    bad = frame[
        (frame["status"] != _OK)
        | frame["verdict"].isin([Verdict.SUSPECT.value, Verdict.INVALID.value])
    ].sort_values(["status", "model", "precision", "resolution"])
    return Table(
        sortable=False,
        name=f"failures-{slug(name)}",
        caption=f"{len(bad)} of {len(frame)} rows of {name} failed, were skipped or are doubted.",
        corner="Network",
        rows=tuple(shown(model) for model in bad["model"]),
        columns=grid.columns(
            bad.itertuples(index=False),
            ("", "Size", lambda row: wording.size(row.resolution)),
            ("", "Precision", lambda row: style.precision_label(row.precision)),
            ("", "Batch", lambda row: f"{row.batch:.0f}"),
            ("", "Outcome", lambda row: row.verdict if row.status == _OK else row.status),
            ("", "Reason", _reason),
            ("", "Log", lambda row: row.log or ""),
        ),
    )


def _reason(row: Any) -> str:
    if row.status == _OK:
        return ", ".join(codes(row))
    return ": ".join(part for part in (row.failure, row.message) if part) or "no reason recorded"


# The table of the blog: networks down, size and precision across, ms in the cells.


_NOT_RUN = "not in this run"
_MARKS = {Verdict.SUSPECT.value: Mark.DOUBTED, Verdict.INVALID.value: Mark.REJECTED}
_METRIC_TITLES = {"ImageNet top-1": "Top-1 %", "Cityscapes mIoU": "mIoU %"}


def build(view: View) -> Table:
    """Median latency in ms per batch, beside what is known of each network.

    Best and worst of a column are marked among usable rows. ImageNet and Cityscapes accuracies
    are two columns, so the one is never ranked against the other.
    """
    frame = view.frame
    models = _by_family(frame)
    footnotes = _Footnotes()
    columns = _facts(frame, models)
    sizes = frame["resolution"].cat.remove_unused_categories().cat.categories
    precisions = comparable_groups.variants(frame)
    by_cell = {
        (row.model, str(row.resolution), row.variant): row for row in frame.itertuples(index=False)
    }
    for size in sizes:
        for precision in precisions:
            rows = [by_cell.get((model, size, precision)) for model in models]
            if not any(rows):
                continue
            cells = tuple(_latency(row, footnotes, view.published) for row in rows)
            title = style.precision_label(precision)
            columns.append(Column(wording.size(size), title, _marked(cells, low_is_best=True)))
    return Table(
        name=f"latency-{view.slug}",
        caption=_caption(view, columns),
        corner="Network",
        rows=tuple(models),
        columns=tuple(columns),
        footnotes=tuple(footnotes.lines()),
    )


def build_energy(view: View) -> Table | None:
    """Energy per image in mJ, with power and memory in each cell's note; None for no energy."""
    frame = view.usable
    known = frame[frame["energy_mj"].notna()]
    if known.empty:
        return None
    models = _by_family(known)
    by_cell = {
        (row.model, str(row.resolution), row.variant): row for row in known.itertuples(index=False)
    }
    columns = []
    for size in comparable_groups.sizes(known):
        for precision in comparable_groups.variants(known[known["resolution"] == size]):
            cells = tuple(_energy(by_cell.get((model, size, precision))) for model in models)
            title = style.precision_label(precision)
            columns.append(Column(wording.size(size), title, _marked(cells, low_is_best=True)))
    sources = sorted(set(known["energy_source"].dropna()))
    told = wording.listed(_SOURCES[one] for one in sources) or "a source not recorded"
    good_to = wording.percent(ENERGY_UNCERTAINTY, tenths=False)
    return Table(
        name=f"energy-{view.slug}",
        caption=f"Energy of the board per image in mJ, batch {view.batch}; {view.label}. By "
        f"{told}; NVML calls its power readings good to {good_to}, and digits are cut to that. "
        "Rest the pointer on a cell for the power and the most GPU memory in use.",
        corner="Network",
        rows=tuple(models),
        columns=tuple(columns),
    )


_SOURCES = {
    EnergySource.COUNTER.value: "the card's energy counter",
    EnergySource.POWER.value: "its power readings, integrated over the settled part of each run",
}


def _energy(row: object | None) -> Cell:
    if row is None:
        return Cell(wording.DASH, note="not known")
    value = float(row.energy_mj)
    reach = ENERGY_UNCERTAINTY * value
    told = [f"{row.power_w:.0f} W" if pd.notna(row.power_w) else "", f"by {row.energy_source}"]
    if pd.notna(row.peak_memory_mb):
        told.append(f"{row.peak_memory_mb:,.0f} MB in use at most, driver and context included")
    note = "; ".join(filter(None, told))
    return Cell(rounded(value, value - reach, value + reach), value, note=note)


def _caption(view: View, columns: list[Column]) -> str:
    cells = [cell for column in columns for cell in column.cells]
    parts = [
        f"Median latency in ms per batch of {view.batch}; {view.label}.",
        "Green and bold: best number of the column, tied or not; red and italic: worst.",
    ]
    if view.frame["latency_ci_low_ms"].notna().any():
        parts.append(
            "Digits are cut to what the interval supports; rest the pointer on a cell for the "
            "full value and its interval."
        )
    if any(column.title == "Made for" for column in columns):
        parts.append("Made for: the size of the images that the accuracy is of.")
    if any(column.title == "Year" for column in columns):
        parts.append("Year: of the paper.")
    if any(cell.reference and cell.value is None for cell in cells):
        parts.append("A dash has its reason below the table.")
    for verdict, meaning in (
        (Verdict.SUSPECT, "marks SUSPECT rows"),
        (Verdict.INVALID, "marks INVALID rows, which are not ranked"),
    ):
        if (view.frame["verdict"] == verdict.value).any():
            parts.append(f"{style.VERDICT_SYMBOLS[verdict.value]} {meaning}.")
    valid = view.frame[view.frame["verdict"] == Verdict.VALID.value]
    if valid["notes"].notna().any():
        parts.append("A letter alone points to a note, which takes nothing from the number.")
    return " ".join([*parts, "Press a heading to sort."])


def _by_family(frame: pd.DataFrame) -> list[str]:
    """Families in the palette's order, networks of one family by name."""
    order = {family: index for index, family in enumerate(style.FAMILIES)}
    pairs = frame[["model", "family"]].drop_duplicates("model")
    ranked = sorted(
        (order.get(family, len(order)), str(family), model)
        for model, family in pairs.itertuples(index=False)
    )
    return [model for _, _, model in ranked]


class _Footnotes:
    """Letters for the distinct reasons behind dashes and marks, in order of appearance.

    Rows with the same reasons share a letter whatever their figures: at a card's power limit each
    has its own clock, and with a letter for each nobody would find one.
    """

    def __init__(self) -> None:
        self._rows: dict[object, list[Any]] = {}

    def letter(self, reason: object, *rows: object) -> str:
        """The letter of ``reason``: words, or what identifies those of ``rows``."""
        self._rows.setdefault(reason, []).extend(rows)
        index = list(self._rows).index(reason)
        return ("" if index < 26 else chr(96 + index // 26)) + chr(97 + index % 26)

    def lines(self) -> list[str]:
        return [
            f"{self.letter(reason)}: {_doubts(rows) if rows else reason}"
            for reason, rows in self._rows.items()
        ]


def _facts(frame: pd.DataFrame, models: list[str]) -> list[Column]:
    size = frame["resolution"].cat.remove_unused_categories().cat.categories[0]
    smallest = frame[frame["resolution"] == size]
    years = tuple(Cell(str(one or wording.DASH), one) for one in map(year, models))
    columns = [
        Column("Network", "Year", years),
        _fact(smallest, models, "gmacs", f"GMACs at {wording.size(size)}", low_is_best=True),
        _fact(frame, models, "size_mb", "MB", low_is_best=True),
    ]
    for metric, rows in frame.groupby("accuracy_metric", sort=True):
        title = _METRIC_TITLES.get(str(metric), str(metric))
        columns.append(_fact(rows, models, "accuracy", title, low_is_best=False))
    known = [column for column in columns if any(cell.value is not None for cell in column.cells)]
    native = [made_for(frame, model) for model in models]
    cells = tuple(Cell(wording.size(one or wording.DASH)) for one in native)
    return [*known, Column("Network", "Made for", cells)] if any(native) else known


_LINE = {
    "fixed, ms": lambda fit: grid.number(fit.fixed_ms),
    "ms per megapixel": lambda fit: grid.number(fit.ms_per_megapixel),
    "off by": lambda fit: share(fit.error),
}


def build_lines(view: View) -> Table:
    """The line of each network and precision over the sizes, where its times are on one."""
    fits = {(one.model, one.precision): one for one in latency_model.fit(view.usable) if one.holds}
    models = sorted({model for model, _ in fits})
    without = Cell(wording.DASH, note="fewer than three sizes, or its times are on no line")
    columns = [
        Column(
            style.precision_label(word),
            title,
            tuple(of(fits[model, word]) if (model, word) in fits else without for model in models),
        )
        for word in view.precisions
        if any(word == one for _, one in fits)
        for title, of in _LINE.items()
    ]
    return Table(
        name=f"lines-{view.slug}",
        caption="Milliseconds of a batch = fixed + ms per megapixel × megapixels of the image "
        f"(width × height / 10⁶), within the sizes measured and on this device; {view.label}. Off "
        "by: the largest error at a size left out of the line, or where there are but three at "
        "one of them.",
        corner="Network",
        rows=tuple(map(shown, models)),
        columns=tuple(columns),
    )


def _fact(
    frame: pd.DataFrame, models: list[str], name: str, title: str, *, low_is_best: bool
) -> Column:
    values = frame.dropna(subset=[name]).drop_duplicates("model").set_index("model")
    cells = []
    for model in models:
        if model not in values.index:
            cells.append(Cell(wording.DASH, note="not known"))
            continue
        value = float(values.at[model, name])
        source = values.at[model, "accuracy_source"] if name == "accuracy" else None
        cells.append(Cell(wording.short(value), value, note=source or ""))
    return Column("Network", title, _marked(tuple(cells), low_is_best=low_is_best))


def _latency(row: object | None, footnotes: _Footnotes, published: bool) -> Cell:
    if row is None:
        return Cell(wording.DASH, note=_NOT_RUN, reference=footnotes.letter(_NOT_RUN))
    if row.status != _OK or pd.isna(row.latency_ms):
        what = f"{row.status} ({row.failure})" if row.failure else str(row.status)
        reason = f"{what}: {row.message}" if row.message else what
        return Cell(wording.DASH, note=reason, reference=footnotes.letter(reason))
    value = float(row.latency_ms)
    low, high = row.latency_ci_low_ms, row.latency_ci_high_ms
    interval = grid.interval(value, low, high)
    if interval:
        text = rounded(value, low, high)
    else:
        # A publication's digits are its own; ours are cut where nothing bears them.
        text = wording.short(value) if published else rounded(value)
    symbol = style.VERDICT_SYMBOLS.get(row.verdict or "", "")
    if not symbol and not codes(row):
        return Cell(text, value, note=interval)
    mark = _MARKS.get(row.verdict or "", Mark.NONE)
    note = "; ".join(filter(None, (_doubts([row]), interval)))
    letter = footnotes.letter((symbol, *codes(row)), row)
    return Cell(f"{text} {symbol}".strip(), value, mark, note, letter)


_FIGURES = {
    Reason.POWER_LIMITED.value: ("sustained clock", "sm_clock_mhz", ".0f", "MHz"),
    Reason.SPREAD.value: ("95th percentile", "latency_p95_ms", ".4g", "ms"),
}
"""What is told with a reason: its name, column, digits and unit."""


def _doubts(rows: Sequence[Any]) -> str:
    """The reasons and notes that ``rows`` share, each with its figure or the range of them."""
    said = []
    for code in codes(rows[0]):
        name, column, digits, unit = _FIGURES.get(code, ("", "key", "", ""))
        known = sorted(one for row in rows if name and pd.notna(one := getattr(row, column)))
        ends = dict.fromkeys(format(one, digits) for one in (*known[:1], *known[-1:]))
        said.append(f"{code} ({name} {' to '.join(ends)} {unit})" if ends else code)
    words = ", ".join(said)
    is_marked = bool(style.VERDICT_SYMBOLS.get(rows[0].verdict or "", ""))
    return f"{rows[0].verdict}: {words or 'no reason given'}" if is_marked else words


def _marked(cells: tuple[Cell, ...], *, low_is_best: bool) -> tuple[Cell, ...]:
    ranked = [
        cell.value for cell in cells if cell.value is not None and cell.mark is not Mark.REJECTED
    ]
    if len(set(ranked)) < 2:
        return cells
    best: Callable[[list[float]], float] = min if low_is_best else max
    worst: Callable[[list[float]], float] = max if low_is_best else min
    marks = {best(ranked): Mark.BEST, worst(ranked): Mark.WORST}
    return tuple(
        cell
        if cell.value is None or cell.mark is Mark.REJECTED
        else replace(cell, mark=marks.get(cell.value, cell.mark))
        for cell in cells
    )
