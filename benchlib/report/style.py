"""How every figure looks: palette, marks, labels, ticks; and what a figure function gives back.

A colour always means a model family. The smallest distance of two of the blog's eight families
under the usual colour blindnesses is 20.4 ΔE, and 18.1 ΔE with the eight that came later, whose
marks begin elsewhere; one is black and no other near it, because small dark dots look alike on a
screen; contrast on white is at least 3.0. Text set in a family's colour takes a darker twin where
the colour is too light for small type. Precisions have colours of their own that no family has,
and a mark, so nothing is shown by colour alone.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cbook import STEP_LOOKUP_MAP
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.path import Path as Trace
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Affine2D, Bbox, Transform, blended_transform_factory
from numpy.typing import ArrayLike, NDArray

from benchlib.analysis.comparable_groups import Variant
from benchlib.case import Int8Method, Precision, Verdict
from benchlib.report.parts import Shown


@dataclass(frozen=True, slots=True)
class Swatch:
    """A colour for lines and marks, and its twin for text on white (contrast above 4.5).

    ``mark`` is the place in ``MARKERS`` at which the family's marks begin.
    """

    line: str
    text: str
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """How a network is drawn: its family's colour, its own mark and dashes; or a precision."""

    color: str
    text: str
    marker: str
    dash: str | tuple[float, ...] = ""
    family: str = ""


OTHER = "Other"
FAMILIES: dict[str, Swatch] = {
    "ResNet": Swatch("#0059CF", "#0059CF"),
    "MobileNet": Swatch("#FF1B1C", "#EB000C"),
    "EfficientNet": Swatch("#769C90", "#577B70"),
    "RegNet": Swatch("#C9855A", "#A5653C"),
    "MNASNet": Swatch("#16A0D1", "#007DAC"),
    "Real-time segmentation": Swatch("#800C53", "#800C53"),
    "VGG": Swatch("#8B0002", "#8B0002"),
    "ShuffleNet": Swatch("#000000", "#000000"),
    "ConvNeXt": Swatch("#8B02FE", "#8B02FE", 3),
    "ViT": Swatch("#CC335B", "#CC335B", 4),
    "RepViT": Swatch("#FF3AC3", "#DB00A4", 5),
    "FastViT": Swatch("#4A357D", "#4A357D", 6),
    "MobileOne": Swatch("#315B38", "#315B38", 3),
    "EfficientViT": Swatch("#A17FFF", "#7D5FDB", 1),
    "HGNet": Swatch("#1F8D00", "#158800", 5),
    "StarNet": Swatch("#85608A", "#85608A", 2),
}
_OTHER_SWATCH = Swatch("#777777", "#666666")

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("", (3.7, 1.6), (6.4, 1.6, 1, 1.6), (1, 1.65))
"""Dash and gap in widths of the line, as seaborn takes them; the first is solid."""

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
            marker=MARKERS[(index + colors.mark) % len(MARKERS)],
            dash=DASHES[index % len(DASHES)],
            family=named,
        )
    return drawn


def precision_label(one: Variant | str, between: str = " ") -> str:
    """``FP16``, or ``INT8 (qdq)`` for one of several methods; ``between`` its two words."""
    if isinstance(one, Variant) and one.method:
        return f"{one.precision.upper()}{between}({one.method})"
    return str(one).upper()


def precision_looks(precisions: Iterable[Variant]) -> dict[Variant, Look]:
    """Colour and mark of each precision, or of INT8 by one of several methods."""
    drawn = {}
    for one in precisions:
        own = (PRECISION_COLORS[one.precision], PRECISION_MARKERS[one.precision])
        color, marker = METHOD_LOOKS.get(one.method, own)
        drawn[one] = Look(color, color, marker)
    return drawn


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this: sets seaborn's ticks style, our fonts and lines, and repeatable SVG ids.

    Nothing of a matplotlibrc of the user's own: ``text.usetex``, for one, needs LaTeX.
    """
    base = sns.axes_style("ticks") | sns.plotting_context("notebook", font_scale=0.85)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(base | _STYLE | {"font.family": _fonts()})
        yield


def tighten(figure: Figure, rect: tuple[float, float, float, float], pad: float = 1.08) -> None:
    """Let the axes fill ``rect`` of ``figure``, ``pad`` font sizes apart; no layout may follow."""
    figure.tight_layout(rect=rect, h_pad=pad, w_pad=pad)
    figure.set_layout_engine(None)  # what is left of it would draw the figure twice when saved


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


_EDGE_POINTS = 0.6
_HOLLOW_EDGE_POINTS = 1.2
_ABOVE_LINES = 2.5
"""Layer of scattered marks; matplotlib would put them under the lines and intervals, at 2."""


def lines(
    axes: Axes, rows: pd.DataFrame, x: str, y: str, looks: dict[str, Look], *, small: bool = False
) -> None:
    """A line per network of ``rows`` with a mark per row; names no axis."""
    # Not by seaborn, which tries every colour with every mark and so takes ten times as long.
    for model, points in rows.sort_values(["model", x]).groupby("model", sort=False):
        look = looks[str(model)]
        axes.plot(
            points[x],
            points[y],
            color=look.color,
            marker=look.marker,
            dashes=look.dash or (None, None),
            linewidth=1.4 if small else 1.9,
            markersize=mark_points(small),
            markeredgewidth=_EDGE_POINTS,
            markeredgecolor="white",
        )


def mark_points(small: bool) -> float:
    """Size of the marks of :func:`lines`."""
    return 4.0 if small else 5.5


def dots(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    looks: Mapping[object, Look],
    *,
    by: str = "model",
    points: ArrayLike = 5.5,
    hollow: ArrayLike = False,
    **more: object,
) -> None:
    """A mark per row in the look of its ``by``, ``points`` wide, white inside where ``hollow``.

    Names no axis. ``more`` goes to seaborn's scatterplot.
    """
    words = rows[by].astype(str)  # a categorical one would need a look for values that no row has
    style = {
        **{"edgecolor": "white", "linewidth": _EDGE_POINTS, "zorder": _ABOVE_LINES},
        **{"hue": words, "style": words, "legend": False},
        "palette": {str(name): look.color for name, look in looks.items()},
        "markers": {str(name): look.marker for name, look in looks.items()},
        **more,
    }
    # An axis without a label would get seaborn's, which makes every tick of it to see whether it is
    # shown; that takes longer than to draw.
    axes.set(xlabel=" ", ylabel=" ")
    sns.scatterplot(rows, x=x, y=y, s=np.square(points), ax=axes, **style)
    axes.set(xlabel="", ylabel="")
    where = np.broadcast_to(hollow, len(rows))
    if where.any():
        marks = axes.collections[-1]
        inside = marks.get_facecolors()
        marks.set(
            facecolors=np.where(where[:, None], 1.0, inside),
            edgecolors=np.where(where[:, None], inside, to_rgba_array(style["edgecolor"])),
            linewidths=np.where(where, _HOLLOW_EDGE_POINTS, style["linewidth"]),
        )


def key(label: str, color: str, marker: str = "o", points: float = 6.0) -> Line2D:
    """A mark for a legend."""
    form = {"color": color, "marker": marker, "markersize": points}
    return Line2D([], [], linestyle="none", label=label, **form)


def family_keys(looks: dict[str, Look], models: Iterable[str]) -> list[Line2D]:
    """A mark for each family of ``models``: that of its first network, so that families whose
    colours are close are told apart here as they are in the figure."""
    first = {looks[model].family: looks[model] for model in sorted(set(models), reverse=True)}
    return [key(family, look.color, look.marker) for family, look in sorted(first.items())]


def precision_keys(precisions: Iterable[Variant]) -> list[Line2D]:
    """A mark for each of ``precisions``."""
    drawn = precision_looks(precisions).items()
    return [key(precision_label(word), look.color, look.marker) for word, look in drawn]


_DECIMALS = re.compile(rb"(?<![\w.#])(\d*[1-9]\d*\.\d\d)\d+")
"""Places beyond a hundredth of a point, which nobody sees and which are an eighth of a file.
Numbers below 1 stay: among them are the scales of letters."""

_UNSAFE = re.compile(r"[^ !'()*+,\-./:;<=>?@\[\]_$~0-9A-Za-z]+")
"""What may not stand in a ``data:`` URL, inside an attribute in double quotes, as it is."""

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_LETTER = "scale(0.015625)"
"""Of a letter's outline, which Matplotlib gives in whole 64ths of what places the letters: a tenth
of that is a hundredth of a point."""
_CIRCLE = "M" + 8 * "C" + "z"  # how Matplotlib draws one, in 400 letters
_HAIR = 0.02
"""Points: what rounding to hundredths makes of a circle."""

_LEAST_PIXELS_PER_INCH = 66
"""Labels of 8 points are then some 7 pixels high: the least that can be read."""


@dataclass(frozen=True, slots=True)
class Drawing(Shown):
    """A figure and the words that go with it.

    ``name`` is safe as a file name; ``alt`` says kind, axes and finding for those who cannot see
    it; ``caption`` stands under it.
    """

    figure: Figure
    name: str
    alt: str
    caption: str

    @property
    def least_pixels(self) -> int:
        """Width on the page below which the labels could not be read."""
        return round(self.figure.get_figwidth() * _LEAST_PIXELS_PER_INCH)

    @property
    def data_url(self) -> str:
        """The SVG as a ``data:`` URL, in text and shortened: a third shorter than in base64."""
        short = _shortened(self.svg().decode("utf-8"))
        return f"data:image/svg+xml,{_UNSAFE.sub(lambda found: quote(found[0]), short)}"

    def svg(self) -> bytes:
        """The figure as SVG: same figure, same bytes (no date, no random ids)."""
        content = self._saved("svg", {"Date": None, "Creator": None})
        return _DECIMALS.sub(rb"\1", content)

    def png(self) -> bytes:
        """The figure as PNG at 150 dots per inch: same figure, same bytes."""
        return self._saved("png", {"Software": None})

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write ``NAME.svg`` and ``NAME.png`` into ``folder`` and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for suffix, content in (("svg", self.svg()), ("png", self.png())):
            path = folder / f"{self.name}.{suffix}"
            path.write_bytes(content)
            written.append(path)
        return written[0], written[1]

    def _saved(self, form: str, metadata: dict[str, None]) -> bytes:
        sink = io.BytesIO()
        with style():
            self.figure.savefig(sink, format=form, metadata=metadata)
        return sink.getvalue()


def _shortened(svg: str) -> str:
    """The same picture in half the letters: comments, groups without attributes and ids that
    nothing refers to go, the other ids become short, styles become classes."""
    for prefix, name in (("", _SVG), ("xlink", _XLINK)):
        ElementTree.register_namespace(prefix, name)
    root = ElementTree.fromstring(svg)
    referred = dict.fromkeys(re.findall(r"#([\w-]+)(?=[)\"])", svg))
    classes: dict[str, str] = {}
    _shorten(root, {name: f"a{place:x}" for place, name in enumerate(referred)}, classes)
    rules = root.find(f"*/{{{_SVG}}}style")
    rules.text += "".join(f".{name}{{{style}}}" for style, name in classes.items())
    return ElementTree.tostring(root, encoding="unicode").replace('"', "'").replace(" />", "/>")


def _shorten(parent: ElementTree.Element, ids: Mapping[str, str], classes: dict[str, str]) -> None:
    kept: list[ElementTree.Element] = []
    for one in parent:
        _shorten(one, ids, classes)
        one.text, one.tail = (one.text or "").strip() or None, None
        known = one.attrib
        name = known.pop("id", None)
        if name in ids:
            known["id"] = ids[name]
        if known.get(_HREF, "").startswith("#"):
            known["href"] = f"#{ids[known.pop(_HREF)[1:]]}"
        moved = re.fullmatch(r"translate\((\S+) 0\)", known.get("transform", ""))
        if moved and one.tag == f"{{{_SVG}}}use":  # a letter, in hundredths of the type's size
            del known["transform"]
            known["x"] = f"{float(moved[1]):.0f}"
        if known.get("transform") == _LETTER and "d" in known:
            del known["transform"]
            known["d"] = re.sub(
                r"-?[\d.]+", lambda found: f"{float(found[0]) / 64:.1f}", known["d"]
            )
            known["d"] = known["d"].replace(".0", "")
        _as_circle(one)
        for key, value in known.items():
            short = re.sub(r"url\(#([\w-]+)\)", lambda found: f"url(#{ids[found[1]]})", value)
            if key == "style":
                short = re.sub(r"([:;]) ", r"\1", short)
            elif key == "d":
                short = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", short)
                short = re.sub(r" *([A-Za-z]) *", r"\1", short).strip()
            known[key] = short
        if style := known.pop("style", None):
            known["class"] = classes.setdefault(style, f"c{len(classes):x}")
        is_bare = one.tag == f"{{{_SVG}}}g" and not known
        kept += list(one) if is_bare else [] if one.tag == f"{{{_SVG}}}metadata" else [one]
    parent[:] = kept


def _as_circle(one: ElementTree.Element) -> None:
    """Make a path that is drawn as a circle the circle that it is."""
    path = one.get("d", "")
    if re.sub(r"[^A-Za-z]", "", path) != _CIRCLE:
        return
    round_it = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)[::3]
    middle = (round_it[0] + round_it[4]) / 2
    radii = np.hypot(*(round_it - middle).T)
    if np.ptp(radii) < _HAIR:
        one.tag = f"{{{_SVG}}}circle"
        del one.attrib["d"]
        sizes = (f"{value:.2f}" for value in (*middle, radii.mean()))
        one.attrib |= dict(zip(("cx", "cy", "r"), sizes, strict=True))


@dataclass(frozen=True, slots=True)
class Absent(Shown):
    """No drawing, and why: shown in words where the figure would have stood."""

    name: str
    reason: str


def finding(drawing: Drawing, label: str) -> str:
    """The first sentence that the figure's words have after ``label``: what it shows."""
    words = drawing.alt.partition(f"{label}")[2].partition(". ")[2]
    return re.split(r"(?<=[.;]) (?=[A-Z])", words)[0]


# Ticks of a logarithmic axis that can be read over one decade as well as over five.


_NARROW = 50.0
"""Highest over lowest value up to which powers of ten alone would leave one tick or none."""


_LEAST = 4.0
"""Highest over lowest value that an axis shows, so that at least one tick of 1, 2, 5 falls in
and a difference of a percent does not fill the figure."""


def tidy_log_axis(axis: Axis) -> None:
    """Put ticks at 1, 2, 5 on a narrow axis and at powers of ten on a wide one; plain numbers.

    An axis narrower than a factor of four is widened to that around its middle.
    """
    low, high = widened_limits(*sorted(axis.get_view_interval()))
    set_limits = axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim
    set_limits(low, high)
    log_ticks(axis, low, high)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Put ticks at 1, 2, 5 where ``axis`` from ``low`` to ``high`` is narrow, else at powers of
    ten; plain numbers."""
    steps = (1.0, 2.0, 5.0) if high < low * _NARROW else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def widened_limits(low: float, high: float) -> tuple[float, float]:
    """``low`` and ``high`` when they lie a factor of four apart, else limits that do."""
    if high >= low * _LEAST:
        return low, high
    middle, reach = math.sqrt(low * high), math.sqrt(_LEAST)
    return middle / reach, middle * reach


_POINTS_PER_INCH = 72
_LEADING = 1.3
"""Height of a line of type over its size."""
_LEADER_INCHES = 0.26
_HINTED = 1.07
"""Width of type in a PNG of 150 dots per inch over that of its outlines, at most: each letter ends
at a whole dot."""

_MARK_POINTS = 9
"""Room for a mark, a little more than the largest that is drawn."""


@dataclass(frozen=True, slots=True)
class Name:
    """``text`` for the mark, or for the line that ends, at ``x``, ``y`` (data units)."""

    x: float
    y: float
    text: str
    color: str
    bold: bool = False


def beside(axes: Axes, names: Sequence[Name]) -> None:
    """Write ``names`` near their marks, each with a thin line to its own where it is not close.

    Marks, limits and scales of ``axes`` must be final.
    """
    axes.autoscale_view()  # which matplotlib otherwise puts off, and the transform with it
    to_points = axes.transData + Affine2D().scale(_POINTS_PER_INCH / axes.figure.dpi)
    spots = to_points.transform([(one.x, one.y) for one in names])
    boxes = _placed(axes, to_points, names, spots)
    to_data = to_points.inverted().transform
    for one, box in zip(names, boxes, strict=True):
        axes.text(
            *to_data((box.min + box.max) / 2),
            one.text,
            fontsize=_NAME_POINTS,
            ha="center",
            va="center",
            weight="bold" if one.bold else "normal",
            color=one.color,
            bbox=_PLATE,  # where there is no other place, a name hides a line rather than be struck
            zorder=_UNDER_MARKS,
        )
    # No arrows, which matplotlib clips anew, by bisection, whenever they are drawn.
    ends = [np.clip(spot, box.min, box.max) for spot, box in zip(spots, boxes, strict=True)]
    leaders = [to_data(both) for both in zip(spots, ends, strict=True)]
    look = {"colors": "#aaaaaa", "linewidths": 0.6, "zorder": 1}
    axes.add_collection(LineCollection(leaders, **look), autolim=False)


_NAME_POINTS = 8
_SWEEPS = 3
"""Times that each name is placed, from the second on beside where the others are."""
_ASIDE = 15
"""Points that a name goes further from its mark to leave a line free, or another mark its place."""
_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.4}
_UNDER_MARKS = _ABOVE_LINES - 0.1


def _placed(
    axes: Axes, to_points: Transform, names: Sequence[Name], spots: NDArray[np.float64]
) -> list[Bbox]:
    """A box in points for each name: where it covers least (no name, mark or edge), then nearest
    to its mark at ``spots``, further off if it would hide a line or be nearer to another mark.

    Of the libraries for this adjustText leaves names on marks, and textalloc names that are nearer
    to another's mark than to their own.
    """
    frame = axes.viewLim.transformed(to_points)
    marks = [_box(*spot, _MARK_POINTS, _MARK_POINTS) for spot in spots]
    steps = [STEP_LOOKUP_MAP[one.get_drawstyle()](*one.get_data()) for one in axes.lines]
    lines = [to_points.transform_path(Trace(np.column_stack(one))) for one in steps]
    tall = _POINTS_PER_INCH * leading(_NAME_POINTS)
    widths = [_HINTED * _width(one.text, _NAME_POINTS, bold=one.bold) for one in names]
    placed = [_box(*spot, 0, 0) for spot in spots]
    order = sorted(range(len(names)), key=lambda index: not names[index].bold)
    for index in order * _SWEEPS:
        others = [*marks, *placed[:index], *placed[index + 1 :]]
        best = math.inf, math.inf
        for away, middle in _places(spots[index], widths[index], tall):
            if best <= (0, away):  # those to come are further
                break
            box = _box(*middle, widths[index], tall)
            covered = box.count_overlaps(others)
            covered += not (frame.contains(*box.min) and frame.contains(*box.max))
            struck = sum(line.intersects_bbox(box, filled=False) for line in lines)
            gaps = np.hypot(*(spots - np.clip(spots, box.min, box.max)).T)
            cost = covered, away + _ASIDE * (struck + bool(gaps.min() < gaps[index]))
            if cost < best:
                best, placed[index] = cost, box
    return placed


def _places(
    spot: NDArray[np.float64], width: float, height: float
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Points between the mark at ``spot`` and its name, and where the name's middle is then."""
    for away in (6, 10, 15, 21, 28, 36):
        for turn in range(16):
            towards = np.array([math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)])
            yield away, spot + towards * (away + width / 2, away + height / 2)


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def leading(points: float) -> float:
    """Inches from one line of text to the next."""
    return points * _LEADING / _POINTS_PER_INCH


def room(texts: Iterable[str], points: float) -> float:
    """Inches that the longest of ``texts`` needs right of the axes, its leader included."""
    widths = [_width(text, points) for text in texts if text]
    return _LEADER_INCHES + _HINTED * max(widths, default=0.0) / _POINTS_PER_INCH + 0.1


def _width(text: str, points: float, *, bold: bool = False) -> float:
    font = FontProperties(family=_FONT, size=points, weight="bold" if bold else "normal")
    path = TextPath((0, 0), text, prop=font)
    # Letters reach as far as their curves' points do; Path.get_extents solves for every curve.
    across = path.vertices[path.codes != TextPath.CLOSEPOLY, 0]
    return float(np.ptp(across)) if len(across) else 0.0


def spaced(wanted: list[float], gap: float) -> list[float]:
    """Positions near ``wanted`` (ascending) and at least ``gap`` apart, in the same order.

    Neighbours that come too close are merged into a block centred on the mean of what its
    members wanted, until no two blocks touch.
    """
    blocks: list[tuple[float, int]] = []
    for position in wanted:
        center, size = position, 1
        while blocks:
            before, members = blocks[-1]
            if center - before >= gap * (size + members) / 2:
                break
            center = (before * members + center * size) / (members + size)
            size += members
            blocks.pop()
        blocks.append((center, size))
    return [
        center + gap * (index - (size - 1) / 2) for center, size in blocks for index in range(size)
    ]


def draw(axes: Axes, labels: list[Name], *, points: float = 8.5) -> None:
    """Write ``labels`` right of ``axes`` (y logarithmic, limits set) with thin leaders."""
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    figure_width, figure_height = axes.figure.get_size_inches()
    height = axes.get_position().height * figure_height
    width = axes.get_position().width * figure_width
    gap = (high - low) * leading(points) / height
    ordered = sorted(labels, key=lambda label: label.y)
    placed = spaced([math.log10(label.y) for label in ordered], gap)
    # A block at an edge may hang out of the axes: move it in as far as there is room. What a place
    # has beyond a gap for each one below it never falls, and stays so when it is cut.
    below = gap * np.arange(len(placed))
    most = high - gap * (len(placed) - 1)
    middle = (low + most) / 2
    placed = np.clip(placed - below, min(low, middle), max(most, middle)) + below
    last = max((label.x for label in ordered), default=0.0)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for label, place in zip(ordered, placed, strict=True):
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(1 + _LEADER_INCHES / width, 10**place),
            textcoords=beside,
            va="center",
            fontsize=points,
            color=label.color,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.color,
                "lw": 0.6,
                # A long leader from a point further left is no line of the chart.
                "linestyle": "-" if label.x == last else (0, (1, 4)),
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )
