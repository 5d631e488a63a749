"""Two measured sets side by side, case by case; and a set beside the published figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from benchlib.analysis import comparable_groups, significance
from benchlib.analysis.results import MeasuredSet, files, usable
from benchlib.analysis.wording import plural
from benchlib.case import Engine, Int8Method, Precision, ShapeMode, Word, partition
from benchlib.errors import InputError

# Our row beside the published figure: the ratio, and why it need not be 1.


VARIANTS = {
    "bisenetv2": "bisenetv2_blog",
    "fast_scnn": "fast_scnn_blog",
    "fassdnet": "fassdnet_l2",
    "fassdnet_l1": "fassdnet_l2",
}
"""Networks of the papers, and the variant that the blog timed."""

_CASE = ("model", "precision", "batch", "height", "width", "idle_ms")
_APART = ("engine", "typing", "shape_mode")
"""What sets our rows of one case apart, besides the INT8 method."""


@dataclass(frozen=True, slots=True)
class BesidePublished:
    """One case of ours with the published figure, ms of one batch.

    ``int8_method`` is how our INT8 was made. ``ratio`` is ours over theirs. ``reasons`` are the
    known differences that may explain it; no reason means that none is known, not that there is
    none.
    """

    model: str
    published_model: str
    precision: str
    int8_method: str | None
    resolution: str
    batch: int
    ours_ms: float
    published_ms: float
    ratio: float
    reasons: tuple[str, ...]


def beside_published(measured: MeasuredSet, published: MeasuredSet) -> tuple[BesidePublished, ...]:
    """The rows of ``measured`` that ``published`` has a figure for, in the order of the former.

    Matched by network, precision, size and batch. A network of :data:`VARIANTS` stands beside its
    variant only where the variant itself was not measured. Of several INT8 methods the published
    one is taken, or the first in the order of the enum.
    """
    ours, theirs = usable(measured.frame), usable(published.frame)
    own, figures = (_by_case(frame) for frame in (ours, theirs))
    found = []
    for (name, *rest), rows in ours.groupby(
        [*_CASE, *_APART], sort=False, observed=True, dropna=False
    ):
        case = tuple(rest[: len(_CASE) - 1])
        variant = VARIANTS.get(str(name))
        for model in (name, None if (variant, *case) in own else variant):
            if (model, *case) in figures:
                figure = figures[(model, *case)]
                found.append(_beside(_of_methods(rows, figure), figure))
                break
    return tuple(found)


def _by_case(frame: pd.DataFrame) -> dict[tuple[Any, ...], pd.Series]:
    return {tuple(row[name] for name in _CASE): row for _, row in frame.iterrows()}


def _of_methods(rows: pd.DataFrame, theirs: pd.Series) -> pd.Series:
    """The row of one case whose INT8 was made as the published one, else by the first method."""
    made = comparable_groups.methods(rows)
    if not made:
        return rows.iloc[0]
    method = theirs["int8_method"] if theirs["int8_method"] in made else made[0]
    return rows[rows["int8_method"] == method].iloc[0]


def _beside(ours: pd.Series, theirs: pd.Series) -> BesidePublished:
    return BesidePublished(
        model=str(ours["model"]),
        published_model=str(theirs["model"]),
        precision=str(ours["precision"]),
        int8_method=None if pd.isna(ours["int8_method"]) else str(ours["int8_method"]),
        resolution=str(ours["resolution"]),
        batch=int(ours["batch"]),
        ours_ms=float(ours["latency_ms"]),
        published_ms=float(theirs["latency_ms"]),
        ratio=float(ours["latency_ms"] / theirs["latency_ms"]),
        reasons=tuple(_reasons(ours, theirs)),
    )


def _reasons(ours: pd.Series, theirs: pd.Series) -> Iterator[str]:
    if ours["engine"] == Engine.ONNXRUNTIME_CPU.value:
        yield "a CPU, and ONNX Runtime in place of TensorRT"
    elif _differ(ours, theirs, "device"):
        yield f"another GPU: {ours['device']}, not {theirs['device']}"
    if ours["engine"] != Engine.ONNXRUNTIME_CPU.value and _differ(ours, theirs, "engine_version"):
        yield f"TensorRT {ours['engine_version']}, not {theirs['engine_version']}"
    if ours["model"] != theirs["model"]:
        yield f"another network: the published figure is of {theirs['model']}"
    if _differ(ours, theirs, "shape_mode") and theirs["shape_mode"] == ShapeMode.BLOG.value:
        yield "the published engine was tuned for its largest size, 3840x2144"
    if _differ(ours, theirs, "cuda_graph"):
        yield "the published run had no CUDA graph" if ours["cuda_graph"] else "no CUDA graph here"
    if _differ(ours, theirs, "transfers"):
        yield "transfers between host and device are in one of the two times"
    if ours["precision"] == Precision.FP32.value and _differ(ours, theirs, "tf32"):
        yield "TF32 was on in the published run" if theirs["tf32"] else "TF32 is on here"
    if ours["precision"] == Precision.INT8.value and _differ(ours, theirs, "int8_method"):
        made_up = theirs["int8_method"] == Int8Method.MADE_UP_RANGES.value
        yield f"INT8 by {ours['int8_method']}" + (", not with made-up ranges" if made_up else "")


def _differ(ours: pd.Series, theirs: pd.Series, name: str) -> bool:
    """Whether both know ``name`` and it is not the same."""
    if pd.isna(ours[name]) or pd.isna(theirs[name]):
        return False
    return bool(ours[name] != theirs[name])


# Two measured sets side by side: faster, slower, same or undecided, case by case.


CASE = ("network", "precision", "batch", "height", "width", "shape_mode")
"""What has to be the same for two rows to be of one case."""

IF_KNOWN = ("typing", "int8_method", "partition", "model_digest", "idle_ms")
"""What has to be the same as well where both rows have it. ``partition`` is the part of the card
that the device's name has, such as a MIG slice, empty for a whole one."""

_ONE_MEASUREMENT = ("key", "started_at", "device", "host", "gpu_uuid", "latency_ms")
"""What two rows have in common that were copied from one to the other."""

_NO_DIFFERENCE = frozenset(
    {
        *("date", "parameters", "name", "title", "notes", "source"),
        *("packages", "schema_version", "roofs"),
    }
)
"""Fields of environment.json that say nothing of the machine, or are compared one by one."""

_SETTINGS = (
    *("cuda_graph", "transfers", "spin_wait", "streams", "tf32", "half_io", "threads"),
    *("builder_optimization_level", "workspace_mib", "extra_flags", "lock_clocks"),
)
"""Parameters that change what is built or timed and are no part of a case."""

_SUFFIXES = ("_first", "_second")


class Outcome(Word):
    """The second set's row compared with the first's."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Row:
    """One case in both sets, times in ms of one batch.

    ``int8_method`` is None where INT8 was not asked for or neither set names one. ``ratio`` is
    second over first: below 1 the second is faster. ``low`` and ``high`` take both intervals at
    their worst, and are None unless both have one. ``first_nodes`` and ``second_nodes`` count the
    nodes of the ONNX graphs, None where a row does not say.
    """

    model: str
    precision: str
    int8_method: str | None
    batch: int
    height: int
    width: int
    shape_mode: str | None
    first_ms: float
    second_ms: float
    ratio: float
    low: float | None
    high: float | None
    outcome: Outcome
    first_nodes: int | None
    second_nodes: int | None

    @property
    def graphs(self) -> str:
        """That the graphs differ, as those of two versions of an exporter may; empty if not."""
        nodes = (self.first_nodes, self.second_nodes)
        if None in nodes or nodes[0] == nodes[1]:
            return ""
        return f"graph of {nodes[0]} -> {nodes[1]} nodes"

    @property
    def made(self) -> str:
        """The precision, with the INT8 method where one is known."""
        return f"{self.precision} ({self.int8_method})" if self.int8_method else self.precision


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of environment.json that the sets do not share; None where one lacks it."""

    field: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second set against the first, case by case.

    ``mean_ratio`` is the geometric mean of the rows' ratios with its interval over networks (None
    with too few networks). ``only_first`` and ``only_second`` count usable rows without a partner;
    ``unlike`` counts pairs of such rows that differ in typing, INT8 method, part of the card, the
    file's content or the rest between queries; ``copied`` counts cases of which both have one and
    the same measurement, which says nothing of a difference and is not among the rows.
    """

    first: str
    second: str
    threshold: float
    rows: tuple[Row, ...]
    mean_ratio: float | None
    low: float | None
    high: float | None
    only_first: int
    only_second: int
    unlike: int
    copied: int
    differences: tuple[Difference, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, with the fields of :class:`Row` as columns."""
        rows = [{**asdict(row), "outcome": row.outcome.value} for row in self.rows]
        return pd.DataFrame(rows, columns=[one.name for one in fields(Row)])

    @property
    def slower(self) -> tuple[Row, ...]:
        """The cases where the second set is certainly slower."""
        return self.of(Outcome.SLOWER)

    def of(self, outcome: Outcome) -> tuple[Row, ...]:
        """The rows with this outcome."""
        return tuple(row for row in self.rows if row.outcome is outcome)

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the count of every outcome."""
        values = asdict(self)
        for row, plain in zip(self.rows, values["rows"], strict=True):
            plain["outcome"] = row.outcome.value
        values |= {name: list(values[name]) for name in ("rows", "differences")}
        return {**values, "counts": {word.value: len(self.of(word)) for word in Outcome}}

    def lines(self) -> list[str]:
        """The comparison as text, the slowest cases first."""
        lines = [f"{self.second} against {self.first}: {plural(len(self.rows), 'case')} in both"]
        if self.mean_ratio is None:
            return [*lines, "nothing to compare", *self._surroundings()]
        bounds = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        counted = ", ".join(f"{len(self.of(word))} {word.value}" for word in Outcome)
        lines += [
            f"time ratio, geometric mean: {self.mean_ratio:.3f}{bounds} (below 1: faster)",
            f"{counted} (threshold {100 * self.threshold:g} %)",
        ]
        for row in sorted(self.rows, key=lambda row: -row.ratio):
            ends = "" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]"
            if row.graphs:
                ends += f"; {row.graphs}"
            lines.append(
                f"  {row.outcome.value:9} {row.model} {row.made} {row.width}x{row.height} "
                f"batch {row.batch}: {row.first_ms:.4g} -> {row.second_ms:.4g} ms, "
                f"{row.ratio:.3f}{ends}"
            )
        for name, count in ((self.first, self.only_first), (self.second, self.only_second)):
            if count:
                lines.append(f"only in {name}: {plural(count, 'row')}")
        return [*lines, *self._surroundings()]

    @property
    def copies(self) -> str:
        """How many cases were left out as copies, in words; empty where none was."""
        if not self.copied:
            return ""
        left_out = f"{plural(self.copied, 'case')} left out"
        return f"{left_out}: the same measurement stands in both sets, copied"

    def _surroundings(self) -> list[str]:
        lines = [f"  {one.field}: {one.first} -> {one.second}" for one in self.differences]
        if self.copies:
            lines.insert(0, self.copies)
        if self.unlike:
            lines.insert(
                0,
                f"{plural(self.unlike, 'pair')} left out: typing, INT8 method, part of the card, "
                "the content of the file or the rest between queries differ",
            )
        return lines


def compare(
    first: MeasuredSet, second: MeasuredSet, threshold: float = significance.REBUILD
) -> Comparison:
    """Compare ``second`` with ``first``; a smaller relative difference than ``threshold`` is none.

    A case is *faster* or *slower* when the whole interval of the ratio lies beyond the threshold,
    *same* when it lies within, and *undecided* otherwise or when a row has no interval. Raises
    :class:`InputError` when a set holds a case twice, and for a threshold beyond 0 to 1.
    """
    is_number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not is_number or not 0 <= threshold <= 1:  # which nan is not either
        raise InputError(
            "threshold", f"{threshold!r} is no part from 0 to 1; give 0.02 for two per cent"
        )
    left, right = (_numbered(usable(one.frame)) for one in (first, second))
    keys = [*CASE, "engine"] if _several_engines(left) or _several_engines(right) else list(CASE)
    for one, frame in ((first, left), (second, right)):
        twice = frame[frame.duplicated([*keys, *IF_KNOWN])]
        if len(twice):
            row = twice.iloc[0]
            cells = frame[[*keys, *IF_KNOWN]].astype(object).fillna("")
            same = frame[(cells == cells.loc[row.name]).all(axis=1)]
            rows_named = [comparable_groups.name_of(each) for _, each in same.head(2).iterrows()]
            raise InputError(
                one.name,
                f"{' and '.join(rows_named)} are both {row['model']} at {row['precision']}, "
                f"{row['resolution']}, batch {row['batch']:.0f}; keep one of them",
            )
    pairs = left.merge(right, on=keys, suffixes=_SUFFIXES)
    both = _certain(pairs[_alike(pairs)])
    paired = [pairs[place].isin(both[place]) for place in ("place_first", "place_second")]
    unlike = pairs[~(paired[0] | paired[1])]
    copied = _copied(both)
    rows = tuple(
        sorted(
            (_row(record, threshold) for record in both[~copied].to_dict("records")),
            key=lambda row: (row.model, row.made, row.batch, row.height * row.width),
        )
    )
    mean, low, high = _mean(rows)
    return Comparison(
        first=first.name,
        second=second.name,
        threshold=threshold,
        rows=rows,
        mean_ratio=mean,
        low=low,
        high=high,
        only_first=len(left) - both["place_first"].nunique(),
        only_second=len(right) - both["place_second"].nunique(),
        unlike=len(unlike),
        copied=int(copied.sum()),
        differences=differences(first.environment, second.environment),
    )


def differences(first: dict[str, Any], second: dict[str, Any]) -> tuple[Difference, ...]:
    """The fields of two ``environment.json`` that differ, packages one by one, and the settings
    that both have."""
    left, right = (_flat(one) for one in (first, second))
    ours, theirs = (_settings(one) for one in (first, second))
    for name in ours.keys() & theirs.keys():
        left[name], right[name] = ours[name], theirs[name]
    return tuple(
        Difference(name, left.get(name), right.get(name))
        for name in sorted(set(left) | set(right))
        if left.get(name) != right.get(name)
    )


def _flat(environment: dict[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in environment.items() if name not in _NO_DIFFERENCE}
    gpu = flat.get("gpu")
    if isinstance(gpu, dict):
        flat["gpu"] = gpu.get("name", json.dumps(gpu, sort_keys=True))
    packages = environment.get("packages")
    if isinstance(packages, dict):
        flat |= {f"packages.{name}": version for name, version in packages.items()}
    return flat


def _settings(environment: dict[str, Any]) -> dict[str, Any]:
    """The set's one value of each of :data:`_SETTINGS`, or one for each precision."""
    given = environment.get("parameters")
    runs = given if isinstance(given, dict) else {}
    found = {}
    for name in _SETTINGS:
        values = {
            word: one[name] for word, one in runs.items() if isinstance(one, dict) and name in one
        }
        if values:
            first = next(iter(values.values()))
            found[name] = first if all(one == first for one in values.values()) else values
    return found


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    partitions = [None if pd.isna(device) else partition(str(device)) for device in frame["device"]]
    return frame.assign(place=range(len(frame)), network=files(frame), partition=partitions)


def _several_engines(frame: pd.DataFrame) -> bool:
    return bool(frame["engine"].nunique() > 1)


def _alike(pairs: pd.DataFrame) -> pd.Series:
    """Whether the rows of a pair agree in what both know of :data:`IF_KNOWN`."""
    alike = pd.Series(True, index=pairs.index)
    for name in IF_KNOWN:
        left, right = (pairs[f"{name}{suffix}"] for suffix in _SUFFIXES)
        alike &= left.isna() | right.isna() | (left == right)
    return alike


def _copied(pairs: pd.DataFrame) -> pd.Series:
    """Whether a pair is of one measurement: begun in the same microsecond, on one device, with one
    time."""
    copied = pairs["started_at_first"].notna()
    for name in _ONE_MEASUREMENT:
        left, right = (pairs[f"{name}{suffix}"] for suffix in _SUFFIXES)
        copied &= (left == right) | (left.isna() & right.isna())
    return copied


def _certain(pairs: pd.DataFrame) -> pd.DataFrame:
    """``pairs`` without those of a file of unknown content that may be one of several."""
    first, second = (pairs[f"model_digest{suffix}"].isna() for suffix in _SUFFIXES)
    several = [pairs.duplicated(f"place{suffix}", keep=False) for suffix in _SUFFIXES]
    return pairs[~((first != second) & (several[0] | several[1]))]


def _row(record: dict[Any, Any], threshold: float) -> Row:
    first, second = (float(record[f"latency_ms{suffix}"]) for suffix in _SUFFIXES)
    ends = [
        record[f"latency_ci_{end}_ms{suffix}"] for suffix in _SUFFIXES for end in ("low", "high")
    ]
    low = high = None
    if not any(pd.isna(end) for end in ends):
        low, high = float(ends[2] / ends[1]), float(ends[3] / ends[0])
    mode = record["shape_mode"]
    methods = [record[f"int8_method{suffix}"] for suffix in _SUFFIXES]
    nodes = [record[f"graph_layers{suffix}"] for suffix in _SUFFIXES]
    first_nodes, second_nodes = (None if pd.isna(one) else int(one) for one in nodes)
    return Row(
        model=str(record["model_first"]),
        precision=str(record["precision"]),
        int8_method=next((str(one) for one in methods if not pd.isna(one)), None),
        batch=int(record["batch"]),
        height=int(record["height"]),
        width=int(record["width"]),
        shape_mode=None if pd.isna(mode) else str(mode),
        first_ms=first,
        second_ms=second,
        ratio=second / first,
        low=low,
        high=high,
        outcome=_outcome(low, high, threshold),
        first_nodes=first_nodes,
        second_nodes=second_nodes,
    )


def _outcome(low: float | None, high: float | None, threshold: float) -> Outcome:
    if low is None or high is None:
        return Outcome.UNDECIDED
    # 1 / (1 + t), not 1 - t: with the sets swapped, faster and slower must be swapped too
    fast, slow = 1 / (1 + threshold), 1 + threshold
    if high < fast:
        return Outcome.FASTER
    if low > slow:
        return Outcome.SLOWER
    return Outcome.SAME if low >= fast and high <= slow else Outcome.UNDECIDED


def _mean(rows: tuple[Row, ...]) -> tuple[float | None, float | None, float | None]:
    if not rows:
        return None, None, None
    logs = np.log([row.ratio for row in rows])
    codes, names = pd.factorize(np.array([row.model for row in rows], dtype=object))
    sums = np.bincount(codes, logs)
    counts = np.bincount(codes)
    ends = None
    if len(names) >= significance.FEWEST:
        draws = significance.draws(len(names))
        ends = significance.interval((sums @ draws) / (counts @ draws))
    low, high = (None, None) if ends is None else map(float, np.exp(ends))
    return float(np.exp(logs.mean())), low, high
