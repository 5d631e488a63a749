"""trtexec's ``--exportProfile``: how long each layer took in a separate, profiled run.

Under the profiler the GPU stops after every layer, so the layers add up to more than the real
run; the times serve as shares of the whole and are not comparable with ``computeMs``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Layer names are written unescaped, so a quote in one spoils the JSON. Each layer has a line.
_LINE = re.compile(
    r'"name"\s*:\s*"(?P<name>.*)"\s*,\s*"timeMs"\s*:\s*(?P<rest>.*?)\s*}?\s*,?\s*]?$'
)
_COUNT = re.compile(r'"count"\s*:\s*(\d+)')
_FIELD = re.compile(r'"(averageMs|medianMs|percentage)"\s*:\s*([-+.\deE]+)')


class BadProfileError(ValueError):
    """The file is not what ``--exportProfile`` writes; the message says why."""


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer, in milliseconds: the sum over all runs, mean and median of one run.

    The median and the share of the whole (``percentage``, 0 to 100) are None where the file has
    none.
    """

    name: str
    time_ms: float
    average_ms: float
    median_ms: float | None
    percentage: float | None


@dataclass(frozen=True, slots=True)
class Profile:
    """The layers of ``count`` profiled runs, in the order they ran."""

    count: int
    layers: tuple[LayerTime, ...]

    def times(self) -> dict[str, float]:
        """Mean milliseconds of one run by layer name; layers of one name are added up."""
        total: dict[str, float] = {}
        for layer in self.layers:
            total[layer.name] = total.get(layer.name, 0.0) + layer.average_ms
        return total


def read(path: Path) -> Profile:
    """Read a profile; raise :class:`BadProfileError` when it is missing, empty or another thing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadProfileError(f"{path.name}: {error.strerror}") from error
    return loads(text, path.name)


def loads(text: str, name: str = "exportProfile") -> Profile:
    """Read the text of a profile; ``name`` stands in messages."""
    try:
        records = json.loads(text, strict=False)
    except ValueError:
        records = _by_line(text)
    if not isinstance(records, list):
        raise BadProfileError(f"{name}: is not a list")
    count = next((r["count"] for r in records if isinstance(r, dict) and "count" in r), None)
    layers = tuple(
        layer
        for record in records
        if isinstance(record, dict) and "name" in record and (layer := _layer(record, count))
    )
    if not isinstance(count, int) or count < 1 or not layers:
        raise BadProfileError(f"{name}: holds no profiled run")
    return Profile(count, layers)


def _layer(record: Mapping[str, Any], count: int | None) -> LayerTime | None:
    time = _number(record.get("timeMs"))
    if time is None:
        return None
    average = _number(record.get("averageMs"))
    if average is None:
        if not count:
            return None
        average = time / count
    return LayerTime(
        name=str(record["name"]),
        time_ms=time,
        average_ms=average,
        median_ms=_number(record.get("medianMs")),
        percentage=_number(record.get("percentage")),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)


def _by_line(text: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for line in text.splitlines():
        match = _LINE.search(line.rstrip())
        if match is not None:
            fields = {key: float(value) for key, value in _FIELD.findall(match["rest"])}
            time = re.match(r"[-+.\deE]+", match["rest"])
            if time is not None:
                records.append({"name": match["name"], "timeMs": float(time.group()), **fields})
        elif (count := _COUNT.search(line)) is not None:
            records.append({"count": int(count[1])})
    return records
