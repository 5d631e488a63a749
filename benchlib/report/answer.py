"""The first screen: which network to take on this card, what it costs, how far to believe it."""

from __future__ import annotations

from collections.abc import Sequence

from benchlib.analysis import comparable_groups, ranking, wording
from benchlib.analysis.claims.observations import NAMES, machine_sentence
from benchlib.analysis.ranking import Answer, Choice, Question
from benchlib.analysis.results import MeasuredSet
from benchlib.analysis.significance import WITHIN
from benchlib.case import Int8Method, Precision, Verdict
from benchlib.models import registry
from benchlib.report import sections, style
from benchlib.report.parts import Folded, Part, Price, Section, Words
from benchlib.report.tables.grid import Cell, Column, Extra, Table
from benchlib.report.view import View, made_for, on_cpu, shown, views
from benchlib.stats.summary import rounded

EXAMPLE_PRICE = 3.0
"""Dollars an hour that a GPU's cost is told for until the reader gives another: the order of what
an H100 is rented for. A CPU's differs too much from machine to machine for an example."""

_TASKS = {
    registry.CLASSIFICATION: "Fastest classifier",
    registry.SEGMENTATION: "Fastest for segmentation",
    None: "Fastest of unknown task",
}


_MOST_TIED = 3
"""Ties that a cell names; more would push the answer off the first screen."""


def answer_section(sets: Sequence[MeasuredSet], price_per_hour: float | None) -> Section:
    """The first part of the first set told, every other one click away."""
    parts: list[Part] = []
    for one in sets:
        for view in views(one):
            rows = comparable_groups.sound(view.frame)
            if rows.empty:
                continue
            price = price_per_hour
            if price is None and not on_cpu(one):
                price = EXAMPLE_PRICE
            asked, found = ranking.questions(rows), ranking.answers(rows)
            words = Words(belief(one), "belief", f"{view.label}. ")
            built = answer_table(view, found, asked, price)
            if parts:
                parts.append(Folded(f"{view.label}: {_gist(found, asked)}", (words, built)))
            else:
                reach = Words(_reach(sets), "belief")
                parts = [words, Price(price, price_per_hour is None), built, reach]
    return Section(tuple(parts or [Words("No set here has a usable row.", "absent")]))


def belief(one: MeasuredSet) -> str:
    """How far the numbers of ``one`` may be believed."""
    if one.published:
        return (
            "Copied from a publication that gives no spread and no checks: nobody measured it "
            "for this report, and what lies within some percent may be a tie."
        )
    cpu = "The times are of this CPU and say nothing of a GPU." if on_cpu(one) else ""
    warning = sections.warning(one)
    return " ".join(filter(None, (warning and warning.text, machine_sentence(one), cpu)))


def _reach(sets: Sequence[MeasuredSet]) -> str:
    """What the page does not tell: other devices, other batches."""
    rows = [comparable_groups.sound(one.frame) for one in sets]
    names = dict.fromkeys(name for some in rows for name in some["device"].dropna())
    devices = ["a CPU" if name == "cpu" else name for name in names]
    batches = [str(one) for one in sorted({int(one) for some in rows for one in some["batch"]})]
    compared = ": Claims tested compares those here" if len(devices) > 1 else ""
    return (
        f"The times are of {wording.listed(devices) or 'a device not recorded'}, at batch "
        f"{wording.listed(batches)}. On another device times do not carry over and the order may "
        f"change{compared}. To time your own: benchlib run, or benchlib bundle for one that has "
        "only trtexec, such as a Jetson; with -p batch_sizes '[1, 8, 32]' larger batches too, "
        "which may take less time and cost less per image."
    )


def answer_table(
    view: View, found: Sequence[Answer], asked: Sequence[Question], price: float | None
) -> Table:
    """A row per size and precision; a column per question that has an answer anywhere, with one
    measured row in each cell."""
    answered = [place for place in range(len(asked)) if any(one.choices[place] for one in found)]
    names = (
        f"{wording.size(one.resolution)} {style.precision_label(one.precision)}" for one in found
    )
    return Table(
        sortable=False,
        kind="answer",
        name=f"answer-{view.slug}",
        caption="",
        corner="Size",
        rows=tuple(names),
        columns=(
            *(
                Column(
                    "",
                    _title(asked[at]),
                    tuple(_cell(row, at, price) for row in found),
                    "" if asked[at].model else "any",
                )
                for at in answered
            ),
            Column("", "Networks", tuple(Cell(str(one.networks)) for one in found), "of"),
        ),
        footnotes=(
            _legend(view, found, [one for at, one in enumerate(asked) if at not in answered]),
        ),
    )


def _title(one: Question) -> str:
    if one.model is None:
        return _TASKS.get(one.task, f"Fastest for {one.task}")
    name = registry.card(one.model).title
    return f"With {name}’s accuracy or more ({one.least_accuracy:.1f}\u00a0%)"


def _cell(row: Answer, place: int, price: float | None) -> Cell:
    choice = row.choices[place]
    if choice is None:
        return Cell(wording.DASH, note="no network measured here qualifies")
    names = shown(choice.model)
    if choice.tied:
        names = " = ".join([names, *map(shown, choice.tied[:_MOST_TIED])])
        names += f" and {more} more" if (more := len(choice.tied) - _MOST_TIED) > 0 else ""
    if choice.verdict == Verdict.SUSPECT.value:
        names += f" {style.VERDICT_SYMBOLS[choice.verdict]}"
    return Cell(names, note=_note(choice), more=tuple(_extras(choice, price)))


def _extras(choice: Choice, price: float | None) -> list[Extra]:
    low, high = choice.low_ms, choice.high_ms
    known = low is not None and high is not None
    time = rounded(choice.latency_ms, low, high) if known else wording.short(choice.latency_ms)
    said = [
        Extra(f"{time} ms", "ms"),
        Extra(f"{wording.short(choice.img_s)} img/s", "rate"),
        Extra(
            "" if price is None else f"${choice.dollars_per_million(price):.2f}",
            "cost",
            choice.dollars_per_million(1.0),
        ),
    ]
    if choice.energy_mj is not None:
        said.append(Extra(f"{wording.short(choice.energy_mj)} mJ", "energy"))
    if choice.gain is not None:
        base = style.precision_label(choice.gain.base)
        said.append(Extra(f"{wording.times(choice.gain.ratio)} {base}", "gain"))
    if choice.power_limited:
        said.append(Extra("power limit", "power"))
    return said


def _note(choice: Choice) -> str:
    said = [style.precision_label(choice.variant)]
    if choice.low_ms is not None:
        said.append(f"95 % interval {choice.low_ms:.6g} to {choice.high_ms:.6g} ms")
    if choice.accuracy is not None:
        said.append(f"accuracy {choice.accuracy:.1f} %")
    if choice.gain is not None:
        said.append(f"gain {choice.gain.low:.2f}× to {choice.gain.high:.2f}×")
    if choice.power_limited and choice.sm_clock_mhz is not None:
        said.append(f"at the card's power limit, sustained clock {choice.sm_clock_mhz:.0f} MHz")
    if choice.verdict:
        said.append(choice.verdict)
    return "; ".join(said)


def _legend(view: View, found: Sequence[Answer], unanswered: Sequence[Question]) -> str:
    choices = [one for row in found for one in row.choices if one is not None]
    methods = {method for one in choices if (method := one.variant.method)}
    models = {one.model for one in choices}
    sizes = [made_for(view.frame, name) for name in models]
    native = sorted({wording.size(one) for one in sizes if one})
    without = [f"{_title(one)}: no network measured here" for one in unanswered]
    of_lineup = set(registry.names())  # of a user's own network no accuracy is ever known
    unknown = sorted({one.model for one in choices if one.accuracy is None} & of_lineup)
    rows = view.usable.drop_duplicates(["model", "resolution", "precision"])
    timed = rows["model"].value_counts()
    winners = sorted({name for one in choices for name in (one.model, *one.tied)})
    cut = comparable_groups.without_classifier(view.usable["model"]).any()
    every = len(found)
    partly = [f"{shown(one)} ({timed[one]} of {every})" for one in winners if timed[one] < every]
    might = f"Not timed in every row, and might win in the others: {wording.listed(partly)}. "
    fp32 = view.usable.loc[view.usable["precision"] == Precision.FP32.value, "tf32"]
    said = [
        (True, "ms: median of one batch"),
        (fp32.eq(True).any(), "FP32: with TF32 allowed"),
        (True, "img/s: measured throughput, or one batch after the other where none was recorded"),
        (any(one.gain for one in choices), "×: times as fast as the same network in FP32 or FP16"),
        (any(one.power_limited for one in choices), "power limit: the card ran at its own"),
        (any(one.tied for one in choices), f"=: a tie, intervals less than {WITHIN} apart"),
        (any(one.verdict == Verdict.SUSPECT.value for one in choices), "!: the row is doubted"),
        (
            methods,
            "INT8 by "
            f"{wording.listed(f'{one} ({NAMES[Int8Method(one)]})' for one in sorted(methods))}"
            f"{', whichever is faster' * (len(methods) > 1)}",
        ),
        (any(row.made_up for row in found), "INT8 by made-up ranges has a speed and no accuracy"),
    ]
    less = registry.reduced_outputs(models)
    words = [*(words for there, words in said if there), *less, *without]
    return (
        f"{'; '.join(words)}. Accuracies are published ones, at the size a network was made for"
        f"{f' ({wording.listed(native)})' if native else ''}"
        f"{'; a VGG, timed without its classifier, has none' * bool(cut)}"
        f"{f'; none is known of {wording.listed(unknown)}' * bool(unknown)}. "
        f"{might * bool(partly)}Rest the pointer on a cell for its interval, accuracy and clock."
    )


def _gist(found: Sequence[Answer], asked: Sequence[Question]) -> str:
    """One line for a folded part: its fastest at the largest size, by precision."""
    last = [one for one in found if one.resolution == found[-1].resolution]
    said = []
    for one in last:
        choice = next((choice for choice in one.choices if choice), None)
        if choice is not None:
            time = wording.short(choice.latency_ms)
            said.append(f"{style.precision_label(one.precision)} {choice.model} {time} ms")
    task = _TASKS.get(asked[0].task, "fastest").lower()
    return f"{task} at {wording.size(found[-1].resolution)}: {', '.join(said)}"
