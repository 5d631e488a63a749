"""kill -9 at random moments, then resume: nothing lost, nothing twice, nothing torn."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import fake_trtexec
import psutil
import pytest
from placeholders import Placeholders

from benchlib import config
from benchlib.case import Engine, Status
from benchlib.measure import record, runner, store
from benchlib.measure.record import COLUMNS, Row
from benchlib.stats.replication import Ending
from benchlib.trtexec.command import Program

KILLS = 20
CASES = 3 * 2 * 2
TIMES = ("started_at",)
"""What differs between two runs of the fake trtexec: it tells the same times on every call."""

PROCESSES = multiprocessing.get_context("forkserver")
# A run begins at once: what it imports is imported once for all of them.
PROCESSES.set_forkserver_preload(["pytest", "psutil", "benchlib.measure.runner", "placeholders"])


def start(folder: Path, cache: Path) -> BaseProcess:
    """A run of :data:`CASES` cases, of which one always fails."""
    values = {
        "models": ["resnet18", "resnet34", "fast_scnn"],
        "resolutions": ["640x480", "1024x768"],
        "batch_sizes": [1, 2],
        "min_rounds": 3,
        "max_rounds": 3,
        "engine": "trtexec",
        "roofs": False,
        "duration_s": 0.5,
        "time_limit_time_s": 20,
        "out_dir": str(folder),
    }
    script = {
        "all": {"sleep_s": 0.03},
        "cases": {"resnet34-fp32-b1-640x480": {"time": "segfault"}},
    }
    environ = os.environ | {"BENCHLIB_CACHE": str(cache), "BENCHLIB_FAKE": json.dumps(script)}
    process = PROCESSES.Process(target=run, args=(values, dict(environ)))
    process.start()
    return process


def run(values: dict[str, Any], environ: dict[str, str]) -> None:
    """The run, in a process of its own; its exit status is how many cases failed."""
    os.setsid()
    os.environ.update(environ)
    runner._exporter = lambda given, work: Placeholders(work / "graphs", given.seed)
    command = (sys.executable, fake_trtexec.__file__)
    program = Program(Engine.TRTEXEC, command, "10.16.1", "cuda:0")
    outcome = runner.run(config.read_parameters(values), program=program)
    sys.exit(outcome.count(Status.FAILED))


def ended(process: BaseProcess, patience_s: float) -> int | None:
    process.join(patience_s)
    return process.exitcode


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="", encoding="utf-8") as lines:
        records = list(csv.DictReader(lines))
    return [
        {name: value for name, value in record.items() if name not in TIMES} for record in records
    ]


def wait_until(process: BaseProcess, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline and not holds():
        time.sleep(0.005)


def opened_since(folder: Path, since_ns: int) -> bool:
    """Whether the run has opened the set, which gives it a fresh work folder."""
    try:
        return (folder / ".work").stat().st_ctime_ns > since_ns
    except FileNotFoundError:
        return False


def timed(folder: Path) -> int:
    """Timing processes that stand in rows."""
    return sum(len(record.read(path).detail.runs or ()) for path in folder.glob("rows/*.json"))


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(20)
    folder = tmp_path / "killed"
    ever: dict[str, str] = {}
    had: dict[str, Row] = {}
    killed = 0
    for round_number in range(KILLS):
        since_ns = time.time_ns()
        process = start(folder, tmp_path / "cache-b")
        if round_number % 5:
            wait_until(process, lambda since_ns=since_ns: opened_since(folder, since_ns))
            # First while the cases are prepared, then in the rounds
            if round_number > KILLS // 2:
                stood = timed(folder)
                wait_until(process, lambda stood=stood: timed(folder) > stood)
            # A process takes about a fifth of a second here, so a kill falls anywhere in it.
            time.sleep(chance.uniform(0, 0.4))
        else:
            time.sleep(chance.uniform(0, 1))
        process.kill()
        killed += ended(process, 20) == -signal.SIGKILL
        for path in folder.glob("rows/*.json"):
            text = path.read_text(encoding="utf-8")
            row = record.load_row(text)
            if row.status is not Status.OK:
                continue
            if row.ended_by is not Ending.INTERRUPTED:
                # A row that ended stays, byte for byte.
                assert ever.setdefault(row.key, text) == text
            # And no round that stood is lost.
            if row.key in had:
                runs = had[row.key].detail.runs
                assert row.detail.runs[: len(runs)] == runs
            assert len(store.load_samples(folder / f"samples/{row.key}.parquet")) >= row.rounds
            had[row.key] = row
        if (folder / "table.csv").exists():
            keys = [record["key"] for record in table(folder)]
            assert keys == sorted(set(keys))
        deadline = time.monotonic() + 60
        while running(folder):
            assert time.monotonic() < deadline, "a program outlived its killed run"
            time.sleep(0.05)
    assert killed >= KILLS - 2
    assert len(had) > 0
    assert ended(start(folder, tmp_path / "cache-b"), 120) == 1
    assert ended(start(tmp_path / "undisturbed", tmp_path / "cache-a"), 120) == 1
    assert table(folder) == table(tmp_path / "undisturbed")
    assert len(table(folder)) == CASES
    assert set(COLUMNS) - set(TIMES) == set(table(folder)[0])
    assert not list(folder.rglob("*.part"))
    assert not (folder / ".work").exists()


def running(folder: Path) -> bool:
    """Whether any program works on the set."""
    return any(str(folder) in _line(one.info) for one in psutil.process_iter(["cmdline"]))


def _line(info: dict[str, list[str] | None]) -> str:
    return " ".join(info["cmdline"] or ())
