"""Parts of a table whose rows may be compared with each other.

Rows are comparable when engine, batch, rest between queries, shape mode, device (a slice of a card
is another device than the card), typing and INT8 method agree. A set that
varies one of these is tested part by part, never mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchlib.analysis.results import TABLE, usable
from benchlib.case import Int8Method, Precision
from benchlib.errors import InputError
from benchlib.models import registry

_CELL = ["model", "precision", "resolution"]
_SHARED = ["engine", "batch", "idle_ms", "shape_mode", "device"]
_REST = "rest of "
_UNKNOWN = "an unknown method"
_WORDS = len(_SHARED) + 2


@dataclass(frozen=True, slots=True)
class Variant:
    """A precision and, where INT8 was made in several ways, the method; else ``method`` is empty.

    Its text is for keys of files and charts, and nothing reads it back.
    """

    precision: str
    method: str = ""

    def __str__(self) -> str:
        return f"{self.precision}/{self.method}" if self.method else self.precision


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """``frame`` has at most one row per model, precision and size; ``label`` names only what
    sets it apart from the other parts of its table, so it is empty for an only one. A rest
    between queries is always named, as it is unexpected.
    ``surroundings`` is the label without the INT8 method: parts that share it share all rows of
    the other precisions. ``method`` is that method in words, empty where there is only one."""

    label: str
    frame: pd.DataFrame
    surroundings: str = ""
    method: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """One part as arrays [networks, precisions, sizes], for what is computed over and over.

    The three lists hold what occurs, networks by name; a part of :func:`side_by_side` has variants
    for precisions. ``rows`` says in which row of ``frame`` a cell stands, -1 where there is none.
    """

    networks: list[str]
    precisions: list[str] | list[Variant]
    sizes: list[str]
    rows: NDArray[np.intp]
    frame: pd.DataFrame
    columns: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, part: pd.DataFrame | Cells) -> Cells:
        """``part``, a frame with at most one row per network, precision and size, as cells."""
        if isinstance(part, Cells):
            return part
        axes, places = [], []
        for column in (part["model"], by_variant(part), part["resolution"]):
            ordered = isinstance(column.dtype, pd.CategoricalDtype)
            values = column.cat.codes.to_numpy() if ordered else column.to_numpy(object).astype(str)
            names, place = np.unique(values, return_inverse=True)
            if ordered:
                names = column.cat.categories.to_numpy(object)[names]
            axes.append(names.tolist())
            places.append(place)
        rows = np.full([len(names) for names in axes], -1)
        rows[tuple(places)] = np.arange(len(part))
        return cls(*axes, rows=rows, frame=part, columns={})

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Column ``name`` as numbers; NaN where there is no row or the row has none."""
        if name not in self.columns:
            # The last place is what row -1 takes.
            self.columns[name] = np.append(self.frame[name].to_numpy(float), np.nan)
        return self.columns[name][self.rows]

    def words(self, name: str) -> NDArray[np.object_]:
        """Column ``name`` of text; None where there is no row or the row has none."""
        column = self.frame[name].to_numpy(object)
        known = np.array([None if pd.isna(one) else one for one in column] + [None], dtype=object)
        return known[self.rows]

    def place(self, precision: str | Variant) -> int:
        """Where ``precision`` stands on its axis; behind the last where it is not there."""
        names = [str(one) for one in self.precisions]
        return names.index(str(precision)) if str(precision) in names else len(names)

    def at(self, precision: str | Variant | None = None, size: str | None = None) -> Cells:
        """The cells at one precision and one size, where given, and the networks that have any."""
        rows, precisions, sizes = self.rows, self.precisions, self.sizes
        if precision is not None:
            place = self.place(precision)
            rows, precisions = rows[:, place : place + 1], precisions[place : place + 1]
        if size is not None:
            place = sizes.index(size) if size in sizes else len(sizes)
            rows, sizes = rows[:, :, place : place + 1], sizes[place : place + 1]
        kept = np.flatnonzero((rows >= 0).any(axis=(0, 1)))
        sizes = [sizes[place] for place in kept]
        return replace(self, precisions=precisions, sizes=sizes, rows=rows[:, :, kept]).of_networks(
            (rows >= 0).any(axis=(1, 2))
        )

    def with_all_of(self, sizes: Iterable[str]) -> Cells:
        """The cells of the networks that have some precision at all of ``sizes``."""
        places = [self.sizes.index(name) for name in sizes]
        return self.of_networks((self.rows[:, :, places] >= 0).all(axis=2).any(axis=1))

    def of_networks(self, networks: NDArray[np.bool_]) -> Cells:
        """The cells of the networks that ``networks``, one switch each, names."""
        names = [self.networks[place] for place in np.flatnonzero(networks)]
        return replace(self, networks=names, rows=self.rows[networks])


def parts(frame: pd.DataFrame) -> tuple[Part, ...]:
    """The comparable parts of ``frame``, the one with most rows first; none for no rows.

    Raises :class:`InputError` when two rows of a part are of one network, precision and size.
    """
    return _labelled(
        ((*shared, method), rows)
        for shared, together in _surroundings(frame)
        for method, rows in _methods(together)
    )


def side_by_side(frame: pd.DataFrame) -> tuple[Part, ...]:
    """As :func:`parts`, but with all INT8 methods in one part.

    Column ``variant`` holds each row's :class:`Variant`. What the methods share is there once.
    """
    return _labelled(
        ((*shared, ""), _with_variants(together)) for shared, together in _surroundings(frame)
    )


def sound(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that findings rest on: usable, and no network rebuilt from guesses.

    SUSPECT rows are among them; who reports on them says how many.
    """
    good = usable(frame)
    return good[~_among(good["model"], reconstructions())]


def reconstructions() -> frozenset[str]:
    """Networks of the line-up that were rebuilt from an incomplete description."""
    return frozenset(name for name in registry.names() if registry.card(name).reconstruction)


def without_classifier(models: pd.Series) -> pd.Series:
    """Whether each network was timed without the classifier that its accuracy is of."""
    cut = frozenset(name for name in registry.names() if registry.card(name).features_only)
    return _among(models, cut)


def _among(models: pd.Series, names: frozenset[str]) -> pd.Series:
    """Whether each network, at whatever stride, is one of the line-up's ``names``."""
    return models.astype(str).str.removesuffix("@stride").isin(names)


def by_variant(frame: pd.DataFrame) -> pd.Series:
    """The variants of a part of :func:`side_by_side`; the precisions of any other."""
    return frame["variant" if "variant" in frame else "precision"]


def variants(frame: pd.DataFrame) -> list[Variant]:
    """The variants that occur in ``frame``, in their order."""
    found = by_variant(frame).cat.remove_unused_categories().cat.categories
    return [one if isinstance(one, Variant) else Variant(one) for one in found]


def methods(frame: pd.DataFrame) -> list[str]:
    """The ways in which the INT8 rows of ``frame`` were made, in the order of their enum."""
    made = set(frame.loc[frame["precision"] == Precision.INT8.value, "int8_method"].dropna())
    order = [one.value for one in Int8Method]
    return sorted(made, key=lambda one: (order.index(one) if one in order else len(order), one))


def sizes(frame: pd.DataFrame) -> list[str]:
    """The image sizes that occur in ``frame``, ``WIDTHxHEIGHT``, smallest first."""
    return list(frame["resolution"].cat.remove_unused_categories().cat.categories)


def _labelled(found: Iterable[tuple[tuple[str, ...], pd.DataFrame]]) -> tuple[Part, ...]:
    """``found`` as parts: the words that distinguish each (the INT8 method last), and its rows."""
    # Stable: methods of equal size stay in the order of their enum, the calibrated one first.
    split = sorted(found, key=lambda one: (-len(one[1]), one[0][:-1]))
    kinds = [len({words[place] for words, _ in split}) for place in range(_WORDS)]

    def label(words: tuple[str, ...]) -> str:
        return ", ".join(
            word
            for word, many in zip(words, kinds, strict=False)
            if word and (many > 1 or word.startswith(_REST))
        )

    return tuple(Part(label(words), rows, label(words[:-1]), words[-1]) for words, rows in split)


def _surroundings(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows that agree in all but INT8 method, with engine, batch, shapes, device and typing."""
    frame = frame.sort_values(_CELL, kind="stable")
    for (engine, batch, idle_ms, *rest), rows in frame.groupby(_SHARED, dropna=False, sort=True):
        pause = f"{_REST}{idle_ms:g} ms after each query" if idle_ms else "back to back"
        shared = (_word(engine), f"batch {batch:.0f}", pause, *map(_word, rest))
        typings = list(rows["typing"].dropna().unique())
        if not rows[_CELL].duplicated().any() or not typings:
            yield (*shared, ""), rows
            continue
        for typing in typings:
            mine = (rows["typing"] == typing) | rows["typing"].isna()
            yield (*shared, f"{typing} typing" if len(typings) > 1 else ""), rows[mine]


def _methods(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """``rows`` once per INT8 method, each with all rows of the other precisions."""
    found = _kinds(rows)
    if len(found) < 2:
        yield "", _once(rows)
        return
    int8 = rows["precision"] == Precision.INT8.value
    for method in found:
        mine = rows[~int8 | (rows["int8_method"].fillna(_UNKNOWN) == method)]
        yield f"INT8 by {method}", _once(mine)


def _with_variants(rows: pd.DataFrame) -> pd.DataFrame:
    several = len(_kinds(rows)) > 1
    made = rows["int8_method"].where(several & (rows["precision"] == Precision.INT8.value))
    order = []
    for word in rows["precision"].cat.categories:
        of_int8 = several and word == Precision.INT8.value
        order += [Variant(word, method) for method in ("", *(methods(rows) if of_int8 else ()))]
    place = {(one.precision, one.method): at for at, one in enumerate(order)}
    codes = [place[pair] for pair in zip(rows["precision"], made.fillna(""), strict=True)]
    rows = rows.assign(variant=pd.Categorical.from_codes(codes, order, ordered=True))
    return _once(rows.sort_values(["model", "variant", "resolution"], kind="stable"))


def _kinds(rows: pd.DataFrame) -> list[str]:
    """The INT8 methods of ``rows``, and the unknown one where rows without a method would
    otherwise be left out or be of the same cell as another's."""
    found = methods(rows)
    unnamed = (rows["precision"] == Precision.INT8.value) & rows["int8_method"].isna()
    if unnamed.any() and (len(found) > 1 or rows[_CELL].duplicated().any()):
        return [*found, _UNKNOWN]
    return found


def _once(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` as they are; raises :class:`InputError` when two are of one cell."""
    cells = pd.concat([rows["model"], by_variant(rows), rows["resolution"]], axis=1)
    if cells.duplicated().any():
        twice = rows[cells.duplicated(keep=False)]
        cells = cells.loc[twice.index].astype(object)
        cell = cells.iloc[0]
        same = twice[(cells == cell).all(axis=1)]
        first, second = (name_of(row) for _, row in same.head(2).iterrows())
        raise InputError(
            "results",
            f"{first} and {second} are both {cell['model']} at {cell.iloc[1]}, "
            f"{cell['resolution']}, batch {same['batch'].iloc[0]:.0f}; keep one of them, or give "
            "each a set of its own",
        )
    return rows


def name_of(row: pd.Series) -> str:
    """What to call a row of a table in a message: its key, where it has one, and its line."""
    # The table's first line holds the names of its columns.
    line = f"line {int(row.name) + 2} of {TABLE}"
    return line if pd.isna(row["key"]) else f"{row['key']} ({line})"


def _word(value: object) -> str:
    return "" if pd.isna(value) else str(value)
