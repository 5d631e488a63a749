"""The interpreter that runs the TensorRT stand-in, and what it was found to have.

TensorRT may be installed for another Python than the one benchlib runs under: then
``BENCHLIB_TENSORRT_PYTHON`` names it, as a command on PATH or with its whole path.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from benchlib.errors import InputError

VARIABLE = "BENCHLIB_TENSORRT_PYTHON"

_PROBE = Path(__file__).with_name("probe.py")
_PACKAGE = Path(__file__).parents[1]
_SITE_FOLDERS = ("site-packages", "dist-packages")
_LIMIT_S = 120
"""A first import of TensorRT from a cold or remote disk takes a while; a hang takes for ever."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU as the CUDA driver shows it, after CUDA_VISIBLE_DEVICES."""

    name: str
    capability: str


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and what it has; a missing thing is None, and ``*_reason`` says why.

    Versions are texts as the packages give them.
    """

    command: tuple[str, ...]
    python: str | None = None
    cuda_version: str | None = None
    devices: tuple[Device, ...] = ()
    cuda_reason: str | None = None
    tensorrt: str | None = None
    tensorrt_reason: str | None = None
    tensorrt_rtx: str | None = None
    cuda_bindings: str | None = None
    numpy: str | None = None

    @property
    def own(self) -> bool:
        """Whether it is the one that runs this."""
        return self.command == (sys.executable,)

    @property
    def wanting(self) -> tuple[str, ...]:
        """The packages the TensorRT stand-in needs and this interpreter lacks."""
        needs = {
            "tensorrt": self.tensorrt,
            "numpy": self.numpy,
            "cuda-bindings": self.cuda_bindings,
        }
        return tuple(name for name, version in needs.items() if version is None)


def command(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """How to start the interpreter; raises :class:`InputError` when the setting leads nowhere."""
    text = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
    if not text:
        return (sys.executable,)
    words = shlex.split(text)
    found = shutil.which(words[0])
    if found is None:
        raise InputError(VARIABLE, f"{words[0]!r} is no program; give a Python that has TensorRT")
    return (found, *words[1:])


@cache
def examine(python: tuple[str, ...]) -> Interpreter:
    """Look into an interpreter, in a process of its own; asked once per process of ours."""
    try:
        done = subprocess.run(
            [*python, str(_PROBE)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _unknown(python, f"{python[0]} could not be asked: {error}")
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return _unknown(python, f"{python[0]} ended with status {done.returncode} when asked")
    return _interpreter(python, json.loads(lines[-1]))


def environment(interpreter: Interpreter) -> tuple[tuple[str, str], ...]:
    """What another interpreter needs in its environment to find benchlib, and nothing else of ours.

    Where benchlib lies among other installed packages, those must not be seen: they are built
    for this Python. A folder that holds a link to benchlib alone is put on the path instead.
    """
    if interpreter.own:
        return ()
    root = _PACKAGE.parent
    if root.name in _SITE_FOLDERS:
        root = Path(platformdirs.user_cache_dir("benchlib")) / "standin"
        root.mkdir(parents=True, exist_ok=True)
        link = root / _PACKAGE.name
        if not link.exists() or link.resolve() != _PACKAGE.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(_PACKAGE, target_is_directory=True)
    return (("PYTHONPATH", str(root)),)


def _unknown(python: tuple[str, ...], reason: str) -> Interpreter:
    return Interpreter(python, cuda_reason=reason, tensorrt_reason=reason)


def _interpreter(python: tuple[str, ...], found: Mapping[str, Any]) -> Interpreter:
    return Interpreter(
        command=python,
        python=found["python"],
        cuda_version=found["cuda"]["version"],
        devices=tuple(Device(**device) for device in found["cuda"]["devices"]),
        cuda_reason=found["cuda"]["reason"],
        tensorrt=found["tensorrt"]["version"],
        tensorrt_reason=found["tensorrt"]["reason"],
        tensorrt_rtx=found["tensorrt_rtx"],
        cuda_bindings=found["cuda_bindings"],
        numpy=found["numpy"],
    )
