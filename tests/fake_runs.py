"""A program for the fake engine, its script, and a run with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchlib import config
from benchlib.case import Engine
from benchlib.gpu import nvml
from benchlib.measure import runner
from benchlib.measure.runner import Outcome, Progress
from benchlib.trtexec.command import Program
from benchlib.trtexec.standin.fake import VARIABLE

Script = Callable[..., None]
Run = Callable[..., Outcome]


@pytest.fixture
def fake() -> Program:
    """The fake engine as TensorRT 10.16.1 on a GPU that nobody can see."""
    command = (sys.executable, "-m", "benchlib.trtexec.standin.fake")
    return Program(Engine.FAKE, command, "10.16.1", "cuda:0")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Tell the fake engine what to do: ``script(all={...}, cases={...})``."""
    # Engines of one test are not to be found by the next.
    monkeypatch.setenv("BENCHLIB_CACHE", str(tmp_path / "cache"))

    def write(**parts: Any) -> None:
        monkeypatch.setenv(VARIABLE, json.dumps(parts))

    write()
    return write


@pytest.fixture
def fake_run(fake: Program, script: Script, tmp_path: Path) -> Run:
    """Run the fake engine into ``tmp_path/set``; parameters as keywords."""

    def start(
        program: Program = fake,
        progress: Progress | None = None,
        nvml_module: str = nvml.MODULE,
        **values: Any,
    ) -> Outcome:
        given = {
            "models": ["resnet18"],
            "engine": "fake",
            "duration_s": 0.5,
            "cool_down_s": 0,
            "out_dir": str(tmp_path / "set"),
            **values,
        }
        return runner.run(
            config.read_parameters(given), progress, program=program, nvml_module=nvml_module
        )

    return start
