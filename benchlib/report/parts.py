"""What a notebook cell returns: a section, and the parts it is made of.

Every part shows itself in a notebook (``_repr_html_``, by the template's macro of its name) and
stays an object: ``section.tables[0].frame`` is a DataFrame, ``section.figures[0].figure`` a
matplotlib Figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, Template

TEMPLATES = Path(__file__).parent / "templates"


class Part(Protocol):
    """Anything that a notebook can show as HTML."""

    def _repr_html_(self) -> str: ...


@lru_cache
def template(name: str) -> Template:
    """The template of this name, which escapes what it is given."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template(name)


@lru_cache(maxsize=1)
def _macros() -> Any:
    return template("parts.html.j2").module


def render(part: object) -> str:
    """``part`` as HTML, by the macro that has the name of its class."""
    return str(getattr(_macros(), type(part).__name__.lower())(part))


class Shown:
    """Base of the parts: shown by their macro."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return render(self)


@dataclass(frozen=True, slots=True)
class Styles(Shown):
    """The style of figures, tables and boxes; a notebook shows it before them."""

    @property
    def css(self) -> str:
        return (TEMPLATES / "report" / "content.css").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Heading(Shown):
    """A heading of third level."""

    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Words(Shown):
    """A paragraph; ``strong`` stands before ``text``; ``kind`` is its CSS class."""

    text: str
    kind: str = ""
    strong: str = ""


@dataclass(frozen=True, slots=True)
class Files(Shown):
    """``text``, then the names of files that were written."""

    text: str
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Bullets(Shown):
    """A list; ``kind`` is its CSS class."""

    items: Sequence[str]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Definitions(Shown):
    """A box of terms with their meanings; ``codes`` sets the terms as code."""

    title: str
    pairs: Sequence[tuple[str, str]]
    codes: bool = False


@dataclass(frozen=True, slots=True)
class Command(Shown):
    """Command lines as they can be pasted into a shell."""

    text: str


@dataclass(frozen=True, slots=True)
class Price(Shown):
    """The price that costs are told for, dollars per hour; the page makes it a field to type in.
    ``is_example`` says that nobody gave it."""

    per_hour: float | None
    is_example: bool = False


@dataclass(frozen=True, slots=True)
class Folded(Shown):
    """Parts behind a line that opens them; ``anchor`` is for links to them."""

    summary: str
    parts: tuple[Part, ...]
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """What a section shows of one set, or one part of it: ``gist`` says it in a sentence."""

    label: str
    anchor: str
    parts: tuple[Part, ...]
    gist: str = ""


@dataclass(frozen=True, slots=True)
class Section(Shown):
    """Parts one below the other; iterates over them."""

    parts: tuple[Part, ...]

    @classmethod
    def first_open(cls, blocks: Sequence[Block]) -> Section:
        """The first block open, each other behind a line with its gist; one has no heading."""
        if len(blocks) < 2:
            return cls(tuple(part for block in blocks for part in block.parts))
        first, *others = blocks
        folded = (
            Folded(": ".join(filter(None, (one.label, one.gist))), one.parts, one.anchor)
            for one in others
        )
        return cls((Heading(first.label, first.anchor), *first.parts, *folded))

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Part:
        return self.parts[index]

    def __repr__(self) -> str:
        kinds = ", ".join(type(part).__name__ for part in self.parts)
        return f"Section({kinds})"

    @property
    def tables(self) -> tuple[Any, ...]:
        """The tables in it, folded ones too, in the order of the page."""
        return tuple(part for part in self._flat() if hasattr(part, "frame"))

    @property
    def figures(self) -> tuple[Any, ...]:
        """The drawings in it, in the order of the page."""
        return tuple(part for part in self._flat() if hasattr(part, "figure"))

    def _flat(self) -> Iterator[Part]:
        for part in self.parts:
            if isinstance(part, Section | Folded):
                yield from Section(part.parts)._flat()
            else:
                yield part
