"""The explorer: measured sets as a view that a reader can ask, in the page and in a notebook.

It needs no kernel and no network: rows, charts and the Vega-Lite library are in its HTML, packed.
``templates/explorer/charts.json`` has the charts as Vega-Lite, ``explorer.js`` beside it filters
the rows, draws and answers. Under the page's content security policy nothing may be made from text
at run time, so expressions are run by Vega's interpreter.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from benchlib.analysis import comparable_groups, ranking, significance
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import MeasuredSet
from benchlib.case import Precision, Status
from benchlib.errors import InputError
from benchlib.report import style
from benchlib.report.parts import TEMPLATES, Shown, template
from benchlib.report.view import View, made_for, title, views
from benchlib.stats.summary import rounded_interval

_AXES = {
    # column: title, whether less is better (None: neither)
    "latency_ms": ("Median latency, ms per batch", True),
    "fps": ("Frames per second", False),
    "speedup": ("Times as fast as FP32", False),
    "energy_j": ("Energy, J per image", True),
    "dollars": ("Dollars per million images", True),
    "accuracy": ("Accuracy, %", False),
    "gmacs": ("GMACs per image", None),
    "params_m": ("Parameters, millions", None),
    "megapixels": ("Image, megapixels", None),
}
_Y = ("latency_ms", "fps", "speedup", "energy_j", "dollars")
_X = ("accuracy", "gmacs", "params_m", "megapixels")

_COLUMNS = (
    *("set", "model", "family", "task", "precision", "resolution", "batch"),
    *("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "fps", "throughput_img_s"),
    *("speedup", "energy_j", "accuracy", "accuracy_metric", "gmacs", "params_m", "megapixels"),
    *("verdict", "reasons", "sm_clock_mhz", "limited_by", "made_for", "latency"),
)
"""What the page holds of a row and what its CSV has, in this order; ``made_for`` is the size of the
images that the accuracy is of, ``latency`` is text."""

_SIGNIFICANT = 7
"""Digits of a number in the page; the tenth-digit of a time is no measurement and takes room."""

_USUAL_MEGAPIXELS = 1920 * 1056 / 1e6
"""The size shown at first is the one at which most networks were timed; of several the one next to
this, which is what most cameras give."""

_SHAPES = {
    # matplotlib's marks as Vega calls them, or as its paths in a square from -1 to 1.
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down"},
    **{"P": "cross", "X": "M-1,-1L1,1M1,-1L-1,1", "d": "M0,-1L.6,0L0,1L-.6,0Z"},
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
    "p": "M0,-1L.95,-.3L.6,.8L-.6,.8L-.95,-.3Z",
}


@dataclass(frozen=True, slots=True, eq=False)
class Explorer(Shown):
    """``sets`` to ask, and what an hour of the device costs in dollars (None: not known).

    A million images cost that price at the row's throughput; where none was recorded, at its FPS.
    """

    sets: Sequence[MeasuredSet]
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        ranking.check_price(self.price_per_hour)
        if not any(len(one.frame) for one in self.sets):
            raise InputError("results", "the measured sets have no rows to explore")

    @property
    def rows(self) -> pd.DataFrame:
        """One line per row of every set, failed ones too, with what the page holds of it."""
        parts = [_rows(one, view) for one in self.sets for view in views(one)]
        return pd.concat(parts, ignore_index=True).infer_objects()

    def _repr_html_(self) -> str:
        rows = self.rows
        payload = {
            "axes": _AXES,
            "columns": _COLUMNS,
            "rows": [[_plain(cell) for cell in row] for row in rows[[*_COLUMNS]].to_numpy()],
            "charts": _charts(rows),
            "precisions": list(map(str, _precisions(rows))),
            "labels": {str(one): style.precision_label(one) for one in _precisions(rows)},
            "families": _families(rows),
            "colors": {name: style.swatch(name).line for name in _families(rows)},
            "rebuild": significance.REBUILD,
            "usual": {"megapixels": _USUAL_MEGAPIXELS, "precision": Precision.FP16.value},
        }
        return template("explorer/explorer.html.j2").render(
            y=[(name, _AXES[name][0]) for name in _Y],
            x=[(name, _AXES[name][0]) for name in _X],
            sets=_or_all(rows["set"].unique()),
            tasks=_or_all(sorted(rows["task"].dropna().unique())),
            batches=_or_all(sorted(rows["batch"].unique())),
            price="" if self.price_per_hour is None else f"{self.price_per_hour:g}",
            payload=_packed(json.dumps(payload, allow_nan=False)),
            library=_packed((TEMPLATES / "explorer" / "vega.js").read_text(encoding="utf-8")),
        )


def _rows(one: MeasuredSet, view: View) -> pd.DataFrame:
    """The rows of ``view``; what is not usable keeps its reason and loses its numbers."""
    frame = view.frame.copy()
    parted = [
        word
        for word in view.label.removeprefix(title(one)).split(", ")
        if word and not word.startswith("batch ")
    ]
    frame["set"] = ", ".join([title(one), *parted])
    named = frame["family"].isin(style.FAMILIES)
    frame["family"] = frame["family"].where(named, style.OTHER)
    frame["batch"] = frame["batch"].astype(int)
    frame["energy_j"] = frame["energy_mj"] / 1000
    native = {model: made_for(frame, model) for model in frame["model"].unique()}
    frame["made_for"] = frame["model"].map(native)
    cut = comparable_groups.without_classifier(frame["model"])
    frame.loc[cut, ["accuracy", "accuracy_metric"]] = None
    fine = frame.index.isin(view.usable.index)
    base = frame[fine & (frame["precision"] == Precision.FP32.value)]
    base = base.set_index(["model", "resolution"])["latency_ms"]
    cells = pd.MultiIndex.from_frame(frame[["model", "resolution"]].astype(object))
    frame["speedup"] = base.reindex(cells).to_numpy(float) / frame["latency_ms"]
    numbers = ["latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "fps"]
    frame.loc[~fine, [*numbers, "throughput_img_s", "speedup", "energy_j"]] = None
    failed = frame["status"] != Status.OK.value
    frame.loc[failed, "verdict"] = frame.loc[failed, "status"]
    frame.loc[failed, "reasons"] = frame.loc[failed, "message"]
    frame["latency"] = [
        rounded_interval(*(None if pd.isna(one) else float(one) for one in ends))
        for ends in frame[numbers[:3]].itertuples(index=False)
    ]
    frame["precision"] = frame["variant"].astype(str)
    return frame.reindex(columns=[*_COLUMNS, "variant"]).astype(object)


def _charts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The specifications in ``charts.json`` with the families and precisions of ``rows``.

    Titles and legend are the script's, and it makes the scale of accuracies linear.
    """
    families, words = _families(rows), _precisions(rows)
    labels = [style.precision_label(word) for word in words]
    marks = [_SHAPES[look.marker] for look in style.precision_looks(words).values()]
    colors = {"domain": families, "range": [style.swatch(one).line for one in families]}
    scales = {
        **{"color": colors, "stroke": colors, "strokeDash": {"domain": labels}},
        "shape": {"domain": labels, "range": marks},
    }
    charts = json.loads((TEMPLATES / "explorer" / "charts.json").read_text(encoding="utf-8"))
    for layer in (layer for chart in charts for layer in chart["layer"]):
        for channel, scale in scales.items():
            if channel in layer["encoding"]:
                layer["encoding"][channel]["scale"] = scale
    return charts


def _precisions(rows: pd.DataFrame) -> list[Variant]:
    order = [one.value for one in Precision]
    return sorted(set(rows["variant"]), key=lambda one: (order.index(one.precision), one.method))


def _families(rows: pd.DataFrame) -> list[str]:
    return [one for one in (*style.FAMILIES, style.OTHER) if (rows["family"] == one).any()]


def _or_all(words: Sequence[Any]) -> list[tuple[str, str]]:
    return [("", "all"), *((f"{word}", f"{word}") for word in words)]


def _plain(cell: Any) -> Any:
    if pd.isna(cell):
        return None
    return float(f"{cell:.{_SIGNIFICANT}g}") if isinstance(cell, float) else cell


@cache
def _packed(text: str) -> str:
    """``text`` deflated and in letters, as the page's DecompressionStream takes it."""
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
