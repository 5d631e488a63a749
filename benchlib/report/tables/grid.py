"""A table before it is written down: named rows, grouped columns, cells with their reasons."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from itertools import groupby
from pathlib import Path

_LATEX_SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
    "✕": r"$\times$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
}


class Mark(str, Enum):
    """How a cell stands out; the words are the CSS classes."""

    NONE = ""
    BEST = "best"
    WORST = "worst"
    DOUBTED = "doubted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Cell:
    """``text`` as shown; ``value`` to sort by (None sorts last); ``note`` is the reason behind it.

    ``reference`` is a superscript that points to a footnote.
    """

    text: str
    value: float | None = None
    mark: Mark = Mark.NONE
    note: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Cells under ``title``; neighbours with the same ``group`` share a heading above."""

    group: str
    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """``rows`` name the lines; every column has a cell for each."""

    name: str
    caption: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    footnotes: tuple[str, ...] = ()


def html(grid: Grid, *, sortable: bool = True) -> str:
    """The grid as a ``<figure>`` with a scrolling table.

    Headings of a ``sortable`` one become buttons on the page; any other is a table of words.
    """
    kind = "bench sortable" if sortable else "bench words"
    notes = "".join(f"<li>{escape(note)}</li>" for note in grid.footnotes)
    listed = f'<ul class="footnotes">{notes}</ul>' if notes else ""
    label = escape(f"Table {grid.name}", quote=True)
    return (
        f'<figure class="table" id="table-{grid.name}">'
        f"<figcaption>{escape(grid.caption)}</figcaption>"
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">'
        f'<table class="{kind}"><thead>{_heads(grid)}</thead>'
        f"<tbody>{''.join(_line(grid, row) for row in range(len(grid.rows)))}</tbody></table></div>"
        f"{listed}</figure>"
    )


def comma_separated(grid: Grid) -> str:
    """The grid as CSV: one header line ``GROUP TITLE``, full values where a cell has one."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([grid.corner, *(f"{one.group} {one.title}".strip() for one in grid.columns)])
    for index, row in enumerate(grid.rows):
        writer.writerow([row, *(_plain(one.cells[index]) for one in grid.columns)])
    return sink.getvalue()


def latex(grid: Grid) -> str:
    """The grid as a LaTeX ``tabular`` in the manner of booktabs; best cells bold."""
    groups = _groups(grid.columns)
    heads = ["", *(rf"\multicolumn{{{n}}}{{c}}{{{_tex(name)}}}" for name, n in groups)]
    titles = [_tex(grid.corner), *(_tex(one.title) for one in grid.columns)]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(grid.columns)}}}",
        r"\toprule",
        *([" & ".join(heads) + r" \\"] if any(name for name, _ in groups) else []),
        " & ".join(titles) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(grid.rows):
        cells = [_tex_cell(one.cells[index]) for one in grid.columns]
        lines.append(" & ".join([_tex(row), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def save(grid: Grid, folder: Path) -> tuple[str, str]:
    """Write the grid as ``NAME.csv`` and ``NAME.tex`` into ``folder``; the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {f"{grid.name}.csv": comma_separated(grid), f"{grid.name}.tex": latex(grid)}
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return f"{grid.name}.csv", f"{grid.name}.tex"


def _groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    return [(name, len(list(members))) for name, members in groupby(columns, lambda one: one.group)]


def _heads(grid: Grid) -> str:
    groups = _groups(grid.columns)
    upper = ""
    corner = f'<th scope="col" class="name">{escape(grid.corner)}</th>'
    if any(name for name, _ in groups):
        spans = "".join(
            f'<th scope="colgroup" colspan="{n}" class="first">{escape(name)}</th>'
            for name, n in groups
        )
        upper = f'<tr><td class="name"></td>{spans}</tr>'
    firsts = _firsts(grid)
    lower = "".join(
        f'<th scope="col"{_class("first" if index in firsts else "")}>{escape(one.title)}</th>'
        for index, one in enumerate(grid.columns)
    )
    return f"{upper}<tr>{corner}{lower}</tr>"


def _firsts(grid: Grid) -> set[int]:
    starts, at = set(), 0
    for _, members in _groups(grid.columns):
        starts.add(at)
        at += members
    return starts


def _line(grid: Grid, row: int) -> str:
    firsts = _firsts(grid)
    cells = "".join(
        _cell(one.cells[row], first=index in firsts) for index, one in enumerate(grid.columns)
    )
    return f'<tr><th scope="row" class="name">{escape(grid.rows[row])}</th>{cells}</tr>'


def _cell(cell: Cell, *, first: bool) -> str:
    classes = " ".join(word for word in (cell.mark.value, "first" if first else "") if word)
    sort = "" if cell.value is None else f' data-value="{cell.value:.9g}"'
    title = f' title="{escape(cell.note, quote=True)}"' if cell.note else ""
    reference = f"<sup>{escape(cell.reference)}</sup>" if cell.reference else ""
    return f"<td{_class(classes)}{sort}{title}>{escape(cell.text)}{reference}</td>"


def _class(words: str) -> str:
    return f' class="{words}"' if words else ""


def _plain(cell: Cell) -> str:
    return cell.text if cell.value is None else f"{cell.value:.9g}"


def _tex(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(sign, sign) for sign in text)


def _tex_cell(cell: Cell) -> str:
    text = _tex(cell.text)
    reference = f"$^{{{_tex(cell.reference)}}}$" if cell.reference else ""
    return rf"\textbf{{{text}}}{reference}" if cell.mark is Mark.BEST else text + reference
