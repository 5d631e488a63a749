"""trtexec's command line as data: versions, the flags each one knows, and how it reads them.

There are two readers of one table. :meth:`FlagTable.check` is strict and guards every command
line of ours before anything runs. :meth:`FlagTable.parse` reads as trtexec does (a boolean drops
its value, numbers are read by prefix) and serves the stand-ins.

``data/trtexec-flags.json`` has the flags of 8.6 and what each later release brought, changed or
took away (null). 8.6, 10.0, 10.16 and 11.1 were read off trtexec's own parser; of 11.2 to 11.5,
whose flags have a ``source``, only NVIDIA's documentation was seen, and 11.1's flags are taken to
be there still. Standard library only: the stand-ins import this under a bare interpreter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchlib.errors import InputError

_DOTTED = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[.\-+].*)?")

# Up to 9.x the banner packs a version as thousands and hundreds, from 10 as ten-thousands.
_FIRST_OF_LONG_SCHEME = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Major, minor and patch; compares as numbers, so 10.16 is later than 10.4."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def banner(self) -> int:
        """The number trtexec's banner shows: 8600 for 8.6.0, 100001 for 10.0.1."""
        if self.major < 10:
            return self.major * 1000 + self.minor * 100 + self.patch
        return self.major * 10_000 + self.minor * 100 + self.patch


def parse_version(text: str) -> Version:
    """Read ``8.6``, ``10.0.1`` or a wheel's ``8.6.0.12`` (what follows the patch is dropped).

    Raises :class:`InputError` for anything else.
    """
    match = _DOTTED.fullmatch(str(text).strip())
    if match is None:
        raise InputError("tensorrt", f"{text!r} is not a version; write it like 8.6 or 10.16.1")
    return Version(*(int(part or 0) for part in match.groups()))


def version_from_banner(number: int) -> Version:
    """Decode the number in ``[TensorRT v8600]``; up to 9.x it has four digits, from 10.0 six."""
    if number < _FIRST_OF_LONG_SCHEME:
        return Version(number // 1000, number // 100 % 10, number % 100)
    return Version(number // 10_000, number // 100 % 100, number % 100)


_DATA = Path(__file__).parent / "data"
_INT_PREFIX = re.compile(r"\s*[-+]?\d+")
_FLOAT_PREFIX = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")

# Gone in 11.0; not one of them may be dropped in silence, or FP32 would be called FP16.
_PRECISION_FLAGS = ("--fp16", "--bf16", "--int8", "--fp8", "--int4", "--best", "--calib")

Shapes = dict[str, tuple[int, ...]]


class UnknownFlagError(InputError):
    """``flag`` does not exist in the program and version that would run it."""

    def __init__(self, flag: str, version: str, value: str = "", hint: str = "") -> None:
        super().__init__("flags", f"{version} does not know {flag}{hint}")
        self.flag = flag
        self.version = version
        self.value = value


class BadFlagError(InputError):
    """A known flag with a value that cannot be used, or given in a way that cannot work."""

    def __init__(self, flag: str, problem: str) -> None:
        super().__init__("flags", f"{flag} {problem}")
        self.flag = flag


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of one version.

    ``type`` is ``bool``, ``int``, ``float``, ``path``, ``string``, ``shapes``, ``enum:a|b``,
    ``list:…``, ``map:…``, ``budget`` or ``ioformats``. ``default`` is what trtexec does when
    the flag is absent; None means its absence is the default.
    """

    name: str
    type: str
    default: Any
    repeatable: bool = False
    noop: bool = False

    @property
    def takes_value(self) -> bool:
        return self.type != "bool"

    @property
    def members(self) -> tuple[str, ...]:
        """The allowed words of an enum; empty when the flag is none or they are not known."""
        kind, _, words = self.type.partition(":")
        return tuple(words.split("|")) if kind == "enum" and words else ()


class Options(dict[str, Any]):
    """The effective options: every flag of the table with its given or default value.

    ``given`` names the flags that stood on the command line, in their order.
    """

    def __init__(self, effective: Mapping[str, Any], given: tuple[str, ...]) -> None:
        super().__init__(effective)
        self.given = given


@dataclass(frozen=True, slots=True)
class FlagTable:
    """The flags of one program in one version; ``program`` names both in messages."""

    program: str
    flags: Mapping[str, Flag]

    def __contains__(self, name: object) -> bool:
        return name in self.flags

    def check(self, argv: Sequence[str]) -> None:
        """Refuse a command line (without the program) that would not mean what is written.

        Raises :class:`UnknownFlagError` or :class:`BadFlagError`.
        """
        seen: set[str] = set()
        for argument in argv:
            name, has_value, value = argument.partition("=")
            flag = self._flag(name, value)
            if name in seen and not flag.repeatable:
                raise BadFlagError(name, "is given twice; keep one of them")
            seen.add(name)
            if not flag.takes_value:
                if has_value:
                    raise BadFlagError(name, f"is a switch and would be on even so; drop ={value}")
                continue
            if not value and flag.type != "optional-string":
                raise BadFlagError(name, f"needs a value, written {name}=VALUE")
            self._check_value(flag, value)

    def parse(self, argv: Sequence[str]) -> Options:
        """Read a command line as trtexec does and fill in the defaults.

        Whole numbers come as int, decimals as float, shapes as ``{name: dims}``, lists of
        numbers as tuples, maps as dicts of text, all else as text; repeatable flags as tuples.
        Raises :class:`UnknownFlagError` (also for the second of two equal flags, as in trtexec)
        or :class:`BadFlagError`, whose text for a bad number ends in ``stoi`` or ``stof``.
        """
        given: dict[str, Any] = {}
        for argument in argv:
            name, _, value = argument.partition("=")
            flag = self._flag(name, value)
            read = _read(flag, value)
            if flag.repeatable:
                given[name] = (*given.get(name, ()), read)
            elif name in given:
                raise UnknownFlagError(name, self.program, value, " a second time")
            else:
                given[name] = read
        defaults = {name: _default(flag) for name, flag in self.flags.items()}
        return Options({**defaults, **given}, tuple(given))

    def _flag(self, name: str, value: str) -> Flag:
        try:
            return self.flags[name]
        except KeyError:
            raise UnknownFlagError(name, self.program, value, _hint(name, self.flags)) from None

    @staticmethod
    def _check_value(flag: Flag, value: str) -> None:
        if flag.members and value not in flag.members:
            raise BadFlagError(flag.name, f"is one of {', '.join(flag.members)}, not {value!r}")
        number = {"int": _INT_PREFIX, "float": _FLOAT_PREFIX}.get(flag.type)
        if number is not None and number.fullmatch(value) is None:
            # trtexec reads the leading digits only, so 1e3 iterations would be one.
            raise BadFlagError(flag.name, f"needs a plain {flag.type}, not {value!r}")
        if flag.type == "shapes":
            shapes(value, flag.name)
        if flag.type == "map:pool:size":
            for pool, size in pairs(value, flag.name).items():
                if re.fullmatch(r"\d+(\.\d+)?", size) is None:
                    # Suffixes mean three different things in three versions.
                    raise BadFlagError(
                        flag.name, f"needs a bare number of MiB for {pool}, not {size!r}"
                    )


def _hint(name: str, known: Iterable[str]) -> str:
    """A remedy for flags that never existed but stand in old guides, blogs and habits."""
    remedy = {
        "--cudaGraphs": "--useCudaGraph",
        "--noDataTransfer": "--noDataTransfers",
        "--useSpinLock": "--useSpinWait",
        "--buildOnly": "--skipInference",
        "--workspace": "--memPoolSize",
    }.get(name)
    if remedy in known:
        return f"; use {remedy}"
    if name in _PRECISION_FLAGS and "--stronglyTyped" in known:
        return "; there the precision stands in the ONNX file"
    if not name.startswith("-"):
        return "; a value is joined to its flag by =, as in --onnx=FILE"
    return ""


def _default(flag: Flag) -> Any:
    if flag.repeatable:
        return ()
    return tuple(flag.default) if isinstance(flag.default, list) else flag.default


def _read(flag: Flag, value: str) -> Any:
    if not flag.takes_value:
        return True
    if flag.type == "int":
        return int(_prefix(_INT_PREFIX, value, flag.name, "stoi"))
    if flag.type == "float":
        return float(_prefix(_FLOAT_PREFIX, value, flag.name, "stof"))
    if flag.type == "list:float":
        return tuple(
            float(_prefix(_FLOAT_PREFIX, part, flag.name, "stof")) for part in value.split(",")
        )
    if flag.type == "shapes":
        return shapes(value, flag.name)
    if flag.type.startswith("map:"):
        return pairs(value, flag.name)
    if flag.members and value not in flag.members:
        raise BadFlagError(flag.name, f"is one of {', '.join(flag.members)}, not {value!r}")
    return value


def _prefix(pattern: re.Pattern[str], text: str, flag: str, function: str) -> str:
    match = pattern.match(text)
    if match is None:
        raise BadFlagError(flag, function)
    return match.group()


def pairs(text: str, flag: str) -> dict[str, str]:
    """Read ``name:value[,name:value…]``; the last colon separates, names may be 'quoted'."""
    values: dict[str, str] = {}
    for item in text.split(","):
        name, colon, value = item.rpartition(":")
        if not colon or not name or not value:
            raise BadFlagError(flag, f"needs NAME:VALUE, not {item!r}")
        values[name.strip("'")] = value
    return values


def shapes(text: str, flag: str = "--shapes") -> Shapes:
    """Read ``input:1x3x480x640[,other:…]``; ``scalar`` gives no dimensions."""
    dims_by_name: Shapes = {}
    for name, dims in pairs(text, flag).items():
        if dims == "scalar":
            dims_by_name[name] = ()
        elif re.fullmatch(r"\d+(x\d+)*", dims):
            dims_by_name[name] = tuple(int(size) for size in dims.split("x"))
        else:
            raise BadFlagError(flag, f"needs dimensions like 1x3x480x640, not {dims!r}")
    return dims_by_name


def shapes_text(shapes: Mapping[str, Sequence[int]]) -> str:
    """Write what :func:`shapes` reads; a name that holds a comma or colon is quoted."""
    return ",".join(
        f"{_quoted(name)}:{'x'.join(map(str, dims)) or 'scalar'}" for name, dims in shapes.items()
    )


def _quoted(name: str) -> str:
    return f"'{name}'" if ":" in name else name


def table(version: Version) -> FlagTable:
    """The flags of trtexec in ``version``.

    Within a major version nothing was taken away, while a new major took flags away: 11.0
    therefore has 11.1's table, and not 10.16's with its precision switches. A release later than
    all has the newest table, see :func:`assumed`. Raises :class:`InputError` before 8.6.
    """
    if version < min(_READ):
        # TensorRT for RTX counts from 1.0
        of = "is too old" if version.major > 4 else "is TensorRT for RTX, which times otherwise"
        raise InputError("tensorrt", f"{version} {of}; the first that works is 8.6")
    first = min((one for one in _READ if one.major == version.major), default=version)
    known: dict[str, Flag | None] = {}
    for release, changed in _releases().items():
        if release <= max(version, first):
            known |= changed
    flags = {name: flag for name, flag in known.items() if flag is not None}
    return FlagTable(f"trtexec of TensorRT {version}", flags)


def newest() -> Version:
    """The newest release whose flags were read off trtexec's parser."""
    return max(_READ)


def assumed(version: Version) -> str | None:
    """What is assumed of the flags of ``version``, in a sentence; None where they are known."""
    last_read, last_told = newest(), max(_releases())
    if version <= last_read:
        return None
    if (version.major, version.minor) <= (last_told.major, last_told.minor):
        return (
            f"the flags of TensorRT {version} are assumed: those of {last_read}, and what is "
            "known from NVIDIA's documentation to have come since"
        )
    return (
        f"TensorRT {version} is newer than the newest flags known here, those of {last_told}; "
        "they are assumed"
    )


@cache
def onnxruntime_cpu() -> FlagTable:
    """The flags of the ONNX Runtime stand-in: trtexec's where they have a meaning there.

    Its own are ``--threads=N`` (intra-op threads), ``--provider`` and ``--seed``. There is no
    engine file, no CUDA graph and no transfer, so benchlib never gives it flags for those. Given
    by hand, it takes the measuring ones of the newest trtexec and logs what they mean on a CPU.
    """
    return FlagTable("the ONNX Runtime stand-in", _flags(_load("onnxruntime-cpu-flags.json")))


_READ = (Version(8, 6), Version(10, 0), Version(10, 16), Version(11, 1))
"""The releases whose flags were read off trtexec's parser."""


@cache
def _releases() -> dict[Version, dict[str, Flag | None]]:
    """By release, oldest first, what it brought or changed, and None for what it took away."""
    entries = _load("trtexec-flags.json")
    return {parse_version(version): _flags(changed) for version, changed in entries.items()}


def _load(name: str) -> dict[str, Any]:
    return json.loads((_DATA / name).read_text(encoding="utf-8"))


def _flags(entries: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Flag | None]:
    return {
        name: entry
        and Flag(
            name=name,
            type=entry["type"],
            default=entry.get("default", False if entry["type"] == "bool" else None),
            repeatable=entry.get("repeatable", False),
            noop=entry.get("noop", False),
        )
        for name, entry in entries.items()
    }
