"""Where a set was measured: environment.json, without names of people, hosts or folders."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict

from benchlib import __version__, case
from benchlib.case import ONNX_PREFIX, Engine, Precision, file_name
from benchlib.engines.program import Program
from benchlib.sweep.gpu import Gpu
from benchlib.sweep.parameters import Parameters
from benchlib.sweep.roofs import Roofs

SCHEMA_VERSION = 1

GREEN_CONTEXT = "--greenContext"
"""trtexec's flag, from 11.4 on: ``sm:N[,cosched:M]``."""

PACKAGES = (
    "cuda-bindings",
    "matplotlib",
    "numpy",
    "nvidia-ml-py",
    "onnx",
    "onnxruntime",
    "pandas",
    "papermill",
    "pydantic",
    "tensorrt",
    "tensorrt-rtx",
    "timm",
    "torch",
    "torchvision",
)
"""Those that can change a number or its picture."""

_ROOT = Path(__file__).resolve().parents[2]


class Environment(BaseModel):
    """What environment.json holds. What a machine does not tell is None.

    ``parameters`` has those of each run into the set under its precision. ``roofs`` are those of
    ``device``, once they were measured. ``notes`` are sentences for the report, written by hand.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = SCHEMA_VERSION
    benchlib: str
    date: datetime
    engine: Engine
    engine_version: str
    device: str
    gpu: dict[str, str | bool | float | None] | None
    roofs: Roofs | None = None
    driver: str | None
    cuda: str | None
    tensorrt: str | None
    cpu: str | None
    cpu_cores: int | None
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]
    git_commit: str | None
    preset: str | None
    parameters: dict[Precision, dict[str, Any]]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def loads(text: str) -> Environment:
    """Read environment.json; raises ValueError for torn or foreign text."""
    return Environment.model_validate_json(text)


def describe(
    parameters: Parameters,
    program: Program,
    gpu: Gpu | None,
    earlier: Environment | None = None,
    names: Mapping[str, str] | None = None,
) -> Environment:
    """Where and how this run measures, beside the parameters of ``earlier`` runs into the set.

    Its notes are kept, and roofs that were measured on the same device. ``names`` is how rows
    name the models.
    """
    device = device_name(program, gpu, parameters.extra_flags)
    here = earlier if earlier is not None and earlier.device == device else None
    runs = dict(earlier.parameters) if earlier is not None else {}
    runs[parameters.precision] = public(parameters, names or {})
    card = None if program.on_cpu else gpu
    return Environment(
        benchlib=__version__,
        date=datetime.now(timezone.utc).replace(microsecond=0),
        engine=program.engine,
        engine_version=program.version,
        device=device,
        gpu=None if card is None else card.as_json(),
        roofs=None if here is None else here.roofs,
        driver=None if card is None else card.driver,
        cuda=None if card is None else card.cuda,
        tensorrt=None if program.on_cpu else program.version,
        cpu=cpu_model(),
        cpu_cores=usable_cores(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=packages(),
        git_commit=git_commit(),
        preset=parameters.preset,
        parameters=runs,
        notes=() if earlier is None else earlier.notes,
    )


def device_name(program: Program, gpu: Gpu | None, extra_flags: Sequence[str] = ()) -> str:
    """What a row calls the device: ``cpu``, the GPU's name, or its number without NVML.

    A green context among ``extra_flags`` gives the network a part of the card, which the name
    then says.
    """
    if program.on_cpu:
        return "cpu"
    name = program.device if gpu is None else gpu.name
    contexts = [
        f"green context {words}"
        for flag, _, words in (flag.partition("=") for flag in extra_flags)
        if flag == GREEN_CONTEXT
    ]
    return case.device_name(name, contexts)


def public(parameters: Parameters, names: Mapping[str, str]) -> dict[str, Any]:
    """The parameters without folders of this machine; models by their ``names``."""
    values = parameters.as_json()
    del values["out_dir"]
    values["models"] = [_public_name(model, names) for model in parameters.models]
    if parameters.calibration_dir is not None:
        values["calibration_dir"] = PurePath(parameters.calibration_dir).name
    return values


def _public_name(model: str, names: Mapping[str, str]) -> str:
    name = file_name(model)
    return names.get(model, model if name is None else f"{ONNX_PREFIX}{name}")


def packages() -> dict[str, str]:
    """Installed versions of :data:`PACKAGES`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_model() -> str | None:
    """The CPU's name, None where the system does not tell."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            field, _, value = line.partition(":")
            if field.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def usable_cores() -> int | None:
    """Cores this process may use: in a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def git_commit() -> str | None:
    """Commit of the checkout, with ``+changes`` when files differ; None outside of one."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changes else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
