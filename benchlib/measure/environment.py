"""Where a set was measured: environment.json, without names of people, hosts or folders."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict

from benchlib import __version__, case
from benchlib.case import (
    ONNX_PREFIX,
    Case,
    Engine,
    Precision,
    file_name,
    with_digest,
    without_folders,
)
from benchlib.config import Parameters
from benchlib.errors import InputError
from benchlib.export import cache
from benchlib.gpu.nvml import Gpu
from benchlib.gpu.peaks import Roofs
from benchlib.trtexec.command import CPU, Command, Program

_CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder of the package."""

# Folders of this machine, and their names in what is published.


_ACCOUNTS = ("home", "Users")
"""Folders below the root whose folders are called by the names of people."""

_START = r"(?<![\w./~+@%…{}-])"
_START_FROM_ROOT = r"(?:(?<![\w.~+@%…{}-])|(?<=[\s\"'=]-[A-Za-z]))"
"""Where a relative path and one from the root may begin: not within another; ``-I/usr`` may."""

_END_IN_TEXT = r"(?=/|$|[^\w.+@%~-]|\.(?:\s|$))"
_END_IN_ARGUMENT = r"(?=/|$|[:,])"
"""Where a path ends: at a separator, or at what is no part of a name. An argument is a whole path
or a list of them, so that other signs there are of the name."""

_LISTED_PATH = re.compile(r"(?<=[=:,])/[^:,]*")
"""A path from the root in an argument that holds more than it, as ``input:/data/a.bin``."""


@dataclass(frozen=True, slots=True)
class Redactor:
    """Text with this machine's paths in it becomes text without.

    Rows and logs are sent around and committed; where somebody keeps his files, and what his
    account is called, is private. ``names`` holds (path, its name), longest path first.
    """

    names: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, measured_set: Path) -> Redactor:
        """The places of a run into ``measured_set``."""
        known = [
            (measured_set / ".work", "{work}"),
            (measured_set, "{set}"),
            (cache.root(), "{cache}"),
            (Path(sys.executable), "python"),
            (Path(sys.prefix), "{python}"),
            (Path(sys.base_prefix), "{python}"),
            (_CHECKOUT, "{benchlib}"),
            (Path.cwd(), "."),
            (Path.home(), "~"),
        ]
        return cls.naming(known)

    @classmethod
    def naming(cls, known: Iterable[tuple[Path, str]]) -> Redactor:
        """Each path under ``known``, as it is written, from the root, and as it is resolved.

        Of two names for one path the first is taken.
        """
        names: dict[str, str] = {}
        for path, name in known:
            for form in (path, path.absolute(), path.absolute().resolve()):
                names.setdefault(str(form), name)
        names.pop("/", None)
        names.pop(".", None)
        return cls(tuple(sorted(names.items(), key=lambda item: -len(item[0]))))

    def shorten(self, text: str) -> str:
        """``text`` with every known path under its name."""
        return self._replaced(text, _END_IN_TEXT)

    def argv(self, command: Command) -> list[str]:
        """A command as a row has it: known paths named, of others the last part."""
        return [self._argument(argument) for argument in command.argv]

    def _argument(self, argument: str) -> str:
        # A flag ends at its first "="; a path, which begins with no "-", may have one of its own.
        is_flag = argument.startswith("-") and "=" in argument
        flag, separator, value = argument.partition("=") if is_flag else ("", "", argument)
        value = self._replaced(value, _END_IN_ARGUMENT)
        if PurePath(value).is_absolute():
            value = f"…/{PurePath(value).name}"
        else:
            value = _LISTED_PATH.sub(lambda found: f"…/{PurePath(found[0]).name}", value)
        return f"{flag}{separator}{value}"

    def _replaced(self, text: str, end: str) -> str:
        """One pass over ``text``, so that no name is looked for within another's place.

        A relative path counts only with something below it: alone it may be any word.
        """
        if not self.names:
            return text
        names = dict(self.names)
        paths = "|".join(
            f"{_START_FROM_ROOT if path.startswith('/') else _START}{re.escape(path)}"
            f"{end if path.startswith('/') else '(?=/)'}"
            for path in names
        )
        return re.sub(paths, lambda found: names[found[0]], text)


def model_names(
    cases: Iterable[Case], standing: Iterable[tuple[str, str | None]] = ()
) -> dict[str, str]:
    """How rows name the model of each of ``cases``; of ``onnx:PATH`` only the file.

    Files of one name get as many of their folders as distinguish them, where these may be shown,
    else digits of their content. ``standing`` is (model, digest) of the rows that the set has
    already: a network keeps its name, and no other gets it.
    """
    digests = {case.model: case.model_digest for case in cases}
    taken = {name: digest for name, digest in standing if digest is not None}
    own = {(file_name(name, digest), digest): name for name, digest in taken.items()}
    named = {}
    for model, digest in digests.items():
        if digest is None:
            named[model] = model
            continue
        others = [_shown_parts(other) for other in digests if digests[other] not in (None, digest)]
        tail = _distinct_tail(_shown_parts(model), others)
        name = own.get((file_name(model), digest)) or f"{ONNX_PREFIX}{'/'.join(tail)}"
        if not tail or taken.get(name, digest) != digest:
            name = with_digest(without_folders(model), digest)
        named[model] = name
    return named


def _distinct_tail(parts: tuple[str, ...], others: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The file with the fewest of its folders that no other has; nothing when all are shared."""
    for count in range(1, len(parts) + 1):
        tail = parts[-count:]
        if all(other[-count:] != tail for other in others):
            return tail
    return ()


def _shown_parts(model: str) -> tuple[str, ...]:
    """The parts of a file's path that a row may show: those below the current folder or
    somebody's own, elsewhere the last folder and the file."""
    # Not resolved: a linked folder goes by the name that the user gave.
    path = Path(os.path.abspath(Path(model.removeprefix(ONNX_PREFIX)).expanduser()))  # noqa: PTH100
    account = path.parents[-3:-2] if path.parts[1] in _ACCOUNTS else ()
    known = [one for one in (Path.cwd(), Path.home(), *account) if path.is_relative_to(one)]
    if known:
        return path.relative_to(max(known, key=lambda one: len(one.parts))).parts
    return path.parts[1:][-2:]


ENVIRONMENT_VERSION = 1

GREEN_CONTEXT = "--greenContext"
"""trtexec's flag, from 11.4 on: ``sm:N[,cosched:M]``."""

PACKAGES = (
    *("cuda-bindings", "matplotlib", "numpy", "nvidia-ml-py", "onnx", "onnxruntime", "pandas"),
    *("papermill", "pydantic", "tensorrt", "tensorrt-rtx", "timm", "torch", "torchvision"),
)
"""Those that can change a number or its picture."""


class Environment(BaseModel):
    """What environment.json holds. What is not known of a machine is None.

    ``parameters`` has those of each run into the set under its precision. ``roofs`` are those of
    ``device``, once they were measured. ``notes`` are sentences for the report, written by hand.
    ``hosts`` are the machines and cards that rows of the set were timed on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = ENVIRONMENT_VERSION
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
    hosts: tuple[dict[str, Any], ...] = ()

    def with_hosts(self, hosts: Sequence[Mapping[str, Any]]) -> Environment:
        """This with more of the machines and cards that rows of the set were timed on."""
        return self.model_copy(update={"hosts": _together(self.hosts, hosts)})


def load_environment(text: str) -> Environment:
    """Read environment.json; raises ValueError for torn or foreign text."""
    return Environment.model_validate_json(text)


def describe_environment(
    parameters: Parameters,
    program: Program,
    gpu: Gpu | None,
    earlier: Environment | None = None,
    names: Mapping[str, str] | None = None,
    hosts: Sequence[Mapping[str, Any]] = (),
) -> Environment:
    """Where and how this run measures, beside the parameters of ``earlier`` runs into the set.

    Its notes are kept, and roofs that were measured on the same device. ``names`` is how rows
    name the models; ``hosts`` are added to those of ``earlier``.
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
        gpu=None if card is None else asdict(card),
        roofs=None if here is None else here.roofs,
        driver=None if card is None else card.driver,
        cuda=None if card is None else card.cuda,
        tensorrt=None if program.on_cpu else program.version,
        cpu=cpu_model(),
        cpu_cores=usable_cores(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=cache.versions(PACKAGES),
        git_commit=git_commit(),
        preset=parameters.preset,
        parameters=runs,
        notes=() if earlier is None else earlier.notes,
        hosts=_together(() if earlier is None else earlier.hosts, hosts),
    )


def check_processor(earlier: Environment | None, program: Program) -> None:
    """Refuse to time on another processor than the one that ``earlier`` rows were timed on.

    Rows call each of them ``cpu``, so rounds and precisions of two would pass for one machine's.
    Raises :class:`InputError`; where a model's name is not known, nothing is said.
    """
    if earlier is None or earlier.device != CPU or not program.on_cpu:
        return
    here = cpu_model()
    if None not in (earlier.cpu, here) and earlier.cpu != here:
        raise InputError(
            "out",
            f"the set was timed on {earlier.cpu}, and this machine has {here}; take another folder",
        )


def _together(
    earlier: Sequence[Mapping[str, Any]], hosts: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Every host and card once, as last reported."""
    known = {(one["host"], one.get("gpu_uuid")): dict(one) for one in (*earlier, *hosts)}
    return tuple(known[name] for name in sorted(known, key=str))


JETSON_MODEL = Path("/proc/device-tree/model")
_POWER_MODE = re.compile(r"^NV Power Mode: *(\S+)", re.MULTILINE)


def power_mode(nvpmodel: str) -> str | None:
    """The mode in the output of ``nvpmodel -q``; in another one a Jetson is another device."""
    found = _POWER_MODE.search(nvpmodel)
    return None if found is None else found[1]


@lru_cache(maxsize=1)
def jetson() -> str | None:
    """This board's name and power mode, as a bundle's script has them; None where it is none.

    NVML calls every Orin the same (``Orin (nvgpu)``), where it is there at all.
    """
    mode = power_mode(_printed(["nvpmodel", "-q"]) or "")
    if mode is None or not JETSON_MODEL.is_file():
        return None
    model = JETSON_MODEL.read_text(encoding="utf-8", errors="replace")
    return f"{re.sub('[^ -~]', '', model).strip()} {mode}"


def device_name(program: Program, gpu: Gpu | None, extra_flags: Sequence[str] = ()) -> str:
    """What a row calls the device: ``cpu``, or the GPU's name, that of CUDA without NVML."""
    if program.on_cpu:
        return CPU
    name = jetson() or (gpu.name if gpu is not None else program.card or program.device)
    return in_context(name, extra_flags)


def in_context(name: str, extra_flags: Sequence[str]) -> str:
    """The GPU ``name``, with the part of it that a green context among ``extra_flags`` gives."""
    contexts = [
        f"green context {words}"
        for flag, _, words in (flag.partition("=") for flag in extra_flags)
        if flag == GREEN_CONTEXT
    ]
    return case.device_name(name, contexts)


def public(parameters: Parameters, names: Mapping[str, str]) -> dict[str, Any]:
    """The parameters without folders of this machine; models by their ``names``."""
    values = parameters.as_json()
    del values["out_dir"], values["fleet"]
    values["models"] = [names.get(one, without_folders(one)) for one in parameters.models]
    if parameters.calibration_dir is not None:
        values["calibration_dir"] = PurePath(parameters.calibration_dir).name
    return values


def cpu_model() -> str | None:
    """The CPU's name, None where the system does not name it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    named = re.search(r"^model name\s*:(.*)$", text, re.MULTILINE)
    return (named[1].strip() if named else platform.processor()) or None


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
    return _printed(["git", "-C", str(_CHECKOUT), *arguments])


def _printed(command: Sequence[str]) -> str | None:
    """What a command prints; None where it fails or is not there."""
    options = {"stderr": subprocess.DEVNULL, "text": True, "errors": "replace", "timeout": 10}
    try:
        return subprocess.check_output(command, **options).strip()
    except (OSError, subprocess.SubprocessError):
        return None
