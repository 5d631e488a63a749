"""Top-1 of what was timed, for users who have labelled images.

Rows are read from a measured set, their engines or graphs are taken from the cache or made again,
and the result is kept beside the rows in ``accuracy.json``. It never replaces the literature's
accuracy in the rows: that is of another computation.
"""

from __future__ import annotations

import itertools
import json
import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchlib import __version__, process
from benchlib.case import Precision, Status, Verdict
from benchlib.errors import InputError
from benchlib.evaluate import dataset
from benchlib.evaluate.dataset import ImageFolder
from benchlib.evaluate.predict import (
    InProcess,
    Predictions,
    Predictor,
    Restored,
    check,
    predict,
    restored,
)
from benchlib.export.build import Graph
from benchlib.measure.record import CaseError, Row, fault_of
from benchlib.measure.store import Store
from benchlib.process import ProgramMissingError
from benchlib.stats.quality_checks import Reason
from benchlib.trtexec.command import Program
from benchlib.trtexec.standin.program import StandinError

log = logging.getLogger(__name__)

CONFIDENCE = 0.95

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Proportion:
    """``count`` of ``n``, with the Wilson score interval of 95 %; all shares from 0 to 1."""

    count: int
    n: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, count: int, n: int) -> Proportion:
        """``n`` is at least 1."""
        interval = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
        return cls(count, n, count / n, float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class Paired:
    """One engine against FP32 on the same images.

    ``disagreement`` counts images on which the two predictions differ, whichever is right.
    ``lost`` are those that only FP32 gets right, ``gained`` those that only the engine does;
    ``p_value`` is McNemar's exact two-sided one on them, 1 when there are none.
    """

    disagreement: Proportion
    fp32_top1: Proportion
    lost: int
    gained: int
    p_value: float


def top1(predicted: Labels, labels: Labels) -> Proportion:
    """Share of images whose predicted index is their label; both of shape [n]."""
    return Proportion.of(int(np.sum(predicted == labels)), len(labels))


def paired(predicted: Labels, exact: Labels, labels: Labels) -> Paired:
    """Compare ``predicted`` with FP32's ``exact``; all of shape [n], n at least 1."""
    right, exact_right = predicted == labels, exact == labels
    lost = int(np.sum(exact_right & ~right))
    gained = int(np.sum(right & ~exact_right))
    discordant = lost + gained
    return Paired(
        disagreement=Proportion.of(int(np.sum(predicted != exact)), len(labels)),
        fp32_top1=top1(exact, labels),
        lost=lost,
        gained=gained,
        p_value=float(binomtest(lost, discordant).pvalue) if discordant else 1.0,
    )


FILE = "accuracy.json"
SCHEMA_VERSION = 1
RANDOM = "weights are random: this shows agreement, not accuracy"

_EXPECTED = (CaseError, ProgramMissingError, StandinError, OSError, MemoryError)
"""What scoring one row may raise and the next one survives."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One row's outcome. ``top1`` and ``paired`` are None where there is no number to believe.

    ``paired`` is against FP32 on ONNX Runtime, and None where that is what was run.
    ``failure`` and ``message``: why there is no result; ``notes``: what a reader has to know.
    """

    key: str
    model: str
    precision: Precision
    engine: str
    engine_version: str | None
    size: str
    batch: int
    weights: str
    seed: int | None
    n: int
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    top1: Proportion | None = None
    paired: Paired | None = None
    non_finite: int | None = None
    tied: int | None = None
    transforms: str | None = None
    route: str | None = None
    form: str | None = None
    graph_sha256: str | None = None
    calibration: dict[str, Any] | None = None
    engine_reused: bool | None = None
    failure: str | None = None
    message: str | None = None
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """The outcome in one line of text."""
        head = f"{self.key}:"
        if self.failure is not None:
            return f"{head} {self.failure}: {self.message}"
        if self.top1 is None:
            return f"{head} {self.verdict} {';'.join(self.reasons)}: {self.notes[0]}"
        words = f"{head} top-1 {_percent(self.top1)}, n = {self.n}"
        if self.paired is not None:
            apart = self.paired
            words += (
                f"; differs from FP32 on {_percent(apart.disagreement)}"
                f" (FP32 alone right {apart.lost}, this alone right {apart.gained},"
                f" McNemar p = {apart.p_value:.3g})"
            )
        return words


@dataclass(frozen=True, slots=True)
class Report:
    """All that one call found out. ``left_out`` has (key, reason) of rows without a class."""

    images: dict[str, Any]
    scored: tuple[Scored, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        """Whether every row could be run."""
        return all(one.failure is None for one in self.scored)

    def as_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "rows": [asdict(one) for one in self.scored],
            "left_out": [{"key": key, "reason": reason} for key, reason in self.left_out],
        }

    def lines(self) -> list[str]:
        """The report as text."""
        images = self.images
        text = [f"{images['n']} of {images['found']} images of {images['name']}"]
        if any(one.weights == "random" for one in self.scored):
            text.append(f"NOTE: {RANDOM}")
        for one in self.scored:
            text.append(one.line())
            text += [f"  {note}" for note in one.notes if note != RANDOM]
        text += [f"{key}: left out, {reason}" for key, reason in self.left_out]
        return text


def measure(
    directory: Path,
    images: Path,
    keys: Sequence[str] = (),
    limit: int | None = None,
    calibration_dir: Path | None = None,
) -> Report:
    """Score the rows of the set in ``directory`` over ``images`` and write ``accuracy.json``.

    ``keys`` chooses rows; without it all that classify are taken and the others told of.
    ``calibration_dir`` is needed again for INT8 rows that were calibrated with the user's own
    images. Raises :class:`InputError` for what the user gave wrong: the folders, the rows and the
    programs before anything is run, a broken image or a label too high when it is read.
    """
    if not (directory / "rows").is_dir():
        raise InputError("set", f"{directory} holds no rows; give a folder that benchlib run wrote")
    _earlier(directory / FILE)  # before anything is run for it
    folder = dataset.read_folder(images, limit)
    described = folder.as_json()
    store = Store(directory)
    with store.opened(), tempfile.TemporaryDirectory(prefix="benchlib-") as work:
        rows, left_out = _chosen(store.rows, keys)
        programs = [check(row, calibration_dir) for row in rows]
        run = _Run(folder, Path(work), calibration_dir)
        scored: list[Scored] = []
        for row, program in zip(rows, programs, strict=True):
            scored.append(run.row(row, program))
            _write(directory / FILE, described, scored[-1])
    return Report(described, tuple(scored), left_out)


def _chosen(
    rows: Sequence[Row], keys: Sequence[str]
) -> tuple[list[Row], tuple[tuple[str, str], ...]]:
    """The rows to score, and those that cannot be with the reason."""
    known = {row.key: row for row in rows}
    for key in keys:
        if key not in known:
            raise InputError("key", f"no row is called {key!r}; the set has {_first(known)}")
    wanted = [known[key] for key in dict.fromkeys(keys)] if keys else list(rows)
    reasons = {row.key: reason for row in wanted if (reason := _refusal(row)) is not None}
    chosen = [row for row in wanted if row.key not in reasons]
    if (keys and reasons) or not chosen:
        problem = _first(dict.fromkeys(reasons.values())) or "the set is empty"
        raise InputError("key", f"{problem}; choose a measured row of a classification network")
    return chosen, tuple(reasons.items())


def _first(words: Collection[str], most: int = 3) -> str:
    """The first of ``words``, and how many more there are."""
    rest = [f"{len(words) - most} more"] if len(words) > most else []
    return "; ".join([*itertools.islice(words, most), *rest])


def _refusal(row: Row) -> str | None:
    if row.status is not Status.OK:
        return f"{row.key} is {row.status}"
    try:
        return dataset.preprocessing_refusal(row.model)
    except InputError:
        name = row.model.removeprefix("onnx:")
        return f"{name} is not in this folder; start the command where it lies"


class _Run:
    """One folder of images over several rows; FP32 is run once per network and size."""

    def __init__(self, folder: ImageFolder, work: Path, calibration_dir: Path | None) -> None:
        self._folder = folder
        self._work = work
        self._calibration_dir = calibration_dir
        self._exact: dict[str, Predictions] = {}

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        return np.array([image.label for image in self._folder.images], dtype=np.int64)

    def row(self, row: Row, program: Program) -> Scored:
        """Score one row; what goes wrong with it alone becomes its failure."""
        log.info("%s over %d images", row.key, len(self._folder.images))
        facts: dict[str, Any] = {
            "key": row.key,
            "model": row.model,
            "precision": row.precision,
            "engine": row.engine.value,
            "engine_version": program.version,
            "size": f"{row.width}x{row.height}",
            "batch": row.batch,
            "weights": row.weights,
            "seed": row.seed if row.weights == "random" else None,
            "n": len(self._folder.images),
        }
        try:
            again = restored(row, program, self._work, self._calibration_dir)
            return self._scored(row, again, facts)
        except _EXPECTED as error:
            fault = fault_of(error)
            return Scored(**facts, failure=fault.failure.value, message=fault.message)

    def _scored(self, row: Row, again: Restored, facts: dict[str, Any]) -> Scored:
        steps = dataset.preprocessing_of(row.model, row.height, row.width)
        predictions = self._predict(again.predictor, row, steps)
        own = Precision.FP32 is row.precision and isinstance(again.predictor, InProcess)
        if own:
            self._exact[again.fp32.sha256] = predictions
        exact = self._exact_predictions(again.fp32, row, steps)
        facts |= {
            "transforms": steps.words,
            "route": again.predictor.route,
            "form": again.graph.form.value,
            "graph_sha256": again.graph.sha256,
            "calibration": again.graph.calibration and asdict(again.graph.calibration),
            "engine_reused": again.engine_reused,
            "non_finite": predictions.non_finite,
            "tied": int(predictions.tied.sum()),
        }
        notes = [*again.notes, *([RANDOM] if row.weights == "random" else [])]
        if predictions.non_finite:
            bad = (
                f"{predictions.non_finite} of {len(self._labels)} images give a NaN or an infinity"
            )
            return Scored(
                **facts,
                verdict=Verdict.INVALID,
                reasons=(Reason.NUMERICS.value,),
                notes=(bad, *notes),
            )
        if exact.non_finite:
            notes.append("FP32 itself gives a NaN or an infinity, so nothing is compared with it")
        if predictions.tied.any():
            notes.append(
                f"on {predictions.tied.sum()} images two scores are equally high; "
                "the first was taken"
            )
        comparable = not own and not exact.non_finite
        return Scored(
            **facts,
            verdict=Verdict.VALID,
            top1=top1(predictions.index, self._labels),
            paired=paired(predictions.index, exact.index, self._labels) if comparable else None,
            notes=tuple(notes),
        )

    def _exact_predictions(
        self, fp32: Graph, row: Row, steps: dataset.Preprocessing
    ) -> Predictions:
        """FP32's predictions, from ONNX Runtime and so without TF32."""
        if fp32.sha256 not in self._exact:
            self._exact[fp32.sha256] = self._predict(InProcess(fp32.path), row, steps)
        return self._exact[fp32.sha256]

    def _predict(self, predictor: Predictor, row: Row, steps: dataset.Preprocessing) -> Predictions:
        predictions = predict(predictor, self._batches(row.batch, steps), len(self._folder.images))
        if self._labels.max() >= predictions.classes:
            raise InputError(
                dataset.FIELD,
                f"{self._folder.name} has the class index {self._labels.max()} and {row.model} "
                f"{predictions.classes} outputs, counted from 0; correct the labels, or choose "
                "rows by --key",
            )
        return predictions

    def _batches(self, size: int, steps: dataset.Preprocessing) -> Iterator[NDArray[np.float32]]:
        """All images in order; the last batch is filled up with its last image."""
        images = self._folder.images
        for start in range(0, len(images), size):
            some = [steps.tensor(image.open()) for image in images[start : start + size]]
            some += [some[-1]] * (size - len(some))
            yield np.stack(some)


def _write(path: Path, images: dict[str, Any], one: Scored) -> None:
    """Put a row into ``path`` by rename; those scored earlier stay."""
    now = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    stamp = {"measured_at": now, "benchlib": __version__, "images": images}
    rows = _earlier(path) | {one.key: asdict(one) | stamp}
    document = {"schema_version": SCHEMA_VERSION, "rows": [rows[key] for key in sorted(rows)]}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    try:
        process.write_whole(path, text.encode())
    except OSError as error:
        raise InputError("set", f"{path.name} cannot be written ({error.strerror})") from error


def _earlier(path: Path) -> dict[str, Any]:
    """The rows that ``path`` holds by key; raises :class:`InputError` when it cannot be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        version = document["schema_version"]
        if version == SCHEMA_VERSION:
            return {str(row["key"]): row for row in document["rows"]}
        problem = f"is of schema version {version} and this benchlib reads {SCHEMA_VERSION}"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        problem = f"cannot be read ({type(error).__name__}: {error})"
    raise InputError("set", f"{path.name} {problem}; move it away, and a new one is begun")


def _percent(part: Proportion) -> str:
    """``71.2 % [68.3, 74.0] (712)``."""
    low, share, high = (100 * value for value in (part.low, part.share, part.high))
    return f"{share:.1f} % [{low:.1f}, {high:.1f}] ({part.count})"
