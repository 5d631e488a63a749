"""What the verdict goes by: all that was seen of one measured case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchlib.case import Engine, Int8Method, Precision
from benchlib.sweep.clocks import ClockLock
from benchlib.sweep.readings import TelemetrySummary
from benchlib.sweep.samples import Summary


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a measured case; None where it is not known.

    ``runs`` has one summary per timing process, ``telemetry`` likewise (empty on a CPU).
    ``finite`` is whether the outputs were free of NaN and infinity, ``fp32_finite`` whether those
    of the FP32 graph were. ``error`` is the greatest relative L2 of an output against FP32,
    ``disagreement`` the greatest share of unequal values of an output of whole numbers, each
    with that output's name; ``random_weights`` is whether the network was never trained.
    ``floor_ms`` is the least
    time that the card's peak allows for one batch. ``graph_captured`` and ``transfers_seen`` are
    what happened, ``cuda_graph`` and ``transfers`` what was asked for.
    ``confidential`` is whether Confidential Computing was on, ``event_timed`` whether CUDA events
    gave the times.
    ``below`` has, by what it is a share of, the shares by type of what is less than that.
    ``low_precision_share`` and ``low_mac_share`` are the shares of computing layers and of
    multiply-accumulates in the precision asked for, or less.
    """

    engine: Engine
    precision: Precision
    runs: tuple[Summary, ...]
    int8_method: Int8Method | None = None
    telemetry: tuple[TelemetrySummary, ...] = ()
    lock: ClockLock | None = None
    finite: bool | None = None
    fp32_finite: bool | None = None
    error: float | None = None
    error_of: str | None = None
    disagreement: float | None = None
    disagreement_of: str | None = None
    random_weights: bool = False
    floor_ms: float | None = None
    cuda_graph: bool = False
    graph_captured: bool | None = None
    transfers: bool = False
    transfers_seen: bool | None = None
    low_precision_share: float | None = None
    low_mac_share: float | None = None
    confidential: bool | None = None
    event_timed: bool = True
    below: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    skipped_tactics: int = 0

    @property
    def on_cpu(self) -> bool:
        return self.engine is Engine.ONNXRUNTIME_CPU
