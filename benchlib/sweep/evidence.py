"""All that measuring one case brings to light, gathered as it comes, good end or bad."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchlib.case import Case, Engine
from benchlib.engines.exporttimes import Query
from benchlib.engines.log import Log
from benchlib.engines.settings import Settings
from benchlib.graphs.make import Graph
from benchlib.sweep.plans import BuiltEngine
from benchlib.sweep.readings import Reading
from benchlib.sweep.series import Samples
from benchlib.sweep.warmup import Trial
from benchlib.sweep.workshop import Network


@dataclass(frozen=True, slots=True)
class TimingRun:
    """One timing process: which engine it ran, its queries, its log, its wall time in seconds.

    ``readings`` is the GPU's telemetry while it ran, empty where there is none.
    """

    build: int
    process: int
    queries: tuple[Query, ...]
    log: Log
    wall_s: float
    readings: tuple[Reading, ...] = ()

    @property
    def compute_ms(self) -> NDArray[np.float64]:
        """Shape [n], milliseconds, in the order of the queries' start."""
        return np.array([query.compute_ms for query in self.queries])

    @property
    def enqueue_ms(self) -> NDArray[np.float64]:
        """Shape [n], milliseconds of host time per enqueue."""
        return np.array([query.enqueue_ms for query in self.queries])

    @property
    def samples(self) -> Samples:
        """The queries as they are kept on disk."""
        copies = (
            np.array([getattr(query, name) for query in self.queries])
            for name in ("h2d_ms", "d2h_ms")
        )
        return Samples(self.compute_ms, self.enqueue_ms, *copies)

    @property
    def has_transfers(self) -> bool:
        """Whether any copy to or from the GPU took time."""
        return any(query.h2d_ms > 0 or query.d2h_ms > 0 for query in self.queries)

    def stopped_by(self, settings: Settings) -> str:
        """Which of the two minimums was met last and so ended the timing: time or count."""
        return "count" if len(self.queries) <= settings.iterations else "time"

    @property
    def span_s(self) -> float:
        """From the first query's start to the last one's end, in device time."""
        first = min(query.start_h2d_ms for query in self.queries)
        last = max(query.end_d2h_ms for query in self.queries)
        return (last - first) / 1000


@dataclass(slots=True)
class Evidence:
    """Filled while a case is measured, so that a failure still leaves what was known before it.

    ``work`` has the multiply-accumulates of the graph's nodes by name, as far as known.
    ``commands`` are argv lists without this machine's paths; ``log`` is where the programs'
    words are collected; ``trials`` has one entry per timing process, those in ``set_aside``
    because they began cold included; ``memory_freed`` is None where it cannot be known;
    ``oddities`` are sentences about phases that went well in an unusual way.
    """

    case: Case
    settings: Settings
    log: Path | None = None
    attempt: int = 1
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    network: Network = field(default_factory=Network)
    graph: Graph | None = None
    work: dict[str, int] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)
    engines: list[BuiltEngine] = field(default_factory=list)
    runs: list[TimingRun] = field(default_factory=list)
    set_aside: list[TimingRun] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    layers: Path | None = None
    profile: Path | None = None
    memory_freed: bool | None = None
    oddities: list[str] = field(default_factory=list)

    @property
    def on_cpu(self) -> bool:
        """Whether no GPU took part."""
        return self.case.engine is Engine.ONNXRUNTIME_CPU

    @property
    def warm_up_ms(self) -> float:
        """The warm-up for the next timing process: as asked, or as long as was found needed."""
        return self.trials[-1].next_ms if self.trials else self.settings.warm_up_ms

    @property
    def skipped_tactics(self) -> int:
        """Tactics that builders skipped, over all engines."""
        return sum(engine.facts.skipped_tactics for engine in self.engines)

    def log_text(self) -> str:
        """What the programs said; empty when none was started."""
        if self.log is None or not self.log.is_file():
            return ""
        return self.log.read_text(encoding="utf-8", errors="replace")
