"""How every figure and table looks: one palette, marks, labels, and bytes that repeat.

A colour always means a model family (eight of them; smallest distance under the usual colour
blindnesses 19.5 ΔE, contrast on white at least 3.0). Text set in a family's colour takes a darker
twin where the colour is too light for small type. Precisions have colours of their own that no
family has, and a mark, so nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from benchlib.analysis import parts
from benchlib.case import Int8Method, Precision, Verdict


@dataclass(frozen=True, slots=True)
class Swatch:
    """A colour for lines and marks, and its twin for text on white (contrast above 4.5)."""

    line: str
    text: str


@dataclass(frozen=True, slots=True)
class Look:
    """How one network is drawn: its family's colour, its own mark and dashes."""

    color: str
    text: str
    marker: str
    dash: str
    family: str


OTHER = "Other"
FAMILIES: dict[str, Swatch] = {
    "ResNet": Swatch("#332288", "#332288"),
    "MobileNet": Swatch("#EE6677", "#C0392B"),
    "EfficientNet": Swatch("#117733", "#117733"),
    "RegNet": Swatch("#B8860B", "#8A6508"),
    "MNASNet": Swatch("#6699CC", "#3A6EA5"),
    "Real-time segmentation": Swatch("#AA3377", "#AA3377"),
    "VGG": Swatch("#661100", "#661100"),
    "ShuffleNet": Swatch("#000000", "#000000"),
}
_OTHER_SWATCH = Swatch("#777777", "#666666")

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")

PRECISION_COLORS: dict[str, str] = {
    Precision.FP32.value: "#555555",
    Precision.TF32.value: "#8C8C8C",
    Precision.FP16.value: "#D55E00",
    Precision.BF16.value: "#A04000",
    Precision.INT8.value: "#0072B2",
    Precision.FP8.value: "#004B76",
}
PRECISION_MARKERS: dict[str, str] = {
    Precision.FP32.value: "o",
    Precision.TF32.value: "v",
    Precision.FP16.value: "s",
    Precision.BF16.value: "P",
    Precision.INT8.value: "D",
    Precision.FP8.value: "X",
}
METHOD_LOOKS: dict[str, tuple[str, str]] = {
    Int8Method.QDQ_NO_DEPTHWISE.value: ("#3B97CC", "d"),
    Int8Method.MODELOPT.value: ("#00507D", "h"),
    Int8Method.ORT_STATIC.value: ("#003A5C", "p"),
    Int8Method.MADE_UP_RANGES.value: ("#5AA9D6", "^"),
}
"""Colour and mark of INT8 by a method that stands beside another; ``qdq`` looks as INT8 does."""
VERDICT_SYMBOLS: dict[str, str] = {
    Verdict.VALID.value: "",
    Verdict.SUSPECT.value: "!",
    Verdict.INVALID.value: "✕",
}

BEST = "background-color:#c7e9c0;color:#00441b;font-weight:600"
WORST = "background-color:#fcd5ce;color:#67000d;text-decoration:underline"

_FONT = "DejaVu Sans"
"""Comes with matplotlib, so bytes repeat everywhere."""

_FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK TC"),
    *("Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC", "Source Han Sans"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "AR PL UMing CN"),
    *("IPAexGothic", "IPAGothic", "NanumGothic", "PingFang SC", "Hiragino Sans"),
    *("Apple SD Gothic Neo", "Microsoft YaHei", "SimHei", "Arial Unicode MS", "Unifont"),
)
"""Fonts with the Chinese, Japanese and Korean signs that DejaVu Sans lacks, as systems have them;
taken only for the signs of a name that need it."""

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.parse_math": False,  # a name may hold $, which would start a formula
    "legend.frameon": False,
    "savefig.dpi": 150,
    "svg.hashsalt": "benchlib",
    "svg.fonttype": "path",
}


def swatch(family: str | None) -> Swatch:
    """The colours of ``family``; families without one of their own share grey, called Other."""
    return FAMILIES.get(family or OTHER, _OTHER_SWATCH)


def looks(frame: pd.DataFrame) -> dict[str, Look]:
    """How to draw each network of ``frame`` (columns ``model`` and ``family``).

    Give it all rows, failed ones too, so that a network keeps its mark from figure to figure.
    """
    seen: dict[str, int] = {}
    drawn: dict[str, Look] = {}
    pairs = frame[["model", "family"]].drop_duplicates("model").sort_values("model")
    for model, family in pairs.itertuples(index=False):
        named = family if family in FAMILIES else OTHER
        index = seen.get(named, 0)
        seen[named] = index + 1
        colors = swatch(named)
        drawn[model] = Look(
            color=colors.line,
            text=colors.text,
            marker=MARKERS[index % len(MARKERS)],
            dash=DASHES[index % len(DASHES)],
            family=named,
        )
    return drawn


def precision_label(precision: object, between: str = " ") -> str:
    """``FP16`` for ``fp16``, ``INT8 (qdq)`` for ``int8/qdq``; ``between`` its two words."""
    word, method = parts.base(str(precision))
    return f"{word.upper()}{between}({method})" if method else word.upper()


def precision_look(precision: str) -> tuple[str, str]:
    """Colour and mark of a precision, or of INT8 by one of several methods."""
    word, method = parts.base(precision)
    return METHOD_LOOKS.get(method, (PRECISION_COLORS[word], PRECISION_MARKERS[word]))


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this: sets seaborn's ticks style, our fonts and lines, and repeatable SVG ids."""
    base = sns.axes_style("ticks") | sns.plotting_context("notebook", font_scale=0.85)
    with mpl.rc_context(base | _STYLE | {"font.family": _fonts()}):
        yield


def drawable(text: str) -> str:
    """``text`` as the figures' fonts can draw it; signs that they lack become ``\\u6a21``."""
    return "".join(
        sign
        if sign.isprintable() and any(font.get_char_index(ord(sign)) for font in _faces())
        else sign.encode("unicode_escape").decode()
        for sign in text
    )


@cache
def _fonts() -> list[str]:
    """DejaVu Sans, and one of :data:`_FALLBACKS` if this machine has any."""
    installed = set(font_manager.get_font_names())
    return [_FONT, *[name for name in _FALLBACKS if name in installed][:1]]


@cache
def _faces() -> list[FT2Font]:
    return [font_manager.get_font(font_manager.findfont(name)) for name in _fonts()]
