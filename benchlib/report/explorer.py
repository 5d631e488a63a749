"""Which network to take, in words: what :func:`benchlib.analysis.ranking.choose` found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import ipywidgets as widgets

from benchlib.analysis import ranking, wording
from benchlib.analysis.ranking import Pick
from benchlib.analysis.results import MeasuredSet
from benchlib.errors import InputError
from benchlib.report import style
from benchlib.report.figures import accuracy, fps, scatter, tiles
from benchlib.report.parts import Bullets, Section, Styles, Words
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View, views
from benchlib.stats.summary import rounded_interval

# Which network to take, in words: what :func:`benchlib.analysis.ranking.choose` found.


def section(picks: Sequence[Pick], precision: str, size: str, cut: Sequence[str] = ()) -> Section:
    """The picks, fastest first, as a sentence and a list.

    ``cut`` are networks that were passed over because the classifier of their accuracy was not
    timed.
    """
    where = f"{style.precision_label(precision)} at {wording.size(size)}"
    names = wording.listed(list(cut))
    passed = Words(f"Left out: {names}, timed without the classifier that the accuracy needs.")
    left_out = passed if cut else None
    if not picks:
        return Section.of([Words(f"No network meets these terms in {where}."), left_out])
    best = [one.model for one in picks if one.tied]
    verb = "is fastest" if len(best) == 1 else "are tied for fastest"
    return Section.of(
        [
            Words(f" {verb} in {where}.", strong=wording.listed(best)),
            Bullets(tuple(map(_line, picks)), ordered=True),
            left_out,
        ]
    )


def _line(one: Pick) -> str:
    accuracy = "" if one.accuracy is None else f", accuracy {wording.short(one.accuracy)} %"
    told = f" ({', '.join(one.codes)})" if one.codes else ""
    interval = rounded_interval(one.latency_ms, one.low_ms, one.high_ms)
    return f"{one.model}: {interval} ms{accuracy}{told}"


# The controls of ``explore.ipynb``: choose rows, see the report's own figures of them.


ALL = "all"
_LAYOUT = {"width": "32em"}
_STYLE = {"description_width": "9em"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the controls say. ``precision`` and ``size`` may be :data:`ALL`."""

    figure: str
    precision: str = ALL
    size: str = ALL
    families: tuple[str, ...] = ()
    x: str = "gmacs"
    y: str = "latency_ms"


FIGURES: Mapping[str, Callable[[View, Choice], Drawing | Absent]] = {
    "FPS against size": lambda view, _: _one_or_all(view),
    "Heat map of FPS": lambda view, _: tiles.draw_fps(view),
    "Accuracy against latency": lambda view, _: _accuracy(view),
    "Speed-up against FP32": lambda view, _: fps.draw_speedup(view),
    "Latency against GMACs": lambda view, _: scatter.draw_work(view),
    "Fixed cost and cost per megapixel": lambda view, _: scatter.draw_latency_model(view),
    "Intervals and verdicts": lambda view, _: tiles.draw_spread(view),
    "Two columns of your choice": lambda view, choice: scatter.draw(view, choice.x, choice.y),
}


def narrowed(view: View, choice: Choice) -> View:
    """The rows of ``view`` that ``choice`` keeps; FP32 stays where a speed-up needs it."""
    frame = view.frame
    if choice.families:
        named = frame["family"].where(frame["family"].isin(style.FAMILIES), style.OTHER)
        frame = frame[named.isin(choice.families)]
    if choice.precision != ALL:
        keep = frame["precision"] == choice.precision
        if choice.figure == "Speed-up against FP32":
            keep |= frame["precision"] == "fp32"
        frame = frame[keep]
    if choice.size != ALL:
        frame = frame[frame["resolution"] == choice.size]
    return replace(view, frame=frame)


def draw(view: View, choice: Choice) -> Drawing | Absent:
    """The figure that ``choice`` names, of the rows that it keeps."""
    kept = narrowed(view, choice)
    if kept.usable.empty:
        return Absent(
            "nothing", "no usable row is left; choose more families, sizes or precisions."
        )
    return FIGURES[choice.figure](kept, choice)


class Explorer:
    """Controls above one figure, and a picker; :attr:`panel` is what a notebook shows."""

    def __init__(self, sets: Sequence[MeasuredSet]) -> None:
        self._views = {view.label: view for one in sets for view in views(one)}
        if not self._views:
            raise InputError("results", "the measured sets have no rows to explore")
        self._set = _dropdown("Measured set", list(self._views))
        self._figure = _dropdown("Figure", list(FIGURES))
        self._precision = widgets.ToggleButtons(description="Precision", style=_STYLE)
        self._size = widgets.Dropdown(description="Input size", layout=_LAYOUT, style=_STYLE)
        self._families = widgets.SelectMultiple(
            description="Families", rows=8, layout=_LAYOUT, style=_STYLE
        )
        axes = [(label.removesuffix(" (log)"), column) for column, label in scatter.AXES.items()]
        self._x = _dropdown("x axis", axes, "gmacs")
        self._y = _dropdown("y axis", axes, "latency_ms")
        self._limit = _number("At most ms")
        self._least = _number("At least accuracy %")
        self._metric = widgets.Dropdown(description="Accuracy of", layout=_LAYOUT, style=_STYLE)
        self.picture = widgets.HTML()
        self.picks = widgets.HTML()
        self._quiet = False
        self._offer()
        self._set.observe(self._change_set, "value")
        for control in self._controls():
            control.observe(self._refresh, "value")
        self._refresh()
        self.panel = widgets.VBox(
            [
                widgets.HTML(Styles()._repr_html_()),
                widgets.HBox(
                    [
                        widgets.VBox([self._set, self._figure, self._size, self._x, self._y]),
                        self._families,
                    ]
                ),
                self._precision,
                self.picture,
                widgets.HTML("<h3>Pick a network</h3>"),
                widgets.HBox([self._limit, self._least, self._metric]),
                self.picks,
            ]
        )

    @property
    def view(self) -> View:
        """The chosen part of the chosen set."""
        return self._views[self._set.value]

    @property
    def choice(self) -> Choice:
        """What the controls say now."""
        return Choice(
            figure=self._figure.value,
            precision=self._precision.value,
            size=self._size.value,
            families=tuple(self._families.value),
            x=self._x.value,
            y=self._y.value,
        )

    def choose(self, **values: object) -> None:
        """Set controls: fields of :class:`Choice`, ``set``, ``limit``, ``least``, ``metric``."""
        for name, value in values.items():
            getattr(self, f"_{name}").value = value

    def _controls(self) -> list[widgets.Widget]:
        shared = [self._figure, self._precision, self._size, self._families, self._x, self._y]
        return [*shared, self._limit, self._least, self._metric]

    def _offer(self) -> None:
        """Give the controls what the chosen set has."""
        view = self.view
        self._quiet = True
        words = [(style.precision_label(word), word) for word in view.precisions]
        self._precision.options = [("All", ALL), *words]
        self._precision.value = ALL
        sizes = [(wording.size(size), size) for size in view.sizes]
        self._size.options = [("All", ALL), *sizes]
        self._size.value = ALL
        families = sorted({look.family for look in view.looks().values()})
        self._families.options = families
        self._families.value = families
        self._metric.options = [("any", None), *((name, name) for name in accuracy.metrics(view))]
        self._quiet = False

    def _change_set(self, _: object) -> None:
        self._offer()
        self._refresh()

    def _refresh(self, _: object = None) -> None:
        if self._quiet:
            return
        choice, view = self.choice, self.view
        self.picture.value = draw(view.drawable(), choice)._repr_html_()
        # The picker needs one precision and one size; where all are shown it takes the first.
        precision = (view.precisions or [ALL])[0] if choice.precision == ALL else choice.precision
        size = (view.sizes or [ALL])[0] if choice.size == ALL else choice.size
        kept = narrowed(view, replace(choice, precision=ALL, size=ALL)).at(precision, size)
        least, metric = self._least.value or None, self._metric.value
        try:
            picks = ranking.choose(
                kept, most_ms=self._limit.value or None, least_accuracy=least, metric=metric
            )
        except InputError as error:  # an accuracy asked for, without saying of what
            self.picks.value = Words(error.problem)._repr_html_()
            return
        cut = ranking.passed_over(kept, least, metric)
        self.picks.value = section(picks, precision, size, cut)._repr_html_()


def _one_or_all(view: View) -> Drawing | Absent:
    return fps.draw_fps(view, view.precisions[0]) if len(view.precisions) == 1 else fps.panels(view)


def _accuracy(view: View) -> Drawing | Absent:
    known = accuracy.metrics(view)
    if not known:
        return Absent("accuracy", "no chosen network has an accuracy.")
    return accuracy.draw(view, known[-1] if len(known) == 1 else "ImageNet top-1")


def _dropdown(name: str, options: list, value: object = None) -> widgets.Dropdown:
    first = options[0] if value is None else value
    return widgets.Dropdown(
        description=name, options=options, value=first, layout=_LAYOUT, style=_STYLE
    )


def _number(name: str) -> widgets.BoundedFloatText:
    return widgets.BoundedFloatText(
        description=name, value=0, min=0, max=1e6, step=0.1, style=_STYLE
    )
