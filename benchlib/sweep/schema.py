"""Reading and writing rows across versions of their schema, and the schema as JSON Schema."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchlib.sweep.row import SCHEMA_VERSION, Row

log = logging.getLogger(__name__)

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: Mapping[int, Migration] = {}
"""From version N: how a row of version N becomes one of N + 1. None is needed so far."""

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "row.schema.json"
"""Where the JSON Schema is published; a test holds it to :class:`Row`."""


class RowError(Exception):
    """A file is no row of a version that this package reads; the message says why."""


class NewerRowError(RowError):
    """A row of a later version: whole, and only a later benchlib can read it."""


def read(path: Path) -> Row:
    """Read ``rows/KEY.json``; as :func:`loads`, and refuses a row of another key."""
    try:
        row = loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RowError(error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8: {error}") from error
    if row.key != path.stem:
        raise RowError(f"it is the row of {row.key}")
    return row


def dumps(row: Row) -> str:
    """The row as JSON text."""
    return json.dumps(row.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"


def loads(text: str, migrations: Mapping[int, Migration] = MIGRATIONS) -> Row:
    """Read a row of this or an older version.

    An older one is brought up step by step and keeps a note of it in
    ``detail["migrated_from"]``. Raises :class:`RowError` for torn or foreign text and for a
    version newer than this package.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"not whole JSON: {error}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise RowError("it has no schema_version")
    if version > SCHEMA_VERSION:
        raise NewerRowError(
            f"it is of schema version {version} and this benchlib reads up to {SCHEMA_VERSION}; "
            "update benchlib"
        )
    document = _migrated(document, version, migrations)
    try:
        return Row.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RowError(f"{where}: {first['msg']}") from error


def _migrated(
    document: dict[str, Any], version: int, migrations: Mapping[int, Migration]
) -> dict[str, Any]:
    if version == SCHEMA_VERSION:
        return document
    for step in range(version, SCHEMA_VERSION):
        if step not in migrations:
            raise RowError(f"no way is known from schema version {step} to {step + 1}")
        document = migrations[step](document)
    log.info("row %s read from schema version %d", document.get("key"), version)
    detail = {**(document.get("detail") or {}), "migrated_from": version}
    return {**document, "schema_version": SCHEMA_VERSION, "detail": detail}


def json_schema() -> str:
    """The JSON Schema of ``rows/KEY.json``, as published in the docs folder."""
    return json.dumps(Row.model_json_schema(), indent=2) + "\n"


def publish(path: Path = PUBLISHED) -> None:
    """Write the JSON Schema to ``path`` (``python -m benchlib.sweep.schema``)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_schema(), encoding="utf-8")


if __name__ == "__main__":
    publish()
