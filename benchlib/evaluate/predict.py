"""Class scores of the engine or graph that was timed, taken from the cache or made again.

A plan is run by its own engine program: trtexec takes one input a process, our stand-in over the
``tensorrt`` wheel a folder of them. ONNX Runtime is opened here as its stand-in opens it:
starting that program for every batch would take most of the time, and the session is the same.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchlib.case import Case, Engine, Failure, GraphForm, without_digest
from benchlib.config import Settings
from benchlib.errors import InputError
from benchlib.export import calibration
from benchlib.export.build import FROM_FILE, Graph, make
from benchlib.gpu import nvml
from benchlib.measure import engine_cache, environment
from benchlib.measure.engine_cache import BuildFacts, BuiltEngine, EngineCache
from benchlib.measure.record import CaseError, Row
from benchlib.trtexec import locate
from benchlib.trtexec.command import CaseFiles, Command, Phase, Program, commands, graph_form
from benchlib.trtexec.exit_check import PhaseRun, run_phase
from benchlib.trtexec.locate import MissingProgramError
from benchlib.trtexec.standin.onnxruntime_cpu import NUMPY_TYPES, ORT_ERRORS, line, open_session

_GRAPH = {"sha256", "form", "input_shape", "dynamic", "calibration"}
"""The facts of its graph that a row needs for it to be made again."""

_PHOTOS = {"name", "count", "sha256"}


@dataclass(frozen=True, slots=True)
class Restored:
    """A row's graph, the FP32 one of the same network and size, and what runs the row's engine.

    ``engine_reused`` is None where there is no plan; ``notes``: in what it may not be the
    very thing that was timed.
    """

    graph: Graph
    fp32: Graph
    predictor: Predictor
    engine_reused: bool | None
    notes: tuple[str, ...]


def check(row: Row, calibration_dir: Path | None) -> Program:
    """The program for ``row``; raises :class:`InputError` when it cannot be run again here."""
    graph, settings = row.detail.graph, row.detail.settings
    known = graph is not None and graph.model_fields_set >= _GRAPH
    photos = known and graph.calibration
    for part, is_told in (
        ("graph", known),
        ("settings", settings is not None and "iterations" in settings),
        ("input's shape", known and graph.input_shape is not None),
        ("calibration", not photos or photos.model_fields_set >= _PHOTOS),
    ):
        if not is_told:
            raise InputError("key", f"{row.key} does not tell its {part}; measure it again")
    _calibration(row, calibration_dir)
    try:
        return locate.find(row.engine)
    except MissingProgramError as error:
        raise InputError(
            "engine", f"{row.key} was measured with {row.engine} on {row.device}; {error.problem}"
        ) from error


def restored(row: Row, program: Program, work: Path, calibration_dir: Path | None) -> Restored:
    """Make graph and engine of ``row`` ready; ``work`` is for files that may go afterwards.

    Raises :class:`InputError` for what is needed and not given, and
    :class:`benchlib.measure.record.CaseError` when an engine cannot be built.
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
    if graph.sha256 != row.detail.graph.sha256:
        if graph.weights == FROM_FILE:
            raise InputError("key", f"{row.model} is not the file that {row.key} was timed with")
        notes.append("the graph, made again here, is not byte for byte the one that was timed")
    if program.on_cpu:
        return Restored(graph, fp32, InProcess(graph.path, settings.threads), None, tuple(notes))
    predictor, engine = _by_program(case, settings, program, graph, work)
    return Restored(graph, fp32, predictor, engine.reused, tuple(notes))


def _case(row: Row) -> Case:
    columns = {one.name: getattr(row, one.name) for one in fields(Case)}
    return Case(**{**columns, "model": without_digest(row.model, row.model_digest)})


def _settings(row: Row) -> Settings:
    """How the row was measured; fields that a later version added keep their defaults."""
    stored = row.detail.settings
    return Settings(**{name: stored[name] for name in Settings.model_fields.keys() & stored.keys()})


def _weights(row: Row) -> str:
    return "random" if row.weights == FROM_FILE else row.weights


def _graph(
    row: Row, case: Case, program: Program, settings: Settings, calibration_dir: Path | None
) -> Graph:
    """The row's own graph, at the size it was traced at."""
    stored = row.detail.graph
    form = graph_form(case, program.release)
    if form != stored.form:
        raise InputError(
            "engine",
            f"{row.key} was timed as {stored.form}, and {program.version} here takes {form}; "
            f"install {row.engine_version}",
        )
    chosen = _calibration(row, calibration_dir)
    batch, _, height, width = stored.input_shape
    return make(
        case.model,
        form,
        height=height,
        width=width,
        batch=batch,
        dynamic=stored.dynamic,
        int8_method=row.int8_method,
        weights=_weights(row),
        seed=row.seed,
        calibration_dir=chosen,
        half_io=settings.half_io and form.has_half,
    )


def _calibration(row: Row, folder: Path | None) -> Path | None:
    """The folder that the row was calibrated with, None for the bundled images or without any."""
    stored = row.detail.graph.calibration
    if stored is None:
        return None
    if calibration.bundled().identity.sha256 == stored.sha256:
        return None
    if folder is None or calibration.folder(folder).identity.sha256 != stored.sha256:
        raise InputError(
            "calibration_dir",
            f"{row.key} was calibrated with {stored.count} images of {stored.name}; "
            "give that folder",
        )
    return folder


def _by_program(
    case: Case, settings: Settings, program: Program, graph: Graph, work: Path
) -> tuple[Predictor, BuiltEngine]:
    """The engine from the cache or built now, and the command that asks it one query."""
    files = CaseFiles.within(work, case.key)
    # The data has to reach the device and come back, whatever was timed.
    one_query = {"iterations": 1, "avg_runs": 1, "streams": 1, "duration_s": 0, "warm_up_ms": 0}
    once = settings.model_copy(update={**one_query, "transfers": True, "profile": False})
    places = {"input_name": graph.input_name, "dynamic": graph.dynamic}
    build, query = commands(case, once, program, graph.path, files, **places)
    engine = _engine(case, program, graph, build, files)
    half = (build.flag("--inputIOFormats") or "").startswith("fp16")
    dtype = "float16" if half else graph.input_dtype
    asked = query.with_flag("--loadEngine", engine.plan)
    if program.engine is Engine.TENSORRT_PYTHON:
        return ByStandin(asked, files, dtype), engine
    return ByProgram(asked, files, dtype, graph.input_name), engine


def _engine(
    case: Case, program: Program, graph: Graph, build: Command, files: CaseFiles
) -> BuiltEngine:
    def make_plan(plan: Path, layers: Path) -> BuildFacts:
        command = build.with_flag("--saveEngine", plan).with_flag("--exportLayerInfo", layers)
        ran = run(command, files.log, plan)
        return BuildFacts(ran.log.built_s, ran.seconds, ran.log.skipped_tactics)

    device = environment.device_name(program, nvml.describe_gpu(), build.argv)
    engine_key = engine_cache.key(graph, build, program, device, 0)
    return EngineCache.usual("plans").obtain(engine_key, case.key, make_plan)


Batch = NDArray[np.float32]
Scores = NDArray[np.float32]

BUILD_LIMIT_S = 1800.0
QUERY_LIMIT_S = 300.0

CHUNK_BYTES = 256 * 10**6
"""Of images as float32, 70 of 640x480: what lies on the disk at one time."""

_NOT_FINITE = re.compile(r"(?<![\w\"])(-?)(nan|inf)(?![\w\"])")
"""How C++ writes what JSON has no word for."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Per image, in order: the index of the highest score, the first of equal ones.

    ``index`` is -1 where a score is not finite. ``tied`` is true where the highest score stands
    twice, so that another might as well have been taken. ``classes`` is the number of scores.
    """

    index: NDArray[np.int64]
    tied: NDArray[np.bool_]
    classes: int

    @property
    def non_finite(self) -> int:
        """Images with a NaN or an infinity among their scores."""
        return int(np.sum(self.index < 0))


def predict(predictor: Predictor, batches: Iterable[Batch], count: int) -> Predictions:
    """Score ``count`` images; what fills up the last batch is not counted."""
    highest_index: list[NDArray[np.int64]] = []
    tied: list[NDArray[np.bool_]] = []
    classes = 0
    sizes: list[int] = []

    def noted() -> Iterator[Batch]:
        for batch in batches:
            sizes.append(len(batch))
            yield batch

    for index, scores in enumerate(predictor.scores(noted())):
        if scores.ndim != 2 or scores.shape[0] != sizes[index]:
            shape = "x".join(map(str, scores.shape))
            raise InputError(
                "key", f"the output is {shape} and no list of class scores; choose another row"
            )
        classes = scores.shape[1]
        finite = np.isfinite(scores).all(axis=1)
        highest_index.append(np.where(finite, scores.argmax(axis=1), -1))
        highest = scores == scores.max(axis=1, keepdims=True)
        tied.append(highest.sum(axis=1) > 1)
    index, doubtful = (np.concatenate(parts)[:count] for parts in (highest_index, tied))
    return Predictions(index.astype(np.int64), doubtful, classes)


class InProcess:
    """A graph in ONNX Runtime, opened as the CPU engine program opens it."""

    route = "in-process ONNX Runtime, the session of benchlib.onnxruntime_cpu"

    def __init__(self, graph: Path, threads: int | None = None) -> None:
        options = {"--threads": threads, "--provider": "CPUExecutionProvider"}
        self._session: onnxruntime.InferenceSession = open_session(graph, options)

    def scores(self, batches: Iterable[Batch]) -> Iterator[Scores]:
        entry = self._session.get_inputs()[0]
        for batch in batches:
            feeds = {entry.name: batch.astype(NUMPY_TYPES[entry.type])}
            try:
                yield np.asarray(self._session.run(None, feeds)[0], dtype=np.float32)
            except ORT_ERRORS as error:
                raise CaseError(Failure.CRASH, f"ONNX Runtime: {line(error)}") from error


@dataclass(frozen=True, slots=True)
class _Asking:
    """An engine program with its timing ``command``, of one query.

    ``input_dtype`` is what its input is read as.
    """

    command: Command
    files: CaseFiles
    input_dtype: str

    def write(self, path: Path, batch: Batch) -> None:
        """Leave a batch as the raw values that an engine program reads."""
        path.write_bytes(np.ascontiguousarray(batch, dtype=self.input_dtype).tobytes())

    def ask(self, *flags: str) -> None:
        argv = (*self.command.argv, *flags)
        run(Command(Phase.TIME, argv, self.command.env), self.files.log, self.files.times)


@dataclass(frozen=True, slots=True)
class ByProgram(_Asking):
    """The engine program, started once per batch.

    Values come back with the six digits that ``--exportOutput`` has, which can make two scores
    equal; :class:`Predictions` counts them.
    """

    input_name: str

    route: ClassVar[str] = (
        "the engine program with --loadInputs and --exportOutput, one process per batch"
    )

    def scores(self, batches: Iterable[Batch]) -> Iterator[Scores]:
        for batch in batches:
            yield self._scores(batch)

    def _scores(self, batch: Batch) -> Scores:
        raw = self.files.output.with_suffix(".raw")
        self.write(raw, batch)
        self.files.output.unlink(missing_ok=True)
        self.ask(f"--loadInputs={self.input_name}:{raw}", f"--exportOutput={self.files.output}")
        try:
            return first_output(self.files.output.read_text(encoding="utf-8"))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CaseError(Failure.BAD_OUTPUT, f"the output cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class ByStandin(_Asking):
    """Our stand-in over the ``tensorrt`` wheel, started once for many batches.

    Batches go to it as files in chunks of ``chunk_bytes``.
    """

    chunk_bytes: int = CHUNK_BYTES

    route: ClassVar[str] = "the engine program with --answer, one process for many batches"

    def scores(self, batches: Iterable[Batch]) -> Iterator[Scores]:
        chunk: list[Batch] = []
        for batch in batches:
            chunk.append(batch)
            if sum(one.nbytes for one in chunk) >= self.chunk_bytes:
                yield from self._answers(chunk)
                chunk = []
        if chunk:
            yield from self._answers(chunk)

    def _answers(self, chunk: list[Batch]) -> Iterator[Scores]:
        folder = self.files.output.with_suffix(".asked")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        paths = [folder / f"{index:06d}.raw" for index in range(len(chunk))]
        for path, batch in zip(paths, chunk, strict=True):
            self.write(path, batch)
        self.ask(f"--answer={folder}")
        for path in paths:
            try:
                scores = np.load(path.with_suffix(".npy"), allow_pickle=False)
            except (OSError, ValueError) as error:
                reason = f"the output cannot be read: {error}"
                raise CaseError(Failure.BAD_OUTPUT, reason) from error
            yield scores.astype(np.float32)


Predictor = InProcess | ByProgram | ByStandin
"""``route`` describes how it scores. ``scores`` yields N x classes for each N x 3 x H x W; raises
:class:`CaseError` when one cannot be run."""


def first_output(text: str) -> Scores:
    """The first tensor of an ``--exportOutput`` file in its own shape.

    Raises ValueError, LookupError or TypeError for what is no such file.
    """
    words = {"nan": "NaN", "inf": "Infinity"}
    record = json.loads(_NOT_FINITE.sub(lambda match: match[1] + words[match[2]], text))[0]
    shape = [int(side) for side in record["dimensions"].split("x")]
    return np.array(record["values"], dtype=np.float32).reshape(shape)


def run(command: Command, log: Path, product: Path) -> PhaseRun:
    """Run one command that owes ``product``; raises :class:`CaseError` unless it did its work."""
    limit_s = BUILD_LIMIT_S if command.phase is Phase.BUILD else QUERY_LIMIT_S
    ran = run_phase(command, product, log, limit_s)
    if ran.outcome.failure is not None:
        raise CaseError(ran.outcome.failure, f"{command.phase} {ran.outcome.message}")
    return ran
