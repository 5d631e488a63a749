"""Built engines, kept under a key so that one is built once and timed as often as asked.

They are many and large, so those unused longest are removed beyond a limit; so are the graphs that
a fleet's client sent here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
from typing_extensions import Self

from benchlib import process
from benchlib.errors import InputError
from benchlib.export import cache
from benchlib.export.build import Graph
from benchlib.trtexec import exports
from benchlib.trtexec.command import Command, Program

LIMIT_VARIABLE = "BENCHLIB_ENGINES_GB"
"""Environment variable: decimal gigabytes that kept engines may take."""

DEFAULT_LIMIT_GB = 20.0
"""The blog's whole matrix takes about ten."""

SPARED_S = 24 * 3600.0
"""Seconds since its last use in which an engine is never removed: another run may be timing it."""


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What a build reports: its own seconds (None if it prints none), our wall seconds, and
    how many tactics it had to skip."""

    build_s: float | None
    wall_s: float
    skipped_tactics: int


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A finished engine. ``mb`` is decimal megabytes; ``layers`` is where the layer information
    lies if the build wrote any; ``reused`` says that it was not built for this case."""

    plan: Path
    layers: Path
    facts: BuildFacts
    mb: float
    key: str
    reused: bool


def key(graph: Graph, command: Command, program: Program, gpu: str | None, build: int) -> str:
    """The content key of an engine: it may be timed again only when all of this is the same.

    A plan is bound to the graph, the flags, the exact library and the GPU model. ``build``
    counts engines built on purpose from the same input, to see how they differ.
    """
    parts = [graph.sha256, *command.choices(), program.engine, program.version, gpu, build]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def limit_bytes() -> float:
    """What kept engines may take; raises :class:`InputError` when the variable is no size."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit_gb = float(text) if text else DEFAULT_LIMIT_GB
    except ValueError:
        limit_gb = math.nan
    if not limit_gb >= 0:
        raise InputError(LIMIT_VARIABLE, f"{text!r} is no number of gigabytes; give 0 or more")
    return limit_gb * 1e9


@dataclass(frozen=True, slots=True)
class KeptFolders:
    """Sub-folders of ``folder`` that together take at most ``limit`` bytes, unless more were used
    within a day.

    The time of the file ``mark`` in each is that of its last use. One that this process has used
    is held: an engine's rounds may come days after its build.
    """

    folder: Path
    limit: float = math.inf
    mark: str = "facts.json"
    _held: set[str] = field(default_factory=set)

    @classmethod
    def usual(cls, name: str, *mark: str) -> Self:
        """Those called ``name`` in benchlib's cache; raises as :func:`limit_bytes` does."""
        return cls(cache.root() / name, limit_bytes(), *mark)

    def hold(self, name: str) -> None:
        """Note that the sub-folder ``name`` is used from now on."""
        self._held.add(name)

    def prune(self) -> None:
        """Remove those unused longest until the rest are within the limit."""
        for leftover in self.folder.glob(".*"):
            # Half made or half removed by a run that was killed
            pid = leftover.name.rpartition(".")[2]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(leftover, ignore_errors=True)
        for name in self._held:
            # Other runs go by the time of its last use
            with contextlib.suppress(OSError):
                os.utime(self.folder / name / self.mark)
        kept = []
        for mark in self.folder.glob(f"[!.]*/{self.mark}"):
            # Another run may be removing it too.
            with contextlib.suppress(OSError):
                size = sum(file.stat().st_size for file in mark.parent.iterdir())
                kept.append((mark.stat().st_mtime, size, mark.parent))
        total = sum(size for _, size, _ in kept)
        for used, size, folder in sorted(kept):
            if total <= self.limit or used > time.time() - SPARED_S:
                return
            # Gone at once for other runs, whatever happens to this one meanwhile.
            gone = self.folder / f".{folder.name}.{os.getpid()}"
            with contextlib.suppress(OSError):
                folder.rename(gone)
                shutil.rmtree(gone)
                total -= size


class EngineCache(KeptFolders):
    """Engines, one sub-folder each, put there by rename when known to be good."""

    __slots__ = ()

    def obtain(
        self, engine_key: str, name: str, build: Callable[[Path, Path], BuildFacts]
    ) -> BuiltEngine:
        """The engine called ``engine_key``, built now unless it is there; held from then on.

        ``build(plan, layers)`` writes both files under the paths it is given, or raises; ``name``
        makes the temporary folder readable.
        """
        self.hold(engine_key)
        found = self._found(engine_key)
        if found is not None:
            return found
        final = self.folder / engine_key
        self.prune()
        temporary = self.folder / f".{name}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            plan, layers = temporary / "engine.plan", temporary / "layers.json"
            facts = build(plan, layers)
            text = json.dumps(asdict(facts))
            (temporary / "facts.json").write_text(text, encoding="utf-8")
            # Another run may have built the same one meanwhile, and may be timing it.
            if self._found(engine_key) is None:
                shutil.rmtree(final, ignore_errors=True)
                process.publish(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self._read(final, reused=False)

    def check(self, engine: BuiltEngine) -> None:
        """Raise :class:`FileNotFoundError` unless ``engine`` is there as it was obtained."""
        if self._found(engine.key) != replace(engine, reused=True):
            raise FileNotFoundError(errno.ENOENT, "its engine is gone from the cache or another")

    def _found(self, engine_key: str) -> BuiltEngine | None:
        folder = self.folder / engine_key
        facts = folder / "facts.json"
        if not facts.is_file():
            return None
        try:
            exports.check_engine(folder / "engine.plan")
        except exports.BadFileError:  # gone, or emptied by a disk that ran full
            return None
        with contextlib.suppress(OSError):
            # Its time is that of its last use, as far as the folder can be written.
            os.utime(facts)
        return self._read(folder, reused=True)

    @staticmethod
    def _read(folder: Path, *, reused: bool) -> BuiltEngine:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        plan = folder / "engine.plan"
        return BuiltEngine(
            plan=plan,
            layers=folder / "layers.json",
            facts=BuildFacts(**facts),
            mb=plan.stat().st_size / 1e6,
            key=folder.name,
            reused=reused,
        )


def as_json(engine: BuiltEngine) -> dict[str, object]:
    """What a row keeps of an engine: no paths."""
    document = asdict(engine)
    del document["plan"], document["layers"]
    return document
