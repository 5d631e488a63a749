"""A stored row's graph and engine, had again: from the cache where they are, else made alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchlib.case import Case, Engine, without_digest
from benchlib.engines import discovery
from benchlib.engines.command import CaseFiles, Command, commands, graph_form
from benchlib.engines.discovery import MissingProgramError
from benchlib.engines.program import Program
from benchlib.engines.settings import Settings
from benchlib.errors import InputError
from benchlib.graphs import cache, calibration
from benchlib.graphs.form import GraphForm
from benchlib.graphs.make import FROM_FILE, Graph, make
from benchlib.sweep import environment, gpu, plans, prediction
from benchlib.sweep.plans import BuildFacts, BuiltEngine, PlanStore
from benchlib.sweep.prediction import ByProgram, ByStandin, InProcess, Predictor
from benchlib.sweep.row import Row

_EXPECTED = {
    "graph": {"sha256", "form", "input_shape", "dynamic", "calibration"},
    "settings": {"iterations"},
}
"""What a row's evidence has to hold for it to be made again."""

_PHOTOS = {"name", "count", "sha256"}


@dataclass(frozen=True, slots=True)
class Remade:
    """A row's graph, the FP32 one of the same network and size, and what runs the row's engine.

    ``engine_reused`` is None where there is no plan; ``notes`` say in what it may not be the
    very thing that was timed.
    """

    graph: Graph
    fp32: Graph
    predictor: Predictor
    engine_reused: bool | None
    notes: tuple[str, ...]


def check(row: Row, calibration_dir: Path | None) -> Program:
    """The program for ``row``; raises :class:`InputError` when it cannot be run again here."""
    if row.engine is Engine.FAKE:
        raise InputError("key", f"{row.key} is of the fake engine, which computes nothing")
    for part, expected in _EXPECTED.items():
        stored = row.detail.get(part)
        if not isinstance(stored, dict) or not expected <= stored.keys():
            raise InputError("key", f"{row.key} does not tell its {part}; measure it again")
    shape = row.detail["graph"]["input_shape"]
    if not (isinstance(shape, list) and [type(one) for one in shape] == [int] * 4):
        raise InputError("key", f"{row.key} does not tell its input's shape; measure it again")
    photos = row.detail["graph"]["calibration"]
    if photos is not None and not (isinstance(photos, dict) and photos.keys() >= _PHOTOS):
        raise InputError("key", f"{row.key} does not tell its calibration; measure it again")
    _calibration(row, calibration_dir)
    try:
        return discovery.find(row.engine)
    except MissingProgramError as error:
        raise InputError(
            "engine", f"{row.key} was measured with {row.engine} on {row.device}; {error.problem}"
        ) from error


def remade(row: Row, program: Program, work: Path, calibration_dir: Path | None) -> Remade:
    """Make graph and engine of ``row`` ready; ``work`` is for files that may go afterwards.

    Raises :class:`InputError` for what is needed and not given, and
    :class:`benchlib.sweep.failure.CaseError` when an engine cannot be built.
    """
    case = _case(row)
    settings = _settings(row)
    graph = _graph(row, case, program, settings, calibration_dir)
    fp32 = make(
        case.model,
        GraphForm.FP32,
        height=row.height,
        width=row.width,
        batch=row.batch,
        weights=_weights(row),
        seed=row.seed,
    )
    notes = []
    if program.version != row.engine_version:
        notes.append(f"timed with {row.engine_version}, run here with {program.version}")
    if graph.sha256 != row.detail["graph"]["sha256"]:
        if graph.weights == FROM_FILE:
            raise InputError("key", f"{row.model} is not the file that {row.key} was timed with")
        notes.append("the graph, made again here, is not byte for byte the one that was timed")
    if program.on_cpu:
        return Remade(graph, fp32, InProcess(graph.path, settings.threads), None, tuple(notes))
    predictor, engine = _by_program(case, settings, program, graph, work)
    return Remade(graph, fp32, predictor, engine.reused, tuple(notes))


def _case(row: Row) -> Case:
    return Case(
        model=without_digest(row.model, row.model_digest),
        precision=row.precision,
        batch=row.batch,
        height=row.height,
        width=row.width,
        shape_mode=row.shape_mode,
        typing=row.typing,
        engine=row.engine,
        int8_method=row.int8_method,
        model_digest=row.model_digest,
    )


def _settings(row: Row) -> Settings:
    """How the row was measured; fields that a later version added keep their defaults."""
    stored: Mapping[str, Any] = row.detail["settings"]
    known = {field.name for field in fields(Settings)} & stored.keys()
    values = {name: stored[name] for name in known}
    return Settings(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
    )


def _weights(row: Row) -> str:
    return "random" if row.weights == FROM_FILE else row.weights


def _graph(
    row: Row, case: Case, program: Program, settings: Settings, calibration_dir: Path | None
) -> Graph:
    """The row's own graph, at the size it was traced at."""
    stored: Mapping[str, Any] = row.detail["graph"]
    form = graph_form(case, program.release)
    if form != stored["form"]:
        raise InputError(
            "engine",
            f"{row.key} was timed as {stored['form']}, and {program.version} here takes {form}; "
            f"install {row.engine_version}",
        )
    chosen = _calibration(row, calibration_dir)
    batch, _, height, width = stored["input_shape"]
    return make(
        case.model,
        form,
        height=height,
        width=width,
        batch=batch,
        dynamic=stored["dynamic"],
        int8_method=row.int8_method,
        weights=_weights(row),
        seed=row.seed,
        calibration_dir=chosen,
        half_io=settings.half_io and form.has_half,
    )


def _calibration(row: Row, folder: Path | None) -> Path | None:
    """The folder that the row was calibrated with, None for the bundled images or without any."""
    stored = row.detail["graph"]["calibration"]
    if stored is None:
        return None
    if calibration.bundled().identity.sha256 == stored["sha256"]:
        return None
    if folder is None or calibration.folder(folder).identity.sha256 != stored["sha256"]:
        raise InputError(
            "calibration_dir",
            f"{row.key} was calibrated with {stored['count']} images of {stored['name']}; "
            "give that folder",
        )
    return folder


def _by_program(
    case: Case, settings: Settings, program: Program, graph: Graph, work: Path
) -> tuple[Predictor, BuiltEngine]:
    """The engine from the cache or built now, and the command that asks it one query."""
    files = CaseFiles.within(work, case.key)
    # The data has to reach the device and come back, whatever was timed.
    once = replace(
        settings,
        transfers=True,
        iterations=1,
        duration_s=0,
        warm_up_ms=0,
        avg_runs=1,
        streams=1,
        profile=False,
    )
    build, query = commands(
        case,
        once,
        program,
        graph.path,
        files,
        input_name=graph.input_name,
        dynamic=graph.dynamic,
    )
    engine = _engine(case, program, graph, build, files)
    half = (build.flag("--inputIOFormats") or "").startswith("fp16")
    dtype = "float16" if half else graph.input_dtype
    asked = query.with_flag("--loadEngine", engine.plan)
    if program.engine is Engine.TENSORRT_PYTHON:
        return ByStandin(asked, files, dtype), engine
    return ByProgram(asked, files, graph.input_name, dtype), engine


def _engine(
    case: Case, program: Program, graph: Graph, build: Command, files: CaseFiles
) -> BuiltEngine:
    def make_plan(plan: Path, layers: Path) -> BuildFacts:
        told = build.with_flag("--saveEngine", plan).with_flag("--exportLayerInfo", layers)
        seconds, said = prediction.run(told, files.log, plan)
        return BuildFacts(said.built_s, seconds, said.skipped_tactics)

    device = environment.device_name(program, gpu.describe(), build.argv)
    engine_key = plans.key(graph, build, program, device, 0)
    return PlanStore(cache.root() / "plans").obtain(engine_key, case.key, make_plan)
