"""A run spread by real Dask over workers of this host, with the fake trtexec for their programs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster
from fake_runs import Run, Script

import benchlib
from benchlib import config
from benchlib.case import Failure, Status
from benchlib.errors import InputError, MachineError
from benchlib.export import cache
from benchlib.measure import fleet, record
from benchlib.measure.runner import Lines
from benchlib.stats.replication import Ending

PATIENCE_S = 120
"""Seconds that a busy machine may take to start a Python with Dask."""

MODELS = ["resnet18", "resnet34", "resnet50", "fast_scnn"]


@pytest.fixture
def started(
    installed: None, script: Script, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], SpecCluster]]:
    """Start a cluster of so many workers, each taken for a card of its own."""
    running: list[SpecCluster] = []

    def start(number: int) -> SpecCluster:
        specs = fleet.worker_specs([f"GPU-{index}" for index in range(number)])
        scheduler = {"host": "127.0.0.1", "dashboard": False}
        cluster = SpecCluster(
            workers=specs, scheduler={"cls": Scheduler, "options": scheduler}, silence_logs=50
        )
        running.append(cluster)
        return cluster

    yield start
    for cluster in running:
        cluster.close(timeout=5)


class Told(Lines):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def say(self, words: str) -> None:
        self.words.append(words)


def test_each_case_is_whole_on_one_of_two_workers(
    started: Callable[[int], SpecCluster], fake_run: Run, script: Script, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.2})
    address = started(2).scheduler_address
    outcome = fake_run(None, fleet=address, models=MODELS, **rounds(2))
    assert [row.status for row in outcome.rows] == [Status.OK] * 4
    assert {row.rounds for row in outcome.rows} == {2}
    # Both worked at once, and each row has the host that timed it.
    beside = [run["neighbours"] for row in outcome.rows for run in row.detail.runs]
    assert set(beside) <= {0, 1}
    assert 1 in beside
    assert all(row.host for row in outcome.rows)
    # And one at a time on a host when asked.
    alone = {"exclusive_host": True, "out_dir": str(tmp_path / "alone")}
    outcome = fake_run(None, fleet=address, models=MODELS[:2], **rounds(2), **alone)
    assert {run["neighbours"] for row in outcome.rows for run in row.detail.runs} == {0}


WORDS = {"build": "--saveEngine", "time": "--exportTimes"}
"""What only the command of a phase has."""


def programs(phase: str, client: int | None = None) -> Iterator[psutil.Process]:
    """The programs of ``phase`` that run below the process ``client``, or below this one."""
    for one in psutil.Process(client).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(WORDS[phase] in argument for argument in one.cmdline()):
                yield one


@contextmanager
def killer(phase: str, number: int) -> Iterator[None]:
    """Kill so many worker processes, one after another, that run a program of ``phase``."""
    stop = threading.Event()

    def kill() -> None:
        killed: set[int] = set()
        while len(killed) < number and not stop.wait(0.02):
            for one in programs(phase):
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker = one.parent()
                    if worker is not None and worker.pid not in killed | {os.getpid()}:
                        worker.kill()
                        killed.add(worker.pid)
                        break

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_killed_workers_case_goes_on_in_a_build_and_in_a_round(
    started: Callable[[int], SpecCluster], fake_run: Run, script: Script, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.5})
    cluster = started(2)
    with contextlib.ExitStack() as stack:

        class Killing(Told):
            def round(self, number: int, left: int) -> None:
                if number == 2:
                    stack.enter_context(killer("time", 1))

        told, address = Killing(), cluster.scheduler_address
        with killer("build", 1):
            outcome = fake_run(None, told, fleet=address, models=MODELS[:2], **rounds(1))
        assert [row.status for row in outcome.rows] == [Status.OK] * 2
        assert sum("was lost over" in words for words in told.words) == 1, told.words
        told.words.clear()
        more = {**rounds(3), "out_dir": str(tmp_path / "rounds")}
        outcome = fake_run(None, told, fleet=address, models=MODELS[:2], **more)
    assert [(row.status, row.rounds) for row in outcome.rows] == [(Status.OK, 3)] * 2
    assert sum("was lost over" in words for words in told.words) == 1, told.words
    # Its next round waits for the worker that comes after it on its card: the engine is where it
    # was, and the rounds before count.
    assert not any("anew" in words for words in told.words), told.words
    assert [run["process"] for row in outcome.rows for run in row.detail.runs] == [0, 1, 2] * 2


def test_a_case_whose_card_is_gone_begins_its_rounds_anew_on_another(
    started: Callable[[int], SpecCluster],
    fake_run: Run,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "RETURN_S", 0)
    script(all={"sleep_s": 0.2})
    cluster = started(2)

    class Removing(Told):
        def round(self, number: int, left: int) -> None:
            if number == 2:
                del cluster.worker_spec["GPU-0"]
                cluster.sync(cluster._correct_state)

    told = Removing()
    outcome = fake_run(None, told, fleet=cluster.scheduler_address, models=MODELS, **rounds(3))
    assert {(row.status, row.rounds) for row in outcome.rows} == {(Status.OK, 3)}
    anew = [words for words in told.words if "begins its rounds anew on GPU-1" in words]
    assert 1 <= len(anew) < 4, told.words


def test_a_case_that_ends_every_worker_fails(
    started: Callable[[int], SpecCluster], fake_run: Run, script: Script
) -> None:
    script(all={"sleep_s": 1})
    cluster = started(1)
    with killer("build", 3):
        outcome = fake_run(None, fleet=cluster.scheduler_address)
    (row,) = outcome.rows
    assert (row.status, row.failure) == (Status.FAILED, Failure.CRASH)
    assert "lost 3 times" in row.message


def test_graphs_are_sent_once_to_another_host(
    started: Callable[..., SpecCluster],
    fake_run: Run,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("BENCHLIB_CACHE", str(elsewhere))
    cluster = started(1)
    name = socket.gethostname()
    monkeypatch.setattr(fleet.socket, "gethostname", lambda: "this client")
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))
    sent: list[str] = []
    scatter = Client.scatter

    def counted(self: Client, data: list[dict[str, bytes]], **given: Any) -> Any:
        sent.extend(data[0])
        return scatter(self, data, **given)

    monkeypatch.setattr(Client, "scatter", counted)
    outcome = fake_run(None, fleet=cluster.scheduler_address, models=MODELS[:2], **rounds(2))
    assert [(row.status, row.rounds, row.host) for row in outcome.rows] == [
        (Status.OK, 2, name)
    ] * 2
    kept = {
        folder.name: [cache.content(file) for file in folder.glob("*.onnx")]
        for folder in (elsewhere / "sent").iterdir()
    }
    assert kept == {row.detail.graph.sha256: [row.detail.graph.sha256] for row in outcome.rows}
    assert len(sent) == 2  # Not again for the rounds


def rounds(number: int) -> dict[str, int]:
    return {"min_rounds": number, "max_rounds": number}


CLIENT = """
import json, logging, sys
sys.path.insert(0, sys.argv[2])
from placeholders import Placeholders
from benchlib import config
from benchlib.gpu import nvml
from benchlib.measure import runner
logging.basicConfig(level=logging.INFO, format="%(message)s")
nvml.visible_uuids = lambda *given: ["GPU-0", "GPU-1"]
runner._exporter = lambda given, work: Placeholders(work / "graphs", given.seed)
if __name__ == "__main__":
    outcome = runner.run(config.read_parameters(json.loads(sys.argv[1])))
    sys.exit(len(outcome.rows))
"""


@contextmanager
def client(folder: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    """A run of ``--fleet local`` with two cards as a program in a group of its own."""
    file = folder / "client.py"
    file.write_text(CLIENT)
    values = {
        "models": MODELS[:2],
        "engine": "trtexec",
        "roofs": False,
        "duration_s": 0.5,
        "fleet": "local",
        "out_dir": str(folder / "set"),
        **rounds(number),
    }
    argv = [sys.executable, file, json.dumps(values), str(Path(__file__).parent.parent)]
    process = subprocess.Popen(
        list(map(str, argv)), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(holds: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_nothing_is_left_of_a_killed_client_and_the_next_goes_on(
    installed: None, script: Script, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.5})
    samples = tmp_path / "set" / "samples"
    with client(tmp_path, 4) as killed:
        wait_until(lambda: samples.is_dir() and len(list(samples.iterdir())) == 2)
        wait_until(lambda: list(programs("time", killed.pid)))
        below = psutil.Process(killed.pid).children(recursive=True)
        assert len(below) >= 3  # two workers and a program
        killed.kill()
        _, alive = psutil.wait_procs(below, timeout=PATIENCE_S)
        assert not alive
    with client(tmp_path, 4) as stopped:
        # Once Ctrl-C, to the whole group as a terminal sends it
        wait_until(lambda: list(programs("time", stopped.pid)))
        os.killpg(stopped.pid, signal.SIGINT)
        _, words = stopped.communicate(timeout=PATIENCE_S)
    assert stopped.returncode == 2
    assert "the running process is finished first" in words
    assert "lost" not in words
    assert "anew" not in words
    assert "distributed" not in words  # Dask's own lines
    with client(tmp_path, 4) as last:
        _, words = last.communicate(timeout=PATIENCE_S)
    assert last.returncode == 2
    assert "anew" not in words
    for file in (tmp_path / "set" / "rows").iterdir():
        row = record.read(file)
        assert (row.rounds, row.ended_by) == (4, Ending.SURE)
        assert [run["process"] for run in row.detail.runs] == [0, 1, 2, 3]


def test_a_worker_that_joins_late_gets_work_and_one_that_cannot_be_used_is_refused(
    started: Callable[..., SpecCluster], script: Script
) -> None:
    told = Told()
    older = "import benchlib; benchlib.__version__ = '0.0.9'"
    cluster = started(1)
    with Client(cluster.scheduler_address) as client:
        workers = fleet.Fleet(client, config.read_parameters({}), "pynvml", told.say)
        assert len(workers.idle()) == 1
        more = fleet.worker_specs(["GPU-late"])
        more |= fleet.worker_specs(["GPU-old"], preload=[older])
        more |= fleet.worker_specs(["GPU-bare"], resources={})
        cluster.worker_spec.update(more)
        cluster.sync(cluster._correct_state)
        wait_until(lambda: len(workers.idle()) == 2 and len(told.words) == 2)
        assert {card for _, card in workers.cards()} == {"GPU-0", "GPU-late"}
        assert len(workers.hosts()) == 2
    words = sorted(one.partition(" is not used: ")[2] for one in told.words)
    assert words == [
        f"benchlib 0.0.9, not {benchlib.__version__}",
        "it has no GPU; start it with --nthreads 1 --resources GPU=1",
    ]


def test_of_two_workers_of_a_card_one_is_used_until_it_is_gone(
    started: Callable[..., SpecCluster], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_NVML", json.dumps({"cards": ["GPU-0"]}))
    told = Told()
    cluster = started(1)
    with Client(cluster.scheduler_address) as client:
        workers = fleet.Fleet(client, config.read_parameters({}), "scripted_nvml", told.say)
        (first,) = workers.idle()
        twin = fleet.worker_specs(["GPU-0"], name="twin")["GPU-0"]
        cluster.worker_spec.update(twin=twin)
        cluster.sync(cluster._correct_state)
        wait_until(lambda: workers.idle() and told.words)
        assert told.words == [f"{first} has two workers; one of them is used"]
        assert workers.idle() == [first]
        del cluster.worker_spec["GPU-0"]
        cluster.sync(cluster._correct_state)
        wait_until(lambda: [one.card for one in workers.idle() if one != first] == [first.card])


def test_a_run_goes_on_with_another_scheduler_when_the_first_is_killed(
    fake_run: Run, installed: None, script: Script, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.3})
    wanted = {"models": MODELS[:2], **rounds(5)}
    with scheduler(tmp_path) as (first, process), working_for(first) as worker:

        class Killing(Told):
            def round(self, number: int, left: int) -> None:
                if number == 3:
                    process.kill()

        with pytest.raises(MachineError, match="scheduler is gone"):
            fake_run(None, Killing(), fleet=first, **wanted)
        assert worker.wait(PATIENCE_S) is not None  # it ends with its scheduler
    kept = sorted((tmp_path / "set" / "samples").iterdir())
    assert len(kept) == 2
    with scheduler(tmp_path) as (second, _), working_for(second):
        again = fake_run(None, fleet=second, **wanted)
    assert [(row.status, row.rounds, row.ended_by) for row in again.rows] == [
        (Status.OK, 5, Ending.SURE)
    ] * 2


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Dask scheduler as a program; its address, and its process."""
    file = folder / f"scheduler-{time.monotonic_ns()}.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file)
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *map(str, options)],
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE_S
        while not file.is_file() and time.monotonic() < until:
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], process
    finally:
        process.kill()
        process.wait()


@contextmanager
def working_for(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """``benchlib fleet worker`` as a program."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchlib", "fleet", "worker", address], stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("here", "give local"),
        ("tcp://127.0.0.1:9", "no scheduler answers"),
        ("missing.yaml", "No such file"),
        ("no-class.yaml", "give class"),
        ("unknown.yaml", "no_such_module"),
    ],
)
def test_a_fleet_that_is_none_is_refused_in_a_line(
    where: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet, "CONNECT_S", 1)
    Path("no-class.yaml").write_text("arguments: {}\n")
    Path("unknown.yaml").write_text("class: no_such_module.Cluster\n")
    parameters = config.read_parameters({})
    with (
        pytest.raises(InputError, match=problem),
        fleet.connected(where, parameters, "pynvml", print),
    ):
        pass


def test_a_file_names_a_cluster_class(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "class: distributed.LocalCluster\n"
        "arguments: {n_workers: 0, threads_per_worker: 1, dashboard_address: null}\nworkers: 2\n"
    )
    with fleet.cluster(str(file)) as address, Client(address) as client:
        client.wait_for_workers(2, timeout=PATIENCE_S)


def test_slurm_is_asked_for_one_gpu_and_the_worker_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = tmp_path / "submitted.sh"
    for name, does in {
        "sbatch": f'cp "$1" {submitted}.part && mv {submitted}.part {submitted}'
        " && echo Submitted batch job 1",
        "scancel": "true",
    }.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    file = tmp_path / "slurm.yaml"
    file.write_text(
        "class: dask_jobqueue.SLURMCluster\n"
        "arguments:\n"
        "  {cores: 1, memory: 4GB, job_extra_directives: [--gres=gpu:1],\n"
        "   worker_extra_args: [--resources, GPU=1], interface: lo}\n"
        "workers: 1\n"
    )
    with fleet.cluster(str(file)) as address:
        wait_until(submitted.is_file)
        lines = submitted.read_text().splitlines()
    assert "#SBATCH --gres=gpu:1" in lines
    (command,) = [line for line in lines if "dask_worker" in line or "dask worker" in line]
    words = command.split()
    assert address in words
    assert words[words.index("--nthreads") + 1] == "1"
    assert words[words.index("--resources") + 1] == f"{fleet.RESOURCE}=1"


def test_one_worker_per_card_sees_that_card_only() -> None:
    specs = fleet.worker_specs(["GPU-a", "GPU-b"])
    assert [one["cls"] for one in specs.values()] == [Nanny, Nanny]
    assert {name: one["options"]["env"] for name, one in specs.items()} == {
        "GPU-a": {"CUDA_VISIBLE_DEVICES": "GPU-a"},
        "GPU-b": {"CUDA_VISIBLE_DEVICES": "GPU-b"},
    }
