"""The fake trtexec as a program, its script, and a run with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_trtexec
import pytest
from fake_trtexec import VARIABLE
from placeholders import Placeholders

from benchlib import config
from benchlib.case import Engine
from benchlib.config import Parameters
from benchlib.gpu import nvml
from benchlib.measure import runner
from benchlib.measure.runner import Lines, Outcome
from benchlib.trtexec.command import Program

Script = Callable[..., None]
Run = Callable[..., Outcome]


@pytest.fixture
def fake() -> Program:
    """The fake trtexec as TensorRT 10.16.1 on a GPU that nobody can see."""
    command = (sys.executable, fake_trtexec.__file__)
    return Program(Engine.TRTEXEC, command, "10.16.1", "cuda:0")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let benchlib, here and in processes begun here, find the fake as this machine's trtexec."""
    for name, value in fake_trtexec.install(tmp_path / "programs").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Tell the fake what to do: ``script(all={...}, cases={...})``."""
    # Engines of one test are not to be found by the next.
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))

    def write(**parts: Any) -> None:
        monkeypatch.setenv(VARIABLE, json.dumps(parts))

    write()
    return write


@pytest.fixture
def fake_run(fake: Program, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the fake trtexec, with placeholders for graphs, into ``tmp_path/set``.

    Parameters as keywords.
    """

    def exporter(given: Parameters, work: Path) -> Placeholders:
        return Placeholders(work / "graphs", given.seed)

    monkeypatch.setattr(runner, "_exporter", exporter)

    def start(
        program: Program = fake,
        progress: Lines | None = None,
        nvml_module: str = nvml.MODULE,
        **values: Any,
    ) -> Outcome:
        given = {
            "models": ["resnet18"],
            "engine": "trtexec",
            "roofs": False,
            "duration_s": 0.5,
            # One process a case, where rounds are not what is tested
            "min_rounds": 1,
            "max_rounds": 1,
            "out_dir": str(tmp_path / "set"),
            **values,
        }
        return runner.run(
            config.read_parameters(given), progress, program=program, nvml_module=nvml_module
        )

    return start
