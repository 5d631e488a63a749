"""The run: every case of the matrix measured, or its failure recorded, and all of it resumable."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import logging
import queue
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from benchlib import process
from benchlib.case import Case, Failure, Precision, Status, Verdict
from benchlib.config import Parameters
from benchlib.errors import first_line
from benchlib.export import calibration
from benchlib.gpu import clock_lock, nvml
from benchlib.gpu.clock_lock import ClockLock
from benchlib.measure import engine_cache, environment, fleet, matrix, record
from benchlib.measure.case_runner import EXPECTED, CaseRunner, Which
from benchlib.measure.environment import Environment, model_names
from benchlib.measure.exporter import Exporter
from benchlib.measure.fleet import Card, Here, Worker
from benchlib.measure.matrix import Step
from benchlib.measure.measurement import Assembler, Measurement, save_runs, stored_runs
from benchlib.measure.record import Fault, Row
from benchlib.measure.store import Store
from benchlib.stats.replication import Ending
from benchlib.trtexec import exports
from benchlib.trtexec.command import Program

# Ctrl-C: the first lets the running process finish, the second ends it.


class Interrupt:
    """While entered, watches for signals; ``asked`` says that the run should stop.

    A second SIGINT, and the first SIGTERM or SIGHUP, raise KeyboardInterrupt, which ends the
    running program on its way out. Outside the main thread, where Python delivers no signals, it
    only serves as a flag that :meth:`ask` sets.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._signals = contextlib.ExitStack()
        self.asked = False

    def __enter__(self) -> Interrupt:
        taken = process.on_signals(self._on_signal, signal.SIGINT, *process.ENDING)
        self._signals.enter_context(taken)
        return self

    def __exit__(self, *_: object) -> None:
        self._signals.close()

    def ask(self) -> None:
        """Ask for a stop after the running process."""
        self.asked = True
        self._say("the running process is finished first; once more ends it at once")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and not self.asked:
            self.ask()
            return
        # What is raised in a destructor, or in logging's hooks of a fork, goes no further.
        self.asked = True
        raise KeyboardInterrupt


# Telling how a run goes: one line per case that is prepared or ended, one line per round.


progress_log = logging.getLogger("benchlib.measure")


class Lines:
    """One line per case and round in the log: for notebooks, files and CI."""

    def __init__(self) -> None:
        self._total = self._ended = self._prepared = self._here = self._round = 0
        self._begun = 0.0

    def begin(self, total: int, done: int) -> None:
        """``total`` cases there are, ``done`` of them stand already."""
        self._total, self._ended, self._prepared = total, done, done
        self._begun = time.monotonic()
        if done:
            progress_log.info("%d of %d cases stand already", done, total)

    def start(self, key: str) -> None:
        """A case is begun to be prepared."""
        progress_log.debug("%s begins", key)

    def ready(self, key: str) -> None:
        """A case is prepared."""
        self._count()
        each_s = (time.monotonic() - self._begun) / self._here
        left = self._total - self._prepared
        span = f"about {time_span(each_s * left)} until all are" if left else "all are"
        progress_log.info("%d/%d %s is prepared; %s", self._prepared, self._total, key, span)

    def _count(self) -> None:
        self._prepared += 1
        self._here += 1

    def round(self, number: int, left: int) -> None:
        """Round ``number``, from 1, begins with ``left`` cases."""
        before, self._begun = self._begun, time.monotonic()
        took = f"; the last took {time_span(self._begun - before)}" if self._round else ""
        self._round = number
        progress_log.info(
            "round %d: %d of %d cases still to be made sure%s", number, left, self._total, took
        )

    def end(self, row: Row) -> None:
        """A case has its last row."""
        self._ended += 1
        if not self._round:
            self._count()  # It failed or was skipped
        progress_log.info("%d/%d %s: %s", self._ended, self._total, row.key, outcome_line(row))

    def say(self, words: str) -> None:
        """Something the user should know."""
        progress_log.warning("%s", words)


def outcome_line(row: Row) -> str:
    """A row in a few words."""
    if row.status is not Status.OK:
        kind = f" ({row.failure})" if row.failure else ""
        return f"{row.status}{kind}: {row.message}"
    words = f"{row.latency_ms:.4g} ms"
    if row.rounds is not None:
        words += f", {row.ended_by} after {row.rounds} round{'s' if row.rounds != 1 else ''}"
    if row.verdict not in (None, Verdict.VALID):
        words += f", {row.verdict} ({';'.join(row.reasons)})"
    return words


def time_span(seconds: float) -> str:
    """Seconds in the largest unit that fits: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


LOST_LIMIT = 3
"""Workers that may be lost over one step of a case, which then is what ends them (a host without
memory left, say); Dask itself gives a task up after as many."""

EXPORTERS = 3
"""Graphs that are made at a time for a fleet: each takes a PyTorch's memory, some GB."""


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
        end = "; stopped, the same command goes on from here" if self.interrupted else ""
        counts = record.counted(self.rows) or "none yet"
        return f"{len(self.rows)} of {self.total} cases: {counts}{end}"


log = logging.getLogger(__name__)


def run(
    parameters: Parameters,
    progress: Lines | None = None,
    *,
    program: Program | None = None,
    steps: Sequence[Step] | None = None,
    nvml_module: str = nvml.MODULE,
) -> Outcome:
    """Measure every case of ``parameters`` into ``parameters.out_dir`` and say how it went.

    ``program`` None takes the one that ``parameters.engine`` names on this machine. ``steps`` is
    the plan of these parameters for that program; None makes it. ``nvml_module`` is the import
    name of NVML's binding.

    Cases whose row stands already, ended or skipped under the same settings, are not measured
    again; failed ones are, and interrupted ones go on from the rounds that they have. Raises
    :class:`benchlib.errors.InputError` for what the user gave wrong, before anything runs, and
    :class:`benchlib.measure.store.StoreError` when rows can no longer be saved. KeyboardInterrupt
    is raised by a second Ctrl-C only.
    """
    progress_shown = progress or Lines()
    with contextlib.ExitStack() as opened:
        workers = None
        if parameters.fleet is not None:
            given = (parameters.fleet, parameters, nvml_module, progress_shown.say)
            workers = opened.enter_context(fleet.connected(*given))
            program = workers.program
        if program is None:
            from benchlib.trtexec import locate

            program = locate.find(parameters.engine)
        steps = matrix.steps(parameters, program) if steps is None else steps
        store = opened.enter_context(Store(Path(parameters.out_dir).expanduser()).opened())
        wanted = parameters.lock_clocks and not program.on_cpu
        lock = opened.enter_context(clock_lock.held(wanted, module=nvml_module))
        if parameters.lock_clocks:
            progress_shown.say(lock.reason)
        card = None if program.on_cpu else nvml.describe_gpu(nvml_module)
        if workers is not None:
            card = workers.gpu
        one = _Run(
            parameters, program, store, progress_shown, lock, card, nvml_module, steps, workers
        )
        return one.all()


@dataclass(slots=True)
class _Case:
    """A case under way.

    ``row`` is the one that stands with its rounds, in which the first ``logs`` logs are kept.
    ``card`` is where its engines are, ``lost`` how many workers in a row were lost over it,
    ``which`` the engine that is timed now, ``turn`` where in its round that stands, of how many,
    and how many cards of the host are busy beside it.
    """

    step: Step
    measurement: Measurement
    fingerprint: str
    row: Row | None = None
    logs: int = 0
    ended: bool = False
    card: Card | None = None
    lost: int = 0
    turn: tuple[int, int, int | None] = (0, 1, None)
    which: Which | None = None


class _Run:
    """One run under way."""

    def __init__(
        self,
        parameters: Parameters,
        program: Program,
        store: Store,
        progress: Lines,
        lock: ClockLock,
        card: nvml.Gpu | None,
        nvml_module: str,
        steps: Sequence[Step],
        workers: fleet.Fleet | None,
    ) -> None:
        cases = [step.case for step in steps]
        confidential = None if card is None else card.confidential_computing
        exporter = _exporter(parameters, store.work)
        self._case_runner = CaseRunner.here(
            parameters, program, exporter, store.work, card, nvml_module, store.directory
        )
        self._parameters = parameters
        self._program = program
        self._store = store
        self._progress = progress
        self._card = card
        self._device = self._case_runner.device
        self._interrupt = Interrupt(progress.say)
        self._calibration = _calibration_digest(parameters)
        self._steps = steps
        self._until = matrix.until(parameters, program)
        self._ended = 0
        self._places: Iterator[tuple[int, int]] = iter(())
        self._names = model_names(cases, ((row.model, row.model_digest) for row in store.rows))
        self._assembler = Assembler(
            parameters, program, self._device, lock, confidential, self._names
        )
        self._workers = workers or Here(self._case_runner)

    def all(self) -> Outcome:
        """Prepare every case, then time them in rounds until all have ended or a stop is asked."""
        cases = [step.case for step in self._steps]
        environment.check_processor(self._store.environment(), self._program)
        newer = {case: why for case in cases if (why := self._store.newer(case.key))}
        for why in newer.values():
            self._progress.say(f"not measured again, {why}")
        standing = {case for case in cases if case in newer or self._stands(case)}
        todo = [step for step in self._steps if step.case not in standing]
        self._tell_of_other_settings([step.case for step in todo])
        surroundings = environment.describe_environment(
            self._parameters,
            self._program,
            self._card,
            self._store.environment(),
            self._names,
            self._workers.hosts(),
        )
        self._store.save_environment(surroundings)
        self._store.save_table()
        self._progress.begin(len(cases), len(standing))
        # PyTorch's memory and threads are not wanted beside the timing.
        exporter = self._case_runner.exporter
        with contextlib.closing(exporter), self._interrupt:
            if todo and surroundings.roofs is None:
                self._measure_roofs(surroundings)
            prepared = self._prepare(todo)
            exporter.close()
            self._time(prepared)
        # With those that came late
        self._store.save_environment(self._store.environment().with_hosts(self._workers.hosts()))
        rows = tuple(row for case in cases if (row := self._store.row(case.key)) is not None)
        outcome = Outcome(
            self._store.directory, rows, self._ended, len(cases), self._ended < len(todo)
        )
        log.info("%s", outcome.sentence)
        return outcome

    def _measure_roofs(self, surroundings: Environment) -> None:
        """Add the device's roofs to environment.json, if they are wanted and can be had."""
        given = self._parameters
        if not given.roofs:
            return
        if any(flag.partition("=")[0] == environment.GREEN_CONTEXT for flag in given.extra_flags):
            self._progress.say("no roofs are measured: they would be the card's, not the context's")
            return
        found = self._workers.measure_roofs(self._progress.say)
        if found is not None:
            self._store.save_environment(surroundings.model_copy(update={"roofs": found}))

    def _stands(self, case: Case) -> bool:
        """Whether the case's row is not to be measured on."""
        row = self._store.row(case.key)
        if row is None or row.status is Status.FAILED or not self._is_of(case, row):
            return False
        if row.rounds is None:
            return True
        if row.ended_by is Ending.INTERRUPTED:
            return False
        if row.detail.until == asdict(self._until):
            return True
        # Ended by another rule, which may have asked for less
        timing_s = sum(run["wall_s"] for run in row.detail.runs)
        return self._until.ending(row.rounds, row.half_width, timing_s) is not None

    def _is_of(self, case: Case, row: Row) -> bool:
        """Whether ``row`` was measured under the same settings."""
        # Before rounds, the number of processes was one of them
        processes = None if row.rounds is not None else _processes(row)
        return row.fingerprint in (self._fingerprint(case), self._fingerprint(case, processes))

    def _tell_of_other_settings(self, cases: Sequence[Case]) -> None:
        rows = [(case, self._store.row(case.key)) for case in cases]
        others = [
            case.key
            for case, row in rows
            if row is not None and row.status is Status.OK and not self._is_of(case, row)
        ]
        if others:
            self._progress.say(
                f"measured under other settings, so measured anew: {len(others)} of {len(cases)} "
                f"cases, the first is {others[0]}"
            )

    def _prepare(self, steps: Sequence[Step]) -> list[_Case]:
        """Graphs and engines of all cases; what cannot be prepared gets its row."""
        waiting, prepared = [], []
        for step in steps:
            case, fingerprint = step.case, self._fingerprint(step.case)
            if step.skipped is not None:
                self._end(self._assembler.skipped(case, step.skipped, fingerprint))
                continue
            row = self._store.row(case.key)
            goes_on = row is not None and row.rounds and row.fingerprint == fingerprint
            one = _Case(step, Measurement(case, matrix.settings(self._parameters)), fingerprint)
            if goes_on:
                one.row, one.card = row, self._card_of(row)
            waiting.append(one)

        def begin(one: _Case, worker: Worker) -> bool:
            self._progress.start(one.measurement.case.key)
            try:
                export(one)
            except EXPECTED as error:
                self._fail(one, record.fault_of(error), "preparing it again")
                return False
            one.card = worker.card
            return True

        def end(one: _Case, fault: Fault | None) -> None:
            if fault is not None:
                self._fail(one, fault, "preparing it again")
                return
            if one.row is not None:
                self._go_on(one, one.row)
            prepared.append(one)
            self._progress.ready(one.measurement.case.key)

        with self._exports(waiting) as (is_exported, export):
            self._spread([(one, None) for one in waiting], begin, end, is_exported)
        return prepared

    @contextlib.contextmanager
    def _exports(
        self, cases: Sequence[_Case]
    ) -> Iterator[tuple[Callable[[_Case], bool], Callable[[_Case], None]]]:
        """Whether a case's graph need not be waited for, and what has it made.

        On this machine's CPU each is made when it is its turn, beside no layer that is timed; for
        cards ahead, so that none waits for a graph, and by several exporters for a fleet.
        """
        exporters = [self._case_runner.exporter]
        here = isinstance(self._workers, Here)
        if here and self._program.on_cpu:
            yield (
                lambda one: True,
                lambda one: one.measurement.export(exporters[0], one.step.form),
            )
            return
        for number in range(1, 1 if here else EXPORTERS):
            work = self._store.work / f"exporter{number}"
            work.mkdir()
            exporters.append(_exporter(self._parameters, work))
        free: queue.SimpleQueue[Exporter] = queue.SimpleQueue()
        for exporter in exporters:
            free.put(exporter)

        def make(one: _Case) -> None:
            exporter = free.get()
            try:
                one.measurement.export(exporter, one.step.form)
            finally:
                free.put(exporter)

        pool = ThreadPoolExecutor(len(exporters))
        made = {id(one): pool.submit(make, one) for one in cases}
        try:
            yield lambda one: here or made[id(one)].done(), lambda one: made[id(one)].result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for exporter in exporters:
                exporter.close()
            pool.shutdown()

    def _spread(
        self,
        jobs: list[tuple[_Case, Which | None]],
        begin: Callable[[_Case, Worker], bool],
        end: Callable[[_Case, Fault | None], None],
        is_ready: Callable[[_Case], bool] = lambda one: True,
        alone_on_host: bool = False,
    ) -> None:
        """Do ``jobs``, each a case and what to time of it, or None to build it, in their order.

        Each idle worker gets the first job that is ready and may be its; a job whose worker was
        lost is done again. After a stop was asked for only what is under way is awaited.
        ``alone_on_host``: one at a time on each host.
        """
        waiting, under_way = list(jobs), {}
        while under_way or (waiting and not self._interrupt.asked):
            idle = self._workers.idle() if waiting else ()
            cards = self._workers.cards() if idle else set()
            for worker in idle:
                if self._interrupt.asked:
                    break
                if alone_on_host and any(worker.card[0] == one.card[0] for one in under_way):
                    continue
                may_be_its = (None, worker.card)
                place = next(
                    (
                        place
                        for place, (one, _) in enumerate(waiting)
                        if (one.card in may_be_its or one.card not in cards) and is_ready(one)
                    ),
                    None,
                )
                if place is None:
                    continue
                job = one, one.which = waiting.pop(place)
                if one.ended or not begin(one, worker):
                    continue
                self._workers.start(worker, one.measurement, one.step, one.which)
                under_way[worker] = job
            for done in self._workers.ended():
                one, which = job = under_way.pop(done.worker)
                if not done.lost:
                    one.lost = 0
                    end(one, done.fault)
                    continue
                key, one.lost = one.measurement.case.key, one.lost + 1
                if one.lost == LOST_LIMIT:
                    words = f"its worker was lost {one.lost} times over it, last {done.worker}"
                    end(one, Fault(Failure.CRASH, words))
                    continue
                self._progress.say(f"{done.worker} was lost over {key}; it is done again")
                if which is None:
                    one.card = None
                waiting.insert(0, job)

    def _card_of(self, row: Row) -> Card | None:
        """The card that timed ``row``, if it is there."""
        return next(
            (
                card
                for card in sorted(self._workers.cards())
                if card[0] == row.host and card[1].endswith(row.gpu_uuid or "")
            ),
            None,
        )

    def _go_on(self, one: _Case, row: Row) -> None:
        """Take up the rounds that ``row`` has, unless they are of another engine or are lost."""
        made, graph = one.measurement, row.detail.graph
        engines = [engine_cache.as_json(engine) | {"reused": True} for engine in made.engines]
        kept = [{**engine, "reused": True} for engine in row.detail.engines]
        why = ""
        if engines != kept or graph is None or graph.sha256 != made.graph.sha256:
            why = "its engine is another one now"
        elif row.gpu_uuid and made.gpu_uuid and not made.gpu_uuid.endswith(row.gpu_uuid):
            why = "its card is another one now"
        else:
            try:
                made.all_runs += stored_runs(self._store.directory, row)
            except (OSError, ValueError, LookupError, TypeError) as error:
                why = f"its samples cannot be used ({first_line(error)})"
        if why:
            one.row = None
            self._progress.say(f"{row.key} begins its rounds anew: {why}")
            return
        made.started_at = row.started_at
        made.commands[:0] = map(list, row.detail.commands)
        made.logs[:0] = [self._store.log(row)]
        made.warnings[:0] = row.detail.oddities or ()
        one.logs = len(made.logs)

    def _time(self, cases: list[_Case]) -> None:
        """Rounds: one process of every engine of every case left, in an order of their own."""
        builds = range(self._parameters.builds)
        # Of rounds that are gone on with, one engine may have more than another
        first = min((one.measurement.rounds(build) for one in cases for build in builds), default=0)
        for number in itertools.count(first):
            cases = [one for one in cases if not one.ended]
            turns = [
                (one, (build, number))
                for one in cases
                for build in builds
                if one.measurement.rounds(build) <= number
            ]
            if not cases or self._interrupt.asked:
                return
            if not turns:  # the one that had the fewest rounds has ended
                continue
            turns.sort(key=lambda turn: self._lot(*turn))
            self._progress.round(number + 1, len({id(one) for one, _ in turns}))
            self._places = enumerate(itertools.repeat(len(turns)))
            self._spread(
                turns,
                self._begin_turn,
                self._end_turn,
                alone_on_host=self._parameters.exclusive_host,
            )

    def _lot(self, one: _Case, which: Which) -> float:
        """Where a turn comes in its round: the same when the rounds are gone on with."""
        build, number = which
        lot = f"{self._parameters.seed} {number} {one.measurement.case.key} {build}"
        return random.Random(lot).random()

    def _begin_turn(self, one: _Case, worker: Worker) -> bool:
        """Note the turn's place in the round; a case whose card is lost begins again on another.

        A row is of one card: its rounds on the lost one are given up.
        """
        one.turn = (*next(self._places), self._workers.busy_beside(worker))
        made = one.measurement
        if one.card == worker.card:
            return True
        if made.all_runs:
            self._progress.say(f"{made.case.key} begins its rounds anew on {worker}")
        one.card, one.row, one.logs = worker.card, None, 0
        made.all_runs, made.engines = [], []
        return True

    def _end_turn(self, one: _Case, fault: Fault | None) -> None:
        """Save the row of a case with what it has after one more process."""
        made = one.measurement
        what = f"round {one.which[1] + 1}"
        if fault is not None:
            self._fail(one, fault, what)
            return
        try:
            run = made.all_runs[-1]
            run.place, run.of, run.neighbours = one.turn
            files = self._save_samples(made)
            kept = self._store.save_log(made.case.key, "".join(made.logs))
            row = self._assembler.ok(made, kept, files, one.fingerprint, self._until)
        except EXPECTED as error:
            self._fail(one, record.fault_of(error), what)
            return
        one.row, one.logs = row, len(made.logs)
        one.ended = row.ended_by is not Ending.INTERRUPTED
        if one.ended:
            self._end(row)
        else:
            self._store.save_row(row)

    def _fail(self, one: _Case, fault: Fault, what: str) -> None:
        """End a case over ``fault``: with the rounds that it has, else as failed.

        Whatever goes wrong becomes a row here and nowhere else. One that keeps its rounds is
        interrupted: the next run goes on with it.
        """
        made, key = one.measurement, one.measurement.case.key
        one.ended = True
        if one.row is not None and one.row.rounds:
            # The words of before stand with the row.
            kept = self._store.save_log(f"{key}.failed", "".join(made.logs[one.logs :]))
            words = record.one_line(f"{what} failed: {fault.message}; see {kept}")
            changes = {"message": words, "ended_by": Ending.INTERRUPTED}
            self._end(one.row.model_copy(update=changes))
            return
        kept = self._store.save_log(key, "".join(made.logs))
        self._end(self._assembler.failed(made, fault, kept, one.fingerprint))

    def _end(self, row: Row) -> None:
        self._store.save_row(row)
        self._ended += 1
        self._progress.end(row)

    def _save_samples(self, made: Measurement) -> list[str]:
        """Keep what every query took and what the GPU did meanwhile; the paths within the set.

        The runs follow one another as they ran, those that began cold included. Where it is asked
        for, each run's exportTimes is kept as well.
        """
        key, runs = made.case.key, made.all_runs
        files = save_runs(self._store, key, runs)
        for number, run in enumerate(runs):
            name = f"samples/{key}.run{number}.json.gz"
            if run.queries:
                raw = gzip.compress(exports.dump_times(run.queries).encode(), mtime=0)
                self._store.save_series(name, raw)
                run.queries = ()
            if self._parameters.keep_raw and (self._store.directory / name).is_file():
                files.append(name)
        return files

    def _fingerprint(self, case: Case, processes: int | None = None) -> str:
        return fingerprint(
            case, self._parameters, self._program, self._device, self._calibration, processes
        )


def fingerprint(
    case: Case,
    given: Parameters,
    program: Program,
    device: str | None,
    calibration: str | None = None,
    processes: int | None = None,
) -> str:
    """What has to be the same for a standing row to be taken as this case's.

    When the rounds end is no part of it: a row may have too few of them, but never wrong ones.
    ``processes`` is how many a row from before rounds has.
    """
    parts = {
        "case": case.identity(),
        "settings": matrix.settings(given).as_json(),
        "weights": given.weights,
        "seed": given.seed,
        "processes": processes,
        "builds": given.builds,
        "calibration": calibration,
        "lock_clocks": given.lock_clocks,
        "version": program.version,
        "device": device,
        "file": case.model_digest,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _processes(row: Row) -> int:
    """How many processes timed each engine of a row from before rounds."""
    return 1 + max((run.get("process", 0) for run in row.detail.runs or ()), default=0)


def _calibration_digest(parameters: Parameters) -> str | None:
    """The content of a user's own calibration images; raises InputError where there are none."""
    if parameters.calibration_dir is None or parameters.precision is not Precision.INT8:
        return None
    images = calibration.folder(Path(parameters.calibration_dir).expanduser())
    return images.identity.sha256


def _exporter(parameters: Parameters, work: Path) -> Exporter:
    return Exporter(parameters, work / "exporter.log", parameters.time_limit_build_s)
