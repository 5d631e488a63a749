"""Write what is made from the package's definitions: a notebook cell and the rows' JSON Schema.

    python tools/write_generated.py

The parameters cell of ``notebooks/benchmark.ipynb`` comes from ``config.Parameters``,
``docs/row.schema.json`` from ``record.Row``. Tests hold both to their definitions.
"""

from __future__ import annotations

import json
import types
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import nbformat

from benchlib.config import Parameters
from benchlib.measure.record import Row

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "benchmark.ipynb"
SCHEMA = ROOT / "docs" / "row.schema.json"

TAG = "parameters"


def json_schema() -> str:
    """The JSON Schema of ``rows/KEY.json``, as published in the docs folder."""
    return json.dumps(Row.model_json_schema(), indent=2) + "\n"


def cell() -> str:
    """The source of the cell tagged ``parameters``, as ``papermill --help-notebook`` reads it."""
    lines = []
    for name, field in Parameters.model_fields.items():
        value = _plain(field.get_default(call_default_factory=True))
        annotation = _annotation(field.annotation)
        lines.append(f"{name}: {annotation} = {_literal(value)}  # {field.description}")
    return "\n".join(lines)


def write_cell(path: Path = NOTEBOOK) -> None:
    """Put :func:`cell` into the notebook at ``path``."""
    notebook = nbformat.read(path, as_version=4)
    tagged = [one for one in notebook.cells if TAG in one.metadata.get("tags", ())]
    if len(tagged) != 1:
        raise ValueError(f"{path.name} has {len(tagged)} cells tagged {TAG!r}; it needs one")
    tagged[0].source = cell()
    nbformat.write(notebook, path)


def _annotation(annotation: Any) -> str:
    """The type in words that papermill's reader knows: it stops at ``|`` and at ``Literal``."""
    options = [one for one in _members(annotation) if one is not types.NoneType]
    if any(get_origin(one) is tuple for one in options):
        inner = get_args(options[0])[0]
        return f"list[{_annotation(inner)}]"
    first = options[0]
    if isinstance(first, str) or (isinstance(first, type) and issubclass(first, Enum)):
        return "str"
    return first.__name__


def _members(annotation: Any) -> tuple[Any, ...]:
    return (
        (annotation,)
        if isinstance(annotation, type) or _is_tuple(annotation)
        else _args(annotation)
    )


def _is_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def _args(annotation: Any) -> tuple[Any, ...]:
    flat: list[Any] = []
    for one in get_args(annotation):
        flat.extend(_members(one) if get_args(one) and not _is_tuple(one) else (one,))
    return tuple(flat)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _literal(value: Any) -> str:
    """Python source in the double quotes that the formatter would choose."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(_literal(one) for one in value) + "]"
    return repr(value)


if __name__ == "__main__":
    write_cell()
    SCHEMA.write_text(json_schema(), encoding="utf-8")
