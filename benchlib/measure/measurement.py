"""One case's measurement: what came to light, the precision of its layers, and the row of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from benchlib.case import Case, Failure, GraphForm, Precision, Status
from benchlib.config import Parameters, Settings
from benchlib.export.build import Graph
from benchlib.export.calibration import Fidelity
from benchlib.gpu import nvml, peaks, telemetry
from benchlib.gpu.clock_lock import NOT_ASKED, ClockLock
from benchlib.gpu.telemetry import EnergySource, Range, TelemetrySample, TelemetrySummary
from benchlib.measure import engine_cache, record
from benchlib.measure.engine_cache import BuiltEngine
from benchlib.measure.exporter import Exporter, Network
from benchlib.measure.matrix import settings
from benchlib.measure.record import CaseError, Detail, Fault, Row
from benchlib.measure.store import (
    Samples,
    Store,
    dump_samples,
    dump_telemetry,
    load_samples,
    load_telemetry,
)
from benchlib.models import registry
from benchlib.stats import quality_checks, replication, summary
from benchlib.stats.drift import Ending as WarmUpEnding
from benchlib.stats.drift import Trial
from benchlib.stats.quality_checks import Judgement, Observed
from benchlib.stats.replication import Ending, Replication, Until
from benchlib.stats.summary import Summary
from benchlib.trtexec import exports
from benchlib.trtexec.command import Phase, Program, tf32
from benchlib.trtexec.exit_check import PhaseRun
from benchlib.trtexec.exports import BadFileError, Layer, Query

# All that measuring one case brings to light, gathered as it comes, good end or bad.


@dataclass(eq=False)
class TimingRun:
    """One timing process: which engine it ran, in which round, and what it left.

    ``place`` is where in its round it stood, from 0, and ``of`` how many processes that had;
    ``neighbours`` are the other cards of the host that a fleet kept busy meanwhile.
    ``readings`` is the GPU's telemetry while it ran, empty where there is none; ``trial`` says how
    warm it began, and a process that began cold is set aside. ``built_s`` are the seconds that a
    program without engine files took to load; ``queries`` is what raw times are kept of, if so
    asked.
    """

    build: int
    process: int
    samples: Samples
    span_s: float
    wall_s: float | None = None
    stopped_by: str | None = None
    warnings: tuple[str, ...] = ()
    graph_captured: bool = True
    built_s: float | None = None
    place: int | None = None
    of: int | None = None
    neighbours: int | None = None
    readings: tuple[TelemetrySample, ...] = ()
    trial: Trial | None = None
    queries: tuple[Query, ...] = ()

    @classmethod
    def of_phase(
        cls,
        which: tuple[int, int],
        ran: PhaseRun,
        readings: tuple[TelemetrySample, ...],
        settings: Settings,
    ) -> TimingRun:
        """The run ``which`` (build, round), as a program has just left it.

        Raises :class:`CaseError` for a query that took no time.
        """
        queries, log = ran.outcome.queries, ran.log
        if min(query.compute_ms for query in queries) <= 0:
            raise CaseError(Failure.BAD_OUTPUT, "time: a query took no time; the clock is broken")
        # In the type of the kept series, so that judging those again gives the same numbers
        columns = [
            np.array([getattr(query, name) for query in queries], dtype=np.float32)
            for name in ("compute_ms", "enqueue_ms", "h2d_ms", "d2h_ms")
        ]
        first = min(query.start_h2d_ms for query in queries)
        last = max(query.end_d2h_ms for query in queries)
        return cls(
            *which,
            Samples(*columns),
            span_s=(last - first) / 1000,
            wall_s=ran.seconds,
            stopped_by="count" if len(queries) <= settings.iterations else "time",
            warnings=tuple(log.warnings),
            graph_captured=not log.graph_failed,
            built_s=log.built_s,
            readings=readings,
        )

    @classmethod
    def stored(
        cls,
        kept: Mapping[str, Any],
        samples: Samples,
        readings: tuple[TelemetrySample, ...],
        trial: Trial | None = None,
    ) -> TimingRun:
        """The run that an entry of a row's ``detail.runs`` describes, with its series."""
        if len(samples.compute_ms) != kept["n"]:
            raise ValueError("its samples have other counts than its runs")
        names = ("wall_s", "stopped_by", "built_s", "place", "of", "neighbours")
        return cls(
            kept["build"],
            kept.get("process", 0),
            samples,
            kept["span_s"],
            warnings=tuple(kept.get("warnings") or ()),
            graph_captured=kept.get("graph_captured", True),
            readings=readings,
            trial=trial,
            **{name: kept.get(name) for name in names},
        )

    def as_json(self) -> dict[str, Any]:
        """What a row keeps of it, beside its series."""
        left_out = {"samples", "readings", "trial", "queries"}
        kept = {
            one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out
        }
        aside = {"set_aside": True} if self.is_set_aside else {}
        n = len(self.samples.compute_ms)
        return {**kept, "warnings": list(self.warnings), "n": n, **aside}

    @property
    def is_set_aside(self) -> bool:
        """Whether it began cold and was timed again."""
        return self.trial is not None and self.trial.ended_by is None

    @cached_property
    def summary(self) -> Summary:
        """What the run's samples show: of the warm-up first, then of the case."""
        return summary.summary(self.samples.compute_ms, self.samples.enqueue_ms)

    @property
    def has_transfers(self) -> bool:
        """Whether any copy to or from the GPU took time."""
        copies = (self.samples.h2d_ms, self.samples.d2h_ms)
        return any(one is not None and bool(np.any(one > 0)) for one in copies)


def save_runs(store: Store, key: str, runs: Sequence[TimingRun]) -> list[str]:
    """Keep what every query of ``runs`` took and what the GPU did meanwhile, as
    :func:`stored_runs` reads it; the paths within the set."""
    samples = dump_samples([run.samples for run in runs])
    files = [store.save_series(f"samples/{key}.parquet", samples)]
    if any(run.readings for run in runs):
        telemetry = dump_telemetry([run.readings for run in runs])
        files.append(store.save_series(f"telemetry/{key}.parquet", telemetry))
    return files


def stored_runs(folder: Path, row: Row) -> tuple[TimingRun, ...]:
    """Every timing process of a row of the set in ``folder``, in the order they ran.

    A row of a version before rounds has only those that count, which come first in its
    files. Raises OSError, ValueError, or what missing evidence does.
    """
    kept = row.detail.runs
    samples = load_samples(folder / f"samples/{row.key}.parquet")
    if len(samples) < len(kept):
        raise ValueError("its samples have other counts than its runs")
    watched = f"telemetry/{row.key}.parquet"
    known: Sequence[tuple[TelemetrySample, ...]] = [()] * len(samples)
    if watched in row.detail.samples:
        known = load_telemetry(folder / watched, len(samples))
    trials = [
        Trial(**{**one, "ended_by": one["ended_by"] and WarmUpEnding(one["ended_by"])})
        for one in (() if row.rounds is None else row.detail.warm_up)
    ] or [None] * len(kept)
    return tuple(map(TimingRun.stored, kept, samples, known, trials))


@dataclass(slots=True)
class Measurement:
    """Filled while a case is measured, so that a failure still leaves what was known before it.

    ``work`` has the multiply-accumulates of the graph's nodes by name, as far as known.
    ``commands`` are argv lists and ``logs`` what the programs printed, both without this machine's
    paths; ``all_runs`` has every timing process in the order they ran, those that were set aside
    included; ``memory_freed`` is None where it cannot be known; ``warnings`` are sentences about
    phases that went well in an unusual way; ``host`` and ``gpu_uuid`` are where it was timed.
    """

    case: Case
    settings: Settings
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    network: Network = field(default_factory=Network)
    graph: Graph | None = None
    work: dict[str, int] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    engines: list[BuiltEngine] = field(default_factory=list)
    all_runs: list[TimingRun] = field(default_factory=list)
    layers: tuple[Layer, ...] = ()
    profile: Mapping[str, float] = field(default_factory=dict)
    memory_freed: bool | None = None
    warnings: list[str] = field(default_factory=list)
    host: str | None = None
    gpu_uuid: str | None = None

    def export(self, exporter: Exporter, form: GraphForm) -> None:
        """The network's facts and its graph; raises what :func:`record.fault_of` knows."""
        self.network = exporter.describe(self.case)
        self.graph = exporter.graph(self.case, form)
        self.work = exporter.work(self.case, self.graph)

    def add_engine(self, engine: BuiltEngine) -> None:
        self.engines.append(engine)
        self.layers = read_layers(engine.layers)

    def take(self, phase: Phase, argv: list[str], ran: PhaseRun) -> PhaseRun:
        """Keep what ``argv`` did in ``phase``; raises :class:`CaseError` unless it did its work."""
        self.commands.append(argv)
        self.logs.append(ran.text)
        if ran.outcome.failure is not None:
            raise record.phase_fault(phase, ran.outcome, ran.text)
        message = f"{phase} {ran.outcome.message}"
        if ran.outcome.message and message not in self.warnings:
            self.warnings.append(message)
        return ran

    @property
    def runs(self) -> list[TimingRun]:
        """The timing processes that count."""
        return [run for run in self.all_runs if not run.is_set_aside]

    def rounds(self, build: int) -> int:
        """In how many rounds engine number ``build`` was timed."""
        return sum(run.build == build for run in self.runs)

    @property
    def timing_s(self) -> float:
        """Wall seconds of all timing processes."""
        return sum(run.wall_s or 0.0 for run in self.all_runs)

    @property
    def warm_up_ms(self) -> float:
        """The warm-up for the next timing process: as asked, or as long as was found needed."""
        trial = self._last_trial
        return self.settings.warm_up_ms if trial is None else trial.next_ms

    @property
    def duration_s(self) -> float:
        """The seconds of the next timing process: as asked, or as many as the power limit needs."""
        trial = self._last_trial
        return max(self.settings.duration_s, 0.0 if trial is None else trial.least_run_s)

    @property
    def _last_trial(self) -> Trial | None:
        trials = [run.trial for run in self.all_runs if run.trial is not None]
        return trials[-1] if trials else None


def read_layers(file: Path) -> tuple[Layer, ...]:
    """The engine's layers; none where the program wrote none that can be read."""
    try:
        return exports.read(file)
    except BadFileError:
        return ()


# The layer precision of a row's precision: its engine's layers, what work is in each, and what
# time.


ATTRIBUTED = 0.9
"""Share of the graph's multiply-accumulates that must be found in the layers. Below it names were
lost in fusing, and what is left may be the wrong part."""


@dataclass(frozen=True, slots=True)
class LayerPrecision:
    """Shares (0 to 1) by type: of computing layers, of multiply-accumulates, and of the profiled
    time, in which moving and converting data stands apart; None where no type is known.

    ``declared`` are the products of a user's own file by the type it gives them. ``quantised`` is
    whether any layer does the arithmetic of a quantised network. ``layers`` has for each, as a row
    keeps it, type, work in one batch and mean milliseconds of a profiled run of its own.
    """

    of_layers: dict[str, float] | None = None
    of_macs: dict[str, float] | None = None
    of_time: dict[str, float] | None = None
    declared: Mapping[str, int] = field(default_factory=dict)
    quantised: bool = False
    layers: tuple[dict[str, Any], ...] = ()

    def low_share(self, precision: Precision) -> float | None:
        """Share of computing layers in ``precision`` or less; None when not known."""
        return exports.low(self.of_layers, precision)

    def low_mac_share(self, precision: Precision) -> float | None:
        """Share of multiply-accumulates in ``precision`` or less; None when not known."""
        return exports.low(self.of_macs, precision)

    def low_time_share(self, precision: Precision) -> float | None:
        """Share of the computing layers' profiled time in ``precision`` or less; None when not
        known."""
        return exports.low(exports.computing_time(self.of_time), precision)

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
        if not self.quantised:  # then a layer of UINT8 is a mask or an image
            found["computing layers"].pop("uint8", None)
        return {what: types for what, types in found.items() if types}

    def as_json(self) -> dict[str, Any]:
        """What a row keeps: every layer with its type, work and time, and the shares."""
        return {
            "layer_types": dict(Counter(one["type"] for one in self.layers if one["type"])),
            "shares": {"layers": self.of_layers, "macs": self.of_macs, "time": self.of_time},
            "declared": dict(self.declared),
            "layers": list(self.layers),
        }


def layer_precision(measurement: Measurement) -> LayerPrecision:
    """The layer precision in ``measurement``; a file that cannot be read proves nothing."""
    layers, work, times = measurement.layers, measurement.work, measurement.profile
    macs = exports.macs(layers, work)
    attributed = sum(count or 0 for count in macs) >= ATTRIBUTED * sum(work.values())
    return LayerPrecision(
        exports.share(layers),
        exports.share(layers, macs) if attributed else None,
        exports.time_share(layers, times),
        measurement.network.products,
        any(layer.is_quantised for layer in layers),
        tuple(
            {
                "name": layer.name,
                "type": layer.type,
                "precision": layer.precision if layer.computes else None,
                "macs": count,
                "time_ms": times.get(layer.name),
            }
            for layer, count in zip(layers, macs, strict=True)
        ),
    )


# What one case's measurement says, brought into the terms of the statistics and the verdict.


def observed(
    case: Case | Row,
    given: Mapping[str, Any],
    program: Program,
    proven: LayerPrecision,
    fidelity: Fidelity | None,
    device: str | None,
    gmacs: float | None,
    **known: Any,
) -> Observed:
    """What the verdict on ``case`` is made from, without the series.

    ``given`` are the settings as a row keeps them, ``fidelity`` its graph's agreement with FP32,
    ``gmacs`` the 10^9 multiply-accumulates of an image; ``known`` is added as it is.
    """
    precision = case.precision
    is_sparse = any(flag.startswith("--sparsity") for flag in given["extra_flags"])
    floor_ms = peaks.floor_ms(device, precision, given["tf32"], gmacs, case.batch)
    return Observed(
        engine=case.engine,
        precision=precision,
        int8_method=case.int8_method,
        floor_ms=None if is_sparse else floor_ms,  # the peaks are those of dense arithmetic
        cuda_graph=given["cuda_graph"],
        transfers=given["transfers"],
        low_mac_share=proven.low_mac_share(precision),
        low_time_share=proven.low_time_share(precision),
        below=proven.below(precision),
        event_timed=program.event_timed,
        streams=given["streams"],
        # Queries follow at once, so that a gap between them is the host's
        back_to_back=given["streams"] == 1 and not (given["transfers"] or given.get("idle_ms")),
        **_agreement(fidelity),
        **known,
    )


def _agreement(found: Fidelity | None) -> dict[str, Any]:
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

    ``timed`` has the processes in the order they ran, ``known`` what else the verdict uses;
    ``stopped`` is whether the interval's width decided how many they are.
    """

    timed: tuple[TimingRun, ...]
    batch: int
    known: Observed
    stopped: bool = False

    @cached_property
    def runs(self) -> tuple[Summary, ...]:
        """One summary per timing process, in the order they ran."""
        found = tuple(one.summary for one in self.timed)
        # On a CPU nothing is enqueued
        return tuple(replace(one, enqueue=None) for one in found) if self.known.on_cpu else found

    @cached_property
    def pooled(self) -> Summary:
        """All samples as one series: what mean, percentiles and spread are of."""
        series = [one.samples for one in self.timed]
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
        return replication.combine(list(builds.values()), self.stopped)

    @property
    def _watched(self) -> tuple[TimingRun, ...]:
        return tuple(one for one in self.timed if one.readings)

    @cached_property
    def telemetry(self) -> tuple[TelemetrySummary, ...]:
        """One summary per watched timing process; empty where nothing was watched."""
        return tuple(telemetry.summarise(one.readings, one.span_s) for one in self._watched)

    @cached_property
    def observed(self) -> Observed:
        """What is known, with what the series say."""
        return replace(
            self.known,
            runs=self.runs,
            half_width=self.headline.relative_half_width,
            telemetry=self.telemetry,
            waiting=1 - self.pooled.mean * self.throughput_img_s / self.batch / 1000,
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
        return self._img_s(self.timed)

    def _img_s(self, runs: Sequence[TimingRun]) -> float:
        images = self.batch * sum(len(one.samples.compute_ms) for one in runs)
        return images / sum(one.span_s for one in runs)

    @property
    def throttle(self) -> str | None:
        """Words of all throttle bits seen, joined by ;, ``none`` when none, None when unknown."""
        known = [one.throttle for one in self.telemetry if one.throttle is not None]
        if not known:
            return None
        return ";".join(sorted(set().union(*known))) or "none"

    @property
    def energy(self) -> tuple[float | None, EnergySource | None]:
        """Millijoules per image and what they come from: the median of the processes that could
        tell, of those with the counter where there are any. Each has its own power and its own
        throughput: where the host held one process up, its card drew less as well."""
        for source in EnergySource:
            of_source = [
                seen.energy_mj_per_image(self._img_s([run]))
                for seen, run in zip(self.telemetry, self._watched, strict=True)
                if seen.energy_source is source
            ]
            if of_source:
                return median(of_source), source
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


def middle(ranges: Sequence[Range | None]) -> float | None:
    """The median of the medians; None when nothing is known."""
    known = [one.median for one in ranges if one is not None]
    return median(known) if known else None


def highest(ranges: Sequence[Range | None]) -> float | None:
    """The greatest value seen; None when nothing is known."""
    return max((one.maximum for one in ranges if one is not None), default=None)


# Evidence in, row out.


def named(model: str) -> Network:
    """What is known of a network without counting."""
    card = registry.card(model)
    return Network(family=card.family, task=card.task or None)


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

    def skipped(
        self, case: Case, reason: str, fingerprint: str, network: Network | None = None
    ) -> Row:
        """The row of a case that this program cannot run as asked; ``network`` where its file is
        not at hand."""
        network = network or named(case.model)
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
        self,
        measurement: Measurement,
        log: str | None,
        files: list[str],
        fingerprint: str,
        until: Until,
    ) -> Row:
        """The row of a case with the rounds that it has so far.

        ``files`` are the raw series, relative to the set; ``until`` says when it has enough.
        """
        proven, graph = layer_precision(measurement), measurement.graph
        remarks = () if graph is None else graph.remarks
        found = MeasuredValues(
            tuple(measurement.runs),
            measurement.case.batch,
            self._observed(measurement, proven),
            stopped=True,
        )
        rounds = [measurement.rounds(build) for build in range(self.parameters.builds)]
        width = found.headline.relative_half_width
        ending = None
        if len(set(rounds)) == 1:
            ending = until.ending(rounds[0], width, measurement.timing_s)
        return Row(
            **self._known(measurement, proven),
            **found.columns(),
            rounds=min(rounds),
            ended_by=ending or Ending.INTERRUPTED,
            status=Status.OK,
            message="; ".join([*measurement.warnings, *remarks]) or None,
            log=log,
            fingerprint=fingerprint,
            detail=self._detail(measurement, proven).but(
                samples=files, until=asdict(until), **found.evidence()
            ),
        )

    def _observed(self, measurement: Measurement, proven: LayerPrecision) -> Observed:
        """What the verdict is made from, without the series."""
        case, graph = measurement.case, measurement.graph
        return observed(
            case,
            measurement.settings.as_json(),
            self.program,
            proven,
            None if graph is None else graph.fidelity,
            self.device,
            measurement.network.gmacs,
            lock=self.lock,
            random_weights=graph is not None and graph.weights == "random",
            graph_captured=all(run.graph_captured for run in measurement.runs),
            low_precision_share=proven.low_share(case.precision),
            confidential=self.confidential,
            skipped_tactics=sum(one.facts.skipped_tactics for one in measurement.engines),
        )

    def _known(self, measurement: Measurement, proven: LayerPrecision) -> dict[str, Any]:
        """The columns that do not depend on how the case ended."""
        case, measured_by, graph = measurement.case, measurement.settings, measurement.graph
        of_case = {one.name: getattr(case, one.name) for one in fields(case)}
        of_network = {one.name: getattr(measurement.network, one.name) for one in fields(Network)}
        del of_network["note"], of_network["products"]
        on_gpu = {"cuda_graph", "transfers", "spin_wait"}
        engine = measurement.engines[0] if measurement.engines else None
        return {
            **of_case,
            **of_network,
            **({} if self.program.on_cpu else measured_by.model_dump(include=on_gpu)),
            "key": case.key,
            "model": self.names.get(case.model, case.model),
            "engine_version": self.program.version,
            "device": self.device,
            "host": measurement.host,
            "gpu_uuid": measurement.gpu_uuid and measurement.gpu_uuid[-nvml.UUID_SHOWN :],
            "build_s": _build_s(measurement),
            "engine_mb": None if engine is None else engine.mb,
            "graph_layers": None if graph is None else graph.layers,
            "engine_layers": len(proven.layers) or None,
            "low_precision_share": proven.low_share(case.precision),
            "idle_ms": measured_by.idle_ms,
            "tf32": tf32(case, measured_by),
            "weights": self.parameters.weights if graph is None else graph.weights,
            "seed": self.parameters.seed,
            "started_at": measurement.started_at,
        }

    def _detail(self, measurement: Measurement, proven: LayerPrecision) -> Detail:
        """The evidence, which is stored beside the table."""
        on_gpu = {} if self.program.on_cpu else {"confidential_computing": self.confidential}
        return Detail(
            commands=measurement.commands,
            settings=measurement.settings.as_json(),
            network_note=measurement.network.note,
            graph=None if measurement.graph is None else _graph(measurement.graph),
            engines=[engine_cache.as_json(engine) for engine in measurement.engines],
            **proven.as_json(),
            runs=[run.as_json() for run in measurement.all_runs],
            warm_up=[run.trial.as_json() for run in measurement.all_runs if run.trial],
            oddities=measurement.warnings,
            memory_freed=measurement.memory_freed,
            clock_lock=asdict(self.lock),
            **on_gpu,
        )


def _build_s(measurement: Measurement) -> float | None:
    """Seconds to make the first engine; without one (ONNX Runtime) those the program prints."""
    if measurement.engines:
        facts = measurement.engines[0].facts
        return facts.wall_s if facts.build_s is None else facts.build_s
    return measurement.all_runs[0].built_s if measurement.all_runs else None


def _graph(graph: Graph) -> dict[str, Any]:
    document = asdict(graph)
    del document["path"]
    # Lists and plain words, so that a row is the same before and after a trip through JSON.
    return to_jsonable_python(document)
