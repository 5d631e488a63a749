"""The row: the outcome of one case, good or bad, as it stands in ``rows/KEY.json``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchlib.case import Engine, Failure, Int8Method, Precision, ShapeMode, Status, Typing, Verdict

SCHEMA_VERSION = 1
"""Raised when a column changes its name or its meaning; ``schema.py`` then gets a migration."""


class Row(BaseModel):
    """One line of table.csv, its columns in order, and the evidence behind it in ``detail``.

    Units stand in the names: ``_ms`` milliseconds per batch, ``_s`` seconds, ``_mb`` decimal
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
    reasons: tuple[str, ...] = Field((), description="Reason codes; joined by ; in the table.")
    latency_ms: float | None = Field(None, gt=0, description="Median computeMs of one batch.")
    latency_ci_low_ms: float | None = Field(None, gt=0, description="Lower end, 95 % interval.")
    latency_ci_high_ms: float | None = Field(None, gt=0, description="Upper end, 95 % interval.")
    latency_mean_ms: float | None = Field(None, gt=0, description="Mean computeMs.")
    latency_p5_ms: float | None = Field(None, gt=0, description="5th percentile, if n bears it.")
    latency_p95_ms: float | None = Field(None, gt=0, description="95th percentile, if n bears it.")
    latency_p99_ms: float | None = Field(None, gt=0, description="99th percentile, if n bears it.")
    cov: float | None = Field(None, ge=0, description="Standard deviation over mean of computeMs.")
    n_samples: int | None = Field(None, ge=1, description="Timed queries.")
    throughput_img_s: float | None = Field(
        None, gt=0, description="Images per second with queries queued back to back."
    )
    enqueue_ms: float | None = Field(None, ge=0, description="Median host time of one enqueue.")
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
    engine_layers: int | None = Field(None, ge=1, description="Layers of the built engine.")
    low_precision_share: float | None = Field(
        None, ge=0, le=1, description="Share of the engine's layers below FP32, as built."
    )
    cuda_graph: bool | None = Field(None, description="Launched as one CUDA graph.")
    transfers: bool | None = Field(None, description="Copies to and from the GPU were made.")
    spin_wait: bool | None = Field(None, description="Host polled instead of sleeping.")
    tf32: bool | None = Field(None, description="TF32 was allowed for FP32.")
    sm_clock_mhz: float | None = Field(None, description="Median SM clock while timing.")
    mem_clock_mhz: float | None = Field(None, description="Median memory clock while timing.")
    power_w: float | None = Field(None, description="Median board power while timing.")
    energy_mj: float | None = Field(None, description="Energy per image in millijoules.")
    temperature_c: float | None = Field(None, description="Highest GPU temperature.")
    throttle: str | None = Field(None, description="Throttle reasons seen, joined by ;.")
    int8_method: Int8Method | None = Field(None, description="How INT8 came about.")
    weights: str = Field(description="random, imagenet, or as in the user's file.")
    seed: int = Field(description="Of the random weights and the inputs.")
    attempt: int = Field(1, ge=1, description="Which attempt this row is of.")
    started_at: datetime = Field(description="When the case was begun, in UTC.")
    log: str | None = Field(None, description="The log, relative to the measured set.")
    model_digest: str | None = Field(
        None, description="SHA-256 of a user's own file and of its external data."
    )

    schema_version: Literal[1] = Field(SCHEMA_VERSION, description="Version of this schema.")
    fingerprint: str = Field("", description="Hash of all that decides whether to measure again.")
    detail: dict[str, Any] = Field(
        default_factory=dict,
        description="Evidence: commands, graph, statistics, telemetry, attempts.",
    )

    def as_record(self) -> dict[str, Any]:
        """The row as one line of table.csv: column name to cell; None is an empty cell."""
        document = self.model_dump(mode="json", include=set(COLUMNS))
        record = {name: document[name] for name in COLUMNS}
        record["reasons"] = ";".join(self.reasons) or None
        return record


BESIDE_THE_TABLE = ("schema_version", "fingerprint", "detail")

COLUMNS: tuple[str, ...] = tuple(name for name in Row.model_fields if name not in BESIDE_THE_TABLE)
"""The columns of table.csv, in order."""
