"""Where the time goes: shares by what a layer does, from invented layers and from real engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchlib.analysis import roofline
from benchlib.analysis.results import MeasuredSet, load
from benchlib.analysis.roofline import Breakdown, Kind
from benchlib.measure.record import Detail

LAYERS = (
    # name, type, precision, macs, ms
    ("stem", "CaskConvolution", "fp16", 900, 0.40),
    ("wide", "CaskConvolution", "fp32", 10, 0.30),
    ("tiny", "CaskConvolution", "fp16", 1, 0.01),
    ("head", "CaskGemm", "fp16", 89, 0.09),
    ("pool", "Pooling", "fp16", None, 0.08),
    ("turn", "Reformat", None, None, 0.12),
    ("none", "NoOp", None, None, 0.0),
)

Parted = Callable[..., Breakdown | None]


@pytest.fixture
def parted() -> Parted:
    """The breakdown of a row of 0.5 ms with these layers and shares."""

    def of(layers: tuple[tuple, ...] = LAYERS, **shares: Any) -> Breakdown | None:
        names = ("name", "type", "precision", "macs", "time_ms")
        known = {"macs": {"fp16": 1.0}, "time": {"fp16": 1.0}} | shares
        detail = {
            "layers": [dict(zip(names, one, strict=True)) for one in layers],
            "shares": known,
        }
        row = {"key": "k", "model": "m", "precision": "fp16", "resolution": "8x8"}
        measured = MeasuredSet("mine", None, {}, published=False, details={"k": Detail(**detail)})
        return roofline.breakdown(row | {"latency_ms": 0.5}, measured)

    return of


def test_every_layer_has_its_kind_and_the_shares_are_whole(parted: Parted) -> None:
    one = parted()
    kinds = {layer.name: layer.kind for layer in one.layers}
    assert kinds == {
        "stem": Kind.WORK,
        "wide": Kind.COSTLY,  # 30 % of the time for 1 % of the work
        "tiny": Kind.WORK,  # ten times its work too, but a launch costs 1 % of the time
        "head": Kind.WORK,
        "pool": Kind.OTHER,
        "turn": Kind.MOVING,
    }
    assert one.share(*Kind) == pytest.approx(1.0)
    assert one.share(Kind.COSTLY) == pytest.approx(0.3)
    assert one.share(Kind.MOVING, Kind.OTHER) == pytest.approx(0.2)
    assert [layer.name for layer in one.costly] == ["wide"]
    assert one.costly[0].work == pytest.approx(0.01)
    assert one.stretched == pytest.approx(2.0)


def test_layers_stand_slowest_first_and_half_is_counted(parted: Parted) -> None:
    one = parted()
    assert [layer.name for layer in one.layers[:3]] == ["stem", "wide", "turn"]
    assert one.half == 2


def test_ten_times_the_work_is_the_line(parted: Parted) -> None:
    def kind(ms: float) -> Kind:
        layers = (("a", "Conv", "fp16", 95, 1.0 - ms), ("b", "Conv", "fp16", 5, ms))
        return {layer.name: layer.kind for layer in parted(layers).layers}["b"]

    assert kind(0.51) is Kind.COSTLY
    assert kind(0.49) is Kind.WORK


def test_without_known_work_nothing_is_out_of_proportion(parted: Parted) -> None:
    one = parted(macs=None)
    assert {layer.kind for layer in one.layers} == {Kind.COMPUTING, Kind.MOVING}
    assert one.share(Kind.COMPUTING) == pytest.approx(0.88)
    assert all(layer.work is None for layer in one.layers)


def test_nothing_is_said_of_times_that_belong_to_no_layer(parted: Parted) -> None:
    assert parted(time={"fp16": 0.95, "unknown": 0.05}) is not None
    assert parted(time={"fp16": 0.85, "unknown": 0.15}) is None
    assert parted(time=None) is None
    assert parted(tuple((*one[:4], None) for one in LAYERS)) is None


def test_a_layer_told_of_twice_counts_once(parted: Parted) -> None:
    one = parted((*LAYERS, LAYERS[0]))
    assert one.share(*Kind) == pytest.approx(1.0)
    assert one.layers[0].share == pytest.approx(0.4)


def test_bisenetv2_is_held_back_by_eight_convolutions(root: Path) -> None:
    measured = load(root / "results" / "h100-tensorrt-8.6")
    rows = measured.frame[measured.frame["model"] == "bisenetv2"]
    found = {str(one.precision): one for one in roofline.breakdowns(rows, measured)}
    half = found["fp16"]
    assert len(half.costly) == 8
    assert all("main/main.1/main.1.0/Conv" in layer.name for layer in half.costly)
    # FP16 was allowed; the builder had none.
    assert {layer.precision for layer in half.costly} == {"fp32"}
    assert half.share(Kind.COSTLY) == pytest.approx(0.80, abs=0.005)
    assert sum(layer.work or 0.0 for layer in half.costly) == pytest.approx(0.0018, abs=5e-5)


def test_a_set_that_was_not_profiled_has_none(root: Path) -> None:
    measured = load(root / "results" / "h100-trtexec-8.6")
    assert roofline.breakdowns(measured.frame, measured) == ()
