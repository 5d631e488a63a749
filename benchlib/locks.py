"""Locks between processes, by files; the system lets go of one when its holder ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchlib.errors import InputError

WAIT_FOREVER = -1.0


@contextmanager
def held(path: Path, field: str, *, wait_s: float = WAIT_FOREVER) -> Iterator[None]:
    """Hold the lock file ``path``; ``field`` is what the user sets to have it elsewhere.

    Raises :class:`TimeoutError` when somebody else holds it for ``wait_s`` seconds,
    :class:`InputError` where the file system has no locks, and other OSErrors when the file cannot
    be made.
    """
    # Without fallback_to_soft a file system without locks would get a lock that is the mere
    # existence of the file: one left by a killed run would be waited for without end.
    lock = FileLock(path, timeout=wait_s, fallback_to_soft=False)
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
