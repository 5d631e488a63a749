"""The run: every case of the matrix measured, or its failure recorded, and all of it resumable."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol

from benchlib.case import Case, Precision, Status, Verdict
from benchlib.config import Parameters, Settings
from benchlib.export import cache, calibration
from benchlib.gpu import clock_lock, nvml, peaks
from benchlib.gpu.clock_lock import ClockLock
from benchlib.measure import engine_cache, environment, matrix, record, series
from benchlib.measure.case_runner import CaseRunner
from benchlib.measure.engine_cache import EngineCache
from benchlib.measure.environment import Environment, Redactor, model_names
from benchlib.measure.exporter import Exporter, ExporterClient
from benchlib.measure.matrix import Step
from benchlib.measure.measurement import Assembler, Measurement
from benchlib.measure.record import CaseError, Ending, Row
from benchlib.measure.store import Store
from benchlib.process import ProgramMissingError
from benchlib.stats.quality_checks import Reason
from benchlib.trtexec import exports
from benchlib.trtexec.command import Program

# Ctrl-C: the first lets the running case finish, the second ends it.


Handler = Callable[[int, FrameType | None], object] | int | None


class Interrupt:
    """While entered, watches for SIGINT and SIGTERM; ``asked`` says that the run should stop.

    A second SIGINT, and the first SIGTERM, raise KeyboardInterrupt, which ends the running
    program on its way out. Outside the main thread, where Python delivers no signals, it only
    serves as a flag that :meth:`ask` sets.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._before: dict[signal.Signals, Handler] = {}
        self.asked = False

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            # None: it was installed from C, and Python cannot put it back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def ask(self) -> None:
        """Ask for a stop after the running case."""
        self.asked = True
        self._say("the running case is finished first; once more ends it at once")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked or number == signal.SIGTERM:
            raise KeyboardInterrupt
        self.ask()


# Telling how a run goes: one line per case, with the time left.


progress_log = logging.getLogger("benchlib.measure")


class Progress(Protocol):
    """What a run reports to."""

    def begin(self, total: int, done: int) -> None:
        """``total`` cases there are, ``done`` of them stand already."""

    def start(self, key: str) -> None:
        """A case is begun."""

    def end(self, row: Row) -> None:
        """A case has its row."""

    def say(self, words: str) -> None:
        """Something the user should know."""


class Lines:
    """One line per case in the log, with the time left: for notebooks, files and CI."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = self._left = self._here = 0
        self._begun = 0.0

    def begin(self, total: int, done: int) -> None:
        self._total, self._left = total, total - done
        self._begun = self._clock()
        if done:
            progress_log.info("%d of %d cases stand already", done, total)

    def start(self, key: str) -> None:
        progress_log.debug("%s begins", key)

    def end(self, row: Row) -> None:
        self._left -= 1
        self._here += 1
        progress_log.info("%s", self.line(row))

    def say(self, words: str) -> None:
        progress_log.warning("%s", words)

    def line(self, row: Row) -> str:
        """Position, case, outcome, time left."""
        position = self._total - self._left
        return f"{position}/{self._total} {row.key}: {outcome_line(row)}; {self.time_left()}"

    def time_left(self) -> str:
        """An estimate from the cases done so far in this run."""
        if self._left == 0:
            return "done"
        each_s = (self._clock() - self._begun) / max(self._here, 1)
        return f"about {time_span(each_s * self._left)} left"


def outcome_line(row: Row) -> str:
    """A row in a few words."""
    if row.status is not Status.OK:
        kind = f" ({row.failure})" if row.failure else ""
        return f"{row.status}{kind}: {row.message}"
    words = f"{row.latency_ms:.4g} ms"
    if row.verdict not in (None, Verdict.VALID):
        words += f", {row.verdict} ({';'.join(row.reasons)})"
    return words


def time_span(seconds: float) -> str:
    """Seconds as people say them: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# How a whole run ended.


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the rows of its cases, which were measured now, whether it was stopped."""

    directory: Path
    rows: tuple[Row, ...]
    measured: int
    total: int
    interrupted: bool

    def count(self, status: Status) -> int:
        return sum(row.status is status for row in self.rows)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        counts = [f"{self.count(status)} {status}" for status in Status if self.count(status)]
        end = "; stopped, the same command goes on from here" if self.interrupted else ""
        return f"{len(self.rows)} of {self.total} cases: {', '.join(counts) or 'none yet'}{end}"


# The run: every case of the matrix measured, or its failure recorded, and all of it resumable.


log = logging.getLogger(__name__)

EXPECTED = (CaseError, ProgramMissingError, OSError, ValueError, LookupError, MemoryError)
"""What measuring one case may raise. ValueError holds InputError and unreadable files."""


def run(
    parameters: Parameters,
    progress: Progress | None = None,
    *,
    program: Program | None = None,
    steps: Sequence[Step] | None = None,
    nvml_module: str = nvml.MODULE,
) -> Outcome:
    """Measure every case of ``parameters`` into ``parameters.out_dir`` and say how it went.

    ``program`` None takes the one that ``parameters.engine`` names on this machine. ``steps`` is
    the plan of these parameters for that program; None makes it. ``nvml_module`` is the import
    name of NVML's binding.

    Cases whose row stands already, ok or skipped under the same settings, are not measured again;
    failed ones are. Raises :class:`benchlib.errors.InputError` for what the user gave wrong,
    before anything runs, and :class:`benchlib.measure.store.StoreError` when rows can no longer be
    saved. KeyboardInterrupt is raised by a second Ctrl-C only.
    """
    program = program or _find(parameters)
    steps = matrix.steps(parameters, program) if steps is None else steps
    telling = progress or Lines()
    store = Store(Path(parameters.out_dir).expanduser())
    wanted = parameters.lock_clocks and not program.on_cpu
    with store.opened(), clock_lock.held(wanted, module=nvml_module) as lock:
        if parameters.lock_clocks:
            telling.say(lock.reason)
        card = None if program.on_cpu else nvml.describe_gpu(nvml_module)
        module = None if card is None else nvml_module
        return _Run(parameters, program, store, telling, lock, card, module, steps).all()


def _find(parameters: Parameters) -> Program:
    from benchlib.trtexec import locate

    return locate.find(parameters.engine)


class _Run:
    """One run under way."""

    def __init__(
        self,
        parameters: Parameters,
        program: Program,
        store: Store,
        progress: Progress,
        lock: ClockLock,
        card: nvml.Gpu | None,
        nvml_module: str | None,
        steps: Sequence[Step],
    ) -> None:
        cases = [step.case for step in steps]
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
        self._steps = steps
        self._names = model_names(cases, ((row.model, row.model_digest) for row in store.rows))
        self._assembler = Assembler(parameters, program, device, lock, confidential, self._names)
        self._case_runner = CaseRunner(
            parameters=parameters,
            program=program,
            exporter=_exporter(parameters, program, store.work),
            engine_cache=EngineCache(cache.root() / "plans", engine_cache.limit_bytes()),
            redactor=Redactor.of(store.directory),
            work=store.work,
            device=device,
            nvml_module=nvml_module,
        )

    def all(self) -> Outcome:
        """Take every case in turn; return when all have rows or a stop was asked for."""
        cases = [step.case for step in self._steps]
        prints = {case: self._fingerprint(case) for case in cases}
        newer = {case: told for case in cases if (told := self._store.newer(case.key))}
        for told in newer.values():
            self._progress.say(f"not measured again, {told}")
        standing = [case for case in cases if case in newer or self._stands(case, prints[case])]
        todo = [step for step in self._steps if step.case not in set(standing)]
        surroundings = environment.describe_environment(
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
            for step in todo:
                if self._interrupt.asked:
                    break
                case = step.case
                self._progress.start(case.key)
                row = self._row(step, prints[case])
                row = record.attempts_in_order(
                    row, self._parameters.seed, cases.index(case), len(cases)
                )
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
            self._case_runner.exporter.close()

    def _measure_roofs(self, surroundings: Environment) -> None:
        """Add the device's roofs to environment.json, if they are wanted and can be had."""
        given = self._parameters
        if not given.roofs:
            return
        if any(flag.partition("=")[0] == environment.GREEN_CONTEXT for flag in given.extra_flags):
            self._progress.say("no roofs are measured: they would be the card's, not the context's")
            return
        found = peaks.measure_roofs(
            self._program, given.threads, self._store.work, self._progress.say
        )
        if found is not None:
            self._store.save_environment(surroundings.model_copy(update={"roofs": found}))

    def _stands(self, case: Case, fingerprint: str) -> bool:
        row = self._store.row(case.key)
        return (
            row is not None and row.status is not Status.FAILED and row.fingerprint == fingerprint
        )

    def _row(self, step: Step, fingerprint: str) -> Row:
        """The row of one case, measured again while it is SUSPECT and retries are left."""
        if step.skipped is not None:
            return self._assembler.skipped(step.case, step.skipped, fingerprint)
        earlier, told, stretch = None, [], 1
        for attempt in itertools.count(1):
            settings = matrix.settings(self._parameters, attempt, stretch)
            row, worth_retrying = self._attempt(step, attempt, settings, fingerprint)
            told.append(record.attempts_as_json(row, settings))
            ending = self._ending(row, worth_retrying, attempt)
            if ending is not None:
                break
            rest_s = self._parameters.cool_down_s
            self._progress.say(
                f"{row.key} is {row.verdict} ({';'.join(row.reasons)}); again in {rest_s:g} s"
            )
            time.sleep(rest_s)
            more = {Reason.FEW_SAMPLES, Reason.IMPRECISE}.intersection(row.reasons)
            stretch *= 2 if more else 1
            earlier = row
        return record.last_attempt(row, earlier, told, ending)

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
        self, step: Step, attempt: int, settings: Settings, fingerprint: str
    ) -> tuple[Row, bool]:
        """Measure once; return the row and whether another attempt could come out better.

        Whatever goes wrong becomes a failed row here and nowhere else.
        """
        case = step.case
        measurement = Measurement(case, settings, attempt=attempt)
        try:
            self._case_runner.measure(measurement, step)
            files = self._save_samples(measurement)
            kept = self._save_log(measurement)
            row, judgement = self._assembler.ok(measurement, kept, files, fingerprint)
            return row, judgement.worth_retrying
        except EXPECTED as error:
            log.debug("%s failed", case.key, exc_info=error)
            fault = record.fault_of(error)
            # The row of an attempt before this one stands, and with it that attempt's log.
            name = f".attempt{attempt}" if attempt > 1 else ""
            kept = self._save_log(measurement, name)
            return self._assembler.failed(measurement, fault, kept, fingerprint), False

    def _save_samples(self, measurement: Measurement) -> list[str]:
        """Keep what every query took and what the GPU did meanwhile; the paths within the set.

        The runs that were set aside because they began cold follow those that count. Where it is
        asked for, each run's exportTimes is kept as well.
        """
        key = measurement.case.key
        runs = (*measurement.runs, *measurement.set_aside)
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
                raw = gzip.compress(exports.dump_times(run.queries).encode(), mtime=0)
                name = f"samples/{key}.run{number}.json.gz"
                files.append(self._store.save_series(name, raw))
        return files

    def _save_log(self, measurement: Measurement, ending: str = "") -> str | None:
        """Keep what the programs said; None when there is nothing or no room for it."""
        text = "".join(measurement.logs)
        if not text:
            return None
        try:
            key = f"{measurement.case.key}{ending}"
            return self._store.save_log(key, text)
        except OSError as error:
            log.warning("the log of %s is lost: %s", measurement.case.key, error.strerror)
            return None

    def _fingerprint(self, case: Case) -> str:
        """What has to be the same for a standing row to be taken as this case's."""
        given = self._parameters
        parts = {
            "case": case.identity(),
            "settings": matrix.settings(given).as_json(),
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


def _exporter(parameters: Parameters, program: Program, work: Path) -> ExporterClient:
    return Exporter(parameters, work / "exporter.log", parameters.time_limit_build_s)
