"""Evidence in, row out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchlib.case import Case, Status
from benchlib.engines.command import tf32
from benchlib.engines.program import Program
from benchlib.graphs.make import Graph
from benchlib.models import lineup
from benchlib.sweep import plans, proof
from benchlib.sweep.clocks import NOT_ASKED, ClockLock
from benchlib.sweep.evidence import Evidence
from benchlib.sweep.failure import Fault
from benchlib.sweep.judging import Findings, highest, middle
from benchlib.sweep.matrix import settings
from benchlib.sweep.parameters import Parameters
from benchlib.sweep.proof import Proof
from benchlib.sweep.row import Row
from benchlib.sweep.verdict import Judgement
from benchlib.sweep.workshop import Network


@dataclass(frozen=True, slots=True)
class Assembler:
    """Writes the rows of one run. ``device`` is the GPU's name or ``cpu``.

    ``confidential`` is whether Confidential Computing was on, None where that is not known;
    ``names`` is how rows name a model that is not called by its own name.
    """

    parameters: Parameters
    program: Program
    device: str
    lock: ClockLock = NOT_ASKED
    confidential: bool | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def skipped(self, case: Case, reason: str, fingerprint: str) -> Row:
        """The row of a case that this program cannot honestly run."""
        card = lineup.card(case.model)
        network = Network(family=card.family, task=card.task or None)
        evidence = Evidence(case, settings(self.parameters), network=network)
        return Row(
            **self._known(evidence, Proof()),
            status=Status.SKIPPED,
            message=reason,
            fingerprint=fingerprint,
        )

    def failed(self, evidence: Evidence, fault: Fault, log: str | None, fingerprint: str) -> Row:
        """The row of a case that went wrong, with all that was known before it did."""
        proven = proof.of(evidence)
        return Row(
            **self._known(evidence, proven),
            status=Status.FAILED,
            failure=fault.failure,
            message=fault.message,
            log=log,
            fingerprint=fingerprint,
            detail=self._detail(evidence, proven),
        )

    def ok(
        self, evidence: Evidence, log: str | None, files: list[str], fingerprint: str
    ) -> tuple[Row, Judgement]:
        """The row of a case that was measured, and how far it can be believed.

        ``files`` are the raw series, relative to the set.
        """
        found = Findings(
            evidence,
            self.lock,
            self.device,
            confidential=self.confidential,
            event_timed=self.program.event_timed,
        )
        headline, pooled, judgement = found.headline, found.pooled, found.judgement
        row = Row(
            **self._known(evidence, found.proof),
            status=Status.OK,
            message="; ".join([*evidence.oddities, *_remarks(evidence)]) or None,
            verdict=judgement.verdict,
            reasons=tuple(reason.value for reason in judgement.reasons),
            latency_ms=headline.latency,
            latency_ci_low_ms=headline.ci_low,
            latency_ci_high_ms=headline.ci_high,
            latency_mean_ms=pooled.mean,
            latency_p5_ms=pooled.p5,
            latency_p95_ms=pooled.p95,
            latency_p99_ms=pooled.p99,
            cov=pooled.cov,
            n_samples=pooled.n,
            throughput_img_s=found.throughput_img_s,
            enqueue_ms=pooled.enqueue,
            sm_clock_mhz=middle([one.sm_clock_mhz for one in found.telemetry]),
            mem_clock_mhz=middle([one.memory_clock_mhz for one in found.telemetry]),
            power_w=middle([one.power_w for one in found.telemetry]),
            energy_mj=found.energy_mj,
            temperature_c=highest([one.temperature_c for one in found.telemetry]),
            throttle=found.throttle,
            log=log,
            fingerprint=fingerprint,
            detail={
                **self._detail(evidence, found.proof),
                "samples": files,
                "statistics": [one.as_json() for one in found.runs],
                "replication": headline.as_json(),
                "telemetry": [one.as_json() for one in found.telemetry],
                "reasons": list(judgement.sentences),
            },
        )
        return row, judgement

    def _known(self, evidence: Evidence, proven: Proof) -> dict[str, Any]:
        """The columns that do not depend on how the case ended."""
        case, measured_by = evidence.case, evidence.settings
        network, graph = evidence.network, evidence.graph
        on_gpu = not self.program.on_cpu
        engine = evidence.engines[0] if evidence.engines else None
        return {
            "key": case.key,
            "model": self.names.get(case.model, case.model),
            "model_digest": case.model_digest,
            "family": network.family,
            "task": network.task,
            "engine": case.engine,
            "engine_version": self.program.version,
            "device": self.device,
            "precision": case.precision,
            "typing": case.typing,
            "batch": case.batch,
            "height": case.height,
            "width": case.width,
            "shape_mode": case.shape_mode,
            "build_s": _build_s(evidence),
            "engine_mb": None if engine is None else engine.mb,
            "params_m": network.params_m,
            "gmacs": network.gmacs,
            "mactivations": network.mactivations,
            "size_mb": network.size_mb,
            "accuracy": network.accuracy,
            "accuracy_metric": network.accuracy_metric,
            "accuracy_source": network.accuracy_source,
            "graph_layers": None if graph is None else graph.layers,
            "engine_layers": len(proven.layers) or None,
            "low_precision_share": proven.low_share(case.precision),
            "cuda_graph": measured_by.cuda_graph if on_gpu else None,
            "transfers": measured_by.transfers if on_gpu else None,
            "spin_wait": measured_by.spin_wait if on_gpu else None,
            "tf32": tf32(case, measured_by),
            "int8_method": case.int8_method,
            "weights": self.parameters.weights if graph is None else graph.weights,
            "seed": self.parameters.seed,
            "attempt": evidence.attempt,
            "started_at": evidence.started_at,
        }

    def _detail(self, evidence: Evidence, proven: Proof) -> dict[str, Any]:
        """The evidence that stands beside the table."""
        return {
            "commands": evidence.commands,
            "settings": _plain(asdict(evidence.settings)),
            "network_note": evidence.network.note,
            "graph": None if evidence.graph is None else _graph(evidence.graph),
            "engines": [plans.as_json(engine) for engine in evidence.engines],
            **proven.as_json(),
            "runs": [
                {
                    "build": run.build,
                    "process": run.process,
                    "n": len(run.queries),
                    "wall_s": run.wall_s,
                    "span_s": run.span_s,
                    "stopped_by": run.stopped_by(evidence.settings),
                    "warnings": list(run.log.warnings),
                }
                for run in evidence.runs
            ],
            "warm_up": [trial.as_json() for trial in evidence.trials],
            "memory_freed": evidence.memory_freed,
            "clock_lock": asdict(self.lock),
            **({} if evidence.on_cpu else {"confidential_computing": self.confidential}),
        }


def _build_s(evidence: Evidence) -> float | None:
    """Seconds to make the first engine; without one (ONNX Runtime) those the program tells."""
    if evidence.engines:
        facts = evidence.engines[0].facts
        return facts.wall_s if facts.build_s is None else facts.build_s
    return evidence.runs[0].log.built_s if evidence.runs else None


def _remarks(evidence: Evidence) -> tuple[str, ...]:
    return () if evidence.graph is None else evidence.graph.remarks


def _graph(graph: Graph) -> dict[str, Any]:
    document = asdict(graph)
    del document["path"]
    return _plain(document)


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, so that a row is the same before and after a trip through JSON."""
    return {name: _listed(value) for name, value in document.items()}


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain(value)
    return [_listed(one) for one in value] if isinstance(value, (tuple, list)) else value
