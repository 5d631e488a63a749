"""Who does the work of a run: this process, or a fleet of GPUs and hosts by Dask distributed.

The client keeps the plan, the graphs and the rows. A worker, one per GPU, builds engines and times
them. It has one job at a time, chosen by the client, so that a case's engines stay where they were
built and a card never runs two programs. Dask's own scheduling is not used beyond that: a job
names its worker, and when that is gone the job is reported as lost.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchlib import __version__, process
from benchlib.config import Parameters
from benchlib.errors import InputError, MachineError
from benchlib.export import cache
from benchlib.gpu import nvml
from benchlib.measure import engine_cache, environment
from benchlib.measure.case_runner import CaseRunner, Which
from benchlib.measure.engine_cache import EngineCache
from benchlib.measure.environment import Redactor
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
"""Seconds without any usable worker after which the user is told that the run waits for one."""

POLL_S = 0.1
"""Seconds between looks at how the jobs do and which workers came and went."""

UNTOUCHED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Ctrl-C in a terminal reaches every process; the workers are ended by the client."""

Card = tuple[str, str]
"""Host and UUID of a GPU; the worker's name where there is none."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: its card, Dask's address of it, and what a run has to know of it.

    ``gpu`` is None where no NVML tells of one; ``facts`` stand in environment.json.
    """

    card: Card
    address: str = ""
    benchlib: str = __version__
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


def _card(nvml_module: str | None) -> tuple[nvml.Gpu | None, str | None]:
    """The GPU that programs begun here use, and its UUID."""
    if nvml_module is None:
        return None, None
    with nvml.opened(nvml_module) as device:
        uuid = None if device is None else device.uuid()
    return nvml.describe_gpu(nvml_module), uuid


def _host_facts(host: str | None, gpu: nvml.Gpu | None, uuid: str | None) -> dict[str, Any]:
    """What environment.json holds of a host and its card."""
    return {
        "host": host,
        "gpu_uuid": uuid and uuid[-nvml.UUID_SHOWN :],
        "gpu": gpu and gpu.name,
        "driver": gpu and gpu.driver,
        "cpu": environment.cpu_model(),
        "cpu_cores": environment.usable_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "benchlib": __version__,
    }


class Here:
    """This process as the only worker: a job is done when it is started."""

    def __init__(self, case_runner: CaseRunner) -> None:
        self._case_runner = case_runner
        gpu, uuid = _card(case_runner.nvml_module)
        card = (socket.gethostname(), uuid or case_runner.device)
        # Without the machine's name: nobody needs it where there is one machine
        self._worker = Worker(card, gpu=gpu, facts=_host_facts(None, gpu, uuid))
        self._done: list[Done] = []

    def hosts(self) -> list[Mapping[str, Any]]:
        return [self._worker.facts]

    def cards(self) -> set[Card]:
        return {self._worker.card}

    def busy_beside(self, worker: Worker) -> int | None:
        """None: other programs on this host are not known here."""
        return None

    def idle(self, alone_on_host: bool = False) -> list[Worker]:
        return [] if self._done else [self._worker]

    def start(
        self, worker: Worker, measurement: Measurement, step: Step, which: Which | None
    ) -> None:
        self._done.append(Done(worker, self._case_runner.do(measurement, step, which)))

    def ended(self) -> list[Done]:
        done, self._done = self._done, []
        return done

    def wait(self) -> None:
        raise AssertionError("this process is always there")


# The fleet: one job at a time on each of its workers.


class Fleet:
    """The workers of a cluster that a run can use, and what each is doing.

    They all have the first one's benchlib, engine program and kind of card; others are refused
    with a word. ``program`` and ``gpu`` are theirs.
    """

    def __init__(
        self,
        client: Client,
        parameters: Parameters,
        nvml_module: str,
        say: Callable[[str], None],
    ) -> None:
        self._client = client
        self._parameters = parameters
        self._nvml_module = nvml_module
        self._say = say
        self._workers: dict[str, Worker | None] = {}
        self._jobs: dict[str, tuple[Worker, Future, Measurement]] = {}
        self._examined: dict[str, Future] = {}
        self._first: Worker | None = None
        self._graphs: dict[tuple[str, str], Future] = {}
        while self._first is None:
            self.wait()
        if self._first.program is None:
            raise MachineError(f"{self._first} has no engine program; run benchlib doctor there")
        self.program, self.gpu = self._first.program, self._first.gpu

    def hosts(self) -> list[Mapping[str, Any]]:
        """What environment.json holds of each worker's host."""
        return [worker.facts for worker in self._usable()]

    def cards(self) -> set[Card]:
        """The cards that are there now."""
        return {worker.card for worker in self._usable()}

    def busy_beside(self, worker: Worker) -> int:
        """How many other cards of the worker's host have a job."""
        jobs = [other for other, _, _ in self._jobs.values()]
        return sum(one.card[0] == worker.card[0] and one != worker for one in jobs)

    def idle(self, alone_on_host: bool = False) -> list[Worker]:
        """Workers without a job; with ``alone_on_host`` one of each host that has no job at all."""
        self._look()
        free = [worker for worker in self._usable() if worker.address not in self._jobs]
        if not alone_on_host:
            return free
        busy = {worker.card[0] for worker, _, _ in self._jobs.values()}
        return list({one.card[0]: one for one in free if one.card[0] not in busy}.values())

    def start(
        self, worker: Worker, measurement: Measurement, step: Step, which: Which | None
    ) -> None:
        """Begin a job on an idle worker. What it brings is in ``measurement`` when it has ended."""
        settings = measurement.settings.model_copy(update={"warm_up_ms": measurement.warm_up_ms})
        # What came before stays here: it is not needed there and grows with every round.
        sent = replace(measurement, settings=settings, all_runs=[], logs=[], commands=[])
        future = self._client.submit(
            _do,
            self._parameters,
            self._nvml_module,
            sent,
            step,
            which,
            self._graph(worker, measurement),
            workers=[worker.address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
            pure=False,
        )
        self._jobs[worker.address] = (worker, future, measurement)

    def ended(self) -> list[Done]:
        """The jobs that ended since, at least one unless a worker came meanwhile."""
        before = set(self._workers)
        while True:
            done = [one for address in list(self._jobs) if (one := self._outcome(address))]
            if done or set(self._workers) - before:
                return done
            time.sleep(POLL_S)
            self._look()

    def wait(self) -> None:
        """Wait until there is a usable worker, with a word when that takes long."""
        begun = time.monotonic()
        self._look()
        while not self._usable():
            if time.monotonic() - begun > TELL_S:
                self._say("no worker is there; the run waits for one")
                begun = time.monotonic()
            time.sleep(POLL_S)
            self._look()

    def _usable(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker is not None]

    def _graph(self, worker: Worker, measurement: Measurement) -> Future | None:
        """The graph's files, sent once to each worker on another host; None where they can be read.

        A worker keeps them in its own cache, so what Dask holds is let go of with the run.
        """
        graph = measurement.graph
        if graph is None or worker.card[0] == socket.gethostname():
            return None
        name = (worker.address, graph.sha256)
        if name not in self._graphs:
            files = [graph.path, cache.data_of(graph.path)]
            content = {one.name: one.read_bytes() for one in files if one.is_file()}
            self._graphs[name] = self._client.scatter(content, workers=[worker.address], hash=False)
        return self._graphs[name]

    def _outcome(self, address: str) -> Done | None:
        worker, future, measurement = self._jobs[address]
        if not future.done() and address in self._workers:
            return None
        del self._jobs[address]
        if future.status == "finished":
            back, fault = future.result()
            measurement.all_runs += back.all_runs
            measurement.logs += back.logs
            measurement.commands += back.commands
            for name in ("engines", "layers", "profile", "memory_freed", "oddities"):
                setattr(measurement, name, getattr(back, name))
            measurement.host, measurement.gpu_uuid = back.host, back.gpu_uuid
            return Done(worker, fault)
        killed = importlib.import_module("distributed").KilledWorker
        if future.status == "error" and not isinstance(future.exception(), killed):
            raise future.exception()
        future.cancel()
        return Done(worker, lost=True)

    def _look(self) -> None:
        """Note which workers came and went."""
        if self._client.status != "running":
            raise MachineError(
                "the fleet's scheduler is gone; what was measured is kept, and the same command "
                "goes on once it is there again"
            )
        there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        for address in set(self._workers) - there:
            del self._workers[address]
        for address in there - set(self._workers) - set(self._examined):
            self._examined[address] = self._client.submit(
                _examine, self._parameters, self._nvml_module, workers=[address], pure=False
            )
        for address, future in list(self._examined.items()):
            if future.done() or address not in there:
                del self._examined[address]
            if future.done() and address in there:
                worker = replace(future.result(), address=address)
                self._workers[address] = self._accepted(worker)

    def _accepted(self, worker: Worker) -> Worker | None:
        first = self._first = self._first or worker
        theirs, ours = _kind(worker), _kind(first)
        unlike = [name for name in ours if theirs[name] != ours[name]]
        if not unlike and first.benchlib == __version__:
            return worker
        if not unlike:
            unlike, ours = ["benchlib"], {"benchlib": __version__}
            self._first = None
        what = "; ".join(f"{name} {theirs[name]}, not {ours[name]}" for name in unlike)
        self._say(f"{worker} is not used: {what}")
        return None


def _kind(worker: Worker) -> dict[str, str]:
    program = worker.program
    return {
        "benchlib": worker.benchlib,
        "engine program": "none" if program is None else f"{program.engine} {program.version}",
        "device": "cpu" if worker.gpu is None else worker.gpu.name,
    }


# What runs on a worker.


def _examine(parameters: Parameters, nvml_module: str) -> Worker:
    """Say what this worker has."""
    from distributed import get_worker

    from benchlib.trtexec import locate

    gpu, uuid = _card(nvml_module)
    try:
        program = locate.find(parameters.engine)
    except (InputError, MachineError):
        program = None
    card = (socket.gethostname(), uuid or str(get_worker().name))
    return Worker(card, "", __version__, program, gpu, _host_facts(card[0], gpu, uuid))


def _do(
    parameters: Parameters,
    nvml_module: str,
    measurement: Measurement,
    step: Step,
    which: Which | None,
    graph: Mapping[str, bytes] | None,
) -> tuple[Measurement, Fault | None]:
    """One job; returns the measurement with what it brought, and the fault when it failed."""
    if graph is not None:
        measurement.graph = replace(measurement.graph, path=_kept(graph, measurement.graph.sha256))
    return measurement, _case_runner(parameters, nvml_module).do(measurement, step, which)


@lru_cache(maxsize=1)
def _case_runner(parameters: Parameters, nvml_module: str) -> CaseRunner:
    from benchlib.trtexec import locate

    program = locate.find(parameters.engine)
    gpu = None if program.on_cpu else nvml.describe_gpu(nvml_module)
    work = Path(tempfile.mkdtemp(prefix="benchlib-worker-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    return CaseRunner(
        parameters=parameters,
        program=program,
        exporter=None,  # the client has it
        engine_cache=EngineCache(cache.root() / "plans", engine_cache.limit_bytes()),
        redactor=Redactor.of(work),
        work=work,
        device=environment.device_name(program, gpu, parameters.extra_flags),
        nvml_module=None if gpu is None else nvml_module,
        host=socket.gethostname(),
    )


def _kept(files: Mapping[str, bytes], sha256: str) -> Path:
    """The graph file of this content in this host's cache, and its weights beside it."""
    folder = cache.root() / "sent" / sha256
    folder.mkdir(parents=True, exist_ok=True)
    first, *_ = files
    for name, content in reversed(files.items()):
        if not (folder / name).is_file():
            process.write_whole(folder / name, content)
    return folder / first


# The cluster: who starts the workers.


@contextlib.contextmanager
def connected(
    where: str, parameters: Parameters, nvml_module: str, say: Callable[[str], None]
) -> Iterator[Fleet]:
    """The fleet that ``where`` names; what is started here ends with it.

    Raises :class:`InputError` as :func:`cluster` does and for an address where nobody answers.
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
    distributed = _distributed()
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


def serve(address: str, module: str = nvml.MODULE) -> None:
    """Work for the scheduler at ``address`` with every visible GPU, until it is gone."""
    import asyncio

    async def run() -> None:
        specs = worker_specs(nvml.visible_uuids(module))
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
    # Dask writes its files below the folder that a worker is started in, unless it is told.
    os.environ.setdefault("DASK_TEMPORARY_DIRECTORY", tempfile.gettempdir())
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise InputError(
            "fleet", "Dask distributed is not installed; run pip install 'benchlib[fleet]'"
        ) from None
