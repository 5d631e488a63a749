"""INT8 made in several ways: a paragraph of what the set shows, and the cells behind it."""

from __future__ import annotations

from collections.abc import Sequence

from benchlib.analysis import int8_methods, wording
from benchlib.analysis.int8_methods import NAMES, Made, Part
from benchlib.analysis.measured import MeasuredSet
from benchlib.case import Int8Method, Verdict
from benchlib.report import numerals, theme
from benchlib.report.section import Heading, Section, Words
from benchlib.report.tables.cells import only_size, share, sizes
from benchlib.report.tables.grid import Cell, Column, Mark, Table
from benchlib.report.view import slug, title
from benchlib.sweep import digits

_QDQ_FORMS = (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT)


def int8_section(sets: Sequence[MeasuredSet]) -> Section:
    """A paragraph and a table for every set that has several methods."""
    parts = [shown for one in sets for part in int8_methods.made(one) for shown in _part(one, part)]
    return Section.of(parts or [Words("No set here made INT8 in more than one way.", "absent")])


def _part(measured: MeasuredSet, part: Part) -> tuple[Heading, Words, Table]:
    label = ", ".join(filter(None, (title(measured), part.label)))
    name = slug(f"{measured.name} {part.label}")
    return (
        Heading(label, f"int8-{name}"),
        Words(" ".join(sentences(part))),
        table(part, label, name),
    )


def sentences(part: Part) -> list[str]:
    """What the cells of ``part`` show, each sentence from those it can be told of."""
    said = [
        *(_against_fp16(part.cells, method) for method in Int8Method),
        _left_out(part),
        _over_made_up(part),
        _off_fp32(part.cells),
        _builds(part.cells),
    ]
    return [one for one in said if one]


def table(part: Part, label: str, name: str) -> Table:
    """A row per network, size and method."""
    cells = part.cells
    resolutions = [one.resolution for one in cells]
    only = only_size(resolutions)
    footnotes = []
    if any(one.same_as_qdq for one in cells):
        footnotes.append("=: this network has no such convolution, so the graph is that of qdq")
    if any(one.doubted for one in cells):
        footnotes.append("!: the row is SUSPECT")
    at = f" at {only}" if only else ""
    return Table(
        name=f"int8-{name}",
        caption=(
            f"INT8 by the way it was made{at}; {label}. FP16 over INT8 above 1: INT8 is faster. "
            "Layers are shares of the engine's computing layers by type; moving is the share of a "
            "profiled run's time that only moves or converts data. Off FP32: relative L2 distance "
            "of the graph's output from FP32's on real photos; it is no accuracy."
        ),
        corner="Network",
        rows=tuple(one.model for one in cells),
        columns=(
            *sizes(resolutions),
            Column("", "Made by", tuple(_method(one) for one in cells)),
            Column("", "ms", tuple(_latency(one) for one in cells)),
            Column("", "FP16 over INT8", tuple(_gain(one) for one in cells)),
            Column("Layers in", "INT8", tuple(share(one.int8) for one in cells)),
            Column("Layers in", "FP16", tuple(share(one.fp16) for one in cells)),
            Column("Layers in", "FP32", tuple(share(one.fp32) for one in cells)),
            Column("Time", "moving", tuple(share(one.moving) for one in cells)),
            Column("Output", "off FP32", tuple(share(one.off_fp32) for one in cells)),
            Column("Build", "s", tuple(_number(one.build_s) for one in cells)),
        ),
        footnotes=tuple(footnotes),
    )


def _over_made_up(part: Part) -> str:
    if not part.over_made_up:
        return ""
    low, high = int8_methods.over(part.over_made_up)
    return (
        f"Calibrated Q/DQ takes {_ratios(low, high)} as long as made-up ranges "
        f"({wording.plural(len(part.over_made_up), 'cell')})."
    )


def _against_fp16(cells: Sequence[Made], method: Int8Method) -> str:
    """For which networks INT8 by ``method`` is faster than FP16, no different, or slower."""
    is_one_size = only_size([one.resolution for one in cells]) is not None
    known = [
        one
        for one in cells
        if one.method is method and not one.same_as_qdq and one.gain is not None
    ]
    groups = (
        ("faster", [one for one in known if one.gain.faster]),
        ("no different", [one for one in known if not (one.gain.faster or one.gain.slower)]),
        ("slower", [one for one in known if one.gain.slower]),
    )
    told = []
    for word, some in groups:
        if some:
            ratios = [one.gain.ratio for one in some]
            speed = f" ({_ratios(min(ratios), max(ratios))} as fast)"
            told.append(f"{word} for {wording.listed(_named(some, known, is_one_size))}{speed}")
    if not told:
        return ""
    return f"By {NAMES[method]}, INT8 against FP16 is {'; '.join(told)}."


def _named(some: Sequence[Made], known: Sequence[Made], is_one_size: bool) -> list[str]:
    """The networks of ``some``, those that have all their cells there with the number of sizes."""
    sizes: dict[str, list[str]] = {}
    for one in some:
        sizes.setdefault(one.model, []).append(wording.size(one.resolution))
    names = []
    for model, mine in sizes.items():
        if is_one_size:
            names.append(model)
        elif len(mine) > 1 and len(mine) == sum(one.model == model for one in known):
            names.append(f"{model} at {len(mine)} sizes")
        else:
            names.append(f"{model} at {wording.listed(mine)}")
    return names


def _off_fp32(cells: Sequence[Made]) -> str:
    """How far the calibrated graphs' outputs are from FP32's, the least and the most."""
    known = [
        (one.off_fp32, one.model)
        for one in cells
        if one.method is Int8Method.QDQ and one.off_fp32 is not None
    ]
    if not known:
        return ""
    ends = dict.fromkeys(f"{100 * off:.0f} % ({model})" for off, model in (min(known), max(known)))
    return (
        f"On real photos the outputs of the calibrated graphs lie {' to '.join(ends)} off FP32's "
        "in relative L2, which is no accuracy: weights are random unless the row names others."
    )


def _left_out(part: Part) -> str:
    if not part.over_qdq:
        return ""
    low, high = int8_methods.over(part.over_qdq)
    models = sorted({one.model for one in part.over_qdq})
    said = (
        "Against calibrated Q/DQ with its depth-wise convolutions in INT8, as far as they can be, "
        f"leaving them out takes {_ratios(low, high)} as long for {wording.listed(models)}"
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
            grown.append(
                words.format(before=numerals.percents(before), after=numerals.percents(after))
            )
    return f"{said}: {', and '.join(grown)}." if grown else f"{said}."


def _builds(cells: Sequence[Made]) -> str:
    of_made_up = [one.build_s for one in cells if one.method is Int8Method.MADE_UP_RANGES]
    of_qdq = [one.build_s for one in cells if one.method in _QDQ_FORMS]
    if not of_made_up or not of_qdq or None in of_made_up or None in of_qdq:
        return ""
    first, second = (numerals.span(min(some), max(some), ".0f") for some in (of_made_up, of_qdq))
    return f"Building takes {first} s with made-up ranges and {second} s with Q/DQ."


def _ratios(low: float, high: float) -> str:
    return f"{numerals.span(low, high, '.2f')} times"


def _latency(one: Made) -> Cell:
    mark = Mark.DOUBTED if one.doubted else Mark.NONE
    symbol = theme.VERDICT_SYMBOLS[Verdict.SUSPECT.value] if one.doubted else ""
    text = digits.text(one.latency_ms, one.low_ms, one.high_ms)
    return Cell(text, one.latency_ms, mark, reference=symbol)


def _method(one: Made) -> Cell:
    return Cell(one.method.value, note=NAMES.get(one.method, ""), reference="=" * one.same_as_qdq)


def _gain(one: Made) -> Cell:
    if one.gain is None:
        return Cell(wording.DASH, note="FP16 was not measured")
    low, high = one.gain.low, one.gain.high
    return Cell(f"{one.gain.ratio:.2f}×", one.gain.ratio, note=f"{low:.3f} to {high:.3f}")


def _number(value: float | None) -> Cell:
    return Cell(numerals.short(value), value)
