"""Prepares a case (graph, engine, layers) and times it round by round.

Each program runs in a process of its own. What both steps need and leave is in the
:class:`Measurement`, plain values and paths, so that another process may do the next step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchlib import process
from benchlib.case import Failure
from benchlib.config import Parameters
from benchlib.export.build import Graph
from benchlib.gpu import nvml
from benchlib.gpu.telemetry import Recorder
from benchlib.measure import engine_cache
from benchlib.measure.engine_cache import BuildFacts, EngineCache
from benchlib.measure.environment import Redactor
from benchlib.measure.exporter import ExporterClient
from benchlib.measure.matrix import Step
from benchlib.measure.measurement import Measurement, TimingRun
from benchlib.measure.record import CaseError, disk_full, timeout_fault
from benchlib.stats import drift
from benchlib.trtexec import exit_check
from benchlib.trtexec.command import CaseFiles, Command, Phase, Program
from benchlib.trtexec.exit_check import Log, PhaseOutcome, judge_phase


@dataclass(frozen=True, slots=True)
class _Ran:
    """One program that did its work: wall seconds, what it said, and what its file holds."""

    seconds: float
    log: Log
    outcome: PhaseOutcome


@dataclass(frozen=True, slots=True)
class CaseRunner:
    """What stays the same for all cases of a run.

    ``work`` is a folder for files that are gone after the run. ``device`` is the GPU's name, or
    ``cpu``; ``nvml_module`` names NVML's binding, None where no GPU is to be watched.
    """

    parameters: Parameters
    program: Program
    exporter: ExporterClient
    engine_cache: EngineCache
    redactor: Redactor
    work: Path
    device: str
    nvml_module: str | None = None

    def prepare(self, measurement: Measurement, step: Step) -> None:
        """Everything before the timing: facts, graph, engines, layers, the profiled run.

        Fills ``measurement`` as ``step`` plans; raises what :func:`record.fault_of` knows.
        """
        case = measurement.case
        measurement.network = self.exporter.describe(case)
        measurement.graph = graph = self.exporter.graph(case, step.form)
        measurement.work = self.exporter.work(case, graph)
        with self._memory_freed(measurement):
            for build in range(self.parameters.builds):
                for command, _ in self._commands(measurement, step, Phase.BUILD, (build, 0)):
                    self._engine(measurement, graph, command, build)
            for command, files in self._commands(measurement, step, Phase.PROFILE, (0, 0)):
                ran = self._run(measurement, command, files.profile)
                measurement.profile = ran.outcome.profile

    def one_round(self, measurement: Measurement, step: Step, which: tuple[int, int]) -> None:
        """Time engine ``which[0]`` in round ``which[1]``, in one process that began warm.

        ``measurement`` was prepared and gets the run, and before it those that began cold.
        Raises as :meth:`prepare` does.
        """
        with self._memory_freed(measurement):
            for command, files in self._commands(measurement, step, Phase.TIME, which):
                while True:
                    warm_up_ms = measurement.warm_up_ms
                    told = command.with_flag("--warmUp", f"{warm_up_ms:g}")
                    run = self._timed(measurement, told, files, which)
                    settling = run.summary.settling
                    run.trial = drift.judge_warm_up(
                        which, warm_up_ms, settling, run.readings, run.span_s
                    )
                    measurement.all_runs.append(run)
                    if not run.is_set_aside:
                        break
                if not measurement.engines:
                    measurement.layers = files.layers

    def _commands(
        self, measurement: Measurement, step: Step, phase: Phase, which: tuple[int, int]
    ) -> Iterator[tuple[Command, CaseFiles]]:
        """The step's commands of ``phase``, each with its files and its engine."""
        build, number = which
        graph = measurement.graph
        files = CaseFiles.within(self.work, f"{measurement.case.key}.b{build}.p{number}")
        for planned in step.commands:
            if planned.phase is not phase:
                continue
            command = planned.placed(measurement.settings, graph.path, files, graph.input_name)
            if phase is not Phase.BUILD and measurement.engines:
                engine = measurement.engines[build]
                self.engine_cache.check(engine)
                command = command.with_flag("--loadEngine", engine.plan)
            yield command, files

    def _engine(self, measurement: Measurement, graph: Graph, command: Command, build: int) -> None:
        def make(plan: Path, layers: Path) -> BuildFacts:
            told = command.with_flag("--saveEngine", plan)
            if told.flag("--exportLayerInfo") is not None:
                told = told.with_flag("--exportLayerInfo", layers)
            ran = self._run(measurement, told, plan)
            return BuildFacts(ran.log.built_s, ran.seconds, ran.log.skipped_tactics)

        engine_key = engine_cache.key(graph, command, self.program, self.device, build)
        engine = self.engine_cache.obtain(engine_key, f"{measurement.case.key}.b{build}", make)
        measurement.engines.append(engine)
        measurement.layers = engine.layers

    def _timed(
        self, measurement: Measurement, command: Command, files: CaseFiles, which: tuple[int, int]
    ) -> TimingRun:
        """One timing process, watched where there is a GPU."""
        if self.nvml_module is None:
            ran, readings = self._run(measurement, command, files.times), ()
        else:
            recorder = Recorder(self.work / "telemetry.jsonl", module=self.nvml_module)
            with recorder:
                ran = self._run(measurement, command, files.times)
            readings = recorder.readings()
        queries = ran.outcome.queries
        if min(query.compute_ms for query in queries) <= 0:
            raise CaseError(Failure.BAD_OUTPUT, "time: a query took no time; the clock is broken")
        files.times.unlink()
        run = TimingRun.of_queries(
            which, queries, ran.log, ran.seconds, readings, measurement.settings
        )
        if self.parameters.keep_raw:
            run.queries = queries
        return run

    def _run(self, measurement: Measurement, command: Command, product: Path) -> _Ran:
        """Run one command that owes ``product``; raises :class:`CaseError` unless it did its work.

        What it wrote is read here and nowhere else.
        """
        log = self.work / f"{measurement.case.key}.log"
        limit_s = (
            self.parameters.time_limit_build_s
            if command.phase is Phase.BUILD
            else self.parameters.time_limit_time_s
        )
        product.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        ended = process.run(command.argv, env=command.env, log=log, time_limit_s=limit_s)
        # Here and nowhere else, so that a row lists what ran: an engine that was found is not built
        measurement.commands.append(self.redactor.argv(command))
        # Without this machine's paths: the words end up in messages and in the set.
        text = self.redactor.shorten(log.read_text(encoding="utf-8", errors="replace"))
        measurement.logs.append(text)
        if ended.timed_out:
            raise timeout_fault(command.phase, ended)
        said = exit_check.read_log(text)
        judged = judge_phase(command.phase, ended.code, said, product)
        if judged.failure is not None:
            if disk_full(text):
                raise CaseError(Failure.BAD_OUTPUT, f"{command.phase}: the disk is full")
            raise CaseError(judged.failure, f"{command.phase} {judged.message}")
        oddity = f"{command.phase} {judged.message}"
        if judged.message and oddity not in measurement.oddities:
            measurement.oddities.append(oddity)
        return _Ran(ended.seconds, said, judged)

    @contextlib.contextmanager
    def _memory_freed(self, measurement: Measurement) -> Iterator[None]:
        """Note afterwards whether the GPU's memory is free again, before the next case needs it."""
        if self.nvml_module is None:
            yield
            return
        with nvml.opened(self.nvml_module) as device:
            before_mb = None if device is None else device.memory_used_mb()
        try:
            yield
        finally:
            with nvml.opened(self.nvml_module) as device:
                freed = nvml.memory_free(device, before_mb)
            if measurement.memory_freed is not False:
                measurement.memory_freed = freed
