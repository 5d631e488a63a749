"""What this machine has for measuring, what will be used and why, and what is missing."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchlib.case import Engine
from benchlib.errors import InputError
from benchlib.gpu import nvml
from benchlib.gpu.nvml import Gpu, Gpus
from benchlib.trtexec import locate
from benchlib.trtexec.locate import Choice, Interpreter


@dataclass(frozen=True, slots=True)
class Trtexec:
    """NVIDIA's program: where and which, or why not."""

    path: str | None = None
    version: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A thing that is not here, what it would be good for, and the one command that gets it.

    ``command`` is None where no command helps.
    """

    what: str
    use: str
    command: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found. ``clocks_lockable`` is None when only trying would tell."""

    gpus: Gpus
    clocks_lockable: bool | None
    clocks_reason: str
    trtexec: Trtexec
    tensorrt_python: Interpreter | None
    onnxruntime: str | None
    choice: Choice | None
    problems: tuple[str, ...]
    missing: tuple[Missing, ...]

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        python = self.tensorrt_python
        program = None if self.choice is None else self.choice.program
        return {
            "driver": self.gpus.driver,
            "gpus": [_gpu_json(device) for device in self.gpus.devices],
            "gpu_reason": self.gpus.reason,
            "clocks_lockable": self.clocks_lockable,
            "clocks_reason": self.clocks_reason,
            "cuda": None if python is None else python.cuda_version,
            "cuda_reason": None if python is None else python.cuda_reason,
            "trtexec": asdict(self.trtexec),
            "tensorrt": {
                "version": None if python is None else python.tensorrt,
                "reason": None if python is None else python.tensorrt_reason,
                "interpreter": None if python is None else " ".join(python.command),
                "python": None if python is None else python.python,
                "cuda_bindings": None if python is None else python.cuda_bindings,
            },
            "tensorrt_rtx": None if python is None else python.tensorrt_rtx,
            "onnxruntime": self.onnxruntime,
            "engine": None if program is None else program.engine.value,
            "engine_version": None if program is None else program.version,
            "engine_command": None if program is None else list(program.command),
            "engine_device": None if program is None else program.device,
            "engine_reason": None if self.choice is None else self.choice.reason,
            "problems": list(self.problems),
            "missing": [asdict(thing) for thing in self.missing],
        }

    def lines(self) -> Iterator[str]:
        """The report for people, one fact per line."""
        python = self.tensorrt_python
        if self.gpus.driver is not None:
            yield _line("Driver", self.gpus.driver)
        for device in self.gpus.devices:
            yield _line("GPU", _described(device))
        if self.gpus.reason is not None:
            yield _line("GPU", f"none: {self.gpus.reason}")
        lockable = {True: "yes", False: "no", None: "perhaps"}[self.clocks_lockable]
        yield _line("Clock lock", f"{lockable}: {self.clocks_reason}")
        if python is not None:
            yield _line("CUDA", python.cuda_version or f"none: {python.cuda_reason}")
        yield _line(
            "trtexec", _versioned(self.trtexec.version, self.trtexec.path, self.trtexec.reason)
        )
        if python is not None:
            where = f"Python {python.python}" + ("" if python.own else f", {python.command[0]}")
            yield _line("TensorRT", _versioned(python.tensorrt, where, python.tensorrt_reason))
            yield _line("TensorRT-RTX", python.tensorrt_rtx or "none: it can only build, not time")
        yield _line("ONNX Runtime", self.onnxruntime or "none: no wheel called onnxruntime")
        for problem in self.problems:
            yield _line("Problem", problem)
        if self.choice is None:
            yield _line("Will be used", "nothing: no program that measures is here")
        else:
            program = self.choice.program
            yield _line(
                "Will be used",
                f"{program.engine} {program.version} on {program.device}: {self.choice.reason}",
            )
        for thing in self.missing:
            yield _line("Missing", f"{thing.what}: {thing.use}")
            if thing.command is not None:
                yield _line("", f"get it: {thing.command}")


def examine() -> Report:
    """Look at this machine; nothing is changed, and nothing that is missing is an error."""
    problems: list[str] = []
    gpus = nvml.examine_gpus()
    lockable, clocks_reason = nvml.clocks_lockable(gpus)
    python: Interpreter | None = None
    choice: Choice | None = None
    try:
        python = locate.examine_interpreter(locate.interpreter_command())
        choice = locate.choose()
    except InputError as error:
        problems.append(str(error))
    trtexec = _trtexec()
    onnxruntime = locate.onnxruntime_version()
    return Report(
        gpus=gpus,
        clocks_lockable=lockable,
        clocks_reason=clocks_reason,
        trtexec=trtexec,
        tensorrt_python=python,
        onnxruntime=onnxruntime,
        choice=choice,
        problems=tuple(problems),
        missing=tuple(_missing(gpus, trtexec, python, onnxruntime)),
    )


def _trtexec() -> Trtexec:
    try:
        path = locate.trtexec_path()
        if path is None:
            return Trtexec(reason="not in TRTEXEC, on PATH or in the usual places")
        return Trtexec(str(path), locate.trtexec_version(path))
    except InputError as error:
        return Trtexec(reason=error.problem)


def _missing(
    gpus: Gpus, trtexec: Trtexec, python: Interpreter | None, onnxruntime: str | None
) -> Iterator[Missing]:
    if onnxruntime is None:
        yield Missing("ONNX Runtime", "measures on the CPU", "python -m pip install onnxruntime")
    seen = bool(gpus.devices) or (python is not None and bool(python.devices))
    if not seen and platform.system() == "Linux" and nvml.gpu_on_bus():
        command = "sudo ubuntu-drivers install"
        yield Missing("the NVIDIA driver", "without it the GPU is of no use", command)
    elif not seen:
        yield Missing("an NVIDIA GPU", "TensorRT measures on nothing else", None)
    then = "" if seen else ", once there is a GPU"
    if python is not None and python.wanting:
        started = "python" if python.own else " ".join(python.command)
        yield Missing(
            what=" and ".join(python.wanting),
            use=f"for {Engine.TENSORRT_PYTHON}, which measures as trtexec does{then}",
            command=f"{started} -m pip install {' '.join(python.wanting)}",
        )
    if trtexec.version is None:
        yield Missing(
            what="trtexec",
            use=f"NVIDIA's own program, which is in no wheel{then}",
            command="sudo apt-get install libnvinfer-bin",
        )


def _gpu_json(device: Gpu) -> dict[str, Any]:
    return {
        "name": device.name,
        "capability": device.compute_capability,
        "memory_mib": None if device.memory_mb is None else int(device.memory_mb * 1e6) // 2**20,
        "max_sm_clock_mhz": device.max_sm_clock_mhz,
        "power_limit_w": device.power_limit_w,
        "clock_steps": device.clock_steps,
    }


def _described(device: Gpu) -> str:
    facts = [device.name]
    if device.compute_capability is not None:
        facts.append(f"compute capability {device.compute_capability}")
    if device.memory_mb is not None:
        facts.append(f"{device.memory_mb * 1e6 / 2**30:.0f} GiB")
    if device.max_sm_clock_mhz is not None:
        facts.append(f"up to {device.max_sm_clock_mhz} MHz")
    if device.power_limit_w is not None:
        facts.append(f"power limit {device.power_limit_w:.0f} W")
    return ", ".join(facts)


def _versioned(version: str | None, where: str | None, reason: str | None) -> str:
    if version is None:
        return f"none: {reason}"
    return version if where is None else f"{version} ({where})"


def _line(label: str, text: str) -> str:
    return f"{label:<13} {text}"
