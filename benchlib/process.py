"""What processes share: programs run as process groups, locks by files, files written whole.

The stand-ins import this under interpreters that have the standard library and little more.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchlib.errors import InputError


@contextmanager
def lock_held(
    path: Path, field: str, *, wait_s: float = -1.0, of_all_users: bool = False
) -> Iterator[None]:
    """Hold the lock file ``path``; ``field`` is what the user sets to have it elsewhere.

    The file stays, and ``of_all_users`` is whether others than who made it may hold it then.
    Raises :class:`TimeoutError` when somebody else holds it for ``wait_s`` seconds (-1: no limit),
    :class:`InputError` where the file system has no locks, and other OSErrors when the file cannot
    be made.
    """
    from filelock import FileLock, Timeout

    # Without fallback_to_soft a file system without locks would get a lock that is the mere
    # existence of the file: one left by a killed run would be waited for without end.
    mode = {"mode": 0o666} if of_all_users else {}
    lock = FileLock(path, timeout=wait_s, fallback_to_soft=False, **mode)
    try:
        lock.acquire()
    except Timeout:
        raise TimeoutError(f"{path} is held") from None
    except OSError as error:
        # Locking works on an open file and so names none; what names one is about the file itself.
        if error.filename is not None:
            raise
        raise InputError(
            field,
            f"no locks here: the file system of {path.parent} answers {error.strerror!r}; choose "
            "a folder on a local disk",
        ) from None
    try:
        yield
    finally:
        lock.release()


PART = ".part"
"""Ending of a file that is being written; one that is left is of a writer that was killed."""


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write ``path`` beside itself, flush it to the disk and rename it; raises OSError."""
    part = path.with_name(f".{path.name}{PART}")
    try:
        part.write_bytes(content)
        publish(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def publish(draft: Path, path: Path) -> None:
    """Give a finished file, or a folder of files, its name once the disk has it; raises OSError.

    Both are on one file system.
    """
    for file in draft.iterdir() if draft.is_dir() else (draft,):
        with file.open("rb") as written:
            os.fsync(written.fileno())
    draft.replace(path)


ENDING = tuple(one for one in signal.Signals if one.name in ("SIGTERM", "SIGHUP"))
"""What asks a process to end at once: a service manager or a batch system, a closed terminal (not
on Windows)."""


@contextmanager
def on_signals(
    handler: Callable[[int, FrameType | None], Any], *numbers: signal.Signals
) -> Iterator[None]:
    """Let ``handler`` have the signals meanwhile, but of :data:`ENDING` none that we were started
    to ignore, as SIGHUP by ``nohup``; and none outside the main thread, where none arrives."""
    ignored = {one for one in ENDING if signal.getsignal(one) is signal.SIG_IGN}
    is_main = threading.current_thread() is threading.main_thread()
    taken = [one for one in numbers if is_main and one not in ignored]
    before = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, old in before.items():
            # None: it was installed from C, and Python cannot put it back.
            signal.signal(number, signal.SIG_DFL if old is None else old)


SPEAK_UTF8 = {"PYTHONIOENCODING": "utf-8:backslashreplace"}
"""Environment of our Python programs: their logs are read as UTF-8, whatever the terminal takes."""

NUMBER_AS_NVML = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Environment in which CUDA numbers unlike cards as NVML and nvidia-smi do, not the fastest first:
so that the card that is timed is the one that a row names and whose clock is watched."""

ALTERING = ("CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE")
"""Variables, set for a debugger or for training, that change the time or the precision against what
a row says, and programs are begun without: each launch waits for the GPU, TF32 is on or off."""

GRACE_S = 2.0
"""Seconds between the request to end (SIGTERM) and the order (SIGKILL)."""

_PR_SET_PDEATHSIG = 1
"""Linux: the signal a process gets when its parent ends (``prctl(2)``)."""


class ProgramMissingError(Exception):
    """The program cannot be started: not there, or not executable."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    ``code`` is the exit status as :mod:`subprocess` has it, negative for the signal that ended
    it; ``seconds`` is wall time; ``timed_out``: we ended it at its time limit.
    """

    code: int
    seconds: float = 0.0
    timed_out: bool = False

    @property
    def words(self) -> str:
        """The end in words, for a row's message."""
        if self.timed_out:
            return f"ended at its time limit after {self.seconds:.0f} s"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"ended with status {self.code}"


def dies_with_parent() -> Callable[[], None] | None:
    """What a child calls on itself so that a killed sweep leaves no orphan measuring.

    Linux only; elsewhere None. The C function is bound here, in the parent: between fork and
    exec the child may only make that one call.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_group(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End ``process`` and everything in its group; return when the group is gone."""
    for order, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        try:
            os.killpg(process.pid, order)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and _alive(process):
            time.sleep(0.01)
    process.wait()


def _alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether any member of the group is left; reaps the leader."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def run(
    argv: Sequence[str],
    *,
    log: Path,
    time_limit_s: float,
    env: Mapping[str, str] | None = None,
    grace_s: float = GRACE_S,
) -> Ended:
    """Run ``argv`` to its end and append its output, both streams in order, to ``log``.

    ``env`` is added to our own environment, which is without :data:`ALTERING` and in which CUDA
    numbers cards as NVML does. The whole group is gone when this returns or raises, also at a
    KeyboardInterrupt. Raises :class:`ProgramMissingError`, and OSError when ``log`` cannot be
    written.
    """
    started = time.monotonic()
    ours = {name: value for name, value in os.environ.items() if name not in ALTERING}
    with log.open("ab") as sink:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**ours, **SPEAK_UTF8, **NUMBER_AS_NVML, **(env or {})},
                start_new_session=True,
                preexec_fn=dies_with_parent(),
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise ProgramMissingError(f"{argv[0]} cannot be started: {error.strerror}") from error
        timed_out = False
        try:
            process.wait(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            end_group(process, grace_s)
    return Ended(process.returncode, time.monotonic() - started, timed_out)
