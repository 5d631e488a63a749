"""The run: every case of the matrix measured, or its failure recorded, and all of it resumable."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchlib.case import Case, Engine, Precision, ShapeMode, Status
from benchlib.engines import exporttimes
from benchlib.engines.command import CaseFiles, commands, unsupported
from benchlib.engines.program import Program
from benchlib.engines.settings import Settings
from benchlib.graphs import cache, calibration
from benchlib.sweep import (
    attempts,
    clocks,
    environment,
    failure,
    gpu,
    matrix,
    nvml,
    plans,
    roofs,
    series,
)
from benchlib.sweep.assemble import Assembler
from benchlib.sweep.attempts import Ending
from benchlib.sweep.bench import Bench
from benchlib.sweep.clocks import ClockLock
from benchlib.sweep.environment import Environment
from benchlib.sweep.evidence import Evidence
from benchlib.sweep.failure import CaseError
from benchlib.sweep.interrupt import Interrupt
from benchlib.sweep.outcome import Outcome
from benchlib.sweep.parameters import Parameters
from benchlib.sweep.places import Places, model_names
from benchlib.sweep.plans import PlanStore
from benchlib.sweep.process import ProgramMissingError
from benchlib.sweep.progress import Progress, suited
from benchlib.sweep.reason import Reason
from benchlib.sweep.row import Row
from benchlib.sweep.store import Store
from benchlib.sweep.workshop import Exporter, Placeholders, Workshop

log = logging.getLogger(__name__)

EXPECTED = (CaseError, ProgramMissingError, OSError, ValueError, LookupError, MemoryError)
"""What measuring one case may raise. ValueError holds InputError and unreadable files."""


def run(
    parameters: Parameters,
    progress: Progress | None = None,
    *,
    program: Program | None = None,
    nvml_module: str = nvml.MODULE,
) -> Outcome:
    """Measure every case of ``parameters`` into ``parameters.out_dir`` and say how it went.

    ``program`` None takes the one that ``parameters.engine`` names on this machine;
    ``nvml_module`` is the import name of NVML's binding.

    Cases whose row stands already, ok or skipped under the same settings, are not measured again;
    failed ones are. Raises :class:`benchlib.errors.InputError` for what the user gave wrong,
    before anything runs, and :class:`benchlib.sweep.store.StoreError` when rows can no longer be
    saved. KeyboardInterrupt is raised by a second Ctrl-C only.
    """
    program = program or _find(parameters)
    cases = matrix.cases(parameters, program)
    _check_commands(parameters, cases, program)
    telling = progress or suited()
    store = Store(Path(parameters.out_dir).expanduser())
    wanted = parameters.lock_clocks and not program.on_cpu
    with store.opened(), clocks.held(wanted, module=nvml_module) as lock:
        if parameters.lock_clocks:
            telling.say(lock.reason)
        card = None if program.on_cpu else gpu.describe(nvml_module)
        module = None if card is None else nvml_module
        return _Run(parameters, program, store, telling, lock, card, module, cases).all()


def _find(parameters: Parameters) -> Program:
    from benchlib.engines import discovery

    return discovery.find(parameters.engine)


def _check_commands(parameters: Parameters, cases: tuple[Case, ...], program: Program) -> None:
    """Refuse settings that no command line can be made of before the first case is begun."""
    files = CaseFiles.within(Path("work"), "case")
    for case in cases:
        if unsupported(case, program) is None:
            dynamic = case.shape_mode is not ShapeMode.STATIC
            commands(
                case,
                matrix.settings(parameters),
                program,
                Path("graph.onnx"),
                files,
                dynamic=dynamic,
            )


class _Run:
    """One run under way."""

    def __init__(
        self,
        parameters: Parameters,
        program: Program,
        store: Store,
        progress: Progress,
        lock: ClockLock,
        card: gpu.Gpu | None,
        nvml_module: str | None,
        cases: tuple[Case, ...],
    ) -> None:
        device = environment.device_name(program, card, parameters.extra_flags)
        confidential = None if card is None else card.confidential_computing
        self._parameters = parameters
        self._program = program
        self._store = store
        self._progress = progress
        self._card = card
        self._device = device
        self._interrupt = Interrupt(progress.say)
        self._calibration = _calibration_digest(parameters)
        self._cases = cases
        self._names = model_names(cases, ((row.model, row.model_digest) for row in store.rows))
        self._assembler = Assembler(parameters, program, device, lock, confidential, self._names)
        self._bench = Bench(
            parameters=parameters,
            program=program,
            workshop=_workshop(parameters, program, store.work),
            plans=PlanStore(cache.root() / "plans", plans.limit_bytes()),
            places=Places.of(store.directory),
            work=store.work,
            device=device,
            nvml_module=nvml_module,
        )

    def all(self) -> Outcome:
        """Take every case in turn; return when all have rows or a stop was asked for."""
        cases = self._cases
        prints = {case: self._fingerprint(case) for case in cases}
        newer = {case: told for case in cases if (told := self._store.newer(case.key))}
        for told in newer.values():
            self._progress.say(f"not measured again, {told}")
        standing = [case for case in cases if case in newer or self._stands(case, prints[case])]
        todo = [case for case in cases if case not in set(standing)]
        surroundings = environment.describe(
            self._parameters,
            self._program,
            self._card,
            self._store.environment(),
            self._names,
        )
        self._store.save_environment(surroundings)
        self._store.save_table()
        self._progress.begin(len(cases), len(standing))
        measured = 0
        with self._tools(), self._interrupt:
            if todo and surroundings.roofs is None:
                self._measure_roofs(surroundings)
            for case in todo:
                if self._interrupt.asked:
                    break
                self._progress.start(case.key)
                row = self._row(case, prints[case])
                row = attempts.in_order(row, self._parameters.seed, cases.index(case), len(cases))
                self._store.save_row(row)
                measured += 1
                self._progress.end(row)
        rows = tuple(row for case in cases if (row := self._store.row(case.key)) is not None)
        outcome = Outcome(
            self._store.directory, rows, measured, len(cases), interrupted=measured < len(todo)
        )
        log.info("%s", outcome.sentence)
        return outcome

    @contextlib.contextmanager
    def _tools(self) -> Iterator[None]:
        """Close what was opened for the run, however it ends."""
        try:
            yield
        finally:
            self._bench.workshop.close()
            self._progress.close()

    def _measure_roofs(self, surroundings: Environment) -> None:
        """Add the device's roofs to environment.json, if they are wanted and can be had."""
        given = self._parameters
        if not given.roofs:
            return
        if any(flag.partition("=")[0] == environment.GREEN_CONTEXT for flag in given.extra_flags):
            self._progress.say("no roofs are measured: they would be the card's, not the context's")
            return
        found = roofs.measure(self._program, given.threads, self._store.work, self._progress.say)
        if found is not None:
            self._store.save_environment(surroundings.model_copy(update={"roofs": found}))

    def _stands(self, case: Case, fingerprint: str) -> bool:
        row = self._store.row(case.key)
        return (
            row is not None and row.status is not Status.FAILED and row.fingerprint == fingerprint
        )

    def _row(self, case: Case, fingerprint: str) -> Row:
        """The row of one case, measured again while it is SUSPECT and retries are left."""
        reason = unsupported(case, self._program)
        if reason is not None:
            return self._assembler.skipped(case, reason, fingerprint)
        earlier, told, stretch = None, [], 1
        for attempt in itertools.count(1):
            settings = matrix.settings(self._parameters, attempt, stretch)
            row, worth_retrying = self._attempt(case, attempt, settings, fingerprint)
            told.append(attempts.as_json(row, settings))
            ending = self._ending(row, worth_retrying, attempt)
            if ending is not None:
                break
            rest_s = self._parameters.cool_down_s
            self._progress.say(
                f"{case.key} is {row.verdict} ({';'.join(row.reasons)}); again in {rest_s:g} s"
            )
            time.sleep(rest_s)
            stretch *= 2 if Reason.FEW_SAMPLES in row.reasons else 1
            earlier = row
        return attempts.last(row, earlier, told, ending)

    def _ending(self, row: Row, worth_retrying: bool, attempt: int) -> Ending | None:
        """Why ``row`` is the last of its case; None when it is measured again."""
        if row.status is Status.FAILED:
            return Ending.FAILED
        if not worth_retrying:
            return Ending.ACCEPTED
        if attempt > self._parameters.retries:
            return Ending.CEILING
        return Ending.INTERRUPTED if self._interrupt.asked else None

    def _attempt(
        self, case: Case, attempt: int, settings: Settings, fingerprint: str
    ) -> tuple[Row, bool]:
        """Measure once; return the row and whether another attempt could come out better.

        Whatever goes wrong becomes a failed row here and nowhere else.
        """
        evidence = Evidence(
            case,
            settings,
            log=self._store.work / f"{case.key}.{attempt}.log",
            attempt=attempt,
        )
        try:
            self._bench.measure(evidence)
            files = self._save_samples(evidence)
            kept = self._save_log(evidence)
            row, judgement = self._assembler.ok(evidence, kept, files, fingerprint)
            return row, judgement.worth_retrying
        except EXPECTED as error:
            log.debug("%s failed", case.key, exc_info=error)
            fault = failure.of_error(error)
            # The row of an attempt before this one stands, and with it that attempt's log.
            name = f".attempt{attempt}" if attempt > 1 else ""
            kept = self._save_log(evidence, name)
            return self._assembler.failed(evidence, fault, kept, fingerprint), False

    def _save_samples(self, evidence: Evidence) -> list[str]:
        """Keep what every query took and what the GPU did meanwhile; the paths within the set.

        The runs that were set aside because they began cold follow those that count. Where it is
        asked for, each run's exportTimes is kept as well.
        """
        key = evidence.case.key
        runs = (*evidence.runs, *evidence.set_aside)
        files = [
            self._store.save_series(
                f"samples/{key}.parquet", series.dump_samples([one.samples for one in runs])
            )
        ]
        if any(run.readings for run in runs):
            telemetry = series.dump_telemetry([run.readings for run in runs])
            files.append(self._store.save_series(f"telemetry/{key}.parquet", telemetry))
        if self._parameters.keep_raw:
            for number, run in enumerate(runs):
                raw = gzip.compress(exporttimes.dumps(run.queries).encode(), mtime=0)
                name = f"samples/{key}.run{number}.json.gz"
                files.append(self._store.save_series(name, raw))
        return files

    def _save_log(self, evidence: Evidence, ending: str = "") -> str | None:
        """Keep what the programs said; None when there is nothing or no room for it."""
        text = evidence.log_text()
        if not text:
            return None
        try:
            key = f"{evidence.case.key}{ending}"
            return self._store.save_log(key, self._bench.places.shorten(text))
        except OSError as error:
            log.warning("the log of %s is lost: %s", evidence.case.key, error.strerror)
            return None

    def _fingerprint(self, case: Case) -> str:
        """What has to be the same for a standing row to be taken as this case's."""
        given = self._parameters
        parts = {
            "case": case.identity(),
            "settings": asdict(matrix.settings(given)),
            "weights": given.weights,
            "seed": given.seed,
            "processes": given.processes,
            "builds": given.builds,
            "calibration": self._calibration,
            "lock_clocks": given.lock_clocks,
            "version": self._program.version,
            "device": self._device,
            "file": case.model_digest,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _calibration_digest(parameters: Parameters) -> str | None:
    """The content of a user's own calibration images; raises InputError where there are none."""
    if parameters.calibration_dir is None or parameters.precision is not Precision.INT8:
        return None
    images = calibration.folder(Path(parameters.calibration_dir).expanduser())
    return images.identity.sha256


def _workshop(parameters: Parameters, program: Program, work: Path) -> Workshop:
    if program.engine is Engine.FAKE:
        return Placeholders(work / "graphs", parameters.seed)
    return Exporter(parameters, work / "exporter.log", parameters.time_limit_build_s)
