"""What both stand-ins share: log lines, options, the queries of a run, where failures end.

Information goes to standard output, warnings and errors to standard error, as with trtexec.
"""

from __future__ import annotations

import gc
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from benchlib.trtexec.exports import Query, number
from benchlib.trtexec.flags import BadFlagError, FlagTable, Options, UnknownFlagError, Version

TENSORRT_MAJORS = range(8, 100)


class StandinError(Exception):
    """The asked-for work cannot be done; the message is one line for the log."""


def banner_code(version: Version) -> str:
    """Code a version as the banner does: TensorRT 8.6.0 is 8600, ONNX Runtime 1.32.0 is 13200.

    Programs that number from 1 take the coding TensorRT has had since 10.0. The old one has no
    room for a minor version of two digits.
    """
    if version.major in TENSORRT_MAJORS:
        return str(version.banner())
    return str(version.major * 10_000 + version.minor * 100 + version.patch)


@dataclass(frozen=True, slots=True)
class Log:
    """Writes trtexec's log dialect.

    ``out`` takes banners, information and (with ``verbose``) details; ``err`` takes warnings and
    errors. Each line is flushed, so that a process that crashes leaves all it wrote.
    """

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    verbose: bool = False

    def banner(self, state: str, tool: str, code: str, command: str) -> None:
        """Write ``&&&& STATE TOOL [TensorRT vCODE] # COMMAND``."""
        self._write(self.out, f"&&&& {state} {tool} [TensorRT v{code}] # {command}")

    def info(self, message: str = "") -> None:
        self._stamped(self.out, "I", message)

    def detail(self, message: str) -> None:
        """Write a line that is shown only with ``--verbose``."""
        if self.verbose:
            self._stamped(self.out, "V", message)

    def warning(self, message: str) -> None:
        self._stamped(self.err, "W", message)

    def error(self, message: str) -> None:
        self._stamped(self.err, "E", message)

    def plain(self, text: str) -> None:
        """Write ``text`` to standard output without a stamp."""
        self._write(self.out, text)

    def bare_error(self, text: str) -> None:
        """Write ``text`` to standard error without a stamp, as CUDA failures are."""
        self._write(self.err, text)

    def _stamped(self, stream: TextIO, severity: str, message: str) -> None:
        stamp = time.strftime("%m/%d/%Y-%H:%M:%S")
        self._write(stream, f"[{stamp}] [{severity}] {message}")

    @staticmethod
    def _write(stream: TextIO, line: str) -> None:
        stream.write(line + "\n")
        stream.flush()


COMMON_FLAGS = frozenset(
    """
    --onnx --shapes --minShapes --optShapes --maxShapes --iterations --duration --warmUp
    --idleTime --infStreams --streams --loadInputs --exportTimes --exportOutput --exportLayerInfo
    --exportProfile --dumpOutput --dumpProfile --dumpLayerInfo --dumpRawBindingsToFile
    --skipInference --verbose --help -h
    """.split()  # noqa: SIM905
)
"""What every stand-in does as trtexec does."""

COMMON_MEANINGS = {
    "--avgRuns": "no group averages are printed; --exportTimes has every query",
    "--percentile": "no percentiles are printed; --exportTimes has every query",
}
"""What no stand-in prints: the summary is worked out from the exported times."""

SWITCHED_OPPOSITES = {
    "--useCudaGraph": "--noCudaGraph",
    "--useSpinWait": "--noSpinWait",
    "--noDataTransfers": "--includeDataTransfers",
}
"""Measuring switches and the opposites that exist from 11.0, where the switches are the default."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """How the queries are timed; all defaults are trtexec's.

    At least ``iterations`` queries and ``duration_s`` seconds are measured after ``warm_up_ms``.
    ``idle_ms`` is slept after each query.
    """

    iterations: int = 10
    duration_s: float = 3.0
    warm_up_ms: float = 200.0
    idle_ms: float = 0.0
    cuda_graph: bool = False
    spin_wait: bool = False
    transfers: bool = True
    overlap: bool = True
    streams: int = 1

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Measuring:
        """Take the values from parsed flags; raise :class:`StandinError` for unusable ones."""
        graph, spin, resident = (_switched(options, name) for name in SWITCHED_OPPOSITES)
        asked = cls(
            iterations=options["--iterations"],
            duration_s=float(options["--duration"]),
            warm_up_ms=float(options["--warmUp"]),
            idle_ms=float(options["--idleTime"]),
            cuda_graph=graph,
            spin_wait=spin,
            transfers=not resident,
            overlap=not options["--exposeDMA"],
            streams=max(options["--infStreams"], options["--streams"]),
        )
        # What would leave nothing to measure, or never end
        if asked.duration_s < 0:
            raise StandinError("--duration must not be negative: the run would never end")
        if asked.iterations < 0 or (asked.iterations == 0 and asked.duration_s == 0):
            raise StandinError("--iterations and --duration leave nothing to measure")
        if asked.warm_up_ms < 0 or asked.idle_ms < 0:
            raise StandinError("--warmUp and --idleTime must not be negative")
        if asked.streams != 1:
            raise StandinError("--infStreams must be 1: this program measures one stream")
        return asked


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

    @property
    def tensors(self) -> bool:
        return self.output is not None or self.dump_output or self.raw_bindings


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


class LoopBound:
    """Counts loop passes until both the iterations and the duration are met after the warm-up.

    The caller runs one pass while :meth:`more` is true, then reports with :meth:`passed` the
    latest compute start it has read, in milliseconds since the clock event, or None when the
    pass completed no query yet, and rests. Passes that end within the warm-up do not count as
    iterations.
    """

    __slots__ = ("_asked", "_count", "_latest_ms", "_limit_ms", "_skipped")

    def __init__(self, asked: Measuring) -> None:
        self._asked = asked
        self._limit_ms = 1000.0 * asked.duration_s + asked.warm_up_ms
        self._latest_ms = 0.0
        self._skipped = 0
        self._count = 0

    def more(self) -> bool:
        """Whether another pass has to be made."""
        passes = self._asked.iterations + self._skipped
        return self._count < passes or self._latest_ms < self._limit_ms

    def passed(self, start_ms: float | None) -> None:
        """Take note of a finished pass and of the query it completed, if any."""
        self._count += 1
        if start_ms is not None and start_ms > self._latest_ms:
            self._latest_ms = start_ms
        warming_up = self._latest_ms < self._asked.warm_up_ms
        if warming_up and self._latest_ms:
            self._skipped += 1

    def rest(self) -> None:
        """Sleep as long as was asked for, once the warm-up is over."""
        if self._asked.idle_ms and not self._latest_ms < self._asked.warm_up_ms:
            time.sleep(self._asked.idle_ms / 1000)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the measuring loop."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


Stamps = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trace:
    """Milliseconds as float32, one entry per query, in the order of enqueueing.

    ``start_enq`` and ``end_enq`` are on the host's clock, the rest on the engine's; both are zero
    at the clock event. ``compute`` is the duration between the compute stamps, measured directly
    (their float32 difference is coarser). Without transfers the copy stamps equal the compute
    stamps.
    """

    start_enq: Stamps
    end_enq: Stamps
    start_h2d: Stamps
    end_h2d: Stamps
    start_compute: Stamps
    end_compute: Stamps
    start_d2h: Stamps
    end_d2h: Stamps
    compute: Stamps

    @classmethod
    def of(
        cls,
        start_enq: npt.ArrayLike,
        end_enq: npt.ArrayLike,
        start: npt.ArrayLike,
        end: npt.ArrayLike,
        compute: npt.ArrayLike,
        copies: Sequence[npt.ArrayLike] | None = None,
    ) -> Trace:
        """Queries with their four ``copies`` stamps, None for those whose data was in place."""
        first, second, third, fourth = (start, start, end, end) if copies is None else copies
        columns = (start_enq, end_enq, first, second, start, end, third, fourth, compute)
        return cls(*(np.asarray(one, dtype=np.float32) for one in columns))

    @property
    def h2d(self) -> Stamps:
        return self.end_h2d - self.start_h2d

    @property
    def d2h(self) -> Stamps:
        return self.end_d2h - self.start_d2h

    @property
    def latency(self) -> Stamps:
        """Input copies, compute and output copies; waiting between them is not in it."""
        return self.h2d + self.compute + self.d2h

    @property
    def span_ms(self) -> np.float32:
        """From the start of the first query to the end of the last."""
        return self.end_d2h[-1] - self.start_h2d[0]

    def __len__(self) -> int:
        return len(self.compute)

    def sorted(self) -> Trace:
        """The same queries in the order in which their input copies began."""
        return self._taken(np.argsort(self.start_h2d, kind="stable"))

    def after_warm_up(self, warm_up_ms: float) -> Trace:
        """Drop everything before the first query whose compute began at or after ``warm_up_ms``.

        No query at all is left when none began so late.
        """
        late = np.flatnonzero(self.start_compute >= np.float32(warm_up_ms))
        return self._taken(slice(int(late[0]) if len(late) else len(self), None))

    def _taken(self, which: npt.NDArray[np.intp] | slice) -> Trace:
        return replace(
            self, **{item.name: getattr(self, item.name)[which] for item in fields(self)}
        )


def report(log: Log, trace: Trace, warm_up_ms: float) -> Trace:
    """Say in trtexec's words how many queries there were and how long they took.

    Returns the counted queries, in order of their start. Raises :class:`StandinError` when no
    query began after the warm-up.
    """
    ordered = trace.sorted()
    counted = ordered.after_warm_up(warm_up_ms)
    if not len(counted):
        raise StandinError("No query began after the warm-up; raise --iterations or --duration")
    warm_ups = len(ordered) - len(counted)
    log.info(f"Warmup completed {warm_ups} queries over {number(warm_up_ms)} ms")
    seconds = number(counted.span_ms / np.float32(1000))
    log.info(f"Timing trace has {len(counted)} queries over {seconds} s")
    times = counted.compute
    numbers = {"min": times.min(), "max": times.max(), "mean": times.mean()}
    numbers["median"] = np.median(times)
    words = ", ".join(f"{name} = {number(value)} ms" for name, value in numbers.items())
    log.info(f"GPU Compute Time: {words}")
    return counted


def queries(trace: Trace) -> tuple[Query, ...]:
    """The records of ``--exportTimes``."""
    columns = [getattr(trace, field.name.removesuffix("_ms")) for field in fields(Query)]
    return tuple(Query(*row) for row in np.stack(columns, axis=1).tolist())


PASSED, FAILED = 0, 1
"""Exit statuses, trtexec's."""


class CudaError(StandinError):
    """A call to CUDA failed; the log shows it without a stamp, as trtexec does."""


@dataclass(frozen=True, slots=True)
class Program:
    """One stand-in: its name in banners, the version it stands for, its flags and its work.

    ``meanings`` maps flags that are accepted and mean something else here to what they mean;
    giving one is noted in the log. Giving one that is neither among them nor ``served`` is an
    error, with the reason in ``reasons`` or ``otherwise``. ``work`` raises :class:`StandinError`
    when it fails.
    """

    tool: str
    version: Version
    table: FlagTable
    work: Callable[[Log, Options], None]
    about: str
    served: Set[str]
    meanings: Mapping[str, str]
    otherwise: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> Set[str]:
        return self.served | self.meanings.keys()

    def run(self, argv: Sequence[str], log: Log) -> int:
        """Do what ``argv`` (without the program) asks and return the exit status."""
        command = shlex.join([self.tool, *argv])
        code = banner_code(self.version)
        log.banner("RUNNING", self.tool, code, command)
        try:
            if self._obey(argv, log):
                log.banner("PASSED", self.tool, code, command)
            return PASSED
        except UnknownFlagError as error:
            log.error(f"Unknown option: {error.flag} {error.value}")
            self._help(log)
        except BadFlagError as error:
            log.error(error.problem)
            self._help(log)
        except CudaError as error:
            log.bare_error(f"Cuda failure: {error}")
        except StandinError as error:
            log.error(str(error))
        log.banner("FAILED", self.tool, code, command)
        return FAILED

    def _obey(self, argv: Sequence[str], log: Log) -> bool:
        """Do the work; return whether there is a PASSED banner (help alone passes silently)."""
        options = self.table.parse(argv)
        if options.get("--help") or options.get("-h") or not argv:
            self._help(log)
            return not argv
        for name in dict.fromkeys(options.given):
            if name not in self.known:
                reason = self.reasons.get(name, self.otherwise)
                raise StandinError(f"{name} is not supported by {self.tool}: {reason}")
        log = replace(log, verbose=bool(options.get("--verbose")))
        echo(log, options, self.served)
        for name in dict.fromkeys(options.given):
            if name in self.meanings:
                log.info(f"{name}: {self.meanings[name]}")
        self.work(log, options)
        return True

    def _help(self, log: Log) -> None:
        log.plain(self.about)
        log.plain("")
        for name, flag in sorted(self.table.flags.items()):
            if name not in self.known:
                continue
            value = f"=<{flag.type}>" if flag.takes_value else ""
            default = "" if flag.default in (None, False) else f"  (default {flag.default})"
            log.plain(f"  {name}{value}{default}")
