"""Folders of this machine, and their names in what is published."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from benchlib.case import ONNX_PREFIX, Case, file_name, with_digest
from benchlib.engines.command import Command
from benchlib.graphs import cache

_ACCOUNTS = ("home", "Users")
"""Folders below the root whose folders are called by the names of people."""

_START = r"(?<![\w./~+@%…{}-])"
_ROOT = r"(?:(?<![\w.~+@%…{}-])|(?<=[\s\"'=]-[A-Za-z]))"
"""Where a relative path and one from the root may begin: not within another; ``-I/usr`` may."""

_END_IN_TEXT = r"(?=/|$|[^\w.+@%~-]|\.(?:\s|$))"
_END_IN_ARGUMENT = r"(?=/|$|[:,])"
"""Where a path ends: at a separator, or at what is no part of a name. An argument is a whole path
or a list of them, so that other signs there are of the name."""

_LISTED_PATH = re.compile(r"(?<=[=:,])/[^:,]*")
"""A path from the root in an argument that holds more than it, as ``input:/data/a.bin``."""


@dataclass(frozen=True, slots=True)
class Places:
    """Text with this machine's paths in it becomes text without.

    Rows and logs are sent around and committed; where somebody keeps his files, and what his
    account is called, is nobody's business. ``names`` holds (path, its name), longest path first.
    """

    names: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, measured_set: Path) -> Places:
        """The places of a run into ``measured_set``."""
        known = [
            (measured_set / ".work", "{work}"),
            (measured_set, "{set}"),
            (cache.root(), "{cache}"),
            (Path(sys.executable), "python"),
            (Path(sys.prefix), "{python}"),
            (Path(sys.base_prefix), "{python}"),
            (Path(__file__).resolve().parents[2], "{benchlib}"),
            (Path.cwd(), "."),
            (Path.home(), "~"),
        ]
        return cls.naming(known)

    @classmethod
    def naming(cls, known: Iterable[tuple[Path, str]]) -> Places:
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
        """A command as it stands in a row: known paths named, of others the last part."""
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
            f"{_ROOT if path.startswith('/') else _START}{re.escape(path)}"
            f"{end if path.startswith('/') else '(?=/)'}"
            for path in names
        )
        return re.sub(paths, lambda found: names[found[0]], text)


def model_names(
    cases: Iterable[Case], standing: Iterable[tuple[str, str | None]] = ()
) -> dict[str, str]:
    """How rows name the model of each of ``cases``; of ``onnx:PATH`` only the file.

    Files of one name get as many of their folders as tell them apart, where these may be shown,
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
            name = with_digest(f"{ONNX_PREFIX}{file_name(model)}", digest)
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
