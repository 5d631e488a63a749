"""Presets: YAML files of parameters, in ``presets/`` or wherever the user keeps one.

A preset holds parameters of one run, and ``precisions``, the runs to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchlib.case import Precision
from benchlib.errors import InputError
from benchlib.sweep import parameters
from benchlib.sweep.parameters import Parameters

FOLDER = Path(__file__).resolve().parents[2] / "presets"
"""Where the presets of a checkout lie."""

_NO_CHANGE = frozenset({"out_dir", "precision", "preset"})
"""Parameters that do not make it another preset; the precisions are compared as a whole."""

_ELSEWHERE = {"out_dir": "-o", "preset": "--preset"}
"""Parameters of the notebook that the command line has options for."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A checked preset: its name, the precisions to run, and what else it sets."""

    name: str
    precisions: tuple[Precision, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    def with_values(self, changes: Mapping[str, Any], source: str = "parameters") -> Preset:
        """This preset with ``changes`` (which may name ``precisions``) over it, checked.

        ``precision`` stands for a list of one; beside ``precisions`` it is refused, as are
        ``out_dir`` and ``preset``, which a run takes from its options.
        """
        changes = dict(changes)
        where = parameters.said_in(source)
        for name, option in _ELSEWHERE.items():
            if name in changes:
                raise InputError(name, f"{where}it is not set here; use {option}")
        parameters.check_names(changes, known_names(), source)
        if "precision" in changes:
            if "precisions" in changes:
                raise InputError(
                    "precision", f"{where}precisions is set beside it; keep one of the two"
                )
            changes["precisions"] = [changes.pop("precision")]
        precisions = _precisions(changes.pop("precisions", self.precisions), source)
        changed = Preset(self.name, precisions, {**self.values, **changes})
        changed.runs(source)
        return changed

    def told_from(self, base: Preset) -> Preset:
        """This preset under a name that says in which parameters it differs from ``base``."""
        before, after = (one.runs()[0].as_json() for one in (base, self))
        names = [name for name in after if after[name] != before[name] and name not in _NO_CHANGE]
        if self.precisions != base.precisions:
            names.append("precisions")
        if not names:
            return self
        return replace(self, name=f"{self.name}, changed: {', '.join(sorted(names))}")

    def runs(self, source: str = "parameters") -> tuple[Parameters, ...]:
        """The parameters of each papermill run, one per precision."""
        return tuple(
            parameters.read(
                {**self.values, "precision": precision.value, "preset": self.name}, source
            )
            for precision in self.precisions
        )


def known_names() -> tuple[str, ...]:
    """What a preset and ``-p`` may set."""
    return ("precisions", *(name for name in parameters.names() if name not in _ELSEWHERE))


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The presets there are."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def find(name: str, folder: Path = FOLDER) -> Preset:
    """The preset called ``name``, or the one in the file ``name`` (ending in .yaml)."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(names(folder)) or "none"
        raise InputError("preset", f"there is no {name!r}; give a .yaml file or one of: {known}")
    return read(path)


def read(path: Path) -> Preset:
    """Read and check a preset; :class:`InputError` names the file and the key."""
    try:
        document = parameters.read_yaml(path.read_bytes())
    except OSError as error:
        raise InputError("preset", f"{path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError("preset", f"{path.name}: {error}") from None
    if not isinstance(document, dict) or not document:
        held = {list: "a list", dict: "nothing", type(None): "nothing"}.get(type(document), "text")
        raise InputError(
            "preset", f"{path.name} holds {held}; write lines like 'models: [resnet18]'"
        )
    empty = Preset(path.stem, (Precision.FP32,))
    return empty.with_values(document, path.name)


def _precisions(given: Any, source: str) -> tuple[Precision, ...]:
    """Each precision once, in the order given."""
    where = parameters.said_in(source)
    if isinstance(given, str):
        try:
            given = parameters.read_yaml(given) if given.lstrip().startswith("[") else [given]
        except ValueError as error:
            raise InputError("precisions", f"{where}{given!r} is not YAML ({error})") from None
    if not isinstance(given, Sequence) or not given:
        raise InputError("precisions", f"{where}{given!r} is not a list; write [fp32, int8]")
    checked = [parameters.read({"precision": word}, source).precision for word in given]
    return tuple(dict.fromkeys(checked))
