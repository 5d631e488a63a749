"""Prepares a case (graph, engine, layers) and times it round by round.

Each program runs in a process of its own. What both steps need and leave is in the
:class:`Measurement`, plain values and paths, so that another process may do the next step.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchlib import process
from benchlib.config import Parameters
from benchlib.export.build import Graph
from benchlib.gpu import nvml
from benchlib.gpu.telemetry import TEGRASTATS, Recorder
from benchlib.measure import engine_cache, environment, record
from benchlib.measure.engine_cache import BuildFacts, EngineCache
from benchlib.measure.environment import Redactor
from benchlib.measure.exporter import Exporter
from benchlib.measure.matrix import Step
from benchlib.measure.measurement import Measurement, TimingRun, read_layers
from benchlib.measure.record import CaseError, Fault
from benchlib.process import ProgramMissingError
from benchlib.stats import drift
from benchlib.trtexec import exit_check
from benchlib.trtexec.command import CaseFiles, Command, Phase, Program
from benchlib.trtexec.exit_check import PhaseRun

log = logging.getLogger(__name__)


EXPECTED = (CaseError, ProgramMissingError, OSError, ValueError, LookupError, MemoryError)
"""What measuring one case may raise. ValueError holds InputError and unreadable files."""

Which = tuple[int, int]
"""An engine of a case, by the number of its build, and the round in which it is timed."""


@dataclass(frozen=True, slots=True)
class CaseRunner:
    """What stays the same for all cases of a run.

    ``work`` is a folder for files that are gone after the run. ``device`` is the GPU's name, or
    ``cpu``; ``nvml_module`` names NVML's binding, None where no GPU is to be watched;
    ``host`` is the machine's name in a fleet, None where rows need none; ``exporter`` is None
    where graphs come from elsewhere.
    """

    parameters: Parameters
    program: Program
    exporter: Exporter | None
    engine_cache: EngineCache
    redactor: Redactor
    work: Path
    device: str
    nvml_module: str | None = None
    host: str | None = None

    @classmethod
    def here(
        cls,
        parameters: Parameters,
        program: Program,
        exporter: Exporter | None,
        work: Path,
        gpu: nvml.Gpu | None,
        nvml_module: str,
        measured_set: Path | None = None,
        host: str | None = None,
    ) -> CaseRunner:
        """For this machine with its ``gpu`` and the user's cache.

        Words go into the rows without the paths of ``measured_set``, or of ``work``.
        """
        # A Jetson's NVML may show no GPU, and be missing
        is_watched = gpu is not None or bool(not program.on_cpu and shutil.which(TEGRASTATS))
        return cls(
            parameters,
            program,
            exporter,
            EngineCache.usual("plans"),
            Redactor.of(measured_set or work),
            work,
            environment.device_name(program, gpu, parameters.extra_flags),
            nvml_module if is_watched else None,
            host,
        )

    def do(self, measurement: Measurement, step: Step, which: Which | None) -> Fault | None:
        """Build the case, or time it as ``which`` says; the fault when that fails.

        Engines that are missing, because the case comes from another card, are built first.
        """
        has_engines = any(command.phase is Phase.BUILD for command in step.commands)
        try:
            if which is None or (has_engines and not measurement.engines):
                self.build(measurement, step)
            if which is not None:
                self.one_round(measurement, step, which)
        except EXPECTED as error:
            log.debug("%s failed", measurement.case.key, exc_info=error)
            return record.fault_of(error)
        return None

    def build(self, measurement: Measurement, step: Step) -> None:
        """Engines, their layers and the profiled run of an exported case; raises as above."""
        with self._card_held(measurement):
            for build in range(self.parameters.builds):
                for command, _ in self._commands(measurement, step, Phase.BUILD, (build, 0)):
                    self._engine(measurement, measurement.graph, command, build)
            for command, files in self._commands(measurement, step, Phase.PROFILE, (0, 0)):
                measurement.profile = self._run(measurement, command, files.profile).outcome.profile

    def one_round(self, measurement: Measurement, step: Step, which: Which) -> None:
        """Time engine ``which[0]`` in round ``which[1]``, in one process that began warm.

        ``measurement`` was built and gets the run, and before it those that began cold. Raises as
        above.
        """
        with self._card_held(measurement):
            for command, files in self._commands(measurement, step, Phase.TIME, which):
                while True:
                    warm_up_ms, asked_s = measurement.warm_up_ms, measurement.duration_s
                    adapted = command.with_flag("--warmUp", f"{warm_up_ms:g}")
                    adapted = adapted.with_flag("--duration", f"{asked_s:g}")
                    run = self._timed(measurement, adapted, files, which)
                    run.trial = drift.judge_warm_up(
                        which,
                        warm_up_ms,
                        asked_s,
                        run.samples.compute_ms,
                        run.summary.settling,
                        run.readings,
                        run.span_s,
                    )
                    measurement.all_runs.append(run)
                    if not run.is_set_aside:
                        break
                if not measurement.engines:
                    measurement.layers = read_layers(files.layers)

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
            adapted = command.with_flag("--saveEngine", plan)
            if adapted.flag("--exportLayerInfo") is not None:
                adapted = adapted.with_flag("--exportLayerInfo", layers)
            ran = self._run(measurement, adapted, plan)
            return BuildFacts(ran.log.built_s, ran.seconds, ran.log.skipped_tactics)

        engine_key = engine_cache.key(graph, command, self.program, self.device, build)
        name = f"{measurement.case.key}.b{build}"
        engine = self.engine_cache.obtain(engine_key, name, make)
        if engine.reused:
            words = exit_check.other_library(engine.plan, self.program.release)
            measurement.warnings += [f"{Phase.BUILD} {one}" for one in words]
        measurement.add_engine(engine)

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
        run = TimingRun.of_phase(which, ran, readings, measurement.settings)
        files.times.unlink()
        if self.parameters.keep_raw:
            run.queries = ran.outcome.queries
        return run

    def _run(self, measurement: Measurement, command: Command, product: Path) -> PhaseRun:
        """Run one command that has to write ``product``; raises :class:`CaseError` if it failed.

        What it wrote is read here and nowhere else.
        """
        limit_s = (
            self.parameters.time_limit_build_s
            if command.phase is Phase.BUILD
            else self.parameters.time_limit_time_s
        )
        log_path = self.work / f"{measurement.case.key}.log"
        # Without this machine's paths: the words end up in messages and in the set.
        ran = exit_check.run_phase(command, product, log_path, limit_s, self.redactor.shorten)
        # Here and nowhere else, so that a row lists what ran: an engine that was found is not built
        return measurement.take(command.phase, self.redactor.argv(command), ran)

    @contextlib.contextmanager
    def _card_held(self, measurement: Measurement) -> Iterator[None]:
        """Keep every other run on this host off the card, whatever started it.

        Afterwards note whether its memory is free again, before the next case needs it.
        """
        measurement.host = self.host
        if self.nvml_module is None:
            yield
            return
        with nvml.opened(self.nvml_module) as device:
            measurement.gpu_uuid = uuid = None if device is None else device.uuid()
        with contextlib.ExitStack() as stack:
            if uuid is not None:
                path = Path(tempfile.gettempdir(), f"benchlib-{uuid}.lock")
                held = partial(process.lock_held, path, "TMPDIR", of_all_users=True)
                try:
                    stack.enter_context(held(wait_s=0))
                except TimeoutError:
                    log.warning("another run has the GPU %s; this one waits for it", uuid)
                    stack.enter_context(held())
            with nvml.opened(self.nvml_module) as device:
                before_mb = None if device is None else device.memory_used_mb()
            try:
                yield
            finally:
                with nvml.opened(self.nvml_module) as device:
                    freed = nvml.memory_free(device, before_mb)
                if measurement.memory_freed is not False:
                    measurement.memory_freed = freed
