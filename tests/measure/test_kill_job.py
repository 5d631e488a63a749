"""The main job as one sees it from a shell: killed as a whole and gone on with, or begun twice."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import psutil
import pytest
import yaml
from fake_trtexec import VARIABLE

from benchlib.measure import record
from benchlib.measure.record import Row
from benchlib.measure.runner import Outcome
from benchlib.stats.replication import Ending

Script = Callable[..., None]
Run = Callable[..., Outcome]

VALUES = {
    "resolutions": ["64x64", "96x96"],
    "duration_s": 0.5,
    "min_rounds": 2,
    "max_rounds": 2,
    "roofs": False,
}
CASES = 3 * 2
PATIENCE_S = 180


def network(path: Path) -> Path:
    """A file of one node for images of any size; its export costs nothing."""
    text = f"g (float[1,3,H,W] x) => (float[1,3,H,W] {path.stem}) {{ {path.stem} = Relu(x) }}"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}'), path)
    return path


def job(folder: Path, sleep_s: float, *more: str) -> subprocess.Popen[str]:
    """``benchlib run`` with the fake trtexec, whose phases take ``sleep_s`` seconds each."""
    models = [f"onnx:{network(folder.parent / f'{name}.onnx')}" for name in ("a", "b", "c")]
    preset = folder.parent / "job.yaml"
    preset.write_text(yaml.safe_dump({**VALUES, "models": models, "precisions": ["fp32"]}))
    command = [sys.executable, "-m", "benchlib", "run", "--preset", str(preset)]
    return subprocess.Popen(
        [*command, "--engine", "trtexec", "--no-report", "-o", str(folder), *more],
        env={**os.environ, VARIABLE: json.dumps({"all": {"sleep_s": sleep_s}})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def table(folder: Path) -> list[dict[str, str]]:
    """The table without what differs between two runs."""
    with (folder / "table.csv").open(newline="", encoding="utf-8") as lines:
        records = list(csv.DictReader(lines))
    for entry in records:
        del entry["started_at"]
    return records


def rows(folder: Path) -> list[Row]:
    return [record.read(path) for path in sorted(folder.glob("rows/*.json"))]


def opened_ns(folder: Path) -> int:
    """When the set was opened last, which gives it a fresh work folder; 0 for never."""
    try:
        return (folder / ".work").stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def wait_for(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_job_loses_nothing_and_goes_on(
    script: Script, installed: None, tmp_path: Path
) -> None:
    chance = random.Random(3)
    folder = tmp_path / "killed" / "set"
    folder.mkdir(parents=True)
    ever: dict[str, list[dict[str, Any]]] = {}
    for whole_tree in (True, False):
        since_ns = time.time_ns()
        process = job(folder, sleep_s=0.05)
        wait_for(
            lambda since_ns=since_ns: opened_ns(folder) > since_ns, "the job never began to measure"
        )
        # Preparing takes longer than the rest: some rounds stand before the blow.
        had = sum(map(len, ever.values()))
        wait_for(
            lambda had=had: sum(len(row.detail.runs) for row in rows(folder)) > had,
            "nothing was timed",
        )
        time.sleep(chance.uniform(0, 0.6))
        assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in children if whole_tree else ():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                child.kill()
        process.communicate()
        # The kernel, its recorder and programs end by themselves when the job is gone.
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
        assert not alive
        for row in rows(folder):
            before = ever.get(row.key, [])
            assert list(row.detail.runs[: len(before)]) == before
            ever[row.key] = list(row.detail.runs)
        assert len(table(folder)) <= len(ever)
    ended = sum(row.ended_by is not Ending.INTERRUPTED for row in rows(folder))
    assert ended < CASES
    process = job(folder, sleep_s=0)
    said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert not ended or f"{ended} of {CASES} cases stand already" in said[1]
    undisturbed = tmp_path / "undisturbed" / "set"
    undisturbed.mkdir(parents=True)
    job(undisturbed, sleep_s=0).communicate(timeout=PATIENCE_S)
    assert table(folder) == table(undisturbed)
    assert not list(folder.rglob("*.part"))
    for row in rows(folder):
        before = ever.get(row.key, [])
        assert list(row.detail.runs[: len(before)]) == before


def test_a_second_job_on_a_folder_is_refused_in_one_line(
    script: Script, installed: None, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    few = ("-p", "resolutions", "[64x64]")
    first = job(folder, 0, *few)
    wait_for((folder / ".job.lock").exists, "the first job never began")
    second = job(folder, 0, *few)
    _, words = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 2
    (line,) = words.strip().splitlines()
    assert line.startswith("benchlib: out_dir: another run is writing to set; wait for it")
    said = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, said
    assert len(table(folder)) == 3
