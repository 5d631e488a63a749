"""INT8 made in several ways: a paragraph of what the set shows, and the cells behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from operator import attrgetter

from benchlib.analysis import int8_methods
from benchlib.analysis.int8_methods import NAMES, Made, Part
from benchlib.analysis.measured import MeasuredSet
from benchlib.analysis.speedup import Gain
from benchlib.case import Int8Method
from benchlib.report import numerals, theme
from benchlib.report.tables import grid
from benchlib.report.tables.grid import Cell, Column, Grid
from benchlib.report.view import slug, title

_QDQ_FORMS = (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT)


def int8_section(sets: Sequence[MeasuredSet]) -> str:
    """HTML: a paragraph and a table for every set that has several methods."""
    said = "".join(_part(one, part) for one in sets for part in int8_methods.made(one))
    return said or '<p class="absent">No set here made INT8 in more than one way.</p>'


def _part(measured: MeasuredSet, part: Part) -> str:
    label = ", ".join(filter(None, (title(measured), part.label)))
    name = slug(f"{measured.name} {part.label}")
    return (
        f'<h3 class="minor" id="int8-{name}">{escape(label)}</h3>'
        f"<p>{escape(' '.join(sentences(part)))}</p>{grid.html(table(part, label, name))}"
    )


def sentences(part: Part) -> list[str]:
    """What the cells of ``part`` show, each sentence from those it can be told of."""
    said = [_over_made_up(part), *_against_fp16(part.cells), _left_out(part), _builds(part.cells)]
    return [one for one in said if one]


def table(part: Part, label: str, name: str) -> Grid:
    """A row per network, size and method."""
    cells = part.cells
    return Grid(
        name=f"int8-{name}",
        caption=(
            f"INT8 by the way it was made; {label}. FP16 over INT8 above 1: INT8 is faster. Layers "
            "are shares of the engine's computing layers by type; moving is the share of a "
            "profiled run's time that only moves or converts data."
        ),
        corner="Network",
        rows=tuple(one.model for one in cells),
        columns=(
            Column("", "Size", tuple(Cell(theme.size_label(one.resolution)) for one in cells)),
            Column("", "Made by", tuple(_method(one) for one in cells)),
            Column("", "ms", tuple(Cell(f"{one.latency_ms:.4g}", one.latency_ms) for one in cells)),
            Column("", "FP16 over INT8", tuple(_gain(one) for one in cells)),
            Column("Layers in", "INT8", tuple(_percent(one.int8) for one in cells)),
            Column("Layers in", "FP32", tuple(_percent(one.fp32) for one in cells)),
            Column("Time", "moving", tuple(_percent(one.moving) for one in cells)),
            Column("Build", "s", tuple(_number(one.build_s) for one in cells)),
        ),
        footnotes=("=: this network has no such convolution, so the graph is that of qdq",)
        if any(one.same_as_qdq for one in cells)
        else (),
    )


def _over_made_up(part: Part) -> str:
    if not part.over_made_up:
        return ""
    low, high = int8_methods.over(part.over_made_up)
    return (
        f"Calibrated Q/DQ takes {_ratios(low, high)} as long as made-up ranges "
        f"({numerals.count(len(part.over_made_up), 'cell')})."
    )


def _against_fp16(cells: Iterable[Made]) -> Iterator[str]:
    """Which networks INT8 speeds up or slows down, and for which it depends on how it is made."""
    by_model: dict[str, list[tuple[Gain, Int8Method]]] = {}
    for one in cells:
        if one.gain is not None:
            by_model.setdefault(one.model, []).append((one.gain, one.method))
    for word, holds in (("faster", attrgetter("faster")), ("slower", attrgetter("slower"))):
        models = [model for model, made in by_model.items() if all(holds(gain) for gain, _ in made)]
        if models:
            ratios = [gain.ratio for model in models for gain, _ in by_model[model]]
            several = min(len(by_model[model]) for model in models) > 1
            which = "However it is made" if several else "By every method measured"
            yield (
                f"{which}, INT8 is {word} than FP16 for {numerals.listed(models)} "
                f"({_ratios(min(ratios), max(ratios))} as fast)."
            )
    mixed = [
        f"{model} ({_extremes(made)})"
        for model, made in by_model.items()
        if not all(gain.faster for gain, _ in made)
        and not all(gain.slower for gain, _ in made)
        and any(gain.faster or gain.slower for gain, _ in made)
    ]
    if mixed:
        yield (
            "Whether INT8 is faster than FP16 depends on how it is made for "
            f"{numerals.listed(mixed)}."
        )


def _extremes(made: Iterable[tuple[Gain, Int8Method]]) -> str:
    """The slowest and the fastest way: ``0.63 times as fast by qdq-no-depthwise, 1.19 by qdq``."""
    ordered = sorted(made, key=lambda one: one[0].ratio)
    (least, slowest), (most, fastest) = ordered[0], ordered[-1]
    return (
        f"{least.ratio:.2f} times as fast by {slowest.value}, {most.ratio:.2f} by {fastest.value}"
    )


def _left_out(part: Part) -> str:
    if not part.over_qdq:
        return ""
    low, high = int8_methods.over(part.over_qdq)
    models = sorted({one.model for one in part.over_qdq})
    said = (
        f"With their depth-wise convolutions left out of INT8, {numerals.listed(models)} "
        f"{'takes' if len(models) == 1 else 'take'} {_ratios(low, high)} as long as with them in"
    )
    where = {(one.model, one.resolution) for one in part.over_qdq}
    grown = []
    for words, name in (
        ("FP32 has {after} of the layers instead of {before}", "fp32"),
        ("moving or converting data takes {after} of the time instead of {before}", "moving"),
    ):
        before, after = (
            [
                getattr(one, name)
                for one in part.cells
                if (one.model, one.resolution) in where and one.method is method
            ]
            for method in (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE)
        )
        if None not in before and None not in after:
            grown.append(words.format(before=_shares(before), after=_shares(after)))
    return f"{said}: {', and '.join(grown)}." if grown else f"{said}."


def _builds(cells: Sequence[Made]) -> str:
    of_made_up = [one.build_s for one in cells if one.method is Int8Method.MADE_UP_RANGES]
    of_qdq = [one.build_s for one in cells if one.method in _QDQ_FORMS]
    if not of_made_up or not of_qdq or None in of_made_up or None in of_qdq:
        return ""
    first, second = (_span(f"{min(some):.0f}", f"{max(some):.0f}") for some in (of_made_up, of_qdq))
    return f"Building takes {first} s with made-up ranges and {second} s with Q/DQ."


def _ratios(low: float, high: float) -> str:
    return f"{_span(f'{low:.2f}', f'{high:.2f}')} times"


def _shares(values: Sequence[float]) -> str:
    return f"{_span(f'{100 * min(values):.0f}', f'{100 * max(values):.0f}')} %"


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _method(one: Made) -> Cell:
    return Cell(one.method.value, note=NAMES.get(one.method, ""), reference="=" * one.same_as_qdq)


def _gain(one: Made) -> Cell:
    if one.gain is None:
        return Cell(numerals.DASH, note="FP16 was not measured")
    low, high = one.gain.low, one.gain.high
    return Cell(f"{one.gain.ratio:.2f}×", one.gain.ratio, note=f"{low:.3f} to {high:.3f}")


def _percent(share: float | None) -> Cell:
    if share is None:
        return Cell(numerals.DASH, note="not known")
    return Cell(f"{100 * share:.0f} %", share)


def _number(value: float | None) -> Cell:
    return Cell(numerals.short(value), value)
