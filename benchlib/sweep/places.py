"""Folders of this machine, and their names in what is published."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from benchlib.engines.command import Command
from benchlib.graphs import cache


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
        """Each path under ``known``, as it is written and as it is resolved."""
        names = {
            str(form): name for path, name in known for form in (path, path.absolute().resolve())
        }
        names.pop("/", None)
        names.pop(".", None)
        return cls(tuple(sorted(names.items(), key=lambda item: -len(item[0]))))

    def shorten(self, text: str) -> str:
        """``text`` with every known path under its name."""
        for path, name in self.names:
            text = text.replace(path, name)
        return text

    def argv(self, command: Command) -> list[str]:
        """A command as it stands in a row: known paths named, of others the last part."""
        return [self._argument(argument) for argument in command.argv]

    def _argument(self, argument: str) -> str:
        short = self.shorten(argument)
        flag, separator, value = short.rpartition("=")
        if PurePath(value).is_absolute():
            value = f"…/{PurePath(value).name}"
        return f"{flag}{separator}{value}"


def model_name(model: str) -> str:
    """A model as a row names it: of ``onnx:PATH`` only the file."""
    prefix, _, rest = model.partition(":")
    return f"onnx:{PurePath(rest).name}" if prefix == "onnx" else model
