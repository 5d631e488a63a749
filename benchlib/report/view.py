"""A view: the rows of one measured set that may stand in one figure or table.

Rows are comparable when engine, batch, shape mode, typing and INT8 method agree. A run that varies
one of these gives several views, and each is drawn by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from benchlib.analysis.measured import MeasuredSet, usable
from benchlib.case import Engine, Precision, ShapeMode, Status, Typing, Verdict
from benchlib.report import numerals, theme

_SAFE = re.compile(r"[^A-Za-z0-9]+")
_CELL = ["model", "precision", "resolution"]
_ENGINES = {
    Engine.TRTEXEC.value: "trtexec",
    Engine.TENSORRT_PYTHON.value: "TensorRT's Python interface",
    Engine.ONNXRUNTIME_CPU.value: "ONNX Runtime on the CPU",
    Engine.FAKE.value: "a stand-in that makes its times up",
}
_SHAPES = {
    ShapeMode.STATIC.value: "one engine per size",
    ShapeMode.DYNAMIC.value: "one engine for all sizes, tuned in between",
    ShapeMode.BLOG.value: "one engine for all sizes, tuned for the largest",
}


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """``frame`` is a part of :attr:`MeasuredSet.frame` with one row per model, precision and size.

    ``label`` says in words what the rows share, ``slug`` the same for file names and anchors.
    """

    label: str
    slug: str
    frame: pd.DataFrame
    published: bool = False

    @property
    def usable(self) -> pd.DataFrame:
        """Rows with a latency that may be drawn: ok and not INVALID."""
        return usable(self.frame)

    @property
    def precisions(self) -> list[str]:
        """The precisions with a usable row, in order."""
        return [str(word) for word in _present(self.usable["precision"])]

    @property
    def sizes(self) -> list[str]:
        """The image sizes with a usable row, ``WIDTHxHEIGHT``, smallest first."""
        return [str(word) for word in _present(self.usable["resolution"])]

    @property
    def batch(self) -> int:
        """Images per query."""
        return int(self.frame["batch"].iloc[0]) if len(self.frame) else 1

    def at(self, precision: str | None = None, size: str | None = None) -> pd.DataFrame:
        """Usable rows at one precision, one size, or both."""
        rows = self.usable
        if precision is not None:
            rows = rows[rows["precision"] == precision]
        if size is not None:
            rows = rows[rows["resolution"] == size]
        return rows

    def looks(self) -> dict[str, theme.Look]:
        """How to draw each network; the same in every figure of this view."""
        return theme.looks(self.frame)

    def remarks(self, precision: str | None = None) -> str:
        """What a reader of a figure has to know of the rows behind it, as sentences."""
        rows = self.frame if precision is None else self.frame[self.frame["precision"] == precision]
        said = []
        if self.usable["latency_ci_low_ms"].notna().any():
            said.append("Bars are the 95 % interval of the median.")
        else:
            said.append("No interval is known for these numbers.")
        if (rows["verdict"] == Verdict.SUSPECT.value).any():
            said.append("Hollow marks are SUSPECT rows.")
        left_out = [
            numerals.count(int(number), word)
            for word, number in (
                ("failed row", (rows["status"] == Status.FAILED.value).sum()),
                ("skipped row", (rows["status"] == Status.SKIPPED.value).sum()),
                ("INVALID row", (rows["verdict"] == Verdict.INVALID.value).sum()),
            )
            if number
        ]
        if left_out:
            said.append(f"Left out: {numerals.listed(left_out)}.")
        return " ".join(said)


def views(measured: MeasuredSet) -> tuple[View, ...]:
    """The comparable parts of ``measured``, largest first; empty for a set without rows."""
    parts = sorted(_parts(measured.frame), key=lambda part: -len(part[1]))
    return tuple(_view(measured, words, rows, len(parts) > 1) for words, rows in parts)


def title(measured: MeasuredSet) -> str:
    """What to call the set in prose: its own title, or its name."""
    return str(measured.environment.get("title") or measured.name)


def slug(text: str) -> str:
    """``text`` for a file name or an anchor: small letters, digits and single hyphens."""
    return _SAFE.sub("-", text).strip("-").lower()


def _present(column: pd.Series) -> list[object]:
    return list(column.cat.remove_unused_categories().cat.categories)


def _parts(frame: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    keys = ["engine", "batch", "shape_mode"]
    for values, rows in frame.groupby(keys, dropna=False, sort=True):
        shared = dict(zip(keys, values, strict=True))
        if not rows.duplicated(_CELL).any():
            yield shared, rows
            continue
        for typing, method in _splits(rows):
            of_method = (rows["precision"] != Precision.INT8.value) | (
                rows["int8_method"] == method if method else rows["int8_method"].isna()
            )
            part = rows[of_method & ((rows["typing"] == typing) | rows["typing"].isna())]
            words = {**shared, "typing": typing, "int8_method": method}
            yield words, part.drop_duplicates(_CELL, keep="last")


def _splits(rows: pd.DataFrame) -> list[tuple[str | None, str | None]]:
    typings = list(rows["typing"].dropna().unique()) or [None]
    int8 = rows.loc[rows["precision"] == Precision.INT8.value, "int8_method"]
    methods = [None if pd.isna(method) else method for method in int8.unique()] or [None]
    return [(typing, method) for typing in typings for method in methods]


def _view(
    measured: MeasuredSet, words: dict[str, object], rows: pd.DataFrame, several: bool
) -> View:
    batch = int(str(words["batch"]).split(".")[0])
    said = [title(measured), f"batch {batch}"]
    short = [measured.name, f"b{batch}"]
    if several:
        engine, shapes = str(words["engine"]), str(words["shape_mode"])
        said += [_ENGINES.get(engine, engine), _SHAPES.get(shapes, shapes)]
        short += [engine, shapes]
        if words.get("typing"):
            said.append(f"{Typing(words['typing']).value} typing")
            short.append(str(words["typing"]))
        if words.get("int8_method"):
            said.append(f"INT8 by {words['int8_method']}")
            short.append(str(words["int8_method"]))
    return View(", ".join(said), slug(" ".join(short)), rows, measured.published)
