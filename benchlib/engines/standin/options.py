"""The options both stand-ins share, as typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib.engines.exporttimes import number
from benchlib.engines.flags import Options
from benchlib.engines.standin.log import Log, StandinError

COMMON_FLAGS = frozenset(
    {
        "--onnx",
        "--shapes",
        "--minShapes",
        "--optShapes",
        "--maxShapes",
        "--iterations",
        "--duration",
        "--warmUp",
        "--idleTime",
        "--avgRuns",
        "--percentile",
        "--infStreams",
        "--streams",
        "--loadInputs",
        "--exportTimes",
        "--exportOutput",
        "--exportLayerInfo",
        "--exportProfile",
        "--dumpOutput",
        "--dumpProfile",
        "--dumpLayerInfo",
        "--dumpRawBindingsToFile",
        "--skipInference",
        "--verbose",
        "--help",
        "-h",
    }
)
"""What every stand-in does as trtexec does."""

SWITCHED_OPPOSITES = {
    "--useCudaGraph": "--noCudaGraph",
    "--useSpinWait": "--noSpinWait",
    "--noDataTransfers": "--includeDataTransfers",
}
"""Measuring switches and the opposites that exist from 11.0, where the switches are the default."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """How the queries are timed and reported; all defaults are trtexec's.

    At least ``iterations`` queries and ``duration_s`` seconds are measured after ``warm_up_ms``.
    ``idle_ms`` is slept after each query. ``average_runs`` and ``percentiles`` shape the log only.
    """

    iterations: int = 10
    duration_s: float = 3.0
    warm_up_ms: float = 200.0
    idle_ms: float = 0.0
    average_runs: int = 10
    percentiles: tuple[float, ...] = (90.0, 95.0, 99.0)
    cuda_graph: bool = False
    spin_wait: bool = False
    transfers: bool = True
    overlap: bool = True
    streams: int = 1

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Measuring:
        """Take the values from parsed flags; raise :class:`StandinError` for unusable ones."""
        graph, spin, resident = (_switched(options, name) for name in SWITCHED_OPPOSITES)
        measuring = cls(
            iterations=options["--iterations"],
            duration_s=float(options["--duration"]),
            warm_up_ms=float(options["--warmUp"]),
            idle_ms=float(options["--idleTime"]),
            average_runs=options["--avgRuns"],
            percentiles=tuple(map(float, options["--percentile"])),
            cuda_graph=graph,
            spin_wait=spin,
            transfers=not resident,
            overlap=not options["--exposeDMA"],
            streams=max(options["--infStreams"], options["--streams"]),
        )
        measuring.check()
        return measuring

    def check(self) -> None:
        """Refuse values that would leave nothing to report, or never end."""
        if self.duration_s < 0:
            raise StandinError("--duration must not be negative: the run would never end")
        if self.iterations < 0 or (self.iterations == 0 and self.duration_s == 0):
            raise StandinError("--iterations and --duration leave nothing to measure")
        if self.warm_up_ms < 0 or self.idle_ms < 0:
            raise StandinError("--warmUp and --idleTime must not be negative")
        if self.streams != 1:
            raise StandinError("--infStreams must be 1: this program measures one stream")
        if self.average_runs < 1:
            raise StandinError("--avgRuns must be at least 1")
        if any(not 0 <= percentage <= 100 for percentage in self.percentiles):
            raise StandinError("--percentile must lie in 0 to 100")


@dataclass(frozen=True, slots=True)
class Exports:
    """The files to leave; None where a flag was not given or has an empty value."""

    times: Path | None = None
    output: Path | None = None
    profile: Path | None = None
    layers: Path | None = None
    raw_bindings: bool = False
    dump_output: bool = False
    dump_profile: bool = False
    dump_layers: bool = False

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Exports:
        """Take the paths from parsed flags."""
        return cls(
            times=path_of(options, "--exportTimes"),
            output=path_of(options, "--exportOutput"),
            profile=path_of(options, "--exportProfile"),
            layers=path_of(options, "--exportLayerInfo"),
            raw_bindings=options["--dumpRawBindingsToFile"],
            dump_output=options["--dumpOutput"],
            dump_profile=options["--dumpProfile"],
            dump_layers=options["--dumpLayerInfo"],
        )

    @property
    def profiling(self) -> bool:
        return self.profile is not None or self.dump_profile


def path_of(options: Mapping[str, Any], flag: str) -> Path | None:
    """The path given with ``flag``, or None."""
    text = options.get(flag)
    return Path(text) if text else None


def input_files(options: Mapping[str, Any], names: frozenset[str]) -> dict[str, Path]:
    """Files of ``--loadInputs`` by tensor; raise :class:`StandinError` for any not in ``names``."""
    files = {name: Path(path) for name, path in (options.get("--loadInputs") or {}).items()}
    for name in files.keys() - names:
        known = ", ".join(sorted(names))
        raise StandinError(f"Cannot find input tensor {name} of --loadInputs; there is {known}")
    return files


def echo(log: Log, options: Options, served: Set[str]) -> None:
    """Write what was understood: the given flags, then the defaults of the other served ones."""
    given = dict.fromkeys(options.given)
    log.info("=== Options given ===")
    for name in given:
        log.info(f"{name.lstrip('-')}: {shown(options[name])}")
    log.info("=== Options by default ===")
    for name, value in options.items():
        if name in served and name not in given and value not in (None, False, ()):
            log.info(f"{name.lstrip('-')}: {shown(value)}")
    log.info()


def shown(value: object) -> str:
    """A parsed value as it stood on the command line, or nearly so."""
    if value is True:
        return "Enabled"
    if isinstance(value, Mapping):
        return ",".join(
            f"{key}:{dims_text(item) if isinstance(item, tuple) else item}"
            for key, item in value.items()
        )
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    return number(value) if isinstance(value, float) else str(value)


def dims_text(dims: Sequence[int]) -> str:
    """Dimensions as ``1x3x480x640``."""
    return "x".join(map(str, dims)) or "scalar"


def _switched(options: Mapping[str, Any], name: str) -> bool:
    """Whether a measuring switch is on; where the opposite exists, on is the default."""
    opposite = SWITCHED_OPPOSITES[name]
    return not options[opposite] if opposite in options else options[name]
