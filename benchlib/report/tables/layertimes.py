"""Where the time goes, row by row, with each engine's slowest layer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchlib.analysis import layer_times, wording
from benchlib.analysis.layer_times import Breakdown, Kind, LayerTime
from benchlib.engines.layers import JOINTS
from benchlib.report import theme
from benchlib.report.tables import cells
from benchlib.report.tables.grid import Cell, Column, Table
from benchlib.report.view import View

_LONGEST = 32
_AUXILIARY = re.compile(r"^onnx::|_(?:quantised|dequantised)_node$|(?:Quantize|Dequantize)Linear")


def build(view: View, found: Sequence[Breakdown]) -> Table:
    """A row for each of the view's breakdowns, one or more."""
    resolutions = [one.resolution for one in found]
    only = cells.only_size(resolutions)
    at = f" at {only}" if only else ""
    return Table(
        name=f"layertimes-{view.slug}",
        caption=(
            f"Each engine's profiled time{at}, {view.label}. Out of proportion: layers that take "
            f"{100 * layer_times.NOTICED:.0f} % of the time or more and at least "
            f"{layer_times.COSTLY:.0f} times their share of the multiply-accumulates (MACs)."
        ),
        corner="Network",
        rows=tuple(one.model for one in found),
        columns=(
            *cells.sizes(resolutions),
            _column("", "Precision", [Cell(theme.precision_label(one.precision)) for one in found]),
            _column("Layers", "timed", [_count(len(one.layers)) for one in found]),
            _column("Layers", "that take half", [_count(one.half) for one in found]),
            _column("Out of proportion", "layers", [_costly(one) for one in found]),
            _column("Out of proportion", "MACs", [_costly_work(one) for one in found]),
            _column("Out of proportion", "time", [_costly_time(one) for one in found]),
            _column("Time", "without MACs", [_share(one, Kind.OTHER) for one in found]),
            _column("Time", "moving", [_share(one, Kind.MOVING) for one in found]),
            _column("Slowest layer", "time", [cells.share(one.layers[0].share) for one in found]),
            _column("Slowest layer", "type", [_type(one.layers[0]) for one in found]),
            _column("Slowest layer", "name", [_name(one.layers[0]) for one in found]),
        ),
    )


def _column(group: str, title: str, some: list[Cell]) -> Column:
    return Column(group, title, tuple(some))


def _count(number: int) -> Cell:
    return Cell(str(number), float(number))


def _share(one: Breakdown, kind: Kind) -> Cell:
    is_split = kind is Kind.MOVING or not one.share(Kind.COMPUTING)
    return cells.share(one.share(kind) if is_split else None)


def _costly(one: Breakdown) -> Cell:
    if one.share(Kind.COMPUTING):
        return Cell(wording.DASH, note="the layers' work is not known")
    names = "; ".join(layer.name for layer in one.costly)
    return Cell(str(len(one.costly)), float(len(one.costly)), note=names)


def _costly_work(one: Breakdown) -> Cell:
    return cells.share(sum(layer.work or 0.0 for layer in one.costly) if one.costly else None)


def _costly_time(one: Breakdown) -> Cell:
    return cells.share(one.share(Kind.COSTLY) if one.costly else None)


def _name(layer: LayerTime) -> Cell:
    """The first of the nodes that the layer was made from, cut from the left; all in the note.

    Weights and Q/DQ nodes, which the builder names too, are passed over where there is another.
    """
    nodes = JOINTS.split(layer.name)
    first = next((node for node in nodes if not _AUXILIARY.search(node)), nodes[0])
    short = first if len(first) <= _LONGEST else f"…{first[1 - _LONGEST :]}"
    return Cell(short, note="" if short == layer.name else layer.name)


def _type(layer: LayerTime) -> Cell:
    if layer.kind is Kind.MOVING:
        return Cell("moving")
    return Cell(layer.precision.upper() if layer.precision else wording.DASH)
