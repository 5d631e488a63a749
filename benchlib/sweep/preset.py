"""Presets: YAML files of parameters, in ``presets/`` or wherever the user keeps one.

A preset holds parameters of one run, and ``precisions``, the runs to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from benchlib.case import Precision
from benchlib.errors import InputError
from benchlib.sweep import parameters
from benchlib.sweep.parameters import Parameters

FOLDER = Path(__file__).resolve().parents[2] / "presets"
"""Where the presets of a checkout lie."""

_NO_CHANGE = frozenset({"out_dir", "precision", "preset"})
"""Parameters that do not make it another preset; the precisions are compared as a whole."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A checked preset: its name, the precisions to run, and what else it sets."""

    name: str
    precisions: tuple[Precision, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    def with_values(self, changes: Mapping[str, Any], source: str = "parameters") -> Preset:
        """This preset with ``changes`` (which may name ``precisions``) over it, checked.

        ``precision`` alone stands for a list of one.
        """
        changes = dict(changes)
        parameters.check_names(changes, known_names(), source)
        if "precision" in changes:
            changes.setdefault("precisions", [changes.pop("precision")])
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
    return ("precisions", *parameters.names())


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
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())
        raise InputError("preset", f"{path.name} is not readable YAML: {words}") from None
    if not isinstance(document, dict):
        raise InputError("preset", f"{path.name} holds no 'name: value' lines")
    empty = Preset(path.stem, (Precision.FP32,))
    return empty.with_values(document, path.name)


def _precisions(given: Any, source: str) -> tuple[Precision, ...]:
    """Each precision once, in the order given."""
    if isinstance(given, str):
        given = yaml.safe_load(given) if given.lstrip().startswith("[") else [given]
    if not isinstance(given, Sequence) or not given:
        raise InputError("precisions", f"{given!r} is not a list; write [fp32, int8]")
    checked = [parameters.read({"precision": word}, source).precision for word in given]
    return tuple(dict.fromkeys(checked))
