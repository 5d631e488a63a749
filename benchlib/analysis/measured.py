"""A measured set: the rows one run left in a folder, read back for analysis and report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchlib.case import ONNX_PREFIX, Precision, Status, Verdict, file_name, with_digest
from benchlib.errors import InputError

TABLE = "table.csv"
ENVIRONMENT = "environment.json"

_NEEDED = ("model", "precision", "height", "width", "status", "latency_ms")
_TEXT = (
    *("key", "model", "family", "task", "engine", "engine_version", "device", "precision"),
    *("typing", "shape_mode", "status", "failure", "message", "verdict", "reasons"),
    *("accuracy_metric", "accuracy_source", "throttle", "int8_method", "weights"),
    *("started_at", "log", "model_digest"),
)
_NUMBERS = (
    *("batch", "height", "width", "latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"),
    *("latency_mean_ms", "latency_p5_ms", "latency_p95_ms", "latency_p99_ms", "cov", "n_samples"),
    *("throughput_img_s", "enqueue_ms", "build_s", "engine_mb", "params_m", "gmacs"),
    *("mactivations", "size_mb", "accuracy", "graph_layers", "engine_layers"),
    *("low_precision_share", "sm_clock_mhz", "mem_clock_mhz", "power_w", "energy_mj"),
    *("temperature_c", "seed", "attempt"),
)
_SWITCHES = ("cuda_graph", "transfers", "spin_wait", "tf32")
_YES_NO = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredSet:
    """One run's rows and surroundings.

    ``frame`` has the columns of ``table.csv`` (a missing one is there and empty), where a
    ``model`` is one network: two files of one name are told apart. Four more are made from
    them: ``resolution`` (``WIDTHxHEIGHT``, ordered by pixels), ``megapixels`` of one image,
    and ``fps`` with ``fps_low`` and ``fps_high``: images per second at the median latency and at
    the ends of its interval. ``precision`` is an ordered categorical. ``published`` says that the
    numbers were copied from a publication and measured by nobody here. ``folder`` is where the
    set lies, for what the table does not hold; it must not reach a page.
    """

    name: str
    frame: pd.DataFrame
    environment: dict[str, Any]
    published: bool
    folder: Path | None = None

    def commands(self, key: str) -> tuple[tuple[str, ...], ...]:
        """The argv lists that row ``key`` was made with, build first; empty when not kept."""
        return tuple(tuple(map(str, argv)) for argv in self._detail(key).get("commands", ()))

    def doubts(self, key: str) -> tuple[str, ...]:
        """A sentence for each reason code of row ``key``, in their order; empty when not kept."""
        return tuple(map(str, self._detail(key).get("reasons", ())))

    def shares(self, key: str) -> dict[str, dict[str, float] | None]:
        """Shares (0 to 1) of ``layers``, ``macs`` and ``time`` by type in the engine of row
        ``key``; a kind that is not known is None or missing."""
        return dict(self._detail(key).get("shares") or {})

    def off_fp32(self, key: str) -> float | None:
        """Relative L2 distance of the graph's output of row ``key`` from FP32's, on real images;
        None where it was not measured, as with ranges that the builder makes up."""
        graph = self._detail(key).get("graph") or {}
        found = (graph.get("fidelity") or {}).get("relative_l2")
        return None if found is None else float(found)

    def layers(self, key: str) -> tuple[dict[str, Any], ...]:
        """The engine's layers of row ``key``, each with ``name``, ``type``, ``precision``,
        ``macs`` and ``time_ms`` (None: not known); empty when not kept."""
        return tuple(self._detail(key).get("layers") or ())

    def _detail(self, key: str) -> dict[str, Any]:
        if self.folder is None:
            return {}
        path = self.folder / "rows" / f"{key}.json"
        if not path.is_file():
            return {}
        return dict(json.loads(path.read_text(encoding="utf-8")).get("detail", {}))


def known(value: float) -> float | None:
    """A number of a frame, None where it is empty."""
    return None if pd.isna(value) else float(value)


def load(path: str | Path) -> MeasuredSet:
    """Read the set in folder ``path`` (or with table ``path``).

    Raises :class:`InputError` when there is no table, or one that cannot be read or lacks a
    column without which nothing can be said.
    """
    given = Path(path)
    table = given / TABLE if given.is_dir() else given
    folder = table.parent
    if not table.is_file():
        raise InputError("results", f"no {TABLE} in {path}; give the folder of a measured set")
    environment = _environment(folder / ENVIRONMENT)
    return MeasuredSet(
        name=str(environment.get("name") or folder.resolve().name),
        frame=_frame(table),
        environment=environment,
        published=bool(environment.get("published", False)),
        folder=folder,
    )


def usable(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with a latency to draw or to reckon with: status ok and not INVALID."""
    good = (frame["status"] == Status.OK.value) & frame["latency_ms"].notna()
    return frame[good & (frame["verdict"] != Verdict.INVALID.value)]


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with every column of :class:`MeasuredSet` and their types; rows as they stand."""
    columns: dict[str, pd.Series] = {}
    for name in _TEXT:
        words = [None if pd.isna(word) or word == "" else word for word in _column(frame, name)]
        columns[name] = pd.Series(words, index=frame.index, dtype=object)
    for name in _NUMBERS:
        columns[name] = pd.to_numeric(_column(frame, name), errors="coerce").astype(float)
    for name in _SWITCHES:
        columns[name] = _column(frame, name).map(_switch).astype("boolean")
    rest = {name: frame[name] for name in frame.columns if name not in columns}
    whole = pd.DataFrame({**columns, **rest})
    whole["batch"] = whole["batch"].fillna(1.0)
    whole["model"] = _told_apart(whole["model"], whole["model_digest"])
    order = [precision.value for precision in Precision]
    whole["precision"] = pd.Categorical(whole["precision"], categories=order, ordered=True)
    whole["megapixels"] = whole["height"] * whole["width"] / 1e6
    whole["resolution"] = _resolutions(whole)
    for name, latency in (
        ("fps", "latency_ms"),
        ("fps_low", "latency_ci_high_ms"),
        ("fps_high", "latency_ci_low_ms"),
    ):
        whole[name] = 1000.0 * whole["batch"] / whole[latency]
    return whole


def files(frame: pd.DataFrame) -> pd.Series:
    """``onnx:FILE`` for each network that is a user's file, whatever tells it from another of the
    same name in its set; the model for the others."""
    pairs = zip(frame["model"], frame["model_digest"], strict=True)
    return pd.Series([_file(*pair) for pair in pairs], index=frame.index, dtype=object)


def _file(model: str | None, digest: str | None) -> str | None:
    name = None if model is None else file_name(model, digest)
    return model if name is None else f"{ONNX_PREFIX}{name}"


def _told_apart(models: pd.Series, digests: pd.Series) -> pd.Series:
    """One name for each network: its shortest that is no other's, else with digits of its content.

    A network is a file's name and content. Rows without a digest keep their names.
    """
    rows = list(zip(models, digests, strict=True))
    names: dict[tuple[str, str], set[str]] = {}
    owners: dict[str, set[str | None]] = {}
    for model, digest in rows:
        owners.setdefault(model, set()).add(digest)
        if digest is not None:
            names.setdefault((_file(model, digest), digest), set()).add(model)
    chosen = {}
    for (name, digest), recorded in names.items():
        own = sorted(
            (one for one in recorded if owners[one] == {digest}), key=lambda n: (len(n), n)
        )
        chosen[name, digest] = own[0] if own else with_digest(name, digest)
    return pd.Series(
        [chosen.get((_file(model, digest), digest), model) for model, digest in rows],
        index=models.index,
        dtype=object,
    )


def _frame(table: Path) -> pd.DataFrame:
    try:
        # Only an empty field is missing: pandas would also take the words "None" and "NA".
        raw = pd.read_csv(table, dtype=str, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            "results",
            f"{table.name} is not a readable CSV ({said}); give a measured set: its "
            f"folder, or the {TABLE} in it",
        ) from None
    missing = [name for name in _NEEDED if name not in raw.columns]
    if missing:
        raise InputError("results", f"{table} lacks the columns {', '.join(missing)}")
    unknown = set(raw["precision"].dropna()) - {precision.value for precision in Precision}
    if unknown:
        raise InputError("results", f"{table} has unknown precisions: {', '.join(sorted(unknown))}")
    return complete(raw)


def _environment(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError("results", f"{path} is not a JSON object: {error}") from None


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name in frame.columns:
        return frame[name]
    return pd.Series([None] * len(frame), index=frame.index, dtype=object)


def _switch(value: object) -> object:
    return _YES_NO.get(str(value).strip().lower(), pd.NA)


def _resolutions(frame: pd.DataFrame) -> pd.Categorical:
    sizes = sorted({(h * w, h, w) for h, w in zip(frame["height"], frame["width"], strict=True)})
    names = [f"{w:.0f}x{h:.0f}" for _, h, w in sizes]
    each = [f"{w:.0f}x{h:.0f}" for h, w in zip(frame["height"], frame["width"], strict=True)]
    return pd.Categorical(each, categories=names, ordered=True)
