"""How near a network comes to the card's peak, and where its time goes layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchlib.analysis.comparable_groups import Variant, by_variant
from benchlib.analysis.results import MeasuredSet, usable
from benchlib.case import Engine, Precision, Word, partition
from benchlib.gpu import peaks
from benchlib.trtexec.exports import UNKNOWN, UNPLACED, Layer

# Where an engine's time goes, layer by layer, beside where its work is.
#
# The times are those of a profiled run, which stops after every layer: they show which layers take
# much of it, not how long the engine takes.


COSTLY = 10.0
"""Share of the time over share of the multiply-accumulates from which a layer is out of
proportion."""

NOTICED = 0.02
"""Share of the time below which no layer is called out of proportion: a launch costs that much."""


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
    ``precision`` is the type it computes in; None for one that only moves data, or unknown."""

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
    precision: str | Variant
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
        precision=row.get("variant", row["precision"]),
        resolution=str(row["resolution"]),
        stretched=whole / float(row["latency_ms"]),
        layers=tuple(sorted(found, key=lambda layer: (-layer.share, layer.name))),
    )


def breakdowns(rows: pd.DataFrame, measured: MeasuredSet) -> tuple[Breakdown, ...]:
    """The breakdowns of all ``rows`` that have one, by network, size and precision."""
    by = ["model", "resolution", by_variant(rows).name]
    ordered = rows.sort_values(by).to_dict("records")
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


# The roofline: the rate that a network reaches over that of the card.
#
# Roofs are measured ones when ``environment.json`` has them, else the data sheet's for the few
# cards copied here, and none for any other card or a CPU.


MEMORY_GB_S: tuple[tuple[re.Pattern[str], float, str], ...] = (
    (re.compile(r"RTX 3090$"), 936.0, "GA102 white paper, appendix A"),
    (re.compile(r"RTX 4090$"), 1008.0, "Ada white paper, appendix A"),
    (re.compile(r"\bT4$"), 320.0, "T4 data sheet"),
    (re.compile(r"\bL4$"), 300.0, "L4 data sheet"),
    (re.compile(r"\bH100 80GB HBM3$"), 3350.0, "H100 data sheet, SXM"),
    (re.compile(r"\bH200\b"), 4800.0, "H200 data sheet"),
)
"""Memory bandwidth in 10^9 bytes per second, of cards whose variants do not differ in it."""

_FIELDS = {
    Precision.FP32: "fp32_tflops",
    Precision.TF32: "tf32_tflops",
    Precision.FP16: "fp16_tflops",
    Precision.BF16: "bf16_tflops",
    Precision.INT8: "int8_tops",
}
"""Where environment.json's ``roofs`` has the rate of a precision."""

_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
"""Bytes of one activation or weight."""


@dataclass(frozen=True, slots=True)
class Roofs:
    """What a card can do at one precision: 10^12 operations and 10^9 bytes per second.

    A multiply-accumulate is two operations. ``how`` says how they were measured, or names the
    data sheet.
    """

    precision: str
    tera_ops: float
    memory_gb_s: float
    measured: bool
    how: str

    @property
    def ridge(self) -> float:
        """Operations per byte from which on arithmetic, not memory, is the limit."""
        return self.tera_ops * 1000 / self.memory_gb_s

    def at(self, intensity: float) -> float:
        """The roof in 10^12 operations per second at ``intensity`` operations per byte."""
        return min(self.tera_ops, self.memory_gb_s * intensity / 1000)


@dataclass(frozen=True, slots=True)
class Point:
    """One row under its roof.

    ``tera_ops`` is what it reached. ``intensity`` is operations per byte when every activation
    is written and read once and every weight read once; fused layers move less, so ``share`` of
    the roof may exceed 1 where memory is the limit. ``share`` is None without a roof.
    """

    model: str
    family: str | None
    precision: str | Variant
    resolution: str
    batch: int
    tera_ops: float
    intensity: float
    roof: float | None
    share: float | None


def roofs(measured: MeasuredSet, precision: str) -> Roofs | None:
    """The roofs of the card ``measured`` was made on; None for an unknown card and for a CPU.

    FP32 stands under TF32's roof when its rows allowed TF32.
    """
    rows = measured.frame[measured.frame["precision"] == precision]
    used = Precision(precision)
    if used is Precision.FP32 and rows["tf32"].fillna(False).any():
        used = Precision.TF32
    own = measured.environment.get("roofs")
    if isinstance(own, dict):
        found = _measured(own, precision, used)
        if found is not None:
            return found
    if (rows["engine"] == Engine.ONNXRUNTIME_CPU.value).any():
        return None
    devices = rows["device"].dropna().unique()
    if len(devices) != 1 or partition(str(devices[0])):
        # A data sheet is of the whole card
        return None
    return _data_sheet(str(devices[0]), precision, used)


def points(measured: MeasuredSet) -> tuple[Point, ...]:
    """A point for every usable row with a count of work, activations and parameters."""
    known = usable(measured.frame).dropna(subset=["gmacs", "mactivations", "params_m"])
    by_precision = {word: roofs(measured, word) for word in known["precision"].unique()}
    return tuple(_point(row, by_precision[row["precision"]]) for _, row in known.iterrows())


def _point(row: pd.Series, above: Roofs | None) -> Point:
    batch = float(row["batch"])
    operations = peaks.OPERATIONS_PER_MAC * row["gmacs"] * batch
    # 10^9 operations in a millisecond are 10^12 in a second
    reached = float(operations / row["latency_ms"])
    intensity = float(operations * 1000 / _megabytes(row, batch))
    roof = None if above is None else above.at(intensity)
    return Point(
        model=str(row["model"]),
        family=None if pd.isna(row["family"]) else str(row["family"]),
        precision=row.get("variant", row["precision"]),
        resolution=str(row["resolution"]),
        batch=int(batch),
        tera_ops=reached,
        intensity=intensity,
        roof=roof,
        share=None if roof is None else reached / roof,
    )


def _megabytes(row: pd.Series, batch: float) -> float:
    """10^6 bytes moved by one batch: activations written and read, weights read."""
    return float(_BYTES[row["precision"]] * (2 * row["mactivations"] * batch + row["params_m"]))


def _measured(own: dict[str, Any], precision: str, used: Precision) -> Roofs | None:
    rate, memory = own.get(_FIELDS.get(used, "")), own.get("memory_gb_s")
    if not rate or not memory:
        return None
    how = str(own.get("how") or "measured on this machine")
    return Roofs(precision, float(rate), float(memory), True, how)


def _data_sheet(device: str, precision: str, used: Precision) -> Roofs | None:
    peak = next((peak for peak in peaks.PEAKS if peak.name.search(device)), None)
    memory = next((entry for entry in MEMORY_GB_S if entry[0].search(device)), None)
    if peak is None or memory is None:
        return None
    rate = getattr(peak, used.value, None)  # no data sheet's BF16 is here
    if rate is None:
        return None
    sources = " and ".join(dict.fromkeys((peak.source, memory[2])))
    return Roofs(precision, float(rate), memory[1], False, f"{sources}; dense, not measured")
