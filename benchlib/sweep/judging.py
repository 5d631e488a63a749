"""What one case's evidence says, brought into the terms of the statistics and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from benchlib.sweep import proof, readings, replication, roof, samples, verdict
from benchlib.sweep.clocks import ClockLock
from benchlib.sweep.evidence import Evidence
from benchlib.sweep.proof import Proof
from benchlib.sweep.readings import Range, TelemetrySummary
from benchlib.sweep.replication import Replication
from benchlib.sweep.samples import Summary
from benchlib.sweep.verdict import Judgement, Observed


@dataclass(frozen=True)
class Findings:
    """Everything that is computed from the evidence of one measured case, each when asked for.

    ``device`` is the GPU's name or ``cpu``; ``confidential`` and ``event_timed`` are as in
    :class:`Observed`.
    """

    evidence: Evidence
    lock: ClockLock
    device: str | None = None
    confidential: bool | None = None
    event_timed: bool = True

    @cached_property
    def runs(self) -> tuple[Summary, ...]:
        """One summary per timing process, in the order they ran."""
        on_cpu = self.on_cpu
        return tuple(
            samples.summary(run.compute_ms, None if on_cpu else run.enqueue_ms)
            for run in self.evidence.runs
        )

    @cached_property
    def pooled(self) -> Summary:
        """All samples as one series: what mean, percentiles and spread are told of."""
        compute = np.concatenate([run.compute_ms for run in self.evidence.runs])
        enqueue = np.concatenate([run.enqueue_ms for run in self.evidence.runs])
        return samples.summary(compute, None if self.on_cpu else enqueue)

    @cached_property
    def headline(self) -> Replication:
        """The latency and its interval over processes and builds."""
        builds: dict[int, list[Summary]] = {}
        for run, summary in zip(self.evidence.runs, self.runs, strict=True):
            builds.setdefault(run.build, []).append(summary)
        return replication.combine(list(builds.values()))

    @cached_property
    def telemetry(self) -> tuple[TelemetrySummary, ...]:
        """One summary per watched timing process; empty where nothing was watched."""
        return tuple(
            readings.summarise(run.readings, run.span_s)
            for run in self.evidence.runs
            if run.readings
        )

    @cached_property
    def proof(self) -> Proof:
        """What the engine's own layers prove of its precision."""
        return proof.of(self.evidence)

    @cached_property
    def judgement(self) -> Judgement:
        case, settings, runs = self.evidence.case, self.evidence.settings, self.evidence.runs
        graph = self.evidence.graph
        found = None if graph is None else graph.fidelity
        worst, unlike = (None, None) if found is None else (found.worst, found.least_agreeing)
        return verdict.judge(
            Observed(
                engine=case.engine,
                precision=case.precision,
                runs=self.runs,
                int8_method=case.int8_method,
                telemetry=self.telemetry,
                lock=self.lock,
                finite=None if found is None else found.finite,
                fp32_finite=None if found is None else found.fp32_finite,
                error=None if found is None else found.relative_l2,
                error_of=worst and worst.name,
                disagreement=unlike and unlike.disagreement,
                disagreement_of=unlike and unlike.name,
                random_weights=graph is not None and graph.weights == "random",
                floor_ms=self._floor_ms,
                cuda_graph=settings.cuda_graph,
                graph_captured=not any(run.log.graph_failed for run in runs),
                transfers=settings.transfers,
                transfers_seen=None if self.on_cpu else any(run.has_transfers for run in runs),
                low_precision_share=self.proof.low_share(case.precision),
                low_mac_share=self.proof.low_mac_share(case.precision),
                below=self.proof.below(case.precision),
                confidential=self.confidential,
                event_timed=self.event_timed,
                skipped_tactics=self.evidence.skipped_tactics,
            )
        )

    @property
    def _floor_ms(self) -> float | None:
        """The least milliseconds that the card's peak allows for one batch; None if not known."""
        case, settings = self.evidence.case, self.evidence.settings
        if self.on_cpu or any(flag.startswith("--sparsity") for flag in settings.extra_flags):
            # The peaks are those of dense arithmetic.
            return None
        gmacs = self.evidence.network.gmacs
        return roof.floor_ms(self.device, case.precision, settings.tf32, gmacs, case.batch)

    @property
    def throughput_img_s(self) -> float:
        """Images per second of device time, queries queued back to back."""
        runs = self.evidence.runs
        images = self.evidence.case.batch * sum(len(run.queries) for run in runs)
        return images / sum(run.span_s for run in runs)

    @property
    def throttle(self) -> str | None:
        """Words of all throttle bits seen, joined by ;, ``none`` when none, None when unknown."""
        told = [one.throttle for one in self.telemetry if one.throttle is not None]
        if not told:
            return None
        return ";".join(sorted(set().union(*told))) or "none"

    @property
    def energy_mj(self) -> float | None:
        """Millijoules per image: the median of the processes that could tell."""
        told = [one.energy_mj_per_image(self.throughput_img_s) for one in self.telemetry]
        known = [value for value in told if value is not None]
        return median(known) if known else None

    @property
    def on_cpu(self) -> bool:
        """On a CPU nothing is enqueued and nothing is copied."""
        return self.evidence.on_cpu


def middle(ranges: Sequence[Range | None]) -> float | None:
    """The median of the medians; None when nothing is known."""
    known = [one.median for one in ranges if one is not None]
    return median(known) if known else None


def highest(ranges: Sequence[Range | None]) -> float | None:
    """The greatest value seen; None when nothing is known."""
    return max((one.maximum for one in ranges if one is not None), default=None)
