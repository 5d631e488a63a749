"""Did a process do what it was asked? Its exit status alone does not tell.

trtexec 8.6 built from the public samples says PASSED, leaves a good plan and dies at exit with
signal 11. Later ones can end with status 0 or leave an empty plan after a failed build. So a
phase is good when its status is 0 or its log says PASSED, and the file it owes is whole.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from benchlib.case import Failure
from benchlib.engines import exporttimes, plan, profile
from benchlib.engines.command import Phase
from benchlib.engines.exporttimes import BadTimesError
from benchlib.engines.log import Log
from benchlib.engines.plan import BadPlanError
from benchlib.engines.profile import BadProfileError

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|bad_alloc|Requested amount of GPU memory|insufficient memory",
    re.IGNORECASE,
)
_NO_TACTIC = re.compile(r"Could not find any implementation for node|No implementation.* obeys")
_UNSUPPORTED = re.compile(
    r"No importer registered|UNSUPPORTED_NODE|Unsupported ONNX|could not find plugin|"
    r"not supported|Plugin not found|unsupported",
    re.IGNORECASE,
)
_NO_LIBRARY = re.compile(r"(?:Unable|Failed|Could not).*(?:open|load).*library", re.IGNORECASE)

_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class PhaseOutcome:
    """How one process ended: ``failure`` is None when it did its work.

    ``message`` is one sentence; of a good phase it says what was odd about it, or nothing.
    """

    failure: Failure | None
    message: str = ""

    @property
    def ok(self) -> bool:
        return self.failure is None


def judge_phase(phase: Phase, status: int, log: Log, product: Path) -> PhaseOutcome:
    """Judge a process that has ended by itself.

    ``status`` is the one of :mod:`subprocess`, negative for a signal; ``product`` the file the
    phase owes: the plan, the profile or the exported times. ``log`` is of this process alone, or
    the PASSED of another phase would count. Time limits and programs that could
    not be started are the caller's to tell.
    """
    if status != 0 and not log.passed:
        return PhaseOutcome(_failure(phase, log), _reason(status, log))
    try:
        _check_product(phase, product)
    except (BadPlanError, BadTimesError, BadProfileError) as error:
        if log.errors or log.cuda_failure:
            return PhaseOutcome(_failure(phase, log), _reason(status, log))
        return PhaseOutcome(Failure.BAD_OUTPUT, f"{phase} left no good file: {error}")
    if status != 0:
        return PhaseOutcome(None, f"{_ending(status)} after PASSED; its file is whole")
    return PhaseOutcome(None)


def _check_product(phase: Phase, product: Path) -> None:
    if phase is Phase.BUILD:
        plan.read(product)
    elif phase is Phase.PROFILE:
        profile.read(product)
    else:
        exporttimes.read(product)


def _failure(phase: Phase, log: Log) -> Failure:
    errors = "\n".join((*log.errors, log.cuda_failure or "", log.last_line))
    if log.unknown_flag is not None:
        return Failure.UNSUPPORTED
    if _OUT_OF_MEMORY.search(errors):
        return Failure.OOM_BUILD if phase is Phase.BUILD else Failure.OOM_RUN
    if _NO_TACTIC.search(errors):
        # Where tactics were skipped for want of memory, that is why none was left.
        return Failure.OOM_BUILD if log.skipped_tactics else Failure.NO_TACTIC
    if _NO_LIBRARY.search(errors):
        return Failure.MISSING_PROGRAM
    if _UNSUPPORTED.search(errors):
        return Failure.UNSUPPORTED
    return Failure.CRASH


def _reason(status: int, log: Log) -> str:
    """One sentence: what was said last, before how the process ended."""
    if log.unknown_flag is not None:
        version = f" {log.version}" if log.version else ""
        return f"{log.tool or 'the program'}{version} does not know {log.unknown_flag}"
    if log.cuda_failure is not None:
        said = f"CUDA failure: {log.cuda_failure}"
    else:
        # The first error is the cause; those after it tell what failed in consequence.
        said = log.errors[0] if log.errors else log.last_line
    return f"{_ending(status)}: {said}"[:_LONGEST_MESSAGE]


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:
        return f"died of signal {-status}"
