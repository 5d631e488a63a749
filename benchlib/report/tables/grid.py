"""A table before it is written down: named rows, grouped columns, cells with their reasons."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import pandas as pd

from benchlib.analysis import wording
from benchlib.report.parts import Shown

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
class Extra:
    """Small words in a cell behind its text; ``kind`` is their CSS class, ``value`` their number
    for a script of the page."""

    text: str
    kind: str
    value: float | None = None


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
    more: tuple[Extra, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """Cells under ``title``; neighbours with the same ``group`` share a heading above. ``kind`` is
    one more CSS class of them and of their heading."""

    group: str
    title: str
    cells: tuple[Cell, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table(Shown):
    """``rows`` name the lines; every column has a cell for each.

    Headings of a ``sortable`` one become buttons on the page; any other is a table of words.
    ``kind`` is one more CSS class.
    """

    name: str
    caption: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    footnotes: tuple[str, ...] = ()
    sortable: bool = True
    kind: str = ""

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a DataFrame: full values where a cell has one, else its text.

        The index holds ``rows``; the columns are pairs of group and title, or the titles alone
        where no column has a group.
        """
        values = [
            [cell.text if cell.value is None else cell.value for cell in one.cells]
            for one in self.columns
        ]
        frame = pd.DataFrame(dict(enumerate(values)), index=pd.Index(self.rows, name=self.corner))
        titles = [one.title for one in self.columns]
        frame.columns = (
            pd.MultiIndex.from_tuples([(one.group, one.title) for one in self.columns])
            if self.is_grouped
            else pd.Index(titles)
        )
        return frame

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The headings above the titles, each with the number of its columns."""
        return [
            (name, len(list(some))) for name, some in groupby(self.columns, lambda one: one.group)
        ]

    @property
    def is_grouped(self) -> bool:
        """Whether any column stands under such a heading."""
        return any(one.group for one in self.columns)

    @property
    def firsts(self) -> set[int]:
        """The columns that begin a group."""
        return set(accumulate((n for _, n in self.groups[:-1]), initial=0))


def comma_separated(table: Table) -> str:
    """The table as CSV: one header line ``GROUP TITLE``, full values where a cell has one."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([table.corner, *(f"{one.group} {one.title}".strip() for one in table.columns)])
    for index, row in enumerate(table.rows):
        writer.writerow([row, *(_plain(one.cells[index]) for one in table.columns)])
    return sink.getvalue()


def latex(table: Table) -> str:
    """The table as a LaTeX ``tabular`` in the manner of booktabs; best cells bold."""
    heads = ["", *(rf"\multicolumn{{{n}}}{{c}}{{{_tex(name)}}}" for name, n in table.groups)]
    titles = [_tex(table.corner), *(_tex(one.title) for one in table.columns)]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        *([" & ".join(heads) + r" \\"] if table.is_grouped else []),
        " & ".join(titles) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        cells = [_tex_cell(one.cells[index]) for one in table.columns]
        lines.append(" & ".join([_tex(row), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def save(table: Table, folder: Path) -> tuple[str, str]:
    """Write the table as ``NAME.csv`` and ``NAME.tex`` into ``folder``; the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {f"{table.name}.csv": comma_separated(table), f"{table.name}.tex": latex(table)}
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return f"{table.name}.csv", f"{table.name}.tex"


def _plain(cell: Cell) -> str:
    return cell.text if cell.value is None else f"{cell.value:.9g}"


def _tex(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(sign, sign) for sign in text)


def _tex_cell(cell: Cell) -> str:
    text = _tex(cell.text)
    reference = f"$^{{{_tex(cell.reference)}}}$" if cell.reference else ""
    return rf"\textbf{{{text}}}{reference}" if cell.mark is Mark.BEST else text + reference


# Cells and columns that several tables have.


def columns(
    items: Iterable[Any], *told: tuple[str, str, Callable[[Any], Cell | str]]
) -> tuple[Column, ...]:
    """A column per group and title, with what the third makes of each item: a cell, or its text."""
    some = list(items)
    made = ((group, title, map(of, some)) for group, title, of in told)
    return tuple(
        Column(group, title, tuple(Cell(one) if isinstance(one, str) else one for one in cells))
        for group, title, cells in made
    )


def number(value: float | None) -> Cell:
    """A number in three figures, below 1 too, where :func:`wording.short` has two: many times are,
    and a ratio of two that look alike. A dash where it is not known."""
    is_small = value is not None and _LEAST_IN_THREE <= abs(value) < 1
    return Cell(f"{value:#.3g}" if is_small else wording.short(value), value)


_LEAST_IN_THREE = 0.001
"""What is smaller would be written with an exponent or with many noughts."""


def share(value: float | None) -> Cell:
    """A share (0 to 1) in percent, a dash where it is not known."""
    if value is None or pd.isna(value):
        return Cell(wording.DASH, note="not known")
    return Cell(wording.percent(value, tenths=False), float(value))


def interval(value: float, low: float | None, high: float | None) -> str:
    """The full median and its interval, for a cell's note; empty where no interval is known."""
    if pd.isna(low) or pd.isna(high):
        return ""
    return f"median {value:.6g} ms, 95 % interval {low:.6g} to {high:.6g} ms"


def only_size(resolutions: Sequence[str]) -> str | None:
    """The size that all rows of a table share, ``640×480``; None where they differ."""
    return wording.size(resolutions[0]) if len(set(resolutions)) == 1 else None


def sizes(resolutions: Sequence[str]) -> tuple[Column, ...]:
    """The column of sizes, or none where :func:`only_size` says it all."""
    if only_size(resolutions) is not None:
        return ()
    return columns(resolutions, ("", "Size", wording.size))
