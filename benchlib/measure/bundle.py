"""A bundle: graphs and a shell script that measure on a device with trtexec and no Python.

A folder with ``graphs/``, ``cases.json`` (all that :mod:`benchlib.measure.collect` has to know) and
``run.sh``, which leaves what it measured in ``out/``. The script builds every engine, then times in
rounds; their number is fixed here, because a shell cannot compute an interval.
"""

from __future__ import annotations

import hashlib
import logging
import math
import platform
import random
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader
from pydantic import TypeAdapter

from benchlib import __version__, process
from benchlib.case import Case, Engine, Precision, without_folders
from benchlib.config import Parameters
from benchlib.errors import InputError, MachineError
from benchlib.export import cache
from benchlib.export.build import Graph
from benchlib.gpu import nvml
from benchlib.gpu.telemetry import TEGRASTATS_S
from benchlib.measure import environment, matrix, record
from benchlib.measure.exporter import Exporter, Network
from benchlib.measure.matrix import Step
from benchlib.measure.measurement import Measurement, named
from benchlib.measure.record import CaseError, Fault
from benchlib.trtexec import locate
from benchlib.trtexec.command import CaseFiles, Command, Phase, Program

log = logging.getLogger(__name__)

ROUNDS = 5
"""Timing processes per engine. With five the 95 % interval of their mean is half as wide as with
three (Student's t of 2.8 against 4.3), and a round of small networks takes some minutes."""

BUILD_S = 120
"""Seconds that the estimate gives one build. Half of the H100's took up to 92 s
(results/h100-trtexec-8.6); networks for a Jetson are smaller and its builds slower."""

START_S = 4
"""Seconds from the start of a timing process to its warm-up, as on the H100 (up to 6 s)."""

ENGINE_SHARE = 1.2
"""Size of an engine over that of its graph in the estimate of disk space; those of the committed
sets take 0.3 to 1.4 of it."""

CASES, SCRIPT, GRAPHS, OUT = "cases.json", "run.sh", "graphs", "out"

_PRODUCTS = {Phase.BUILD: "engine", Phase.PROFILE: "profile.json", Phase.TIME: "times.json"}


@dataclass(frozen=True, slots=True)
class Unit:
    """One engine of a case: how its files begin, its number, its commands as run.sh has them.

    ``engine`` is the unit that builds it: another one where several sizes share a dynamic engine.
    """

    name: str
    build: int
    engine: str
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class BundledCase:
    """A case with what is known of its network and graph.

    ``shown`` is how rows name the network. ``skipped`` or ``fault`` is the reason for no ``units``.
    Paths are within the bundle, and a user's own file goes by its name alone.
    """

    case: Case
    shown: str = ""
    network: Network = field(default_factory=Network)
    graph: Graph | None = None
    work: dict[str, int] = field(default_factory=dict)
    units: tuple[Unit, ...] = ()
    skipped: str | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """What cases.json holds; ``device_mb`` is an estimate of the disk space that it needs there."""

    benchlib: str
    date: datetime
    tensorrt: str
    rounds: int
    seed: int
    preset: str | None
    python: str
    packages: dict[str, str]
    git_commit: str | None
    parameters: dict[Precision, Parameters]
    cases: tuple[BundledCase, ...]
    graphs_mb: float
    device_mb: int
    estimate: str
    schema_version: Literal[1] = 1

    @property
    def units(self) -> tuple[Unit, ...]:
        return tuple(unit for one in self.cases for unit in one.units)

    @property
    def engines(self) -> int:
        return sum(unit.engine == unit.name for unit in self.units)


FORMAT = TypeAdapter(Bundle)
"""Reads and writes cases.json."""


@dataclass(frozen=True, slots=True)
class Written:
    """The folders that were written, each a bundle of its own, and what is not in them."""

    folders: tuple[Path, ...]
    bundles: tuple[Bundle, ...]
    left_out: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        for folder, bundle in zip(self.folders, self.bundles, strict=True):
            yield f"{folder}: {len(bundle.cases)} cases, {bundle.graphs_mb:.0f} MB to copy"
            yield f"  on the device: {bundle.estimate}; start it with: sh {SCRIPT}"
        for key, why in self.left_out.items():
            yield f"left out: {key}: {why}"

    def as_json(self) -> dict[str, Any]:
        return {
            "bundles": [
                {
                    "folder": str(folder),
                    "cases": len(one.cases),
                    "engines": one.engines,
                    "rounds": one.rounds,
                    "graphs_mb": round(one.graphs_mb, 1),
                    "device_mb": one.device_mb,
                    "estimate": one.estimate,
                }
                for folder, one in zip(self.folders, self.bundles, strict=True)
            ],
            "left_out": dict(self.left_out),
        }


def write(
    runs: Sequence[Parameters],
    program: Program,
    out: Path,
    *,
    rounds: int = ROUNDS,
    split_mb: float | None = None,
) -> Written:
    """Write the cases of ``runs`` (one per precision) for ``program`` into the new folder ``out``.

    With ``split_mb`` into folders below it, each a bundle of at most so many megabytes of graphs.
    A case whose graph cannot be made is logged and gets a failed row when the rest is collected.
    Raises :class:`InputError` for what the user gave wrong, :class:`MachineError` for a full disk.
    """
    if program.engine is not Engine.TRTEXEC:
        raise InputError("engine", "a bundle is measured by trtexec; leave engine out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("out", f"{out} is there and not an empty folder; give a new one")
    if split_mb is not None and not split_mb > 0:  # which nan is not either
        raise InputError("split-mb", f"{split_mb} is no size; give megabytes, such as 4000")
    if runs[0].lock_clocks:
        log.warning("note: lock_clocks is not used: lock them there (jetson_clocks, nvidia-smi)")
    with _draft(out) as draft:
        steps = [(step, given) for given in runs for step in matrix.steps(given, program)]
        exporter = Exporter(runs[0], draft / "exporter.log", runs[0].time_limit_build_s)
        try:
            builders: dict[object, str] = {}
            cases = [_bundled(step, given, exporter, builders) for step, given in steps]
        finally:
            exporter.close()
        (draft / "exporter.log").unlink(missing_ok=True)
        failed = {one.case.key: one.fault.message for one in cases if one.fault is not None}
        if not any(one.units for one in cases):
            reasons = [*failed.values(), *(one.skipped for one in cases if one.skipped)]
            raise InputError("models", f"nothing is left to measure: {reasons[0]}")
        parts = _parts(cases, split_mb)
        _check_room(parts, draft)
        folders = [draft / f"part-{number}" for number in range(1, len(parts) + 1)]
        folders = [draft] if split_mb is None else folders
        bundles = tuple(
            _write_one(part, runs, program, rounds, folder)
            for part, folder in zip(parts, folders, strict=True)
        )
        if out.exists():
            out.rmdir()
        draft.replace(out)
    return Written(tuple(out / one.relative_to(draft) for one in folders), bundles, failed)


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that is gone afterwards, unless it was renamed."""
    draft = out.with_name(f".{out.name}{process.PART}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            "out", f"{out} cannot be written ({error.strerror}); choose another folder"
        ) from None
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _bundled(
    step: Step, given: Parameters, exporter: Exporter, builders: dict[object, str]
) -> BundledCase:
    """The case with its graph, still in the cache, and its commands as run.sh has them.

    ``builders`` are the units that build, by all that decides what comes out.
    """
    case = step.case
    if step.skipped is not None:
        return BundledCase(case, network=named(case.model), skipped=step.skipped)
    made = Measurement(case, matrix.settings(given))
    try:
        made.export(exporter, step.form)
    except (CaseError, InputError) as error:
        fault = record.fault_of(error)
        log.warning("%s cannot be exported: %s", case.key, fault.message)
        return BundledCase(case, network=made.network, fault=fault)
    log.info("%s is exported", case.key)
    graph, units = made.graph, []
    # One step at a time writes into out/part; what is good gets its name then.
    part, texts = Path(OUT, "part"), ("times", "layers", "profile", "output")
    files = CaseFiles(part / "engine", *(part / f"{one}.json" for one in texts), part / "log")
    for build in range(given.builds):
        name = f"{case.key}.b{build}"
        placed = [
            command.placed(made.settings, _within(graph), files, graph.input_name)
            for command in step.commands
            if command.phase is not Phase.PROFILE or build == 0
        ]
        engine = builders.setdefault((graph.sha256, placed[0].choices(), build), name)
        commands = tuple(
            command
            if command.flag("--loadEngine") is None
            else command.with_flag("--loadEngine", Path(OUT, f"{engine}.build.engine"))
            for command in placed
        )
        units.append(Unit(name, build, engine, commands))
    return BundledCase(case, "", made.network, graph, made.work, tuple(units))


def _within(graph: Graph) -> Path:
    return Path(GRAPHS, graph.path.name)


def _megabytes(graph: Graph) -> float:
    files = (graph.path, cache.data_of(graph.path))
    return sum(file.stat().st_size for file in files if file.exists()) / 1e6


def _graphs(cases: Sequence[BundledCase]) -> dict[Path, Graph]:
    """Each graph once; several cases may share one."""
    return {one.graph.path: one.graph for one in cases if one.graph is not None}


def _parts(cases: Sequence[BundledCase], split_mb: float | None) -> list[list[BundledCase]]:
    """The cases in groups of at most ``split_mb`` of graphs.

    Those of one graph stay together, whatever its file is called: they may share an engine.
    """
    if split_mb is None:
        return [list(cases)]
    by_graph: dict[str | None, list[BundledCase]] = {}
    for one in cases:
        by_graph.setdefault(one.graph and one.graph.sha256, []).append(one)
    without = by_graph.pop(None, [])
    parts: list[list[BundledCase]] = []
    left_mb = 0.0
    for group in by_graph.values():
        size = sum(map(_megabytes, _graphs(group).values()))
        if size > split_mb:
            raise InputError(
                "split-mb",
                f"the graph of {group[0].case.model} alone takes {size:.1f} MB; give that or more",
            )
        if size > left_mb:
            parts.append([])
            left_mb = split_mb
        parts[-1] += group
        left_mb -= size
    parts[0] += without
    return parts


def _check_room(parts: Sequence[Sequence[BundledCase]], folder: Path) -> None:
    needed = sum(_megabytes(graph) for part in parts for graph in _graphs(part).values())
    free = shutil.disk_usage(folder).free / 1e6
    if needed > free:
        raise MachineError(
            f"out: the graphs take {needed:.0f} MB and {free:.0f} MB are free there; free some or "
            "choose another folder"
        )


def _write_one(
    cases: Sequence[BundledCase],
    runs: Sequence[Parameters],
    program: Program,
    rounds: int,
    folder: Path,
) -> Bundle:
    (folder / GRAPHS).mkdir(parents=True)
    graphs = _graphs(cases)
    for graph in graphs.values():
        cache.copy(graph.path, folder / _within(graph))
    names = environment.model_names([one.case for one in cases])
    shown = tuple(
        replace(
            one,
            case=replace(one.case, model=without_folders(one.case.model)),
            shown=names[one.case.model],
            graph=one.graph and replace(one.graph, path=_within(one.graph)),
        )
        for one in cases
    )
    by_precision = {
        given.precision: Parameters.model_validate(
            {
                **environment.public(given, names),
                "engine": program.engine,
                "min_rounds": rounds,
                "max_rounds": rounds,
            }
        )
        for given in runs
    }
    sizes = {path: _megabytes(graph) for path, graph in graphs.items()}
    engines_mb = seconds = 0.0
    for one in cases:
        for unit in one.units:
            given = by_precision[one.case.precision]
            seconds += rounds * (START_S + given.warm_up_ms / 1000 + given.duration_s)
            if unit.engine == unit.name:
                engines_mb += ENGINE_SHARE * sizes[one.graph.path]
                seconds += BUILD_S
    device_mb = math.ceil(engines_mb) + 1
    bundle = Bundle(
        benchlib=__version__,
        date=datetime.now(timezone.utc).replace(microsecond=0),
        tensorrt=program.version,
        rounds=rounds,
        seed=runs[0].seed,
        preset=runs[0].preset,
        python=platform.python_version(),
        packages=cache.versions(environment.PACKAGES),
        git_commit=environment.git_commit(),
        parameters=by_precision,
        cases=shown,
        graphs_mb=sum(sizes.values()),
        device_mb=device_mb,
        estimate=f"some {device_mb} MB more for engines and {_span(seconds)}, guessed",
    )
    text = FORMAT.dump_json(bundle, indent=1) + b"\n"
    (folder / CASES).write_bytes(text)
    (folder / SCRIPT).write_text(script(bundle, identity(text)), encoding="utf-8")
    (folder / SCRIPT).chmod(0o755)
    return bundle


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} h"


def identity(cases_json: bytes) -> str:
    """What run.sh writes into out/, so that results are never read with other cases."""
    return hashlib.sha256(cases_json).hexdigest()[:16]


def script(bundle: Bundle, name: str) -> str:
    """run.sh: the template with the commands, and the units' order in each round."""
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, trim_blocks=True, keep_trailing_newline=True)
    made.filters["quoted"] = shlex.quote
    chance = random.Random(bundle.seed)
    numbers = range(1, len(bundle.units) + 1)
    limits = {
        unit.name: bundle.parameters[one.case.precision]
        for one in bundle.cases
        for unit in one.units
    }
    units = [
        {
            "name": unit.name,
            "engine": unit.engine,
            "lines": [
                _line(command, limits[unit.name])
                for command in unit.commands
                if command.phase is not Phase.BUILD or unit.engine == unit.name
            ],
        }
        for unit in bundle.units
    ]
    return made.get_template("run.sh.j2").render(
        bundle=bundle,
        id=name,
        units=units,
        env=sorted(
            {item for unit in bundle.units for one in unit.commands for item in one.env.items()}
        ),
        orders=[chance.sample(numbers, len(numbers)) for _ in range(bundle.rounds)],
        altering=process.ALTERING,
        mps=nvml.MPS_SHARE,
        folders=locate.USUAL_FOLDERS,
        interval_ms=round(1000 * TEGRASTATS_S),
    )


def _line(command: Command, given: Parameters) -> str:
    """The command as the script's function ``turn`` takes it."""
    building = command.phase is Phase.BUILD
    limit_s = given.time_limit_build_s if building else given.time_limit_time_s
    product = _PRODUCTS[command.phase]
    return shlex.join([command.phase, str(math.ceil(limit_s)), product, *command.argv[1:]])
