"""One case's measurement: what came to light, the precision of its layers, and the row of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python

from benchlib.case import Case, Engine, Precision, Status
from benchlib.config import Parameters, Settings
from benchlib.export.build import Graph
from benchlib.export.calibration import Fidelity
from benchlib.gpu import peaks, telemetry
from benchlib.gpu.clock_lock import NOT_ASKED, ClockLock
from benchlib.gpu.telemetry import EnergySource, Range, TelemetrySample, TelemetrySummary
from benchlib.measure import engine_cache
from benchlib.measure.engine_cache import BuiltEngine
from benchlib.measure.exporter import Network
from benchlib.measure.matrix import settings
from benchlib.measure.record import Detail, Fault, Row
from benchlib.measure.series import Samples
from benchlib.models import registry
from benchlib.stats import quality_checks, replication, summary
from benchlib.stats.drift import Trial
from benchlib.stats.quality_checks import Judgement, Observed
from benchlib.stats.replication import Replication
from benchlib.stats.summary import Summary
from benchlib.trtexec import exports
from benchlib.trtexec.command import Program, tf32
from benchlib.trtexec.exit_check import Log
from benchlib.trtexec.exports import BadLayersError, Layer, Profile, Query

# All that measuring one case brings to light, gathered as it comes, good end or bad.


@dataclass(frozen=True)
class TimingRun:
    """One timing process: which engine it ran, its queries, its log, its wall time in seconds.

    ``readings`` is the GPU's telemetry while it ran, empty where there is none.
    """

    build: int
    process: int
    queries: tuple[Query, ...]
    log: Log
    wall_s: float
    readings: tuple[TelemetrySample, ...] = ()

    @cached_property
    def summary(self) -> Summary:
        """What the run's samples say: of the warm-up first, then of the case."""
        return summary.summary(self.samples.compute_ms, self.samples.enqueue_ms)

    @cached_property
    def samples(self) -> Samples:
        """The queries in the order of their start, as they are kept on disk."""
        return Samples(*map(self._column, ("compute_ms", "enqueue_ms", "h2d_ms", "d2h_ms")))

    def _column(self, name: str) -> NDArray[np.float32]:
        # In the type of the kept series, so that judging those again gives the same numbers
        return np.array([getattr(query, name) for query in self.queries], dtype=np.float32)

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
class Measurement:
    """Filled while a case is measured, so that a failure still leaves what was known before it.

    ``work`` has the multiply-accumulates of the graph's nodes by name, as far as known.
    ``commands`` are argv lists and ``logs`` what the programs said, both without this machine's
    paths; ``trials`` has one entry per timing process, those in ``set_aside``
    because they began cold included; ``memory_freed`` is None where it cannot be known;
    ``oddities`` are sentences about phases that went well in an unusual way.
    """

    case: Case
    settings: Settings
    attempt: int = 1
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    network: Network = field(default_factory=Network)
    graph: Graph | None = None
    work: dict[str, int] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    engines: list[BuiltEngine] = field(default_factory=list)
    runs: list[TimingRun] = field(default_factory=list)
    set_aside: list[TimingRun] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    layers: Path | None = None
    profile: Profile | None = None
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


# The layer precision of a row's precision: its engine's layers, what work is in each, and what
# time.


ATTRIBUTED = 0.9
"""Share of the graph's multiply-accumulates that must be found in the layers. Below it names were
lost in fusing, and what is left may be the wrong part."""


@dataclass(frozen=True, slots=True)
class LayerPrecision:
    """An engine's layers, as built; empty where the program told none that can be read.

    ``macs`` are multiply-accumulates of one batch, one per layer, None where they are not known;
    ``declared`` are the products of a user's own file by the type it gives them.
    ``work`` is what the graph has of them, 0 where that is not known. ``times`` are mean
    milliseconds by layer name from a profiled run of its own, whose names may hold some that the
    layers do not; empty where there was no such run.
    """

    layers: tuple[Layer, ...] = ()
    macs: tuple[int | None, ...] = ()
    work: int = 0
    times: Mapping[str, float] = field(default_factory=dict)
    declared: Mapping[str, int] = field(default_factory=dict)

    @property
    def of_layers(self) -> dict[str, float] | None:
        """Share (0 to 1) of computing layers by type; None when no type is known."""
        return exports.share(self.layers)

    @property
    def of_macs(self) -> dict[str, float] | None:
        """Share of the multiply-accumulates by type; None when too few were found in the layers."""
        if sum(count or 0 for count in self.macs) < ATTRIBUTED * self.work:
            return None
        return exports.share(self.layers, self.macs)

    @property
    def of_time(self) -> dict[str, float] | None:
        """Share of the profiled time by type, that of moving and converting data apart."""
        return exports.time_share(self.layers, self.times)

    def low_share(self, precision: Precision) -> float | None:
        """Share of computing layers in ``precision`` or less; None when not known."""
        return exports.low(self.of_layers, precision)

    def low_mac_share(self, precision: Precision) -> float | None:
        """Share of multiply-accumulates in ``precision`` or less; None when not known."""
        return exports.low(self.of_macs, precision)

    def below(self, precision: Precision) -> dict[str, dict[str, float]]:
        """Shares by type of what is less than ``precision``: of layers, work and the file's own
        products, each under what it is a share of; without those that have none."""
        products = sum(self.declared.values())
        shares = {
            "computing layers": self.of_layers,
            "multiply-accumulates": self.of_macs,
            "file's products": {word: n / products for word, n in self.declared.items()},
        }
        found = {what: exports.below(share, precision) for what, share in shares.items()}
        if not any(layer.is_quantised for layer in self.layers):
            found["computing layers"].pop("uint8", None)
        return {what: types for what, types in found.items() if types}

    def as_json(self) -> dict[str, Any]:
        """What a row keeps: every layer with its type, work and time, and the shares."""
        return {
            "layer_types": dict(Counter(layer.type for layer in self.layers if layer.type)),
            "shares": {"layers": self.of_layers, "macs": self.of_macs, "time": self.of_time},
            "declared": dict(self.declared),
            "layers": [
                {
                    "name": layer.name,
                    "type": layer.type,
                    "precision": layer.precision if layer.computes else None,
                    "macs": macs,
                    "time_ms": self.times.get(layer.name),
                }
                for layer, macs in zip(self.layers, self.macs, strict=True)
            ],
        }


def layer_precision(measurement: Measurement) -> LayerPrecision:
    """The layer precision in ``measurement``; a file that cannot be read proves nothing."""
    layers = _layers(measurement)
    macs = exports.macs(layers, measurement.work)
    return LayerPrecision(
        layers,
        macs,
        sum(measurement.work.values()),
        {} if measurement.profile is None else measurement.profile.times(),
        measurement.network.products,
    )


def _layers(measurement: Measurement) -> tuple[Layer, ...]:
    if measurement.layers is None or not measurement.layers.is_file():
        return ()
    try:
        return exports.read(measurement.layers)
    except BadLayersError:
        return ()


# What one case's measurement says, brought into the terms of the statistics and the verdict.


@dataclass(frozen=True, slots=True)
class Timed:
    """The series of one timing process of engine number ``build``, from memory or from disk.

    ``readings`` is empty where nobody watched; ``summary`` is that of the samples, where it was
    made before.
    """

    build: int
    samples: Samples
    span_s: float
    readings: tuple[TelemetrySample, ...] = ()
    summary: Summary | None = None

    @property
    def has_transfers(self) -> bool:
        """Whether any copy to or from the GPU took time."""
        copies = (self.samples.h2d_ms, self.samples.d2h_ms)
        return any(one is not None and bool(np.any(one > 0)) for one in copies)


def agreement(found: Fidelity | None) -> dict[str, Any]:
    """What the verdict goes by of a graph's agreement with FP32, by the names of
    :class:`Observed`; nothing where it was not measured."""
    if found is None:
        return {}
    worst, unlike = found.worst, found.least_agreeing
    return {
        "finite": found.finite,
        "fp32_finite": found.fp32_finite,
        "error": found.relative_l2,
        "error_of": worst and worst.name,
        "disagreement": unlike and unlike.disagreement,
        "disagreement_of": unlike and unlike.name,
    }


@dataclass(frozen=True)
class MeasuredValues:
    """Everything that is computed from the series of one case, each when asked for.

    ``timed`` has the processes in the order they ran, ``known`` what else the verdict goes by.
    """

    timed: tuple[Timed, ...]
    batch: int
    known: Observed

    @cached_property
    def runs(self) -> tuple[Summary, ...]:
        """One summary per timing process, in the order they ran."""
        found = tuple(one.summary or self._summary([one.samples]) for one in self.timed)
        # On a CPU nothing is enqueued
        return tuple(replace(one, enqueue=None) for one in found) if self.known.on_cpu else found

    @cached_property
    def pooled(self) -> Summary:
        """All samples as one series: what mean, percentiles and spread are told of."""
        return self._summary([one.samples for one in self.timed])

    def _summary(self, series: Sequence[Samples]) -> Summary:
        compute = np.concatenate([one.compute_ms for one in series])
        enqueue = np.concatenate([one.enqueue_ms for one in series])
        # On a CPU nothing is enqueued
        return summary.summary(compute, None if self.known.on_cpu else enqueue)

    @cached_property
    def headline(self) -> Replication:
        """The latency and its interval over processes and builds."""
        builds: dict[int, list[Summary]] = {}
        for one, of_run in zip(self.timed, self.runs, strict=True):
            builds.setdefault(one.build, []).append(of_run)
        return replication.combine(list(builds.values()))

    @cached_property
    def telemetry(self) -> tuple[TelemetrySummary, ...]:
        """One summary per watched timing process; empty where nothing was watched."""
        return tuple(
            telemetry.summarise(one.readings, one.span_s) for one in self.timed if one.readings
        )

    @cached_property
    def observed(self) -> Observed:
        """What is known, with what the series say."""
        return replace(
            self.known,
            runs=self.runs,
            half_width=self.headline.relative_half_width,
            telemetry=self.telemetry,
            transfers_seen=(
                None if self.known.on_cpu else any(one.has_transfers for one in self.timed)
            ),
        )

    @cached_property
    def judgement(self) -> Judgement:
        return quality_checks.judge(self.observed)

    @property
    def throughput_img_s(self) -> float:
        """Images per second of device time, queries queued back to back."""
        images = self.batch * sum(len(one.samples.compute_ms) for one in self.timed)
        return images / sum(one.span_s for one in self.timed)

    @property
    def throttle(self) -> str | None:
        """Words of all throttle bits seen, joined by ;, ``none`` when none, None when unknown."""
        told = [one.throttle for one in self.telemetry if one.throttle is not None]
        if not told:
            return None
        return ";".join(sorted(set().union(*told))) or "none"

    @property
    def energy(self) -> tuple[float | None, EnergySource | None]:
        """Millijoules per image and what they come from: the median of the processes that could
        tell, of those with the counter where there are any."""
        told = [one for one in self.telemetry if one.energy_source is not None]
        for source in EnergySource:
            of_source = [one for one in told if one.energy_source is source]
            if of_source:
                rate = self.throughput_img_s
                return median(one.energy_mj_per_image(rate) for one in of_source), source
        return None, None

    @property
    def peak_memory_mb(self) -> float | None:
        """The most memory in use on the card; None where a foreign process had a part in it."""
        if any(one.foreign for one in self.telemetry):
            return None
        known = [one.peak_memory_mb for one in self.telemetry if one.peak_memory_mb is not None]
        return max(known, default=None)

    def columns(self) -> dict[str, Any]:
        """The columns of the row that come from the series."""
        headline, pooled, judgement = self.headline, self.pooled, self.judgement
        energy_mj, energy_source = self.energy
        return {
            "verdict": judgement.verdict,
            "reasons": tuple(reason.value for reason in judgement.reasons),
            "notes": tuple(note.value for note in judgement.notes),
            "latency_ms": headline.latency,
            "latency_ci_low_ms": headline.ci_low,
            "latency_ci_high_ms": headline.ci_high,
            "latency_mean_ms": pooled.mean,
            "latency_p5_ms": pooled.p5,
            "latency_p95_ms": pooled.p95,
            "latency_p99_ms": pooled.p99,
            "cov": pooled.cov,
            "n_samples": pooled.n,
            "throughput_img_s": self.throughput_img_s,
            "enqueue_ms": pooled.enqueue,
            "sm_clock_mhz": middle([one.sm_clock_mhz for one in self.telemetry]),
            "mem_clock_mhz": middle([one.memory_clock_mhz for one in self.telemetry]),
            "power_w": middle([one.power_w for one in self.telemetry]),
            "energy_mj": energy_mj,
            "energy_source": energy_source,
            "peak_memory_mb": self.peak_memory_mb,
            "temperature_c": highest([one.temperature_c for one in self.telemetry]),
            "throttle": self.throttle,
            "limited_by": self.observed.limited_by,
        }

    def evidence(self) -> dict[str, Any]:
        """What stands behind them, beside the table."""
        return {
            "statistics": [one.as_json() for one in self.runs],
            "replication": self.headline.as_json(),
            "telemetry": [one.as_json() for one in self.telemetry],
            "reasons": list(self.judgement.sentences),
            "notes": list(self.judgement.remarks),
            "rules": quality_checks.RULES_VERSION,
        }


def floor_ms(
    device: str | None, case: Case | Row, gmacs: float | None, tf32: bool, flags: Sequence[str]
) -> float | None:
    """The least milliseconds that the card's peak allows for one batch; None if not known."""
    if any(flag.startswith("--sparsity") for flag in flags):
        # The peaks are those of dense arithmetic.
        return None
    return peaks.floor_ms(device, case.precision, tf32, gmacs, case.batch)


def middle(ranges: Sequence[Range | None]) -> float | None:
    """The median of the medians; None when nothing is known."""
    known = [one.median for one in ranges if one is not None]
    return median(known) if known else None


def highest(ranges: Sequence[Range | None]) -> float | None:
    """The greatest value seen; None when nothing is known."""
    return max((one.maximum for one in ranges if one is not None), default=None)


# Evidence in, row out.


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
        card = registry.card(case.model)
        network = Network(family=card.family, task=card.task or None)
        measurement = Measurement(case, settings(self.parameters), network=network)
        return Row(
            **self._known(measurement, LayerPrecision()),
            status=Status.SKIPPED,
            message=reason,
            fingerprint=fingerprint,
        )

    def failed(
        self, measurement: Measurement, fault: Fault, log: str | None, fingerprint: str
    ) -> Row:
        """The row of a case that went wrong, with all that was known before it did."""
        proven = layer_precision(measurement)
        return Row(
            **self._known(measurement, proven),
            status=Status.FAILED,
            failure=fault.failure,
            message=fault.message,
            log=log,
            fingerprint=fingerprint,
            detail=self._detail(measurement, proven),
        )

    def ok(
        self, measurement: Measurement, log: str | None, files: list[str], fingerprint: str
    ) -> tuple[Row, Judgement]:
        """The row of a case that was measured, and how far it can be believed.

        ``files`` are the raw series, relative to the set.
        """
        proven = layer_precision(measurement)
        timed = tuple(
            Timed(run.build, run.samples, run.span_s, run.readings, run.summary)
            for run in measurement.runs
        )
        found = MeasuredValues(timed, measurement.case.batch, self._observed(measurement, proven))
        row = Row(
            **self._known(measurement, proven),
            **found.columns(),
            status=Status.OK,
            message="; ".join([*measurement.oddities, *_remarks(measurement)]) or None,
            log=log,
            fingerprint=fingerprint,
            detail=self._detail(measurement, proven).but(samples=files, **found.evidence()),
        )
        return row, found.judgement

    def _observed(self, measurement: Measurement, proven: LayerPrecision) -> Observed:
        """What the verdict goes by, without the series."""
        case, given, graph = measurement.case, measurement.settings, measurement.graph
        gmacs = measurement.network.gmacs
        return Observed(
            engine=case.engine,
            precision=case.precision,
            int8_method=case.int8_method,
            lock=self.lock,
            **agreement(None if graph is None else graph.fidelity),
            random_weights=graph is not None and graph.weights == "random",
            floor_ms=floor_ms(self.device, case, gmacs, given.tf32, given.extra_flags),
            cuda_graph=given.cuda_graph,
            graph_captured=not any(run.log.graph_failed for run in measurement.runs),
            transfers=given.transfers,
            low_precision_share=proven.low_share(case.precision),
            low_mac_share=proven.low_mac_share(case.precision),
            below=proven.below(case.precision),
            confidential=self.confidential,
            event_timed=self.program.event_timed,
            skipped_tactics=measurement.skipped_tactics,
        )

    def _known(self, measurement: Measurement, proven: LayerPrecision) -> dict[str, Any]:
        """The columns that do not depend on how the case ended."""
        case, measured_by = measurement.case, measurement.settings
        network, graph = measurement.network, measurement.graph
        on_gpu = not self.program.on_cpu
        engine = measurement.engines[0] if measurement.engines else None
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
            "build_s": _build_s(measurement),
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
            "idle_ms": measured_by.idle_ms,
            "tf32": tf32(case, measured_by),
            "int8_method": case.int8_method,
            "weights": self.parameters.weights if graph is None else graph.weights,
            "seed": self.parameters.seed,
            "attempt": measurement.attempt,
            "started_at": measurement.started_at,
        }

    def _detail(self, measurement: Measurement, proven: LayerPrecision) -> Detail:
        """The measurement that stands beside the table."""
        on_gpu = {} if measurement.on_cpu else {"confidential_computing": self.confidential}
        return Detail(
            commands=measurement.commands,
            settings=measurement.settings.as_json(),
            network_note=measurement.network.note,
            graph=None if measurement.graph is None else _graph(measurement.graph),
            engines=[engine_cache.as_json(engine) for engine in measurement.engines],
            **proven.as_json(),
            runs=[
                {
                    "build": run.build,
                    "process": run.process,
                    "n": len(run.queries),
                    "wall_s": run.wall_s,
                    "span_s": run.span_s,
                    "stopped_by": run.stopped_by(measurement.settings),
                    "warnings": list(run.log.warnings),
                }
                for run in measurement.runs
            ],
            warm_up=[trial.as_json() for trial in measurement.trials],
            memory_freed=measurement.memory_freed,
            clock_lock=asdict(self.lock),
            **on_gpu,
        )


def _build_s(measurement: Measurement) -> float | None:
    """Seconds to make the first engine; without one (ONNX Runtime) those the program tells."""
    if measurement.engines:
        facts = measurement.engines[0].facts
        return facts.wall_s if facts.build_s is None else facts.build_s
    return measurement.runs[0].log.built_s if measurement.runs else None


def _remarks(measurement: Measurement) -> tuple[str, ...]:
    return () if measurement.graph is None else measurement.graph.remarks


def _graph(graph: Graph) -> dict[str, Any]:
    document = asdict(graph)
    del document["path"]
    # Lists and plain words, so that a row is the same before and after a trip through JSON.
    return to_jsonable_python(document)
