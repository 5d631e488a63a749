"""Built engines, kept under a key so that one is built once and timed as often as asked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchlib.engines.command import Command
from benchlib.engines.program import Program
from benchlib.graphs.make import Graph


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What a build says of itself: its own seconds (None if it tells none), our wall seconds, and
    how many tactics it had to skip."""

    build_s: float | None
    wall_s: float
    skipped_tactics: int


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A finished engine. ``mb`` is decimal megabytes; ``layers`` is the layer information written
    at build, if there was any; ``reused`` says that it was not built for this case."""

    plan: Path
    layers: Path | None
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


@dataclass(frozen=True, slots=True)
class PlanStore:
    """Engines in ``folder``, one sub-folder each, put there by rename when known to be good."""

    folder: Path

    def obtain(
        self,
        engine_key: str,
        name: str,
        build: Callable[[Path, Path], BuildFacts],
    ) -> BuiltEngine:
        """The engine called ``engine_key``, built now unless it is there.

        ``build(plan, layers)`` writes both files under the paths it is given, or raises; ``name``
        makes the temporary folder readable.
        """
        found = self._found(engine_key)
        if found is not None:
            return found
        final = self.folder / engine_key
        self._remove_orphans()
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
                temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self._read(final, reused=False)

    def _remove_orphans(self) -> None:
        """Remove half-built engines of runs that were killed."""
        for leftover in self.folder.glob(".*"):
            pid = leftover.name.rpartition(".")[2]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(leftover, ignore_errors=True)

    def _found(self, engine_key: str) -> BuiltEngine | None:
        folder = self.folder / engine_key
        if not (folder / "facts.json").is_file() or not (folder / "engine.plan").is_file():
            return None
        return self._read(folder, reused=True)

    @staticmethod
    def _read(folder: Path, *, reused: bool) -> BuiltEngine:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        plan, layers = folder / "engine.plan", folder / "layers.json"
        return BuiltEngine(
            plan=plan,
            layers=layers if layers.is_file() else None,
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
