"""The bench: takes one case through graph, engine and timing, each program on its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchlib.case import Failure
from benchlib.engines import exporttimes
from benchlib.engines import log as engine_log
from benchlib.engines.command import CaseFiles, Command, Phase, commands, graph_form
from benchlib.engines.log import Log
from benchlib.engines.outcome import judge_phase
from benchlib.engines.program import Program
from benchlib.graphs.make import Graph
from benchlib.sweep import nvml, plans, process, warmup
from benchlib.sweep.evidence import Evidence, TimingRun
from benchlib.sweep.failure import CaseError, disk_full, timeout
from benchlib.sweep.parameters import Parameters
from benchlib.sweep.places import Places
from benchlib.sweep.plans import BuildFacts, BuiltEngine, PlanStore
from benchlib.sweep.telemetry import Recorder
from benchlib.sweep.workshop import Workshop


@dataclass(frozen=True, slots=True)
class Bench:
    """What stays the same for all cases of a run.

    ``work`` is a folder for files that are gone after the run. ``device`` is the GPU's name, or
    ``cpu``; ``nvml_module`` names NVML's binding, None where no GPU is to be watched.
    """

    parameters: Parameters
    program: Program
    workshop: Workshop
    plans: PlanStore
    places: Places
    work: Path
    device: str
    nvml_module: str | None = None

    def measure(self, evidence: Evidence) -> None:
        """Fill ``evidence``; raises what :func:`benchlib.sweep.failure.of_error` understands."""
        case = evidence.case
        evidence.network = self.workshop.describe(case)
        form = graph_form(case, self.program.release)
        evidence.graph = self.workshop.graph(case, form)
        evidence.work = self.workshop.work(case, evidence.graph)
        before_mb = self._memory_used_mb()
        try:
            for build in range(self.parameters.builds):
                self._one_engine(evidence, evidence.graph, build)
        finally:
            evidence.memory_freed = self._memory_freed(before_mb)

    def _one_engine(self, evidence: Evidence, graph: Graph, build: int) -> None:
        """Build (or find) one engine and time it in as many processes as asked."""
        engine: BuiltEngine | None = None
        for number in range(self.parameters.processes):
            files = CaseFiles.within(self.work, f"{evidence.case.key}.b{build}.p{number}")
            planned = commands(
                evidence.case,
                evidence.settings,
                self.program,
                graph.path,
                files,
                input_name=graph.input_name,
                dynamic=graph.dynamic,
            )
            for command in planned:
                if command.phase is Phase.BUILD:
                    engine = engine or self._engine(evidence, graph, command, build)
                    continue
                if engine is not None:
                    command = command.with_flag("--loadEngine", engine.plan)
                if command.phase is Phase.PROFILE:
                    if not evidence.runs:
                        self._run(evidence, command, files.profile)
                        evidence.profile = files.profile
                    continue
                self._time(evidence, command, files, (build, number))
            if engine is None:
                evidence.layers = files.layers

    def _engine(
        self, evidence: Evidence, graph: Graph, command: Command, build: int
    ) -> BuiltEngine:
        def make(plan: Path, layers: Path) -> BuildFacts:
            told = command.with_flag("--saveEngine", plan)
            if told.flag("--exportLayerInfo") is not None:
                told = told.with_flag("--exportLayerInfo", layers)
            seconds, said = self._run(evidence, told, plan)
            return BuildFacts(said.built_s, seconds, said.skipped_tactics)

        engine_key = plans.key(graph, command, self.program, self.device, build)
        engine = self.plans.obtain(engine_key, f"{evidence.case.key}.b{build}", make)
        evidence.engines.append(engine)
        evidence.layers = engine.layers
        return engine

    def _time(
        self, evidence: Evidence, command: Command, files: CaseFiles, which: tuple[int, int]
    ) -> None:
        """Time in one process that began warm; the evidence gets it and those before it."""
        while True:
            warm_up_ms = evidence.warm_up_ms
            told = command.with_flag("--warmUp", f"{warm_up_ms:g}")
            run = self._timed(evidence, told, files, which)
            trial = warmup.judge(which, warm_up_ms, run.compute_ms, run.readings, run.span_s)
            evidence.trials.append(trial)
            if trial.ended_by is not None:
                evidence.runs.append(run)
                return
            evidence.set_aside.append(run)

    def _timed(
        self, evidence: Evidence, command: Command, files: CaseFiles, which: tuple[int, int]
    ) -> TimingRun:
        """One timing process, watched where there is a GPU."""
        if self.nvml_module is None:
            seconds, said = self._run(evidence, command, files.times)
            readings = ()
        else:
            recorder = Recorder(self.work / "telemetry.jsonl", module=self.nvml_module)
            with recorder:
                seconds, said = self._run(evidence, command, files.times)
            readings = recorder.readings()
        queries = exporttimes.read(files.times)
        if min(query.compute_ms for query in queries) <= 0:
            raise CaseError(Failure.BAD_OUTPUT, "time: a query took no time; the clock is broken")
        files.times.unlink()
        return TimingRun(*which, queries, said, seconds, readings)

    def _run(self, evidence: Evidence, command: Command, product: Path) -> tuple[float, Log]:
        """Run one command that owes ``product``; return its wall seconds and what it said.

        Raises :class:`CaseError` unless it did its work.
        """
        log = evidence.log or self.work / f"{evidence.case.key}.log"
        evidence.log = log
        limit_s = (
            self.parameters.time_limit_build_s
            if command.phase is Phase.BUILD
            else self.parameters.time_limit_time_s
        )
        product.unlink(missing_ok=True)
        start = len(evidence.log_text())
        ended = process.run(command.argv, env=command.env, log=log, time_limit_s=limit_s)
        # Here and nowhere else, so that a row lists what ran: an engine that was found is not
        # built, and one profile serves all processes.
        evidence.commands.append(self.places.argv(command))
        if ended.timed_out:
            raise timeout(command.phase, ended)
        # Without this machine's paths: the words end up in messages.
        text = self.places.shorten(evidence.log_text()[start:])
        said = engine_log.read(text)
        judged = judge_phase(command.phase, ended.code, said, product)
        if judged.failure is not None:
            if disk_full(text):
                raise CaseError(Failure.BAD_OUTPUT, f"{command.phase}: the disk is full")
            raise CaseError(judged.failure, f"{command.phase} {judged.message}")
        if judged.message:
            evidence.oddities.append(f"{command.phase} {judged.message}")
        return ended.seconds, said

    def _memory_used_mb(self) -> float | None:
        if self.nvml_module is None:
            return None
        with nvml.opened(self.nvml_module) as device:
            return None if device is None else device.memory_used_mb()

    def _memory_freed(self, before_mb: float | None) -> bool | None:
        """Whether the GPU's memory is free again, before the next case needs it."""
        if self.nvml_module is None:
            return None
        with nvml.opened(self.nvml_module) as device:
            return nvml.memory_free(device, before_mb)
