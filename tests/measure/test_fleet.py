"""A run spread by real Dask over workers of this host, with the fake trtexec for their programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster
from fake_runs import Run, Script

import benchlib
from benchlib import config
from benchlib.case import Status
from benchlib.errors import InputError, MachineError
from benchlib.measure import fleet
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
    started: Callable[[int], SpecCluster], fake_run: Run, script: Script
) -> None:
    script(all={"sleep_s": 0.2})
    address = started(2).scheduler_address
    outcome = fake_run(None, fleet=address, models=MODELS, min_rounds=2, max_rounds=2)
    assert [row.status for row in outcome.rows] == [Status.OK] * 4
    assert {row.rounds for row in outcome.rows} == {2}
    # Both worked at once, and each row has the host that timed it.
    beside = [run["neighbours"] for row in outcome.rows for run in row.detail.runs]
    assert set(beside) <= {0, 1}
    assert 1 in beside
    assert all(row.host for row in outcome.rows)


def test_one_at_a_time_on_a_host_when_asked(
    started: Callable[[int], SpecCluster], fake_run: Run, script: Script
) -> None:
    script(all={"sleep_s": 0.1})
    outcome = fake_run(None, fleet=started(2).scheduler_address, models=MODELS, exclusive_host=True)
    assert {run["neighbours"] for row in outcome.rows for run in row.detail.runs} == {0}


@pytest.mark.parametrize("phase", ["build", "time"])
def test_the_case_of_a_killed_worker_goes_on_elsewhere(
    started: Callable[[int], SpecCluster], fake_run: Run, script: Script, phase: str
) -> None:
    script(all={"sleep_s": 0.5})
    cluster, told = started(2), Told()
    victims: list[int] = []

    def kill_when_busy() -> None:
        # A worker process, by the program of the phase that it runs
        word = "--saveEngine" if phase == "build" else "--exportTimes"
        while not victims:
            for one in psutil.Process().children(recursive=True):
                try:
                    if any(word in argument for argument in one.cmdline()):
                        victims.append(one.ppid())
                        os.kill(victims[0], signal.SIGKILL)
                        return
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.02)

    killer = threading.Thread(target=kill_when_busy)
    killer.start()
    outcome = fake_run(None, told, fleet=cluster.scheduler_address, models=MODELS)
    killer.join()
    assert [row.status for row in outcome.rows] == [Status.OK] * 4
    assert any("was lost over" in words for words in told.words), told.words


def test_a_worker_that_joins_late_gets_work(
    started: Callable[[int], SpecCluster], script: Script
) -> None:
    cluster = started(1)
    with Client(cluster.scheduler_address) as client:
        workers = fleet.Fleet(client, config.read_parameters({}), "pynvml", print)
        assert len(workers.idle()) == 1
        cluster.worker_spec.update(fleet.worker_specs(["GPU-late"]))
        cluster.sync(cluster._correct_state)
        until = time.monotonic() + PATIENCE_S
        while len(workers.idle()) != 2 and time.monotonic() < until:
            time.sleep(0.1)
        assert {card for _, card in workers.cards()} == {"GPU-0", "GPU-late"}
        assert len(workers.hosts()) == 2


def test_a_worker_that_cannot_be_used_is_refused_with_the_reason(
    started: Callable[..., SpecCluster], script: Script
) -> None:
    told = Told()
    older = "import benchlib; benchlib.__version__ = '0.0.9'"
    cluster = started(1)
    with Client(cluster.scheduler_address) as client:
        workers = fleet.Fleet(client, config.read_parameters({}), "pynvml", told.say)
        (first,) = workers.idle()
        more = fleet.worker_specs(["GPU-old"], preload=[older])
        more |= fleet.worker_specs(["GPU-bare"], resources={})
        cluster.worker_spec.update(more)
        cluster.sync(cluster._correct_state)
        until = time.monotonic() + PATIENCE_S
        while len(told.words) < 2 and time.monotonic() < until:
            assert workers.idle() == [first]
            time.sleep(0.1)
        assert workers.cards() == {first.card}
    words = sorted(one.partition(" is not used: ")[2] for one in told.words)
    assert words == [
        f"benchlib 0.0.9, not {benchlib.__version__}",
        "it has no GPU; start it with --nthreads 1 --resources GPU=1",
    ]


def test_a_run_goes_on_with_another_scheduler_when_the_first_is_killed(
    fake_run: Run, installed: None, script: Script, tmp_path: Path
) -> None:
    script(all={"sleep_s": 0.3})
    rounds = {"models": MODELS, "min_rounds": 6, "max_rounds": 6}
    with scheduler(tmp_path) as (first, process), working_for(first) as worker:

        class Killing(Told):
            def round(self, number: int, left: int) -> None:
                if number == 3:
                    process.kill()

        with pytest.raises(MachineError, match="scheduler is gone"):
            fake_run(None, Killing(), fleet=first, **rounds)
        assert worker.wait(PATIENCE_S) is not None  # it ends with its scheduler
    kept = sorted((tmp_path / "set" / "samples").iterdir())
    assert len(kept) == 4
    with scheduler(tmp_path) as (second, _), working_for(second):
        again = fake_run(None, fleet=second, **rounds)
    assert [(row.status, row.rounds, row.ended_by) for row in again.rows] == [
        (Status.OK, 6, Ending.SURE)
    ] * 4


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


def test_one_worker_per_card_sees_that_card_only() -> None:
    specs = fleet.worker_specs(["GPU-a", "GPU-b"])
    assert [one["cls"] for one in specs.values()] == [Nanny, Nanny]
    assert {name: one["options"]["env"] for name, one in specs.items()} == {
        "GPU-a": {"CUDA_VISIBLE_DEVICES": "GPU-a"},
        "GPU-b": {"CUDA_VISIBLE_DEVICES": "GPU-b"},
    }
