"""kill -9 at random moments, then resume: nothing lost, nothing twice, nothing torn."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchlib.case import Status
from benchlib.sweep import schema
from benchlib.sweep.row import COLUMNS

KILLS = 20
TIMES = ("started_at",)
"""What differs between two runs of the fake engine: it tells the same times on every call."""

RUN = """
import json, sys
from benchlib.case import Engine
from benchlib.engines.program import Program
from benchlib.sweep import parameters, run
from benchlib.sweep.progress import Lines
command = (sys.executable, "-m", "benchlib.engines.fake")
program = Program(Engine.FAKE, command, "10.16.1", "cuda:0")
given = parameters.read(json.loads(sys.argv[1]))
sys.exit(run.run(given, Lines(), program=program).exit_status)
"""


def start(folder: Path, cache: Path) -> subprocess.Popen[bytes]:
    """A run of six cases, one of which always fails."""
    values = {
        "models": ["resnet18", "resnet34", "fast_scnn"],
        "resolutions": ["640x480", "1024x768"],
        "engine": "fake",
        "duration_s": 0.5,
        "time_limit_time_s": 20,
        "out_dir": str(folder),
    }
    script = {
        "all": {"sleep_s": 0.02},
        "cases": {"resnet34-fp32-b1-640x480": {"time": "segfault"}},
    }
    return subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(values)],
        env={**os.environ, "BENCHLIB_CACHE": str(cache), "BENCHLIB_FAKE": json.dumps(script)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="", encoding="utf-8") as lines:
        records = list(csv.DictReader(lines))
    return [
        {name: value for name, value in record.items() if name not in TIMES} for record in records
    ]


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    undisturbed = start(tmp_path / "undisturbed", tmp_path / "cache-a")
    begun = time.monotonic()
    assert undisturbed.wait(60) == 1
    whole_s = time.monotonic() - begun

    chance = random.Random(20)
    folder = tmp_path / "killed"
    ever: dict[str, str] = {}
    killed = 0
    for _ in range(KILLS):
        process = start(folder, tmp_path / "cache-b")
        try:
            # From the imports to past the end: rows appear in the last two thirds.
            process.wait(chance.uniform(0.2, 1.0) * whole_s)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        assert process.wait(20) in (1, -signal.SIGKILL)
        for path in folder.glob("rows/*.json"):
            text = path.read_text(encoding="utf-8")
            row = schema.loads(text)
            if row.status is Status.OK:
                # A row that stood stays, byte for byte.
                assert ever.setdefault(row.key, text) == text
        if (folder / "table.csv").exists():
            keys = [record["key"] for record in table(folder)]
            assert keys == sorted(set(keys))
        assert not [
            one for one in psutil.process_iter(["cmdline"]) if str(folder) in _line(one.info)
        ]
    assert killed >= KILLS // 2
    resumed = start(folder, tmp_path / "cache-b")
    assert resumed.wait(60) == 1
    assert table(folder) == table(tmp_path / "undisturbed")
    assert len(table(folder)) == 6
    assert set(COLUMNS) - set(TIMES) == set(table(folder)[0])
    assert not list(folder.rglob("*.part"))
    assert not (folder / ".work").exists()


def _line(info: dict[str, list[str] | None]) -> str:
    return " ".join(info["cmdline"] or ())
