"""A run spread over GPUs and hosts by Dask distributed.

The client keeps the plan, the graphs and the rows; a worker, one per GPU, builds engines and times
them. Each worker has at most one task at a time, chosen by the client, so that a case's engine
stays where it was built and a card never runs two programs.

Dask's own scheduling is not used beyond that: a task names its worker. When the worker is gone the
task is given up here, and the caller does it again elsewhere.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchlib.errors import InputError, MachineError
from benchlib.gpu import nvml

if TYPE_CHECKING:  # dask.distributed takes most of a second, and is an extra
    from distributed import Client, Future

LOCAL = "local"
"""The fleet of this host: one worker per visible GPU, one worker where there is none."""

RESOURCE = "GPU"
"""Dask's name for a card: each worker has one, each task takes one."""

WAIT_FOR_WORKERS_S = 60.0
"""Seconds until the first worker must be there; a batch system's queue is waited for without end,
with a word every time this has passed."""

POLL_S = 0.5
"""Seconds between looks at which workers came and went."""


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise InputError(
            "fleet", "Dask distributed is not installed; run pip install 'benchlib[fleet]'"
        ) from None


# The cluster: who starts the workers.


def gpu_uuids(module: str = nvml.MODULE) -> list[str]:
    """The UUIDs of the GPUs that this process may use, in their order."""
    return [gpu.uuid for gpu in nvml.examine_gpus(module).gpus]


def worker_specs(uuids: list[str], **options: Any) -> dict[str, dict[str, Any]]:
    """One Dask worker per GPU, each seeing that card only; one that sees none without GPUs."""
    nanny = _distributed().Nanny
    common = {"nthreads": 1, "resources": {RESOURCE: 1}, "memory_limit": 0, **options}
    return {
        name: {"cls": nanny, "options": {"name": name, "env": environment, **common}}
        for name, environment in (
            [(uuid, {"CUDA_VISIBLE_DEVICES": uuid}) for uuid in uuids]
            or [(f"{socket.gethostname()}-cpu", {})]
        )
    }


def _local() -> Any:
    distributed = _distributed()
    # Its own processes only: nothing of the run is reachable from another host.
    scheduler = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    return distributed.SpecCluster(
        workers=worker_specs(gpu_uuids()),
        scheduler={"cls": distributed.Scheduler, "options": scheduler},
        silence_logs=40,
    )


def _from_file(path: Path) -> Any:
    """A cluster object by ``class`` (import path), ``arguments`` and ``workers`` (a number)."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("fleet", f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(document, Mapping) or not {"class"} <= set(document) <= {
        "class",
        "arguments",
        "workers",
    }:
        raise InputError(
            "fleet",
            f"{path}: give class (a Dask cluster's import path), arguments and workers; for example"
            " class: dask_jobqueue.SLURMCluster",
        )
    module, _, name = str(document["class"]).rpartition(".")
    try:
        cluster = getattr(importlib.import_module(module), name)(**document.get("arguments") or {})
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError("fleet", f"{path}: {document['class']}: {error}") from None
    cluster.scale(int(document.get("workers", 1)))
    return cluster


@contextlib.contextmanager
def connected(where: str) -> Iterator[Client]:
    """A client of the fleet that ``where`` names: ``local``, a scheduler's address or a YAML file.

    What is started here ends with it. Raises :class:`InputError` for an address where no scheduler
    answers and a file that describes no cluster.
    """
    distributed = _distributed()
    with contextlib.ExitStack() as stack:
        if where == LOCAL:
            target = stack.enter_context(contextlib.closing(_local()))
        elif "://" in where:
            target = where
        elif Path(where).suffix in (".yaml", ".yml"):
            target = stack.enter_context(contextlib.closing(_from_file(Path(where))))
        else:
            raise InputError(
                "fleet", f"{where!r} is none; give local, tcp://HOST:PORT or a YAML file"
            )
        try:
            client = distributed.Client(target, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                "fleet", f"no scheduler answers at {where} ({error}); start dask scheduler there"
            ) from None
        stack.enter_context(client)
        yield client


# The pool: one task at a time on each worker, lost ones told.


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: Dask's address of it, its host, its GPU's UUID (None on a CPU)."""

    address: str
    host: str
    gpu_uuid: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """How a task ended: its ``value``, or the ``error`` it raised, or ``lost`` with its worker."""

    worker: Worker
    value: Any = None
    error: BaseException | None = None
    lost: bool = False


class Pool:
    """The workers that may be used, and what each is doing.

    ``examine`` runs on every worker before its first task and returns the :class:`Worker`, or a
    sentence why it is refused; ``say`` gets those sentences.
    """

    def __init__(
        self,
        client: Client,
        examine: Callable[[str], Worker | str],
        say: Callable[[str], None],
    ) -> None:
        self._client = client
        self._examine = examine
        self._say = say
        self._workers: dict[str, Worker | None] = {}
        self._tasks: dict[str, tuple[Worker, Future]] = {}

    def idle(self) -> list[Worker]:
        """The usable workers with no task, those that have just come included."""
        self._look()
        return [
            worker
            for address, worker in self._workers.items()
            if worker is not None and address not in self._tasks
        ]

    @property
    def busy(self) -> int:
        """How many tasks are under way."""
        return len(self._tasks)

    def submit(self, worker: Worker, function: Callable[..., Any], *values: Any) -> None:
        """Start ``function(*values)`` on an idle worker."""
        future = self._client.submit(
            function,
            *values,
            workers=[worker.address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
            pure=False,
            retries=0,
        )
        self._tasks[worker.address] = (worker, future)

    def ended(self) -> list[Done]:
        """Wait until at least one task has ended, by itself or with its worker, or a worker came.

        Raises :class:`MachineError` when the scheduler is gone.
        """
        before = set(self._workers)
        while True:
            done = [self._outcome(address) for address in list(self._tasks)]
            finished = [one for one in done if one is not None]
            if finished or set(self._workers) - before:
                return finished
            time.sleep(POLL_S)
            self._look()

    def _outcome(self, address: str) -> Done | None:
        worker, future = self._tasks[address]
        if not future.done() and address in self._workers:
            return None
        del self._tasks[address]
        if future.status == "finished":
            return Done(worker, value=future.result())
        if future.status == "error" and not self._is_loss(future.exception()):
            return Done(worker, error=future.exception())
        future.cancel()
        return Done(worker, lost=True)

    @staticmethod
    def _is_loss(error: BaseException) -> bool:
        return isinstance(error, _distributed().KilledWorker)

    def _look(self) -> None:
        """Note which workers came and went."""
        if self._client.status != "running":
            raise MachineError(
                "the fleet's scheduler is gone; what was measured is kept, and the same command "
                "goes on when it is there again"
            )
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        for address in set(self._workers) - set(there):
            del self._workers[address]
        for address in there:
            if address not in self._workers:
                self._workers[address] = self._examined(address)

    def _examined(self, address: str) -> Worker | None:
        answer = self._client.run(self._examine, address, workers=[address])[address]
        if isinstance(answer, str):
            self._say(answer)
            return None
        return answer
