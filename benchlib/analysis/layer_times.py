"""Where an engine's time goes, layer by layer, beside where its work is.

The times are those of a profiled run, which stops after every layer: they say which layers are
dear, not how long the engine takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchlib.analysis.measured import MeasuredSet
from benchlib.case import Word
from benchlib.engines.layers import UNKNOWN, Layer

COSTLY = 10.0
"""Share of the time over share of the multiply-accumulates from which a layer is out of
proportion."""

NOTICED = 0.02
"""Share of the time below which no layer is called out of proportion: a launch costs that much."""

UNPLACED = 0.1
"""Share of the profiled time under names that no layer has, above which nothing is said."""


class Kind(Word):
    """What a layer does, as far as is known."""

    WORK = "work"
    COSTLY = "costly"
    OTHER = "other"
    COMPUTING = "computing"
    MOVING = "moving"


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer: ``share`` of the profiled time and ``work``, its share of the
    multiply-accumulates, both 0 to 1. ``work`` is None where the layers' work is not known.
    ``precision`` is the type it computes in; None for one that only moves data, or untold."""

    name: str
    kind: Kind
    precision: str | None
    share: float
    work: float | None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The profiled time of one row; ``layers`` are those that took any, slowest first.

    ``stretched`` is the profiled run's time over the row's median latency.
    """

    model: str
    precision: str
    resolution: str
    stretched: float
    layers: tuple[LayerTime, ...]

    def share(self, *kinds: Kind) -> float:
        """Share (0 to 1) of the time in layers of these kinds."""
        return sum(layer.share for layer in self.layers if layer.kind in kinds)

    @property
    def half(self) -> int:
        """The fewest layers that take half of the time."""
        sum_ = 0.0
        for count, layer in enumerate(self.layers, 1):
            sum_ += layer.share
            if sum_ >= 0.5:
                return count
        return len(self.layers)

    @property
    def costly(self) -> tuple[LayerTime, ...]:
        """The layers whose time is out of proportion to their work."""
        return tuple(layer for layer in self.layers if layer.kind is Kind.COSTLY)


def breakdown(row: Mapping[str, Any], measured: MeasuredSet) -> Breakdown | None:
    """The breakdown of ``row``, a record of ``measured``'s frame or of a part of it.

    None where the row's layers were not timed, or where more than ``UNPLACED`` of the time is in
    none of them.
    """
    key = str(row["key"])
    layers = measured.layers(key)
    records = {str(one["name"]): one for one in layers if one.get("time_ms")}
    whole = sum(float(one["time_ms"]) for one in records.values())
    shares = measured.shares(key)
    if not whole or (shares.get("time") or {UNKNOWN: 1.0}).get(UNKNOWN, 0.0) > UNPLACED:
        return None
    is_known = shares.get("macs") is not None
    work = sum(one.get("macs") or 0 for one in layers) if is_known else 0
    found = [_layer(one, whole, work) for one in records.values()]
    return Breakdown(
        model=str(row["model"]),
        precision=str(row["precision"]),
        resolution=str(row["resolution"]),
        stretched=whole / float(row["latency_ms"]),
        layers=tuple(sorted(found, key=lambda layer: (-layer.share, layer.name))),
    )


def breakdowns(rows: pd.DataFrame, measured: MeasuredSet) -> tuple[Breakdown, ...]:
    """The breakdowns of all ``rows`` that have one, by network, size and precision."""
    ordered = rows.sort_values(["model", "resolution", "precision"]).to_dict("records")
    return tuple(one for row in ordered if (one := breakdown(row, measured)) is not None)


def _layer(record: Mapping[str, Any], whole: float, work: int) -> LayerTime:
    share = float(record["time_ms"]) / whole
    part = (record.get("macs") or 0) / work if work else None
    computes = Layer(str(record["name"]), record.get("type")).computes
    return LayerTime(
        name=str(record["name"]),
        kind=_kind(share, part) if computes else Kind.MOVING,
        precision=record.get("precision"),
        share=share,
        work=part if computes else None,
    )


def _kind(share: float, work: float | None) -> Kind:
    if work is None:
        return Kind.COMPUTING
    if not work:
        return Kind.OTHER
    return Kind.COSTLY if share >= max(NOTICED, COSTLY * work) else Kind.WORK
