"""The report's sections in words and tables: findings, doubts, INT8, sets side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from benchlib.analysis import compare as analysis_compare
from benchlib.analysis import wording
from benchlib.analysis.claims import observations
from benchlib.analysis.claims.catalogue import Answer, Finding
from benchlib.analysis.claims.findings import headlines, of
from benchlib.analysis.claims.observations import NAMES, Made
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.compare import BesidePublished, Comparison, Outcome, compare
from benchlib.analysis.results import MeasuredSet, usable
from benchlib.analysis.significance import WITHIN
from benchlib.case import Int8Method, Verdict
from benchlib.models import registry
from benchlib.report import style
from benchlib.report.parts import Block, Bullets, Definitions, Folded, Section, Words
from benchlib.report.tables import grid
from benchlib.report.tables.grid import Cell, Column, Mark, Table, columns, number, share
from benchlib.report.view import on_cpu, shown, slug, title
from benchlib.stats.summary import rounded

# What each set was measured on: its environment, flattened, sets side by side.


_ELSEWHERE = ("notes", "title", "published", "parameters", "packages")
"""Told in the text, or too long for a table of surroundings."""


def environment_table(sets: Sequence[MeasuredSet]) -> Table:
    """One line per fact (``gpu name``, ``driver`` …), one column per set; a dash if unknown."""
    facts = [dict(flat_environment(one.environment)) for one in sets]
    names = list(dict.fromkeys(name for known in facts for name in known))
    return Table(
        sortable=False,
        name="environment",
        caption="What each set was measured on. A dash: not recorded.",
        corner="Fact",
        rows=tuple(names),
        columns=tuple(
            Column("", one.name, tuple(Cell(known.get(name, wording.DASH)) for name in names))
            for one, known in zip(sets, facts, strict=True)
        ),
    )


def flat_environment(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``("gpu name", "…")`` and so on; empty values and what is told elsewhere are left out."""
    for key, value in document.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if (not prefix and key in _ELSEWHERE) or value in (None, "", [], {}):
            continue
        if isinstance(value, Mapping):
            yield from flat_environment(value, name)
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, str(value)


# What the reason codes of a set mean, and how much of the set they put in doubt.


_MANY = 0.5
"""Share of SUSPECT rows from which a reader is warned before anything else."""


def meanings(measured: MeasuredSet) -> dict[str, str]:
    """Every code of doubt that occurs, then every note, each commonest first, with the sentence
    one row has for it.

    The sentence is the rule's own, with that row's numbers and a remedy. Empty where the set kept
    none.
    """
    found: dict[str, str] = {}
    for column, told in (("reasons", measured.doubts), ("notes", measured.remarks)):
        frame = measured.frame[measured.frame[column].notna()]
        counts: Counter[str] = Counter()
        said: dict[str, str] = {}
        for key, cell in zip(frame["key"], frame[column], strict=True):
            codes = str(cell).split(";")
            counts.update(codes)
            sentences = () if set(codes) <= set(said) else told(str(key))
            if len(sentences) == len(codes):
                said = {**dict(zip(codes, sentences, strict=True)), **said}
        found |= {code: said.get(code, "") for code, _ in counts.most_common()}
    return found


def legend(measured: MeasuredSet) -> Definitions | None:
    """The reason codes, each with its meaning and remedy; None when there is none."""
    found = meanings(measured)
    if not found:
        return None
    unknown = "its sentence was not kept with this set"
    return Definitions(
        "What the reasons mean, by the example of one row each",
        tuple((code, sentence or unknown) for code, sentence in found.items()),
        codes=True,
    )


def warning(measured: MeasuredSet) -> Words | None:
    """One sentence when half of the rows or more are SUSPECT, else None."""
    rows = usable(measured.frame)
    doubted = rows[rows["verdict"] == Verdict.SUSPECT.value]
    if not len(doubted) or len(doubted) < _MANY * len(rows):
        return None
    text = (
        f"{len(doubted)} of {wording.plural(len(rows), 'row')} are doubted; do not choose from "
        "this run."
    )
    code, sentence = next(iter(meanings(measured).items()), ("", ""))
    if code:
        text += f" The commonest reason is {code}"
        text += f"; of one row: {sentence}" if sentence else "."
    return Words(text, "notice")


def without_number(measured: MeasuredSet) -> list[str]:
    """Which networks of the line-up, and which cells of those there, have no number, and why."""
    frame = measured.frame
    rows = usable(frame)
    said: dict[str, list[str]] = {}
    for model, tried in frame.groupby("model", sort=True):
        if model not in set(rows["model"]):
            why = sorted(set(tried["failure"].dropna())) or ["no usable row"]
            said.setdefault(f"tried without success ({wording.listed(why)})", []).append(str(model))
    plain = set(frame["model"].str.removesuffix("@stride"))
    never = [name for name in registry.names() if name not in plain]
    if never:
        said["not asked for in this set"] = never
    cells = rows.groupby(["precision", "resolution"], observed=True)["model"].nunique()
    most = rows["model"].nunique()
    fewer = [
        f"{style.precision_label(precision)} {wording.size(size)} ({number})"
        for (precision, size), number in cells.items()
        if number < most
    ]
    lines = [f"{wording.listed(names, most=99)}: {why}." for why, names in said.items()]
    if fewer:
        lines.append(
            f"Fewer than the set's {wording.plural(most, 'network')} have a number at "
            f"{wording.listed(fewer, most=99)}; the latency table says why, cell by cell."
        )
    return lines


# The blog's claims and our own questions, tested on every measured set.


_SYMBOLS = {Answer.SUPPORTED: "✔", Answer.PARTLY: "◐", Answer.REFUTED: "✘", Answer.CANT_TELL: "?"}

_CPU_NOTICE = Words(
    "A CPU run. The claims are about GPUs, so these verdicts speak of this CPU only and neither "
    "support nor refute what the blog says of a GPU.",
    "notice",
)


def findings_section(sets: Sequence[MeasuredSet]) -> Section:
    """Per set a table of claims with verdict and sentence, and every test folded away.

    The first set that was measured is laid beside the others.
    """
    first = next((one for one in sets if not one.published), None)
    return Section.first_open(
        [
            _claimed(one, [other for other in sets if one is first and other is not one])
            for one in sets
        ]
    )


def _claimed(measured: MeasuredSet, beside: Sequence[MeasuredSet]) -> Block:
    found = of(measured, beside)
    name = slug(measured.name)
    parts = (
        warning(measured),
        _CPU_NOTICE if on_cpu(measured) else None,
        claims(name, found),
        Folded(f"Every test behind these verdicts ({len(found)})", (every_test(name, found),)),
    )
    counts = Counter(one.verdict for one in headlines(found))
    gist = ", ".join(f"{counts[answer]} {answer.value}" for answer in Answer if counts[answer])
    return Block(title(measured), f"findings-{name}", tuple(filter(None, parts)), gist)


def claims(name: str, found: Sequence[Finding]) -> Table:
    """One row per claim: its verdict, and the sentence of its headline test."""
    first = headlines(found)
    return Table(
        sortable=False,
        name=f"claims-{name}",
        caption="Each claim, whether the set's rows bear it out, and what they show.",
        corner="Claim",
        rows=tuple(one.claim for one in first),
        columns=columns(
            first, ("", "Verdict", _verdict), ("", "What was found", lambda one: one.sentence)
        ),
    )


def every_test(name: str, found: Sequence[Finding]) -> Table:
    """One row per test: claim, rows, quantity, estimate with its interval, count, verdict."""
    return Table(
        sortable=False,
        name=f"tests-{name}",
        caption="Estimates with 95 % intervals, over networks, or in a single cell of the engines "
        "timed; n counts networks, or cells where the test says so. Faster and slower are more "
        f"than {WITHIN} beyond both intervals, as far as a rebuilt "
        "engine may be off.",
        corner="Claim",
        rows=tuple(one.claim for one in found),
        columns=columns(
            found,
            ("", "Rows", lambda one: one.subset),
            ("", "Quantity", lambda one: one.test),
            ("", "Estimate", _estimate),
            ("", "n", lambda one: str(one.n)),
            ("", "Verdict", _verdict),
        ),
    )


def _verdict(one: Finding) -> str:
    # No-break spaces keep the symbol and its words on one line of a narrow column.
    return f"{_SYMBOLS[one.verdict]} {one.verdict.value}".replace(" ", "\u00a0")


def _estimate(one: Finding) -> str:
    if one.estimate is None:
        return wording.DASH
    bounds = (
        ""
        if one.ci_low is None or one.ci_high is None
        else f" [{wording.short(one.ci_low)}, {wording.short(one.ci_high)}]"
    )
    return f"{wording.short(one.estimate)}{bounds}"


# INT8 made in several ways: sentences of what the set shows, and the cells behind them.


_QDQ_FORMS = (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT)


def int8_section(sets: Sequence[MeasuredSet]) -> Section:
    """Sentences and a table for every set that has several methods; empty where none has."""
    return Section.first_open([_made(one, part) for one in sets for part in observations.made(one)])


def _made(measured: MeasuredSet, part: observations.Part) -> Block:
    label = ", ".join(filter(None, (title(measured), part.label)))
    name = slug(f"{measured.name} {part.label}")
    said = sentences(part)
    cells = folded("cell", table(part, label, name))
    return Block(label, f"int8-{name}", (Bullets(said), cells), said[0] if said else "")


def sentences(part: observations.Part) -> list[str]:
    """What the cells of ``part`` show, each sentence from those it can be told of."""
    said = [
        *(_against_fp16(part.cells, method) for method in Int8Method),
        _left_out(part),
        _over_made_up(part),
        _off_fp32(part.cells),
        _builds(part.cells),
    ]
    return [one for one in said if one]


def table(part: observations.Part, label: str, name: str) -> Table:
    """A row per network, size and method."""
    cells = part.cells
    resolutions = [one.resolution for one in cells]
    only = grid.only_size(resolutions)
    footnotes = []
    if any(one.same_as_qdq for one in cells):
        footnotes.append("=: this network has no such convolution, so the graph is that of qdq")
    if any(one.doubted for one in cells):
        footnotes.append("!: the row is SUSPECT")
    at = f" at {only}" if only else ""
    timed = all(one.moving is not None for one in cells)
    share_of = "a profiled run's time" if timed else "the engine's computing layers"
    ran_in = "Time" if timed else "Layers in"
    return Table(
        name=f"int8-{name}",
        caption=(
            f"INT8 by the way it was made{at}; {label}. FP16 over INT8 above 1: INT8 is faster. "
            f"{ran_in}: shares of {share_of} by type; moving is the share of a profiled run's time "
            "that only moves or converts data. Off FP32: relative L2 distance of the graph's "
            "output from FP32's on real photos; it is no accuracy."
        ),
        corner="Network",
        rows=tuple(one.model for one in cells),
        columns=(
            *grid.sizes(resolutions),
            *columns(
                cells,
                ("", "Made by", _method),
                ("", "ms", _latency),
                ("", "FP16 over INT8", _gain),
                (ran_in, "INT8", lambda one: share(one.int8)),
                (ran_in, "FP16", lambda one: share(one.fp16)),
                (ran_in, "FP32", lambda one: share(one.fp32)),
                ("Time", "moving", lambda one: share(one.moving)),
                ("Output", "off FP32", lambda one: share(one.off_fp32)),
                ("Build", "s", lambda one: number(one.build_s)),
            ),
        ),
        footnotes=tuple(footnotes),
    )


def _over_made_up(part: observations.Part) -> str:
    if not part.over_made_up:
        return ""
    low, high = observations.over(part.over_made_up)
    return (
        f"Calibrated Q/DQ takes {_ratios(low, high)} as long as made-up ranges "
        f"({wording.plural(len(part.over_made_up), 'cell')})."
    )


def _against_fp16(cells: Sequence[Made], method: Int8Method) -> str:
    """For which networks INT8 by ``method`` is faster than FP16, a tie, or slower."""
    is_one_size = grid.only_size([one.resolution for one in cells]) is not None
    known = [
        one
        for one in cells
        if one.method is method and not one.same_as_qdq and one.gain is not None
    ]
    groups = (
        ("faster", [one for one in known if one.gain.faster]),
        (
            "not to be told apart",
            [one for one in known if not (one.gain.faster or one.gain.slower)],
        ),
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
    """The networks of ``some``, most affected first, those that have all their cells there with the
    number of sizes."""
    most = {
        model: max(abs(math.log(one.gain.ratio)) for one in some if one.model == model)
        for model in dict.fromkeys(one.model for one in some)
    }
    sizes: dict[str, list[str]] = {model: [] for model in sorted(most, key=most.get, reverse=True)}
    for one in some:
        sizes[one.model].append(wording.size(one.resolution))
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


def _left_out(part: observations.Part) -> str:
    if not part.over_qdq:
        return ""
    low, high = observations.over(part.over_qdq)
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
                words.format(before=wording.percents(before), after=wording.percents(after))
            )
    return f"{said}: {', and '.join(grown)}." if grown else f"{said}."


def _builds(cells: Sequence[Made]) -> str:
    of_made_up = [one.build_s for one in cells if one.method is Int8Method.MADE_UP_RANGES]
    of_qdq = [one.build_s for one in cells if one.method in _QDQ_FORMS]
    if not of_made_up or not of_qdq or None in of_made_up or None in of_qdq:
        return ""
    first, second = (wording.span(min(some), max(some), ".0f") for some in (of_made_up, of_qdq))
    return f"Building takes {first} s with made-up ranges and {second} s with Q/DQ."


def _ratios(low: float, high: float) -> str:
    return f"{wording.span(low, high, '.2f')} times"


def _latency(one: Made) -> Cell:
    mark = Mark.DOUBTED if one.doubted else Mark.NONE
    symbol = style.VERDICT_SYMBOLS[Verdict.SUSPECT.value] if one.doubted else ""
    text = rounded(one.latency_ms, one.low_ms, one.high_ms)
    note = grid.interval(one.latency_ms, one.low_ms, one.high_ms)
    return Cell(text, one.latency_ms, mark, note, symbol)


def _method(one: Made) -> Cell:
    return Cell(one.method.value, note=NAMES.get(one.method, ""), reference="=" * one.same_as_qdq)


def _gain(one: Made) -> Cell:
    if one.gain is None:
        return Cell(wording.DASH, note="FP16 was not measured")
    low, high = one.gain.low, one.gain.high
    return Cell(f"{one.gain.ratio:.2f}×", one.gain.ratio, note=f"{low:.3f} to {high:.3f}")


# Several measured sets in one report: ratios per cell, and what differs around them.


_NOTHING_SHARED = Words("The two sets share no case.")


def side_by_side(sets: Sequence[MeasuredSet]) -> Section:
    """Measured sets against each other in their order, and each beside published figures; empty
    where there is no second set."""
    measured = [one for one in sets if not one.published]
    published = [one for one in sets if one.published]
    compared = [_compared(first, second) for first, second in pairwise(measured)]
    compared += [_beside(one, other) for one in measured for other in published]
    return Section.first_open(compared)


def _compared(first: MeasuredSet, second: MeasuredSet) -> Block:
    found = compare(first, second)
    label, anchor = f"{title(second)} against {title(first)}", _anchor(second, first)
    copies = f" {found.copies}." if found.copies else ""
    if found.mean_ratio is None:
        nothing = Words(f"There is nothing to compare.{copies}") if copies else _NOTHING_SHARED
        return Block(label, anchor, (nothing,), nothing.text)
    counted = ", ".join(f"{len(found.of(word))} {word.value}" for word in Outcome)
    mean = wording.short(found.mean_ratio)
    low, high = wording.short(found.low), wording.short(found.high)
    bounds = (
        ", too few networks for an interval"
        if found.low is None
        else f" with a 95 % interval over networks of {low} to {high}"
    )
    said = (
        f"Over {wording.plural(len(found.rows), 'case')} in both, {found.second} takes {mean} "
        f"times as long as {found.first} (geometric mean{bounds}); {counted}, where no difference "
        f"within {100 * found.threshold:g} % counts.{copies}"
    )
    parts = (Words(said), folded("case", _cases(found)), _surroundings(found))
    return Block(label, anchor, tuple(filter(None, parts)), said)


def _cases(found: Comparison) -> Table:
    over = f"{found.second} over {found.first}"
    return Table(
        name=f"compare-{slug(found.first)}-{slug(found.second)}",
        caption=f"Times in ms of one batch; a ratio below 1: {found.second} is faster.",
        corner="Network",
        rows=tuple(shown(row.model) for row in found.rows),
        columns=columns(
            found.rows,
            ("Case", "Size", lambda row: f"{row.width}×{row.height}"),
            ("Case", "Precision", _precision),
            ("ms", found.first, lambda row: number(row.first_ms)),
            ("ms", found.second, lambda row: number(row.second_ms)),
            (over, "ratio", lambda row: replace(number(row.ratio), note=row.graphs)),
            (over, "verdict", lambda row: row.outcome.value),
        ),
    )


def _surroundings(found: Comparison) -> Folded | None:
    if not found.differences:
        return None
    differences = Table(
        sortable=False,
        name=f"differences-{slug(found.first)}-{slug(found.second)}",
        caption="What else differs between the two sets.",
        corner="Fact",
        rows=tuple(one.field for one in found.differences),
        columns=columns(
            found.differences,
            ("", found.first, lambda one: _word(one.first)),
            ("", found.second, lambda one: _word(one.second)),
        ),
    )
    return folded("difference around them", differences)


def _beside(measured: MeasuredSet, published: MeasuredSet) -> Block:
    found = analysis_compare.beside_published(measured, published)
    label, anchor = f"{title(measured)} beside {title(published)}", _anchor(measured, published)
    if not found:
        return Block(label, anchor, (_NOTHING_SHARED,), _NOTHING_SHARED.text)
    ratios = sorted(one.ratio for one in found)
    reasons = list(dict.fromkeys(reason for one in found for reason in one.reasons))
    said = (
        f"{wording.plural(len(found), 'cell')} in both: ours takes {wording.short(ratios[0])} to "
        f"{wording.short(ratios[-1])} times as long, {wording.short(ratios[len(ratios) // 2])} "
        "in the median."
    )
    listed = [Words("Known differences:"), Bullets(reasons)] if reasons else []
    cells = folded("cell", _cells(measured, published, found))
    return Block(label, anchor, (Words(said), *listed, cells), said)


def _cells(
    measured: MeasuredSet, published: MeasuredSet, found: Sequence[BesidePublished]
) -> Table:
    return Table(
        name=f"beside-{slug(measured.name)}-{slug(published.name)}",
        caption="Times in ms of one batch, and ours over the published figure.",
        corner="Network",
        rows=tuple(shown(one.model) for one in found),
        columns=columns(
            found,
            ("Case", "Size", lambda one: wording.size(one.resolution)),
            ("Case", "Precision", _precision),
            ("ms", "ours", lambda one: number(one.ours_ms)),
            ("ms", "published", lambda one: number(one.published_ms)),
            ("", "ratio", lambda one: number(one.ratio)),
            ("", "published as", lambda one: one.published_model),
        ),
    )


def _anchor(*sets: MeasuredSet) -> str:
    return f"beside-{'-'.join(slug(one.name) for one in sets)}"


def folded(noun: str, table: Table) -> Folded:
    """``table``, a row for each ``noun``, behind a line that counts them."""
    return Folded(f"Every {noun} ({len(table.rows)})", (table,))


def _precision(row: Any) -> str:
    return style.precision_label(Variant(row.precision, row.int8_method or ""))


def _word(value: object) -> str:
    return wording.DASH if value in (None, "") else str(value)
