"""A view: the rows of one measured set that may stand in one figure or table.

What may be compared is :mod:`benchlib.analysis.comparable_groups`' to say; each part is drawn by
itself, with INT8 methods beside each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import pandas as pd

from benchlib.analysis import comparable_groups, wording
from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import MeasuredSet, usable
from benchlib.analysis.wording import slug
from benchlib.case import Engine, Status, Verdict
from benchlib.errors import InputError
from benchlib.gpu.telemetry import Limit
from benchlib.models import registry
from benchlib.report import style

_Made = TypeVar("_Made")

REBUILT = " (reconstruction)"

_LONGEST_DRAWN = 40
"""Letters of a name in a figure; the longest of the line-up have 35. Beyond, its middle goes."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """``frame`` is a part of :attr:`MeasuredSet.frame` with one row per model, variant and size.

    A variant is a precision, and where INT8 was made in several ways also the method.
    ``label`` says in words what the rows share, ``slug`` the same for file names and anchors.
    """

    label: str
    slug: str
    frame: pd.DataFrame
    published: bool = False
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> pd.DataFrame:
        """Rows with a latency that may be drawn: ok and not INVALID."""
        return usable(self.frame)

    @property
    def precisions(self) -> list[Variant]:
        """The precisions with a usable row, in order, and INT8 once for each of several methods."""
        return comparable_groups.variants(self.usable)

    @property
    def sizes(self) -> list[str]:
        """The image sizes with a usable row, ``WIDTHxHEIGHT``, smallest first."""
        return comparable_groups.sizes(self.usable)

    @property
    def batch(self) -> int:
        """Images per query."""
        return int(self.frame["batch"].iloc[0]) if len(self.frame) else 1

    def at(self, precision: Variant | None = None, size: str | None = None) -> pd.DataFrame:
        """Usable rows at one precision, one size, or both."""
        rows = self.usable
        if precision is not None:
            rows = rows[rows["variant"] == precision]
        if size is not None:
            rows = rows[rows["resolution"] == size]
        return rows

    def drawable(self) -> View:
        """This view with names that the figures' fonts can draw and that fit beside the axes."""
        names: dict[str, str] = {}
        for model in sorted(set(self.frame["model"])):
            name = style.drawable(model)
            if len(name) > _LONGEST_DRAWN:
                name = f"{name[: _LONGEST_DRAWN // 2]}…{name[-(_LONGEST_DRAWN // 2) :]}"
            if name in names.values():
                name = f"{name}#{hashlib.sha256(model.encode()).hexdigest()[:4]}"
            names[model] = name
        return replace(self, frame=self.frame.assign(model=self.frame["model"].map(names)))

    def looks(self) -> dict[str, style.Look]:
        """How to draw each network; the same in every figure of this view."""
        return style.looks(self.frame)

    def remarks(self, precision: Variant | None = None, *, hollow: bool = False) -> str:
        """What a reader of a figure has to know of the rows behind it, as sentences.

        ``hollow`` says that the figure draws SUSPECT rows hollow.
        """
        rows = self.frame if precision is None else self.frame[self.frame["variant"] == precision]
        said = []
        if self.usable["latency_ci_low_ms"].notna().any():
            said.append("Bars are the 95 % interval of the median, for the engine timed.")
        else:
            said.append("No interval is known for these numbers.")
        suspect = int((rows["verdict"] == Verdict.SUSPECT.value).sum())
        if suspect and hollow:
            said.append("Hollow marks are SUSPECT rows.")
        elif suspect:
            said.append(f"{wording.plural(suspect, 'row')} of these {_is(suspect)} SUSPECT.")
        limited = rows[rows["limited_by"] == Limit.POWER.value]
        if len(limited):
            said.append(
                f"In {wording.plural(len(limited), 'row')} the card ran at its power limit "
                f"(power_limited), its sustained clock {_clocks(limited['sm_clock_mhz'])}."
            )
        left_out = [
            wording.plural(int(number), word)
            for word, number in (
                ("failed row", (rows["status"] == Status.FAILED.value).sum()),
                ("skipped row", (rows["status"] == Status.SKIPPED.value).sum()),
                ("INVALID row", (rows["verdict"] == Verdict.INVALID.value).sum()),
            )
            if number
        ]
        if left_out:
            said.append(f"Left out: {wording.listed(left_out)}.")
        return " ".join(said)


def _clocks(mhz: pd.Series) -> str:
    low, high = mhz.min(), mhz.max()
    if pd.isna(low):
        return "unknown"
    return f"{low:.0f} MHz" if low == high else f"{low:.0f} to {high:.0f} MHz"


def views(measured: MeasuredSet) -> tuple[View, ...]:
    """The parts of ``measured`` to draw by themselves, largest first; none for no rows."""
    return tuple(_view(measured, part) for part in comparable_groups.side_by_side(measured.frame))


def per_view(
    measured: MeasuredSet, number: int | None, make: Callable[[View], Sequence[_Made]]
) -> _Made | list[_Made]:
    """What ``make`` gives for every view of ``measured``, or for the one of this ``number``.

    A single one is returned by itself. Raises :class:`InputError` where there is no such view.
    """
    known = views(measured)
    if not known:
        raise InputError("results", f"{measured.name} has no rows")
    if number is not None:
        if number not in range(len(known)):
            listed = "; ".join(f"{index}: {one.label}" for index, one in enumerate(known))
            raise InputError("view", f"{number!r} is none of {measured.name}; take one of {listed}")
        known = (known[number],)
    return one_or_list([made for one in known for made in make(one)])


def one_or_list(some: Sequence[_Made]) -> _Made | list[_Made]:
    """The only one of ``some`` by itself, several as a list."""
    return some[0] if len(some) == 1 else list(some)


def table_of(some: Iterable[_Made], kind: type[_Made]) -> pd.DataFrame:
    """A row for each of ``some``, which are dataclasses ``kind``, and a column for each field."""
    names = [field.name for field in fields(kind)]
    return pd.DataFrame([[getattr(one, name) for name in names] for one in some], columns=names)


def on_cpu(measured: MeasuredSet | View) -> bool:
    """Whether every row was timed on a CPU."""
    return set(measured.frame["engine"].dropna()) == {Engine.ONNXRUNTIME_CPU.value}


def title(measured: MeasuredSet) -> str:
    """What to call the set in prose: its own title, or its name and what it ran on.

    A CPU run says so in either case, so that no caption can be taken for a GPU's.
    """
    own = measured.environment.get("title")
    name = str(own or measured.name)
    if on_cpu(measured):
        return name if "CPU" in name else f"{name} (CPU run)"
    devices = sorted(set(measured.frame["device"].dropna()))
    return name if own or not devices else f"{name} ({wording.listed(devices)})"


def shown(model: str) -> str:
    """The network's name, with a word behind it where the network is rebuilt from guesses."""
    rebuilt = str(model).removesuffix("@stride") in comparable_groups.reconstructions()
    return f"{model}{REBUILT}" if rebuilt else model


def made_for(frame: pd.DataFrame, model: str) -> str | None:
    """The ``WIDTHxHEIGHT`` of the images that the accuracy of ``model`` in ``frame`` is of: what
    its source says, else the line-up's; None where neither is known."""
    sources = frame.loc[frame["model"] == model, "accuracy_source"].dropna()
    card = _card(model)
    own = card.made_for if card else None
    return registry.size_named(sources.iloc[0] if len(sources) else None) or own or None


def year(model: str) -> int | None:
    """Of the paper that ``model`` is from; None for a network outside the line-up."""
    card = _card(model)
    return card.year if card else None


def _card(model: str) -> registry.Card | None:
    name = model.removesuffix(REBUILT).removesuffix(registry.STRIDE_SUFFIX)
    return registry.card(name) if name in registry.names() else None


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _view(measured: MeasuredSet, part: comparable_groups.Part) -> View:
    batch = f"batch {part.frame['batch'].iloc[0]:.0f}"
    said = part.label or batch
    return View(
        label=f"{title(measured)}, {said}",
        slug=slug(f"{measured.name} {part.label}"),
        frame=part.frame.assign(model=part.frame["model"].map(shown)),
        published=measured.published,
        environment=measured.environment,
    )
