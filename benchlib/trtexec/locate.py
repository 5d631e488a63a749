"""Which program measures on this machine: NVIDIA's trtexec or a stand-in, and its interpreter.

TensorRT may be installed for another Python than the one benchlib runs under: then
``BENCHLIB_TENSORRT_PYTHON`` names it, as a command on PATH or with its whole path.
"""

from __future__ import annotations

import importlib.metadata
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

import platformdirs

from benchlib.case import Engine
from benchlib.errors import InputError
from benchlib.process import NUMBER_AS_NVML
from benchlib.trtexec import exit_check, flags
from benchlib.trtexec.command import CPU, Program

INTERPRETER_VARIABLE = "BENCHLIB_TENSORRT_PYTHON"

_PROBE = Path(__file__).with_name("probe.py")
_PACKAGE = Path(__file__).parents[1]
_SITE_FOLDERS = ("site-packages", "dist-packages")
_LIMIT_S = 120
"""A first import of TensorRT from a cold or remote disk takes a while; a hang never ends."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and what it has; a missing thing is None, with the reason in ``*_reason``.

    ``devices`` are the names of the GPUs that CUDA shows, after CUDA_VISIBLE_DEVICES. Versions
    are texts as the packages give them.
    """

    command: tuple[str, ...]
    python: str | None = None
    cuda_version: str | None = None
    devices: tuple[str, ...] = ()
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


def interpreter_command() -> tuple[str, ...]:
    """How to start the interpreter; raises :class:`InputError` when the setting leads nowhere."""
    text = os.environ.get(INTERPRETER_VARIABLE, "").strip()
    if not text:
        return (sys.executable,)
    words = shlex.split(text)
    path = shutil.which(words[0])
    if path is None:
        raise InputError(
            INTERPRETER_VARIABLE, f"{words[0]!r} is no program; give a Python that has TensorRT"
        )
    return (path, *words[1:])


@cache
def examine_interpreter(python: tuple[str, ...]) -> Interpreter:
    """Look into an interpreter, in a process of its own; asked once per process of ours."""
    try:
        done = subprocess.run(
            [*python, str(_PROBE)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
            env={**os.environ, **NUMBER_AS_NVML},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _unknown_interpreter(python, f"{python[0]} could not be asked: {error}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        return _unknown_interpreter(
            python, f"{python[0]} ended with status {done.returncode} when asked"
        )
    facts = json.loads(lines[-1])
    return Interpreter(python, **{**facts, "devices": tuple(facts["devices"])})


def interpreter_environment(interpreter: Interpreter) -> tuple[tuple[str, str], ...]:
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


def _unknown_interpreter(python: tuple[str, ...], reason: str) -> Interpreter:
    return Interpreter(python, cuda_reason=reason, tensorrt_reason=reason)


AUTO = "auto"
TRTEXEC_VARIABLE = "TRTEXEC"

# Where NVIDIA's packages, containers and archives put it; it is often not on PATH there.
USUAL_FOLDERS = (
    "/usr/src/tensorrt/bin",
    "/opt/tensorrt/bin",
    "/usr/local/tensorrt/bin",
    "/usr/local/TensorRT/bin",
    "/workspace/tensorrt/bin",
)
_HOME_VARIABLES = ("TENSORRT_HOME", "TENSORRT_ROOT", "TRT_ROOT", "CONDA_PREFIX")

_GPU = "cuda:0"
_BANNER_LIMIT_S = 60

_MODULES = {
    Engine.TENSORRT_PYTHON: "benchlib.trtexec.standin.tensorrt_python",
    Engine.ONNXRUNTIME_CPU: "benchlib.trtexec.standin.onnxruntime_cpu",
}

_ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


class MissingProgramError(InputError):
    """A program that is not here or cannot work here; a setting that is wrong is another error."""

    def __init__(self, problem: str) -> None:
        super().__init__("engine", problem)


@dataclass(frozen=True, slots=True)
class Choice:
    """The program that ``auto`` takes, and why it and no better one, in one sentence."""

    program: Program
    reason: str


def find(engine: str = AUTO) -> Program:
    """The program for ``engine``, a word of :class:`Engine` or ``auto``, ready to be started.

    Raises :class:`MissingProgramError`, with what to do, when it cannot work on this machine, and
    :class:`InputError` for an unknown word or a setting that leads nowhere.
    """
    if engine == AUTO:
        return choose().program
    finders = {Engine.TRTEXEC: _found_trtexec, Engine.TENSORRT_PYTHON: _found_wheel}
    return finders.get(Engine.read("engine", engine), _found_onnxruntime)()


def choose() -> Choice:
    """The best program of this machine: trtexec, else the TensorRT wheel, else the CPU.

    Raises :class:`MissingProgramError` when not even ONNX Runtime is there.
    """
    against = []
    for find_one, reason in (
        (_found_trtexec, "trtexec and a GPU are here"),
        (_found_wheel, "the TensorRT wheel and a GPU are here"),
    ):
        try:
            return Choice(find_one(), ", ".join([*against, reason]))
        except MissingProgramError as error:
            against.append(error.problem.partition(";")[0])
    program = _found_onnxruntime()
    return Choice(program, f"nothing better works here: {', '.join(dict.fromkeys(against))}")


def planned(engine: str = AUTO, tensorrt: str | None = None) -> Program:
    """A program to print commands for; nothing but its name and version need exist.

    With ``tensorrt``, a version such as ``10.0``, for that release, by default trtexec's. Without
    it for what this machine has; a GPU program that is missing is planned for in the newest
    known release.
    """
    if tensorrt is None:
        try:
            return find(engine)
        except MissingProgramError:
            wanted = Engine.read("engine", engine)
            if wanted is Engine.ONNXRUNTIME_CPU:
                raise
            release = flags.newest()
    else:
        wanted = Engine.TRTEXEC if engine == AUTO else Engine.read("engine", engine)
        if wanted is Engine.ONNXRUNTIME_CPU:
            raise InputError("tensorrt", f"has no meaning for {wanted}; drop one of the two")
        release = flags.parse_version(tensorrt)
    flags.table(release)
    module = _MODULES.get(wanted)
    started = ("trtexec",) if module is None else ("python", "-m", module)
    return Program(wanted, started, str(release), _GPU)


def trtexec_path(environ: Mapping[str, str] | None = None) -> Path | None:
    """Where trtexec is: named by ``TRTEXEC``, on PATH, or in one of the usual places.

    Raises :class:`InputError` when ``TRTEXEC`` names nothing that can be started; another one is
    not taken in its place.
    """
    environ = os.environ if environ is None else environ
    named = environ.get(TRTEXEC_VARIABLE, "").strip()
    if named:
        path = shutil.which(named, path=environ.get("PATH"))
        if path is None:
            script = ", with arguments that of a script," if " " in named else ""
            problem = f"{named!r} is no program; give trtexec's path{script} or unset it"
            raise InputError(TRTEXEC_VARIABLE, problem)
        return Path(path)
    homes = [environ[name] for name in _HOME_VARIABLES if environ.get(name)]
    folders = [environ.get("PATH", ""), *(f"{home}/bin" for home in homes), *USUAL_FOLDERS]
    path = shutil.which("trtexec", path=os.pathsep.join(folders))
    return None if path is None else Path(path)


def trtexec_version(path: Path) -> str:
    """The version in trtexec's banner; raises :class:`InputError` when it prints none.

    It is asked for its help: no version needs a GPU for that, and all print the banner.
    """
    try:
        done = subprocess.run(
            [str(path), "--help"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_BANNER_LIMIT_S,
            check=False,
            env={**os.environ, "CUDA_MODULE_LOADING": "LAZY"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingProgramError(f"{path} cannot be started: {error}") from error
    log = exit_check.read_log(done.stdout)
    if log.version is None:
        raise MissingProgramError(f"{path} --help printed no banner; is it trtexec?")
    if (ours := exit_check.program_of(log.tool)) is not Engine.TRTEXEC:
        raise MissingProgramError(f"{path} starts our {ours}; ask for engine={ours}")
    return str(log.version)


def onnxruntime_version() -> str | None:
    """The version of the installed ONNX Runtime, None without one."""
    for package in _ORT_PACKAGES:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _found_trtexec() -> Program:
    path = trtexec_path()
    if path is None:
        raise MissingProgramError(
            f"trtexec was not found; put it on PATH or give its path in {TRTEXEC_VARIABLE}"
        )
    card = _needs_gpu(examine_interpreter(interpreter_command()))
    version = _usable(trtexec_version(path), path)
    return Program(Engine.TRTEXEC, (str(path),), version, _GPU, str(path), card=card)


def _found_wheel() -> Program:
    python = examine_interpreter(interpreter_command())
    card = _needs_gpu(python)
    if python.wanting:
        what = python.tensorrt_reason or f"no wheel called {' and '.join(python.wanting)}"
        remedy = f"python -m pip install {' '.join(python.wanting)}"
        raise MissingProgramError(
            f"{what}; {remedy}, or name a Python that has it in {INTERPRETER_VARIABLE}"
        )
    return Program(
        engine=Engine.TENSORRT_PYTHON,
        command=(*python.command, "-m", _MODULES[Engine.TENSORRT_PYTHON]),
        version=_usable(python.tensorrt or "", python.command[0]),
        device=_GPU,
        path=python.command[0],
        env=interpreter_environment(python),
        card=card,
    )


def _found_onnxruntime() -> Program:
    installed = onnxruntime_version()
    if installed is None:
        raise MissingProgramError("there is no ONNX Runtime; python -m pip install onnxruntime")
    started = (sys.executable, "-m", _MODULES[Engine.ONNXRUNTIME_CPU])
    return Program(Engine.ONNXRUNTIME_CPU, started, installed, CPU, sys.executable)


def _usable(version: str, where: object) -> str:
    """The version, if its flags are known here."""
    try:
        release = flags.parse_version(version)
        flags.table(release)
    except InputError as error:
        raise MissingProgramError(f"{where}: TensorRT {error.problem}") from None
    return str(release)


def _needs_gpu(python: Interpreter) -> str:
    """What CUDA calls the GPU that programs begun here use."""
    if not python.devices:
        reason = python.cuda_reason or "the CUDA driver shows no GPU"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        reason += "" if visible is None else f" with CUDA_VISIBLE_DEVICES={visible!r}"
        raise MissingProgramError(f"{reason}; engine={Engine.ONNXRUNTIME_CPU} needs none")
    return python.devices[0]
