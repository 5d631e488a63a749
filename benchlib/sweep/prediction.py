"""Class scores out of the very thing that was timed, batch after batch.

A plan is run by its own engine program: trtexec takes one input a process, our stand-in over the
``tensorrt`` wheel a folder of them. ONNX Runtime is opened here as its stand-in opens it: starting
that program for every batch would take most of the time, and the session is the same.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchlib.case import Failure
from benchlib.engines import log as engine_log
from benchlib.engines.command import CaseFiles, Command, Phase
from benchlib.engines.log import Log
from benchlib.engines.onnxruntime_session import NUMPY_TYPES, ORT_ERRORS, line, open_session
from benchlib.engines.outcome import judge_phase
from benchlib.errors import InputError
from benchlib.sweep import process
from benchlib.sweep.failure import CaseError, timeout

Batch = NDArray[np.float32]
Scores = NDArray[np.float32]

BUILD_LIMIT_S = 1800.0
QUERY_LIMIT_S = 300.0

CHUNK_BYTES = 256 * 10**6
"""Of images as float32, 70 of 640x480: what lies on the disk at one time."""

_NOT_FINITE = re.compile(r"(?<![\w\"])(-?)(nan|inf)(?![\w\"])")
"""How C++ writes what JSON has no word for."""


class Predictor(Protocol):
    """Something that scores images; ``route`` says in words how."""

    @property
    def route(self) -> str: ...

    def scores(self, batches: Iterable[Batch]) -> Iterator[Scores]:
        """N x classes for each N x 3 x H x W; raises :class:`CaseError` when one cannot be run."""
        ...


@dataclass(frozen=True, slots=True)
class Predictions:
    """Per image, in order: the index of the highest score, the first of equal ones.

    ``index`` is -1 where a score is not finite. ``tied`` says where the highest score stands
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
    found: list[NDArray[np.int64]] = []
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
        found.append(np.where(finite, scores.argmax(axis=1), -1))
        highest = scores == scores.max(axis=1, keepdims=True)
        tied.append(highest.sum(axis=1) > 1)
    index, doubtful = (np.concatenate(parts)[:count] for parts in (found, tied))
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
class ByProgram:
    """The engine program, started once per batch.

    ``command`` is its timing command, of one query; ``input_dtype`` what its input is read as.
    Values come back with the six digits that ``--exportOutput`` has, which can make two scores
    equal; :class:`Predictions` tells of it.
    """

    command: Command
    files: CaseFiles
    input_name: str
    input_dtype: str

    @property
    def route(self) -> str:
        return "the engine program with --loadInputs and --exportOutput, one process per batch"

    def scores(self, batches: Iterable[Batch]) -> Iterator[Scores]:
        for batch in batches:
            yield self._scores(batch)

    def _scores(self, batch: Batch) -> Scores:
        raw = self.files.output.with_suffix(".raw")
        _write(raw, batch, self.input_dtype)
        self.files.output.unlink(missing_ok=True)
        argv = (
            *self.command.argv,
            f"--loadInputs={self.input_name}:{raw}",
            f"--exportOutput={self.files.output}",
        )
        run(Command(Phase.TIME, argv, self.command.env), self.files.log, self.files.times)
        try:
            return first_output(self.files.output.read_text(encoding="utf-8"))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CaseError(Failure.BAD_OUTPUT, f"the output cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class ByStandin:
    """Our stand-in over the ``tensorrt`` wheel, started once for many batches.

    ``command`` is its timing command, of one query; ``input_dtype`` what its input is read as.
    Batches go to it as files in chunks of ``chunk_bytes``.
    """

    command: Command
    files: CaseFiles
    input_dtype: str
    chunk_bytes: int = CHUNK_BYTES

    @property
    def route(self) -> str:
        return "the engine program with --answer, one process for many batches"

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
            _write(path, batch, self.input_dtype)
        argv = (*self.command.argv, f"--answer={folder}")
        run(Command(Phase.TIME, argv, self.command.env), self.files.log, self.files.times)
        for path in paths:
            try:
                found = np.load(path.with_suffix(".npy"), allow_pickle=False)
            except (OSError, ValueError) as error:
                reason = f"the output cannot be read: {error}"
                raise CaseError(Failure.BAD_OUTPUT, reason) from error
            yield found.astype(np.float32)


def _write(path: Path, batch: Batch, dtype: str) -> None:
    """Leave a batch as the raw values that an engine program reads."""
    path.write_bytes(np.ascontiguousarray(batch, dtype=dtype).tobytes())


def first_output(text: str) -> Scores:
    """The first tensor of an ``--exportOutput`` file in its own shape.

    Raises ValueError, LookupError or TypeError for what is no such file.
    """
    words = {"nan": "NaN", "inf": "Infinity"}
    record = json.loads(_NOT_FINITE.sub(lambda found: found[1] + words[found[2]], text))[0]
    shape = [int(side) for side in record["dimensions"].split("x")]
    return np.array(record["values"], dtype=np.float32).reshape(shape)


def run(command: Command, log: Path, product: Path) -> tuple[float, Log]:
    """Run one command that owes ``product``; return its seconds and what it said.

    Raises :class:`CaseError` unless it did its work.
    """
    log.unlink(missing_ok=True)
    product.unlink(missing_ok=True)
    limit_s = BUILD_LIMIT_S if command.phase is Phase.BUILD else QUERY_LIMIT_S
    ended = process.run(command.argv, env=command.env, log=log, time_limit_s=limit_s)
    if ended.timed_out:
        raise timeout(command.phase, ended)
    said = engine_log.read(log.read_text(encoding="utf-8", errors="replace"))
    judged = judge_phase(command.phase, ended.code, said, product)
    if judged.failure is not None:
        raise CaseError(judged.failure, f"{command.phase} {judged.message}")
    return ended.seconds, said
