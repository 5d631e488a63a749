"""What trtexec and its stand-ins wrote while they worked, and whether they did as asked.

The patterns hold for TensorRT 8.6 to 11.1, on one text of both streams. A line that is missing
(each version leaves out others) gives None or an empty tuple, never a made-up number.

An exit status alone does not show success. trtexec 8.6 built from the public samples prints PASSED,
leaves a good plan and ends at exit with signal 11. Later ones can end with status 0 or leave an
empty plan after a failed build. So a phase is good when its status is 0 or its log has PASSED, and
the file it owes is whole.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchlib import process
from benchlib.case import Engine, Failure
from benchlib.trtexec import exports
from benchlib.trtexec.command import Command, Phase
from benchlib.trtexec.exports import BadFileError, Query
from benchlib.trtexec.flags import Version, version_from_banner

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|inf|nan)"

BANNER = re.compile(
    r"^&&&& (?P<state>RUNNING|PASSED|FAILED|WAIVED) (?P<tool>\S+) "
    r"\[TensorRT v(?P<version>\d+)\](?: \[b\d+\])? # (?P<command>.*)$"
)
_MESSAGE = re.compile(
    r"^\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] \[(?P<severity>[FEWIV])\] (?:\[TRT\] )?(?P<text>.*)$"
)
_BUILT = re.compile(rf"^Engine built in ({_NUMBER}) sec\.")
_GRAPH_FAILED = re.compile(
    r"CUDA graph capture on the stream has failed|not permitted under CUDA graph capture mode"
)
_SKIPPED_TACTIC = re.compile(r"Skipping tactic|Tactic Device request: .* Available:")
_UNKNOWN = re.compile(r"^Unknown option: (\S*)")
_CUDA = re.compile(r"^Cuda failure(?: at \S+:\d+)?: (.*)$")
_NVMAP = re.compile(r"^NvMapMem\w+:.* error 12$")
"""How a Jetson's driver says that no memory is left, and TensorRT then often "unknown error"."""


@dataclass(frozen=True, slots=True)
class Log:
    """What could be read.

    ``version`` is the one the program was compiled against; the library it loaded may be newer.
    ``built_s`` is trtexec's own figure: up to 8.6 it holds parsing and saving too, later the
    build call alone, so compare it within a version only. A skipped tactic, which 8.6 warns of and
    10.x calls an error, is none of ``errors``: the builder goes on. ``short_of_memory`` is whether
    any was skipped for want of memory; ``jetson_full`` whether a Jetson had none left, after which
    a builder may go on too.
    """

    tool: str | None
    version: Version | None
    states: tuple[str, ...]
    built_s: float | None
    warnings: tuple[str, ...]
    errors: tuple[str, ...]
    graph_failed: bool
    skipped_tactics: int
    short_of_memory: bool
    jetson_full: bool
    unknown_flag: str | None
    cuda_failure: str | None
    last_line: str

    @property
    def passed(self) -> bool:
        """Whether the program said it had done all it was asked."""
        return "PASSED" in self.states


def program_of(tool: str | None) -> Engine:
    """Whose banner names ``tool``: a stand-in says so, whatever it was started as."""
    name = (tool or "").removeprefix("benchlib.")
    return next((one for one in Engine if one == name), Engine.TRTEXEC)


def read_log(text: str) -> Log:
    """Read a whole log, both streams merged in the order they were written."""
    lines = [line.rstrip() for line in text.splitlines()]
    banners = [match for line in lines if (match := BANNER.match(line))]
    messages = [
        (match["severity"], match["text"]) for line in lines if (match := _MESSAGE.match(line))
    ]
    built = _first(_BUILT, (text for _, text in messages))
    # Warnings and errors as they are; information only where a pattern asks for it.
    warnings = tuple(text for severity, text in messages if severity == "W")
    skipped = [text for level, text in messages if level in "WEF" and _SKIPPED_TACTIC.search(text)]
    errors = tuple(text for level, text in messages if level in "EF" and text not in skipped)
    return Log(
        tool=banners[0]["tool"] if banners else None,
        version=version_from_banner(int(banners[0]["version"])) if banners else None,
        states=tuple(banner["state"] for banner in banners),
        built_s=None if built is None else float(built),
        warnings=warnings,
        errors=errors,
        graph_failed=any(_GRAPH_FAILED.search(line) for line in lines),
        skipped_tactics=len(skipped),
        short_of_memory=any(map(_OUT_OF_MEMORY.search, skipped)),
        jetson_full=any(map(_NVMAP.match, lines)),
        unknown_flag=_first(_UNKNOWN, errors),
        cuda_failure=_first(_CUDA, lines),
        last_line=next((line for line in reversed(lines) if line), ""),
    )


def _first(pattern: re.Pattern[str], texts: Iterable[str]) -> str | None:
    return next((match[1] for text in texts if (match := pattern.match(text))), None)


_OUT_OF_MEMORY = re.compile(
    r"out[ _]?of[ _]?memory|bad_alloc|Requested amount of GPU memory|insuff?icient memory|"
    r"memory is insufficient|cudaErrorMemoryAllocation|allocator error",
    re.IGNORECASE,
)
_NO_TACTIC = re.compile(r"Could not find any implementation for node|No implementation.* obeys")
_UNSUPPORTED = re.compile(
    r"No importer registered|UNSUPPORTED_NODE|Unsupported ONNX|(?:could not|cannot) find plugin|"
    r"not supported|Plugin not found|unsupported|Failed to parse onnx file|"
    r"ONNX file was not parsed",
    re.IGNORECASE,
)
_INTERNAL = re.compile(r"Error Code \d+: Internal Error")
"""How the builder calls a failed assertion of its own; it gives no plan and ends with status 1."""
_NO_LIBRARY = re.compile(r"(?:Unable|Failed|Could not).*(?:open|load).*library", re.IGNORECASE)

_LONGEST_MESSAGE = 300
_ANOTHER = "another TensorRT version, precision or int8_method may build it"


@dataclass(frozen=True, slots=True)
class PhaseOutcome:
    """How one process ended: ``failure`` is None when it did its work.

    ``message`` is one sentence; of a good phase it names what was odd, or is empty.
    ``queries`` and ``profile`` are what the file of a good timing or profile holds.
    """

    failure: Failure | None
    message: str = ""
    queries: tuple[Query, ...] = ()
    profile: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PhaseRun:
    """One process that was run to its end: wall time, what it wrote, and the judgement of it."""

    seconds: float
    text: str
    log: Log
    outcome: PhaseOutcome


def run_phase(
    command: Command,
    product: Path,
    log_path: Path,
    limit_s: float,
    shorten: Callable[[str], str] = str,
) -> PhaseRun:
    """Run one command that owes ``product``, its output going to ``log_path``, and judge it.

    Files of both names that are there already are removed first. ``shorten`` rewrites the output
    before it is read. Raises :class:`benchlib.process.ProgramMissingError` and OSError.
    """
    product.unlink(missing_ok=True)
    log_path.unlink(missing_ok=True)
    ended = process.run(command.argv, env=command.env, log=log_path, time_limit_s=limit_s)
    text = shorten(log_path.read_text(encoding="utf-8", errors="replace"))
    log = read_log(text)
    if ended.timed_out:
        outcome = timed_out(command.phase, ended.seconds)
    else:
        outcome = judge_phase(command.phase, ended.code, log, product)
    return PhaseRun(ended.seconds, text, log, outcome)


def timed_out(phase: Phase, seconds: float) -> PhaseOutcome:
    """The judgement of a process that was ended at its time limit, after ``seconds``."""
    parameter = f"time_limit_{'build' if phase is Phase.BUILD else 'time'}_s"
    return PhaseOutcome(Failure.TIMEOUT, f"took more than {seconds:.0f} s; raise {parameter}")


def judge_phase(phase: Phase, status: int, log: Log, product: Path) -> PhaseOutcome:
    """Judge a process that has ended by itself.

    ``status`` is the one of :mod:`subprocess`, negative for a signal; ``product`` the file the
    phase owes: the plan, the profile or the exported times. ``log`` is of this process alone, or
    the PASSED of another phase would count. Time limits and programs that could
    not be started are the caller's to report.
    """
    if 128 < status < 128 + signal.NSIG:
        status = 128 - status  # How a shell around the program tells of a signal
    if (status != 0 and not log.passed) or "FAILED" in log.states:
        return _failed(phase, status, log)
    oddities = [f"{_ending(status)} after PASSED; its file is whole"] if status != 0 else []
    queries, profile = (), {}
    try:
        if phase is Phase.BUILD:
            oddities += other_library(product, log.version)
        elif phase is Phase.PROFILE:
            profile = exports.read_profile(product)
        else:
            queries = exports.read_times(product)
    except BadFileError as error:
        if log.errors or log.cuda_failure:
            return _failed(phase, status, log)
        return PhaseOutcome(Failure.BAD_OUTPUT, f"left no good file: {error}")
    return PhaseOutcome(None, "; ".join(oddities), queries, profile)


def other_library(plan: Path, version: Version | None) -> tuple[str, ...]:
    """That another TensorRT made ``plan`` than ``version``, the banner's, which is of the headers
    that the program was compiled with; nothing where they agree. Raises :class:`BadFileError`."""
    made_by = exports.check_engine(plan)
    if version in (None, made_by):
        return ()
    return (f"left an engine of TensorRT {made_by}: the library that was loaded, not {version}",)


def _failed(phase: Phase, status: int, log: Log) -> PhaseOutcome:
    failure, reason = _failure(phase, log), _reason(status, log)
    refused = status >= 0 and log.errors and _INTERNAL.search(log.errors[0])
    if failure is Failure.CRASH and phase is Phase.BUILD and refused:
        failure = Failure.UNSUPPORTED
    elif failure is not Failure.NO_TACTIC:
        return PhaseOutcome(failure, reason)
    kept = reason[: _LONGEST_MESSAGE - len(f"{phase} ; {_ANOTHER}")]
    return PhaseOutcome(failure, f"{kept}; {_ANOTHER}")


def _failure(phase: Phase, log: Log) -> Failure:
    errors = "\n".join((*log.errors, log.cuda_failure or "", log.last_line))
    no_memory = Failure.OOM_BUILD if phase is Phase.BUILD else Failure.OOM_RUN
    if log.unknown_flag is not None:
        return Failure.UNSUPPORTED
    if _OUT_OF_MEMORY.search(errors):
        return no_memory
    if _NO_TACTIC.search(errors):
        # Where tactics were skipped for want of memory, that is why none was left.
        short = log.short_of_memory or log.jetson_full
        return Failure.OOM_BUILD if short else Failure.NO_TACTIC
    if _NO_LIBRARY.search(errors):
        return Failure.MISSING_PROGRAM
    if _UNSUPPORTED.search(errors):
        return Failure.UNSUPPORTED
    return no_memory if log.jetson_full else Failure.CRASH


def _reason(status: int, log: Log) -> str:
    """One sentence: what was cause last, before how the process ended."""
    if log.unknown_flag is not None:
        version = f" {log.version}" if log.version else ""
        return f"{log.tool or 'the program'}{version} does not know {log.unknown_flag}"
    if log.cuda_failure is not None:
        cause = f"CUDA failure: {log.cuda_failure}"
    else:
        # The first error is the cause; those after it follow from it.
        cause = log.errors[0] if log.errors else log.last_line
    return f"{_ending(status)}: {cause}"[:_LONGEST_MESSAGE]


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        of = signal.Signals(-status)
        memory = ", as the system ends what takes its last memory" if of is signal.SIGKILL else ""
        return f"died of {of.name}{memory}"
    except ValueError:
        return f"died of signal {-status}"
