"""The line-up as records, as text for a terminal, and as tables for a page.

Nothing here is measured: parameters, multiply-adds and activations are counted from the network,
accuracies are other people's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import groupby
from typing import Any

from benchlib.analysis import wording
from benchlib.errors import InputError
from benchlib.models import registry
from benchlib.report.style import Absent
from benchlib.report.tables.grid import Cell, Table, columns


@dataclass(frozen=True, slots=True)
class Record:
    """One network at one input size; the fields are those of ``benchlib models --json``.

    ``params`` counts elements, ``gmacs`` 1e9 multiply-adds, ``mactivations`` 1e6 elements written
    by convolutions and matrix products, ``size_mb`` 1e6 bytes of float32 parameters, for one image
    of ``height`` x ``width`` pixels; ``accuracy`` is in percent. What is unknown is None;
    ``reason`` says why a count is. ``year`` is the paper's, ``weights_licence`` that of the weights
    with the accuracy, where their publisher states one.
    """

    name: str
    family: str
    task: str
    title: str
    year: int | None
    height: int
    width: int
    params: int | None
    gmacs: float | None
    mactivations: float | None
    size_mb: float | None
    accuracy: float | None
    accuracy_metric: str | None
    accuracy_source: str | None
    weights: str | None
    weights_licence: str
    blog_name: str | None
    paper: str
    output: str
    note: str
    features_only: bool
    reconstruction: bool
    reason: str | None

    @property
    def label(self) -> str:
        """The name, with a word for a reconstruction wherever it is shown."""
        return f"{self.name} (reconstruction)" if self.reconstruction else self.name

    @property
    def megapixels(self) -> float:
        """Pixels of the input image, in millions."""
        return self.height * self.width / 1e6


def read(name: str, height: int, width: int) -> Record:
    """What is known of network ``name``; raises InputError for an unknown one."""
    from benchlib.models import macs  # brings ONNX Runtime, which no page needs

    card, cost = registry.card(name), macs.of(name, height, width)
    published = card.published()
    known = {"height": height, "width": width, "weights": published.weights}
    known |= {"accuracy": published.value, "accuracy_metric": published.metric}
    known["accuracy_source"] = published.source
    for one in fields(Record):
        if one.name not in known:
            known[one.name] = getattr(cost if hasattr(cost, one.name) else card, one.name)
    return Record(**known)


def read_all(names: Iterable[str], height: int, width: int) -> tuple[Record, ...]:
    """The records of ``names`` at one input size; by year the whole line-up if none is."""
    every = sorted(registry.names(), key=lambda name: registry.card(name).year or 0)
    return tuple(read(name, height, width) for name in tuple(names) or every)


def records(
    *, height: int, width: int, tasks: Sequence[str] = (), families: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The line-up at one input size, ready to be written as JSON, by year of the papers.

    Of ``tasks`` and ``families`` only, where any are named; in whatever case.
    """
    cards = [registry.card(name) for name in registry.names()]
    for field, asked in (("task", tasks), ("family", families)):
        known = {getattr(card, field).lower(): getattr(card, field) for card in cards}
        for word in asked:
            if word.lower() not in known:
                choice = ", ".join(sorted(set(known.values())))
                raise InputError(field, f"no network is of {field} {word!r}; there are {choice}")
        wanted = {word.lower() for word in asked} or known
        cards = [card for card in cards if getattr(card, field).lower() in wanted]
    cards.sort(key=lambda card: card.year or 0)
    return [asdict(read(card.name, height, width)) for card in cards]


_HEADS = ("Network", "Family", "Task", "Params, M", "GMACs", "Activations, M", "MB", "Accuracy, %")
_WORDS = 3  # columns of words; the others hold numbers


def text(documents: Sequence[Mapping[str, Any]]) -> str:
    """:func:`records` as aligned columns, a group a year, with sources and remarks below."""
    rows = [Record(**document) for document in documents]
    lines = [_HEADS, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    head, *aligned = [
        "  ".join(
            cell.ljust(width) if column < _WORDS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    body = [head]
    for year, group in groupby(zip(rows, aligned, strict=True), lambda pair: pair[0].year):
        body += ["", str(year or wording.DASH), *(line for _, line in group)]
    remarks = [
        f"{row.name}: {remark}"
        for row in rows
        for remark in (row.accuracy_source, _licence(row), row.note, row.reason)
        if remark
    ]
    size = f"At {rows[0].width}x{rows[0].height}, one image." if rows else "No network."
    closing = "Accuracies are published, not measured; the year is the paper's."
    return "\n".join([size, "", *body, "", closing, *remarks])


def _licence(row: Record) -> str:
    return f"weights under {row.weights_licence}" if row.weights_licence else ""


def _line(row: Record) -> tuple[str, ...]:
    accuracy = "" if row.accuracy is None else f"{row.accuracy:.1f} {row.accuracy_metric}"
    return (
        row.label,
        row.family,
        row.task,
        _millions(row.params),
        wording.short(row.gmacs),
        wording.short(row.mactivations),
        wording.short(row.size_mb),
        accuracy or wording.DASH,
    )


def _millions(count: int | None) -> str:
    return wording.DASH if count is None else f"{count / 1e6:.2f}"


def costs(rows: Sequence[Record]) -> Table:
    """What each network costs and what accuracy was published; ``rows`` are of one size."""
    metrics = dict.fromkeys(row.accuracy_metric for row in rows if row.accuracy_metric)
    return Table(
        name="lineup",
        caption=(
            f"The line-up at {rows[0].width}×{rows[0].height}, one image. GMACs are 10⁹ "
            "multiply-adds of convolutions and matrix products, activations the 10⁶ elements "
            "that those write, MB the parameters as float32. Accuracies are published ones; "
            "point at one for its source. Made for: the size of the images that it is of. A "
            "dash: unknown."
        ),
        corner="Network",
        rows=tuple(row.label for row in rows),
        columns=columns(
            rows,
            ("", "Year", lambda row: Cell(str(row.year or wording.DASH), row.year)),
            ("", "Family", lambda row: row.family),
            ("", "Task", lambda row: row.task),
            ("Cost", "Params, M", lambda row: _cost(row.params and row.params / 1e6, row)),
            ("Cost", "GMACs", lambda row: _cost(row.gmacs, row)),
            ("Cost", "Activations, M", lambda row: _cost(row.mactivations, row)),
            ("Cost", "MB", lambda row: _cost(row.size_mb, row)),
            # One metric a column, so that two kinds of accuracy are never ranked together.
            *(
                ("Published accuracy, %", metric, partial(_accuracy, metric=metric))
                for metric in metrics
            ),
            ("", "Made for", _made_for),
        ),
    )


def facts(rows: Sequence[Record]) -> Table:
    """Where each timed graph ends, the source of its accuracy, and what else to know."""
    return Table(
        sortable=False,
        name="lineup-facts",
        caption="Where each timed graph ends, and whose numbers the accuracies are.",
        corner="Network",
        rows=tuple(row.label for row in rows),
        columns=columns(
            rows,
            ("", "The timed graph ends at", lambda row: row.output),
            ("", "Accuracy from", lambda row: row.accuracy_source or wording.DASH),
            ("", "Paper", lambda row: row.paper or wording.DASH),
            ("", "Weights under", lambda row: row.weights_licence or wording.DASH),
            ("", "Note", lambda row: row.note),
        ),
    )


def elsewhere(rows: Sequence[Record]) -> Table | Absent:
    """Latencies of these networks that others published, and why ours differ."""
    name = "lineup-elsewhere"
    names = {row.name for row in rows}
    known = [line for line in registry.published_latencies() if line["network"] in names]
    if not known:
        return Absent(name, "no latency of these networks is known to be published.")
    titles = ("Device", "Program", "Precision", "Size", "ms per image", "Ours differ by", "Source")
    return Table(
        sortable=False,
        name=name,
        caption=(
            "Latencies that others published, one image at a time, as they state them. None was "
            "measured here; those of phones enter the one finding about phones, the others none. "
            "A dash: not stated there."
        ),
        corner="Network",
        rows=tuple(line["network"] for line in known),
        columns=columns(
            [list(line.values()) for line in known],
            *(
                ("", title, lambda line, place=place: line[place] or wording.DASH)
                for place, title in enumerate(titles, 1)
            ),
        ),
    )


def _made_for(row: Record) -> str:
    """The size of the images that the accuracy is of."""
    return wording.size(registry.size_named(row.accuracy_source) or wording.DASH)


def _cost(value: float | None, row: Record) -> Cell:
    return Cell(wording.short(value), value, note=(row.reason or "") if value is None else "")


def _accuracy(row: Record, metric: str) -> Cell:
    if row.accuracy is None or row.accuracy_metric != metric:
        return Cell(wording.DASH)
    return Cell(f"{row.accuracy:.1f}", row.accuracy, note=row.accuracy_source or "")
