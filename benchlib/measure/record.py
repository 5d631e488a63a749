"""The row: the outcome of one case, good or bad, as ``rows/KEY.json`` has it."""

from __future__ import annotations

import json
import logging
import lzma
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from typing_extensions import TypedDict

from benchlib.case import Engine, Failure, Int8Method, Precision, ShapeMode, Status, Typing, Verdict
from benchlib.errors import FULL, InputError
from benchlib.gpu.telemetry import EnergySource, Limit
from benchlib.process import Ended, ProgramMissingError
from benchlib.stats.quality_checks import NOTES
from benchlib.stats.replication import Ending
from benchlib.trtexec.exit_check import PhaseOutcome

# What went wrong with a case: a class and a sentence, for its row.
#
# How an engine program failed is read by :mod:`benchlib.trtexec.exit_check`; here stands what has
# no log to read: time limits, files, the exporter, and the one place where an exception becomes a
# fault.


MESSAGE_CHARACTERS = 300
"""A row's message stays one readable line; the log holds the rest."""

_MEMORY = re.compile(r"out of memory|MemoryError|bad_alloc|can't allocate memory", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last):"
_FULL_DISK = re.compile(r"no space left on device|disk quota exceeded|file too large", re.I)


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure's class and its sentence."""

    failure: Failure
    message: str


class CaseError(Exception):
    """A case could not be measured; carries the :class:`Fault` for its row."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(f"{failure}: {message}")
        self.fault = Fault(failure, one_line(message))


def one_line(text: str) -> str:
    """``text`` on one line of bounded length."""
    words = " ".join(text.split())
    if len(words) <= MESSAGE_CHARACTERS:
        return words
    return words[: MESSAGE_CHARACTERS - 1] + "…"


def phase_fault(phase: str, outcome: PhaseOutcome, log: str) -> CaseError:
    """The error for a program's phase that went wrong; ``log`` is all that the program printed."""
    if outcome.failure is not Failure.TIMEOUT and disk_full(log):
        return CaseError(Failure.BAD_OUTPUT, f"{phase}: the disk is full")
    return CaseError(outcome.failure, f"{phase} {outcome.message}")


def disk_full(log: str) -> bool:
    """Whether a program complained of a full disk."""
    return _FULL_DISK.search(log) is not None


def export_fault(model: str, ended: Ended, log: str) -> CaseError:
    """The error for an exporter that ended over ``model``; ``log`` is what it printed meanwhile."""
    cause = cause_in(log)
    kind = _of_words(cause)
    # The kernel's out-of-memory killer is what kills an exporter from outside.
    if kind is None and ended.code == -9:
        kind = Failure.OOM_BUILD
    return CaseError(kind or Failure.CRASH, f"export of {model} {ended.words}: {cause}")


def cause_in(log: str) -> str:
    """The first line of the last exception in ``log``, or its last line where there is none.

    An exception's later lines are the libraries' context and advice.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    begun = [index for index, line in enumerate(lines) if line == _TRACEBACK]
    after = lines[begun[-1] + 1 :] if begun else []
    # The frames are indented, the exception is not.
    first = next((line for line in after if not line[0].isspace()), None)
    return first or (lines[-1] if lines else "it said nothing")


def _of_words(cause: str) -> Failure | None:
    """The class of an error that speaks of a full disk or of too little memory."""
    if disk_full(cause):
        return Failure.BAD_OUTPUT
    return Failure.OOM_BUILD if _MEMORY.search(cause) else None


def fault_of(error: BaseException) -> Fault:
    """The fault that an exception stands for: the one place where one becomes the other."""
    if isinstance(error, CaseError):
        return error.fault
    if isinstance(error, ProgramMissingError):
        return Fault(Failure.MISSING_PROGRAM, one_line(f"{error}; see benchlib doctor"))
    if isinstance(error, MemoryError):
        return Fault(Failure.OOM_BUILD, "memory ran out while the case was prepared")
    if isinstance(error, InputError):
        return Fault(_of_words(str(error)) or Failure.UNSUPPORTED, one_line(str(error)))
    if isinstance(error, OSError):
        if error.errno in FULL:
            return Fault(Failure.BAD_OUTPUT, f"the disk is full: {error.strerror}")
        return Fault(Failure.BAD_OUTPUT, one_line(f"a file could not be used: {error.strerror}"))
    return Fault(Failure.CRASH, one_line(f"{type(error).__name__}: {error}"))


# The row.


class _Evidence(BaseModel):
    """A part of ``detail``. What a version does not write is missing from its JSON, and what it
    alone writes is kept."""

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: one for name, one in dump(self).items() if name in self.model_fields_set}


class FidelityEvidence(_Evidence):
    """See :class:`benchlib.export.calibration.Fidelity`."""

    relative_l2: FiniteFloat | None = None


class ImagesEvidence(_Evidence):
    """See :class:`benchlib.export.calibration.Identity`."""

    name: str | None = None
    count: int | None = None
    sha256: str | None = None


class GraphEvidence(_Evidence):
    """The fields of :class:`benchlib.export.build.Graph` that are read again, of its all."""

    sha256: str | None = None
    form: str | None = None
    input_shape: tuple[StrictInt, StrictInt, StrictInt, StrictInt] | None = None
    dynamic: bool | None = None
    calibration: ImagesEvidence | None = None
    fidelity: FidelityEvidence | None = None


class LayerEvidence(TypedDict, total=False):
    """One layer of an engine: multiply-accumulates of a batch, milliseconds of a profiled run."""

    name: str
    type: str | None
    precision: str | None
    macs: int | FiniteFloat | None
    time_ms: FiniteFloat | None


_LAYERS = TypeAdapter(tuple[LayerEvidence, ...])


class Detail(_Evidence):
    """The evidence behind a row, written in :mod:`benchlib.measure.measurement`.

    ``layers`` are on disk in a file of their own (:func:`layers_file`), and before version 3 of
    the rules in the row. ``rules`` is the version of the rules that gave the verdict; where a
    later one gives the same, it stays.
    """

    commands: tuple[tuple[str, ...], ...] | None = None
    settings: dict[str, Any] | None = None
    network_note: str | None = None
    graph: GraphEvidence | None = None
    engines: tuple[dict[str, Any], ...] | None = None
    layer_types: dict[str, int] | None = None
    shares: dict[str, dict[str, FiniteFloat] | None] | None = None
    declared: dict[str, int] | None = None
    layers: tuple[LayerEvidence, ...] | None = None
    runs: tuple[dict[str, Any], ...] | None = None
    warm_up: tuple[dict[str, Any], ...] | None = None
    memory_freed: bool | None = None
    clock_lock: dict[str, Any] | None = None
    confidential_computing: bool | None = None
    samples: tuple[str, ...] | None = None
    statistics: tuple[dict[str, Any], ...] | None = None
    replication: dict[str, Any] | None = None
    telemetry: tuple[dict[str, Any], ...] | None = None
    reasons: tuple[str, ...] | None = None
    notes: tuple[str, ...] | None = None
    rules: int | None = None
    until: dict[str, FiniteFloat] | None = None
    oddities: tuple[str, ...] | None = None

    def but(self, **parts: Any) -> Detail:
        """This evidence with other ``parts``."""
        return Detail.model_validate(self.model_dump() | parts)

    def without_layers(self) -> Detail:
        """The part of this evidence that is in the row's own file."""
        return Detail.model_validate(self.model_dump(exclude={"layers"}))


SCHEMA_VERSION = 1
"""Raised when a column changes its name or its meaning; the step from the older one is then
written in :func:`load_row`."""


class Row(BaseModel):
    """One line of table.csv, its columns in order, and the evidence behind it in ``detail``.

    Names end in units: ``_ms`` milliseconds per batch, ``_s`` seconds, ``_mb`` decimal
    megabytes, ``_m`` millions. What is unknown is None, never 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    key: str = Field(description="Names the case and its files.")
    model: str = Field(description="Line-up name, onnx:FILE or timm:NAME.")
    family: str | None = Field(None, description="Model family; one colour in every figure.")
    task: str | None = Field(None, description="classification or segmentation.")
    engine: Engine = Field(description="The program that measured.")
    engine_version: str | None = Field(None, description="Version of that program.")
    device: str | None = Field(None, description="Name of the GPU or CPU.")
    host: str | None = Field(None, description="Name of the machine that timed it.")
    gpu_uuid: str | None = Field(None, description="Last 8 characters of the GPU's UUID.")
    precision: Precision = Field(description="The precision asked for.")
    typing: Typing = Field(description="strong: types in the graph; weak: builder switches.")
    batch: int = Field(ge=1, description="Images per query.")
    height: int = Field(ge=1, description="Input height in pixels.")
    width: int = Field(ge=1, description="Input width in pixels.")
    shape_mode: ShapeMode = Field(description="How the engine's input shapes were fixed.")
    status: Status = Field(description="ok, failed or skipped.")
    failure: Failure | None = Field(None, description="Class of the failure.")
    message: str | None = Field(None, description="Why it failed or was skipped, in a sentence.")
    verdict: Verdict | None = Field(None, description="How far the number can be believed.")
    reasons: tuple[str, ...] = Field((), description="Codes of doubt; joined by ; in the table.")
    notes: tuple[str, ...] = Field((), description="Codes that take nothing away; likewise.")
    latency_ms: float | None = Field(None, gt=0, description="Median computeMs of one batch.")
    latency_ci_low_ms: float | None = Field(
        None, gt=0, description="Lower end, 95 % interval of the engines timed."
    )
    latency_ci_high_ms: float | None = Field(
        None, gt=0, description="Upper end, 95 % interval of the engines timed."
    )
    latency_mean_ms: float | None = Field(None, gt=0, description="Mean computeMs.")
    latency_p5_ms: float | None = Field(None, gt=0, description="5th percentile, if n bears it.")
    latency_p95_ms: float | None = Field(None, gt=0, description="95th percentile, if n bears it.")
    latency_p99_ms: float | None = Field(None, gt=0, description="99th percentile, if n bears it.")
    cov: float | None = Field(None, ge=0, description="Standard deviation over mean of computeMs.")
    n_samples: int | None = Field(None, ge=1, description="Timed queries.")
    rounds: int | None = Field(None, ge=0, description="Rounds in which every engine was timed.")
    ended_by: Ending | None = Field(
        None, description="Why no further round was timed; interrupted: one would be."
    )
    throughput_img_s: float | None = Field(
        None, gt=0, description="Images per second with queries queued back to back."
    )
    enqueue_ms: float | None = Field(None, ge=0, description="Mean host time of one enqueue.")
    build_s: float | None = Field(None, ge=0, description="Seconds the engine took to build.")
    engine_mb: float | None = Field(None, ge=0, description="Size of the engine file.")
    params_m: float | None = Field(None, ge=0, description="Parameters of the network.")
    gmacs: float | None = Field(None, ge=0, description="10^9 multiply-accumulates per image.")
    mactivations: float | None = Field(None, ge=0, description="10^6 elements written per image.")
    size_mb: float | None = Field(None, ge=0, description="Size of the FP32 weights.")
    accuracy: float | None = Field(None, description="The literature's accuracy in percent.")
    accuracy_metric: str | None = Field(None, description="What the accuracy is of.")
    accuracy_source: str | None = Field(None, description="Where it was published.")
    graph_layers: int | None = Field(None, ge=1, description="Nodes of the ONNX graph.")
    engine_layers: int | None = Field(
        None,
        ge=1,
        description="Layers of the built engine, with those of no time (Constant, NoOp).",
    )
    low_precision_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share, by number, of the engine's computing layers in the precision asked for "
        "or less (FP32: in less).",
    )
    cuda_graph: bool | None = Field(None, description="Launched as one CUDA graph.")
    transfers: bool | None = Field(None, description="Copies to and from the GPU were made.")
    spin_wait: bool | None = Field(None, description="Host polled instead of sleeping.")
    idle_ms: float | None = Field(
        None, ge=0, description="Rest after each query; 0 or empty: back to back."
    )
    tf32: bool | None = Field(None, description="TF32 was allowed for FP32.")
    sm_clock_mhz: float | None = Field(None, description="Median SM clock while timing.")
    mem_clock_mhz: float | None = Field(None, description="Median memory clock while timing.")
    power_w: float | None = Field(None, description="Median board power while timing.")
    energy_mj: float | None = Field(None, description="Board energy per image, mJ, within 5 %.")
    energy_source: EnergySource | None = Field(
        None, description="counter, or power: readings integrated over the settled part of a run."
    )
    peak_memory_mb: float | None = Field(
        None,
        description="Most GPU memory in use in a run, the CUDA context and what the driver keeps "
        "for itself included; the latter not in a bundle's, which nvidia-smi counted.",
    )
    temperature_c: float | None = Field(None, description="Highest GPU temperature.")
    throttle: str | None = Field(None, description="Throttle reasons seen, joined by ;.")
    limited_by: Limit | None = Field(None, description="The worst of what held the clock back.")
    int8_method: Int8Method | None = Field(None, description="How INT8 came about.")
    weights: str = Field(description="random, imagenet, or as in the user's file.")
    seed: int = Field(description="Of the random weights and the inputs.")
    attempt: int = Field(1, ge=1, description="Which attempt this row is of; 1 with rounds.")
    started_at: datetime = Field(description="When the case was begun, in UTC.")
    log: str | None = Field(None, description="The log, relative to the measured set.")
    model_digest: str | None = Field(
        None, description="SHA-256 of a user's own file and of its external data."
    )

    schema_version: Literal[1] = Field(SCHEMA_VERSION, description="Version of this schema.")
    fingerprint: str = Field("", description="Hash of all that decides whether to measure again.")
    detail: Detail = Field(
        default_factory=Detail,
        description="Evidence: commands, graph, runs, statistics, telemetry.",
    )

    @property
    def half_width(self) -> float | None:
        """Half the interval over the latency, a fraction; None without an interval."""
        low, high = self.latency_ci_low_ms, self.latency_ci_high_ms
        return None if low is None or high is None else (high - low) / 2 / self.latency_ms

    def as_record(self) -> dict[str, Any]:
        """The row as one line of table.csv: column name to cell; None is an empty cell."""
        document = self.model_dump(mode="json", include=set(COLUMNS))
        record = {name: document[name] for name in COLUMNS}
        record |= {name: ";".join(getattr(self, name)) or None for name in ("reasons", "notes")}
        return record


BESIDE_THE_TABLE = ("schema_version", "fingerprint", "detail")

COLUMNS: tuple[str, ...] = tuple(name for name in Row.model_fields if name not in BESIDE_THE_TABLE)
"""The columns of table.csv, in order."""


# Reading and writing rows.


log = logging.getLogger(__name__)


class RowError(Exception):
    """A file is no row of a version that this package reads; the message says why."""


class NewerRowError(RowError):
    """A row of a later version: whole, and only a later benchlib can read it."""


def with_notes_apart(document: dict[str, Any]) -> dict[str, Any]:
    """A row's JSON with the notes that stand among its reasons moved to its ``notes``, and their
    sentences with them: before version 3 of the rules they were reasons."""
    codes = document.get("reasons")
    if not isinstance(codes, list) or NOTES.isdisjoint(map(str, codes)):
        return document
    apart = [[one for one in codes if (one in NOTES) is note] for note in (False, True)]
    changed = {"reasons": apart[0], "notes": [*(document.get("notes") or ()), *apart[1]]}
    detail = document.get("detail")
    sentences = detail.get("reasons") if isinstance(detail, dict) else None
    if isinstance(sentences, list) and len(sentences) == len(codes):
        of = dict(zip(codes, sentences, strict=True))
        notes = [*(detail.get("notes") or ()), *(of[code] for code in apart[1])]
        changed["detail"] = {**detail, "reasons": [of[code] for code in apart[0]], "notes": notes}
    return {**document, **changed}


def read(path: Path) -> Row:
    """Read ``rows/KEY.json``; as :func:`load_row`, and refuses a row of another key."""
    try:
        row = load_row(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RowError(error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8: {error}") from error
    if row.key != path.stem:
        raise RowError(f"it is the row of {row.key}")
    return row


def dump_row(row: Row) -> str:
    """The row as JSON text, a line for each column and each part of its evidence."""
    document = row.model_dump(mode="json")
    return _lines({**document, "detail": _Raw(_lines(document["detail"]))}) + "\n"


class _Raw(str):
    """JSON text already."""

    __slots__ = ()


def _lines(document: dict[str, Any]) -> str:
    parts = (
        f"{json.dumps(name)}: {value if isinstance(value, _Raw) else _compact(value)}"
        for name, value in document.items()
    )
    return "{\n" + ",\n".join(parts) + "\n}"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def counted(rows: Iterable[Row]) -> str:
    """How many rows there are of each status, in words; empty without any."""
    counts = Counter(row.status for row in rows)
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])


def layers_file(key: str) -> str:
    """Where a row's layers lie within the set: half of the evidence, and seldom read."""
    return f"layers/{key}.json.xz"


def dump_layers(layers: Sequence[LayerEvidence]) -> bytes:
    """The layers as compressed JSON, a twentieth of what they took in the row."""
    return lzma.compress(_compact(layers).encode(), preset=9)


def load_layers(content: bytes) -> tuple[LayerEvidence, ...]:
    """Read :func:`dump_layers`; raises ValueError for anything else."""
    try:
        return _LAYERS.validate_json(lzma.decompress(content))
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None


def load_row(text: str) -> Row:
    """Read a row; raise :class:`RowError` for torn or foreign text and for another version."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"not whole JSON: {error}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise RowError("it has no schema_version")
    if version > SCHEMA_VERSION:
        raise NewerRowError(
            f"it is of schema version {version} and this benchlib reads up to {SCHEMA_VERSION}; "
            "update benchlib"
        )
    if version != SCHEMA_VERSION:
        raise RowError(f"no way is known from schema version {version} to {SCHEMA_VERSION}")
    try:
        return Row.model_validate(with_notes_apart(document))
    except ValidationError as error:
        wrong = error.errors()
        first = next((one for one in wrong if one["type"] != "extra_forbidden"), wrong[0])
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            # An optional column, for which a version is not raised.
            raise NewerRowError(
                f"it has a column {where!r} that this benchlib does not know; update benchlib, or "
                "take it out of the row"
            ) from error
        raise RowError(f"{where}: {first['msg']}") from error
