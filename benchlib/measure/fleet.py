"""Who does the work of a run: this process, or a fleet of GPUs and hosts by Dask distributed.

The client keeps the plan, the graphs and the rows. A worker, one per GPU, builds engines and times
them. It has one job at a time, chosen by the client, so that a case's engines stay where they were
built and a card never runs two programs. Dask's own scheduling is not used beyond that: a job
names its worker, and when that is gone the job is reported as lost.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import platform
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchlib import __version__, process
from benchlib.config import Parameters
from benchlib.errors import InputError, MachineError, first_line
from benchlib.export import cache
from benchlib.export.build import Graph
from benchlib.gpu import nvml, peaks
from benchlib.measure import environment, record
from benchlib.measure.case_runner import EXPECTED, CaseRunner, Which
from benchlib.measure.engine_cache import KeptFolders
from benchlib.measure.matrix import Step
from benchlib.measure.measurement import Measurement
from benchlib.measure.record import Fault
from benchlib.trtexec.command import Program

if TYPE_CHECKING:  # an extra, which takes most of a second to import
    from distributed import Client, Future

LOCAL = "local"
"""The fleet of this host: one worker per visible GPU, one worker where there is none."""

RESOURCE = "GPU"
"""Dask's name for a card: each worker has one, each job takes one."""

CONNECT_S = 10
"""Seconds in which a scheduler must answer."""

TELL_S = 60.0
"""Seconds without any usable worker after which a line says that the run waits for one."""

POLL_S = 0.1
"""Seconds between looks at which workers came and went; a job that ends is seen at once."""

RETURN_S = 30.0
"""Seconds that the cases of a lost worker wait for another one on its card: Dask's nanny starts
that within some seconds, where to build the engines on another card may take an hour."""

RESULT_S = 60.0
"""Seconds in which what a job brought must come, a few MB; a worker that ends at this very moment
never sends it."""

UNTOUCHED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Ctrl-C in a terminal reaches every process; the workers are ended by the client."""

Card = tuple[str, str]
"""Host and UUID of a GPU; the worker's name where there is none."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: its card, Dask's address of it, and what a run has to know of it.

    ``gpu`` is None where NVML shows none; ``facts`` are for environment.json.
    """

    card: Card
    address: str = ""
    program: Program | None = None
    gpu: nvml.Gpu | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.card[1]} on {self.card[0]}"


@dataclass(frozen=True, slots=True)
class Done:
    """How a job ended: well, with the ``fault`` it met, or ``lost`` with its worker."""

    worker: Worker
    fault: Fault | None = None
    lost: bool = False


def _this_worker(
    name: str, program: Program, nvml_module: str | None, host: str | None = None
) -> Worker:
    """This process, with the GPU that programs begun here use, called ``name`` where there is none.

    ``host`` names the machine where there are several.
    """
    gpu = uuid = None
    if nvml_module is not None:
        with nvml.opened(nvml_module) as device:
            uuid = None if device is None else device.uuid()
        gpu = nvml.describe_gpu(nvml_module)
    facts = {
        "host": host,
        "gpu_uuid": uuid and uuid[-nvml.UUID_SHOWN :],
        "gpu": gpu and gpu.name,
        "driver": gpu and gpu.driver,
        "cpu": environment.cpu_model(),
        "cpu_cores": environment.usable_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "benchlib": __version__,
    }
    return Worker((socket.gethostname(), uuid or name), "", program, gpu, facts)


class Here:
    """This process as the only worker: a job is done when it is started."""

    def __init__(self, case_runner: CaseRunner) -> None:
        self._case_runner = case_runner
        device, program = case_runner.device, case_runner.program
        self._worker = _this_worker(device, program, case_runner.nvml_module)
        self._done: list[Done] = []

    def hosts(self) -> list[Mapping[str, Any]]:
        return [self._worker.facts]

    def cards(self) -> set[Card]:
        return {self._worker.card}

    def busy_beside(self, worker: Worker) -> int | None:
        """None: other programs on this host are not known here."""
        return None

    def idle(self) -> list[Worker]:
        return [] if self._done else [self._worker]

    def measure_roofs(self, say: Callable[[str], None]) -> peaks.Roofs | None:
        runner = self._case_runner
        return peaks.measure_roofs(runner.program, runner.parameters.threads, runner.work, say)

    def start(
        self, worker: Worker, measurement: Measurement, step: Step, which: Which | None
    ) -> None:
        self._done.append(Done(worker, self._case_runner.do(measurement, step, which)))

    def ended(self) -> list[Done]:
        done, self._done = self._done, []
        return done


# The fleet: one job at a time on each of its workers.


class Fleet:
    """The workers of a cluster that a run can use, and what each is doing.

    They all have this benchlib and the first one's engine program and kind of card; others are
    refused with a word. ``program`` and ``gpu`` are theirs.
    """

    def __init__(
        self, client: Client, parameters: Parameters, nvml_module: str, say: Callable[[str], None]
    ) -> None:
        self._client = client
        self._parameters = parameters
        self._nvml_module = nvml_module
        self._say = say
        self._workers: dict[str, Worker | None] = {}
        self._examined: dict[str, tuple[Future, Future]] = {}
        self._jobs: dict[str, tuple[Worker, Future, Measurement]] = {}
        self._lost: dict[Card, float] = {}
        self._hosts: dict[Card, Mapping[str, Any]] = {}
        self._sent: set[tuple[str, str]] = set()
        self._first: Worker | None = None
        self._looked = 0.0
        self._seen = time.monotonic()
        self._job_ended = threading.Event()
        while not self._usable():
            time.sleep(POLL_S)
            self._look()
        if self._first.program is None:
            raise MachineError(f"{self._first} has no engine program; run benchlib doctor there")
        self.program, self.gpu = self._first.program, self._first.gpu

    def hosts(self) -> list[Mapping[str, Any]]:
        """What environment.json holds of the host of each worker that was there."""
        return list(self._hosts.values())

    def cards(self) -> set[Card]:
        """The cards that are there, or that a restarted worker may yet come back on."""
        since = time.monotonic() - RETURN_S
        lost = {card for card, at in self._lost.items() if at > since}
        return lost | {worker.card for worker in self._usable()}

    def busy_beside(self, worker: Worker) -> int:
        """How many other cards of the worker's host have a job."""
        jobs = [other for other, _, _ in self._jobs.values()]
        return sum(one.card[0] == worker.card[0] and one != worker for one in jobs)

    def idle(self) -> list[Worker]:
        """The workers without a job."""
        self._look()
        return [worker for worker in self._usable() if worker.address not in self._jobs]

    def start(
        self, worker: Worker, measurement: Measurement, step: Step, which: Which | None
    ) -> None:
        """Begin a job on an idle worker. What it brings is in ``measurement`` when it has ended."""
        found = {name: getattr(measurement, name) for name in ("warm_up_ms", "duration_s")}
        settings = measurement.settings.model_copy(update=found)
        # What came before stays here: it is not needed there and grows with every round.
        sent = replace(measurement, settings=settings, all_runs=[], logs=[], commands=[])
        files = self._files(worker, measurement.graph)
        future = self._submit(worker, _do, self._nvml_module, sent, step, which, files)
        future.add_done_callback(lambda _: self._job_ended.set())
        self._jobs[worker.address] = (worker, future, measurement)

    def ended(self) -> list[Done]:
        """The jobs that ended since; waits a moment when there are none."""
        self._job_ended.clear()
        self._look()
        done = [one for address in list(self._jobs) if (one := self._outcome(address))]
        if not done:
            self._job_ended.wait(POLL_S)
        return done

    def measure_roofs(self, say: Callable[[str], None]) -> peaks.Roofs | None:
        """The roofs of the workers' kind of card, measured by one of them."""
        worker = self._usable()[0]
        say(f"measuring the device's roofs by {worker}, about ten seconds")
        try:
            roofs, words = self._submit(worker, _roofs, self.program).result(peaks.BENCH_LIMIT_S)
        except Exception as error:  # noqa: BLE001 (its worker is lost; a set is whole without)
            roofs, words = None, [f"no roofs of the device are known: {first_line(error)}"]
        for one in words[1:] if roofs is None else ():
            say(one)
        return roofs

    def _submit(self, worker: Worker, job: Callable[..., Any], *given: Any) -> Future:
        return self._client.submit(
            job,
            self._parameters,
            *given,
            workers=[worker.address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
            pure=False,
        )

    def _usable(self) -> list[Worker]:
        """The workers, one of each card, however many were started."""
        workers = [worker for worker in reversed(self._workers.values()) if worker is not None]
        return list(reversed({worker.card: worker for worker in workers}.values()))

    def _files(self, worker: Worker, graph: Graph | None) -> Future | Mapping[str, bytes] | None:
        """The graph's files for a worker on another host; none when it keeps them from before.

        None where it can read them itself.
        """
        if graph is None or worker.card[0] == socket.gethostname():
            return None
        if (worker.address, graph.sha256) in self._sent:
            return {}
        files = [graph.path, cache.data_of(graph.path)]
        try:
            content = {one.name: one.read_bytes() for one in files if one.is_file()}
            # In a list: of a mapping each value would be sent by its name, which graphs share
            return self._client.scatter([content], workers=[worker.address], hash=False)[0]
        except (OSError, TimeoutError, ValueError):
            return None  # The worker is gone, and the job with it, or it has the file's own fault

    def _outcome(self, address: str) -> Done | None:
        worker, future, measurement = self._jobs[address]
        if not future.done() and address in self._workers:
            return None
        del self._jobs[address]
        distributed = importlib.import_module("distributed")
        if future.status == "finished":
            with contextlib.suppress(TimeoutError, distributed.TimeoutError, OSError):
                back, fault = future.result(RESULT_S)
                return Done(worker, self._take_over(worker, measurement, back, fault))
        elif future.status == "error":
            error = future.exception()
            if not isinstance(error, distributed.KilledWorker):
                return Done(worker, record.fault_of(error))
        future.cancel()
        return Done(worker, lost=True)

    def _take_over(
        self, worker: Worker, measurement: Measurement, back: Measurement, fault: Fault | None
    ) -> Fault | None:
        """Add what a job brought to ``measurement``; its fault."""
        measurement.all_runs += back.all_runs
        measurement.logs += back.logs
        measurement.commands += back.commands
        for name in ("engines", "layers", "profile", "memory_freed", "warnings"):
            setattr(measurement, name, getattr(back, name))
        measurement.host, measurement.gpu_uuid = back.host, back.gpu_uuid
        if fault is None and measurement.graph is not None:
            self._sent.add((worker.address, measurement.graph.sha256))
        return fault

    def _look(self) -> None:
        """Note which workers came and went, with a word when none is there for long."""
        now = time.monotonic()
        if now - self._looked < POLL_S:
            return
        try:
            # The status says whether the connection was lost: the question may have an old answer.
            there = set(self._client.nthreads())
            running = self._client.status == "running"
        except (OSError, AttributeError):  # AttributeError: while it tries to connect again
            running = False
        if not running:
            raise MachineError(
                "the fleet's scheduler is gone; what was measured is kept, and the same command "
                "goes on once it is there again"
            )
        self._looked = now
        for address in set(self._workers) - there:
            worker = self._workers.pop(address)
            if worker is not None:
                self._lost[worker.card] = now
        for address in set(self._examined) - there:
            del self._examined[address]
        for address in there - set(self._workers) - set(self._examined):
            # The version asked for by itself: another one may not know the examination.
            asked = ((eval, VERSION), (_examine, self._parameters, self._nvml_module))
            self._examined[address] = tuple(
                self._client.submit(*one, workers=[address], pure=False) for one in asked
            )
        for address, answers in list(self._examined.items()):
            if all(answer.done() for answer in answers):
                del self._examined[address]
                self._workers[address] = self._accepted(address, *answers)
        if self._usable():
            self._seen = now
        elif now - self._seen > TELL_S:
            self._say("no worker is free for this run; it waits for one")
            self._seen = now

    def _accepted(self, address: str, version: Future, examined: Future) -> Worker | None:
        """The worker at ``address`` if the run can use it; else None, with a line that says why."""
        try:
            theirs = version.result(RESULT_S)
            if theirs == __version__:
                worker = replace(examined.result(RESULT_S), address=address)
        except Exception as error:  # noqa: BLE001 (whatever another installation answers)
            self._say(f"the worker at {address} is not used: {first_line(error)}")
            return None
        if theirs != __version__:
            self._say(f"the worker at {address} is not used: benchlib {theirs}, not {__version__}")
            return None
        first = self._first = self._first or worker
        kinds = list(zip(_kind(worker), _kind(first), strict=True))
        if unlike := [f"{their}, not {our}" for their, our in kinds if their != our]:
            self._say(f"{worker} is not used: {'; '.join(unlike)}")
            return None
        if any(one.card == worker.card for one in self._usable()):
            self._say(f"{worker} has two workers; one of them is used")
        self._hosts[worker.card] = worker.facts
        return worker


VERSION = "__import__('benchlib').__version__"


def _kind(worker: Worker) -> tuple[str, str]:
    program, gpu = worker.program, worker.gpu
    return (
        "no engine program" if program is None else f"{program.engine} {program.version}",
        f"device {gpu.name if gpu is not None else (program and program.card) or 'cpu'}",
    )


# What runs on a worker.


def _examine(parameters: Parameters, nvml_module: str) -> Worker:
    """Say what this worker has."""
    from distributed import get_worker

    from benchlib.trtexec import locate

    worker = get_worker()
    if worker.state.total_resources.get(RESOURCE, 0) < 1:
        raise MachineError(f"it has no {RESOURCE}; start it with --nthreads 1 --resources GPU=1")
    try:
        program = locate.find(parameters.engine)
    except (InputError, MachineError):
        program = None
    return _this_worker(str(worker.name), program, nvml_module, socket.gethostname())


def _roofs(parameters: Parameters, program: Program) -> tuple[peaks.Roofs | None, list[str]]:
    """The roofs of this worker's card, and the lines of progress meanwhile."""
    words: list[str] = []
    return peaks.measure_roofs(program, parameters.threads, _work(), words.append), words


def _do(
    parameters: Parameters,
    nvml_module: str,
    measurement: Measurement,
    step: Step,
    which: Which | None,
    files: Mapping[str, bytes] | None,
) -> tuple[Measurement, Fault | None]:
    """One job; returns the measurement with what it brought, and the fault when it failed."""
    try:
        if files is not None:
            measurement.graph = replace(measurement.graph, path=_kept(files, measurement.graph))
        case_runner = _case_runner(parameters, nvml_module)
    except (*EXPECTED, MachineError) as error:
        return measurement, record.fault_of(error)
    return measurement, case_runner.do(measurement, step, which)


def _work() -> Path:
    """A folder for what is gone with this worker; Dask removes also that of a killed one."""
    from distributed import get_worker

    return Path(tempfile.mkdtemp(dir=get_worker().local_directory))


@lru_cache(maxsize=1)
def _case_runner(parameters: Parameters, nvml_module: str) -> CaseRunner:
    from benchlib.trtexec import locate

    program = locate.find(parameters.engine)
    gpu = None if program.on_cpu else nvml.describe_gpu(nvml_module)
    host = socket.gethostname()
    return CaseRunner.here(parameters, program, None, _work(), gpu, nvml_module, host=host)


@lru_cache(maxsize=1)
def _sent() -> KeptFolders:
    """The graphs that were sent to this host, by their content."""
    return KeptFolders.usual("sent", "used")


def _kept(files: Mapping[str, bytes], graph: Graph) -> Path:
    """The graph's file in this host's cache, and its weights beside it, from ``files`` if new."""
    sent = _sent()
    sent.hold(graph.sha256)
    folder = sent.folder / graph.sha256
    folder.mkdir(parents=True, exist_ok=True)
    (folder / sent.mark).touch()
    if files:
        sent.prune()
    for name, content in files.items():
        if not (folder / name).is_file():
            process.write_whole(folder / name, content)
    return folder / graph.path.name


# The cluster: who starts the workers.


@contextlib.contextmanager
def connected(
    where: str, parameters: Parameters, nvml_module: str, say: Callable[[str], None]
) -> Iterator[Fleet]:
    """The fleet that ``where`` names; what is started here ends with it.

    Raises :class:`InputError` as :func:`cluster` does and for an address that does not answer.
    """
    with cluster(where) as address:
        distributed = _distributed()
        try:
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                "fleet", f"no scheduler answers at {where} ({error}); start dask scheduler there"
            ) from None
        with client:
            say(f"fleet: {address}, dashboard {client.dashboard_link}")
            yield Fleet(client, parameters, nvml_module, say)


@contextlib.contextmanager
def cluster(where: str) -> Iterator[str]:
    """Start the cluster that ``where`` names, and yield its scheduler's address.

    ``local``, the address of a scheduler that runs, or a YAML file with ``class`` (the import path
    of a Dask cluster, such as ``dask_jobqueue.SLURMCluster``), ``arguments`` and ``workers`` (how
    many). Raises :class:`InputError` for anything else, and where Dask is not installed.
    """
    # Dask's own lines, of every connection made and closed, are not about the run; workers that
    # are started here read the variable.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    distributed = _distributed()
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if "://" in where:
        yield where
        return
    if where == LOCAL:
        started = distributed.SpecCluster(
            workers=worker_specs(nvml.visible_uuids()),
            # Nothing of the run is to be reached from another host.
            scheduler={
                "cls": distributed.Scheduler,
                "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
            },
            silence_logs=40,
        )
    elif Path(where).suffix in (".yaml", ".yml"):
        started = _from_file(Path(where))
    else:
        raise InputError("fleet", f"{where!r} is none; give local, tcp://HOST:PORT or a YAML file")
    with started:
        yield started.scheduler_address


def worker_specs(uuids: Sequence[str], **options: Any) -> dict[str, dict[str, Any]]:
    """How Dask starts one worker per GPU, each seeing that card only; one where there is none."""
    environments = {uuid: {"CUDA_VISIBLE_DEVICES": uuid} for uuid in uuids} or {"cpu": {}}
    return {
        name: {
            "cls": _distributed().Nanny,
            "options": {
                "name": name,
                "env": variables,
                "nthreads": 1,
                "resources": {RESOURCE: 1},
                "memory_limit": 0,
                "preload": [UNTOUCHED],
                "dashboard": False,
                **options,
            },
        }
        for name, variables in environments.items()
    }


def serve(address: str) -> None:
    """Work for the scheduler at ``address`` with every visible GPU, until it is gone."""
    import asyncio

    async def run() -> None:
        specs = worker_specs(nvml.visible_uuids())
        names = {name: f"{socket.gethostname()}-{name}" for name in specs}
        workers = [
            one["cls"](address, **{**one["options"], "name": names[name]})
            for name, one in specs.items()
        ]
        await asyncio.gather(*workers)
        await asyncio.gather(*(worker.finished() for worker in workers))

    _distributed()
    try:
        asyncio.run(run())
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError("ADDRESS", f"no scheduler answers at {address} ({error})") from None


def _from_file(path: Path) -> Any:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("fleet", f"{path}: {' '.join(str(error).split())}") from None
    known = {"class", "arguments", "workers"}
    if not isinstance(document, Mapping) or not {"class"} <= set(document) <= known:
        raise InputError(
            "fleet",
            f"{path}: give class (the import path of a Dask cluster, such as "
            "dask_jobqueue.SLURMCluster), arguments and workers (how many), nothing else",
        )
    module, _, name = str(document["class"]).rpartition(".")
    try:
        started = getattr(importlib.import_module(module), name)(**document.get("arguments") or {})
        started.scale(int(document.get("workers", 1)))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError("fleet", f"{path}: {document['class']}: {error}") from None
    return started


def _distributed() -> Any:
    # Dask writes its files below the folder that a worker is started in, unless another is given.
    os.environ.setdefault("DASK_TEMPORARY_DIRECTORY", tempfile.gettempdir())
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise InputError(
            "fleet", "Dask distributed is not installed; run pip install 'benchlib[fleet]'"
        ) from None
