"""The first section: the blog's claims and our own questions, tested on every measured set."""

from __future__ import annotations

from collections.abc import Sequence

from benchlib.analysis import wording
from benchlib.analysis.findings import Answer, Finding, findings, headlines
from benchlib.analysis.measured import MeasuredSet
from benchlib.report import doubts, numerals
from benchlib.report.section import Folded, Heading, Part, Section, Words
from benchlib.report.tables.grid import Cell, Column, Table
from benchlib.report.view import on_cpu, slug, title

_SYMBOLS = {
    Answer.SUPPORTED: "✔",
    Answer.PARTLY: "◐",
    Answer.REFUTED: "✘",
    Answer.CANT_TELL: "?",
}

_CPU_NOTICE = Words(
    "A CPU run. The claims are about GPUs, so these verdicts speak of this CPU only and neither "
    "support nor refute what the blog says of a GPU.",
    "notice",
)


def findings_section(sets: Sequence[MeasuredSet]) -> Section:
    """Per set a table of claims with verdict and sentence, and every test folded away."""
    return Section.of(part for one in sets for part in _parts(one))


def _parts(measured: MeasuredSet) -> list[Part | None]:
    found = findings(measured.frame)
    name = slug(measured.name)
    return [
        Heading(title(measured), f"findings-{name}", minor=False),
        doubts.warning(measured),
        _CPU_NOTICE if on_cpu(measured) else None,
        claims(name, found),
        Folded(f"Every test behind these verdicts ({len(found)})", (every_test(name, found),)),
    ]


def claims(name: str, found: Sequence[Finding]) -> Table:
    """One row per claim: its verdict, and the sentence of its headline test."""
    first = headlines(found)
    return Table(
        sortable=False,
        name=f"claims-{name}",
        caption="Each claim, whether the set's rows bear it out, and what they show.",
        corner="Claim",
        rows=tuple(one.claim for one in first),
        columns=(
            Column("", "Verdict", tuple(Cell(_verdict(one)) for one in first)),
            Column("", "What was found", tuple(Cell(one.sentence) for one in first)),
        ),
    )


def every_test(name: str, found: Sequence[Finding]) -> Table:
    """One row per test: claim, rows, quantity, estimate with its interval, count, verdict."""
    return Table(
        sortable=False,
        name=f"tests-{name}",
        caption="Estimates with 95 % intervals; n counts networks, or cells where the test says "
        "so.",
        corner="Claim",
        rows=tuple(one.claim for one in found),
        columns=(
            Column("", "Rows", tuple(Cell(one.subset) for one in found)),
            Column("", "Quantity", tuple(Cell(one.test) for one in found)),
            Column("", "Estimate", tuple(Cell(_estimate(one)) for one in found)),
            Column("", "n", tuple(Cell(str(one.n)) for one in found)),
            Column("", "Verdict", tuple(Cell(_verdict(one)) for one in found)),
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
        else f" [{numerals.short(one.ci_low)}, {numerals.short(one.ci_high)}]"
    )
    return f"{numerals.short(one.estimate)}{bounds}"
