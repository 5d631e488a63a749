"""Strike from a measured set's rows the commands that never ran.

Until November 2026 a row listed its build and profile commands once per timing process, although
each ran once, or not at all where a built engine was found. A row's log tells what ran: every
program repeats its arguments in its first line. This step makes ``detail.commands`` agree with it
and touches nothing else, so every number stays.

    python tools/mend_commands.py results/NAME [results/OTHER ...]

A row whose log and commands cannot be brought together is left as it is and named, and the exit
status is 1. A second run over the same set changes nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from benchlib.errors import InputError
from benchlib.measure.store import read_log
from benchlib.trtexec.exit_check import BANNER

NOTE = (
    "The rows listed each build and profile command once per timing process although it ran once, "
    "or not at all for an engine built before: {struck} of {listed} commands had not run. They "
    "were struck afterwards, and the files named in the others put right, from each row's log "
    "(tools/mend_commands.py); no number was touched."
)

_FILES = frozenset({"--saveEngine", "--loadEngine", "--exportLayerInfo", "--exportProfile"})
"""Files that were listed under a planned name and written under another."""


_NEXT_FLAG = re.compile(r" (?='?--?[A-Za-z])")


def started(text: str) -> tuple[tuple[str, ...], ...]:
    """The arguments of each program that began, in order, as its first banner repeats them.

    trtexec joins them by spaces and quotes nothing, so a blank parts two arguments only where a
    flag follows. The stand-ins quote an argument as a shell would, from its start on.
    """
    banners = (BANNER.match(line.rstrip()) for line in text.splitlines())
    return tuple(
        tuple(map(_unquoted, _NEXT_FLAG.split(banner["command"])[1:]))
        for banner in banners
        if banner is not None and banner["state"] == "RUNNING"
    )


def _unquoted(argument: str) -> str:
    if not argument.startswith("'"):
        return argument
    try:
        return "".join(shlex.split(argument))
    except ValueError:
        return argument


class MendError(Exception):
    """A row cannot be mended; the message says why."""


def agreed(listed: Sequence[Sequence[str]], log: str) -> list[list[str]]:
    """Of the commands ``listed``, those that ran by their ``log``, in order, as they ran.

    Raises :class:`MendError` when something ran that is not listed: then the log is another
    attempt's, or not of this row.
    """
    rest = [list(argv) for argv in listed]
    ran = []
    for arguments in started(log):
        place = next((n for n, argv in enumerate(rest) if _same(_arguments(argv), arguments)), None)
        if place is None:
            raise MendError(f"its log has a run that it does not list: {' '.join(arguments)}")
        head = rest[place][: len(rest[place]) - len(arguments)]
        ran.append([*head, *map(_without_folder, arguments)])
        del rest[: place + 1]
    if not ran:
        raise MendError("its log does not tell what ran")
    return ran


def _arguments(argv: Sequence[str]) -> list[str]:
    """The flags of a command, without its program."""
    first = next((n for n, word in enumerate(argv) if word.startswith("--")), len(argv))
    return list(argv[first:])


def _same(listed: Sequence[str], ran: Sequence[str]) -> bool:
    return len(listed) == len(ran) and all(
        one == other or one == _without_folder(other) or _flag(one) == _flag(other) in _FILES
        for one, other in zip(listed, ran, strict=True)
    )


def _flag(argument: str) -> str:
    return argument.partition("=")[0]


def _without_folder(argument: str) -> str:
    """As rows hold a path outside the known folders: its last part."""
    flag, separator, value = argument.partition("=")
    if PurePath(value).is_absolute():
        value = f"…/{PurePath(value).name}"
    return f"{flag}{separator}{value}"


def mend(folder: Path) -> tuple[int, int, list[str]]:
    """Mend the set in ``folder``; return commands struck, commands listed before, complaints."""
    struck = listed = 0
    complaints: list[str] = []
    mended: dict[Path, str] = {}
    for path in sorted((folder / "rows").glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        before = row["detail"].get("commands", [])
        if not before:
            continue
        listed += len(before)
        try:
            after = agreed(before, _log(folder, row))
        except MendError as error:
            complaints.append(f"{path.name}: left as it is, {error}")
            continue
        struck += len(before) - len(after)
        if after != before:
            row["detail"]["commands"] = after
            mended[path] = json.dumps(row, indent=1, allow_nan=False) + "\n"
    for path, text in mended.items():
        path.write_text(text, encoding="utf-8")
    if mended:
        _note(folder / "environment.json", NOTE.format(struck=struck, listed=listed))
    return struck, listed, complaints


def _log(folder: Path, row: dict[str, Any]) -> str:
    path = folder / (row.get("log") or "")
    if not path.is_file():
        raise MendError("it has no log")
    return read_log(path)


def _note(path: Path, note: str) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    document["notes"] = [*document.get("notes", []), note]
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Mend every set named on the command line; 1 when a row was left as it is."""
    parser = argparse.ArgumentParser(prog="mend_commands.py", description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="SET")
    status = 0
    for folder in parser.parse_args(arguments).folders:
        if not (folder / "rows").is_dir() or not (folder / "environment.json").is_file():
            raise InputError("set", f"{folder} is no measured set; give a folder with rows/")
        struck, listed, complaints = mend(folder)
        sys.stdout.write(f"{folder.name}: {struck} of {listed} commands struck\n")
        for complaint in complaints:
            sys.stderr.write(f"{complaint}\n")
            status = 1
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as problem:
        sys.exit(f"error: {problem}")
