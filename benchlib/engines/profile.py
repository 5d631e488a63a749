"""trtexec's ``--exportProfile``: how long each layer took in a separate, profiled run.

Under the profiler the GPU stops after every layer, so the layers add up to more than the real
run; the times serve as shares of the whole and are not comparable with ``computeMs``.
"""

from __future__ import annotations

import json
import math
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
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_FIELD = re.compile(rf'"(averageMs|medianMs|percentage)"\s*:\s*({_NUMBER})')
# What stands for a number, up to the next field or the end of the layer. C++ writes nan and inf,
# -nan where a layer ran no time, and nothing at all where a field is missing.
_VALUE = re.compile(
    r'("(?:timeMs|averageMs|medianMs|percentage)"\s*:\s*)([^"{}\[\]]*?)(?=\s*(?:,\s*"|[}\]\n]|$))'
)


class BadProfileError(ValueError):
    """The file is not what ``--exportProfile`` writes; the message says why."""


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer, in milliseconds: the sum over all runs, mean and median of one run.

    ``percentage`` is the share of the whole, 0 to 100. What the file does not tell, or tells as
    something that is no time (``-``, ``nan``, ``inf``, less than nothing), is None.
    """

    name: str
    time_ms: float | None
    average_ms: float | None
    median_ms: float | None
    percentage: float | None


@dataclass(frozen=True, slots=True)
class Profile:
    """The layers of ``count`` profiled runs, in the order they ran."""

    count: int
    layers: tuple[LayerTime, ...]

    def times(self) -> dict[str, float]:
        """Mean milliseconds of one run by layer name, where known; those of one name add up."""
        total: dict[str, float] = {}
        for layer in self.layers:
            if layer.average_ms is not None:
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
    text = _VALUE.sub(_or_null, text)
    try:
        records = json.loads(text, strict=False)
    except ValueError:
        records = _by_line(text)
    if not isinstance(records, list):
        raise BadProfileError(f"{name}: is not a list")
    count = next((r["count"] for r in records if isinstance(r, dict) and "count" in r), None)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise BadProfileError(f"{name}: holds no profiled run")
    layers = tuple(
        _layer(record, count) for record in records if isinstance(record, dict) and "name" in record
    )
    if not layers:
        raise BadProfileError(f"{name}: holds no profiled run")
    return Profile(count, layers)


def _layer(record: Mapping[str, Any], count: int) -> LayerTime:
    time = _number(record.get("timeMs"))
    average = _number(record.get("averageMs"))
    if average is None and time is not None:
        average = time / count
    return LayerTime(
        name=str(record["name"]),
        time_ms=time,
        average_ms=average,
        median_ms=_number(record.get("medianMs")),
        percentage=_number(record.get("percentage")),
    )


def _number(value: object) -> float | None:
    """A time or share; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = float(value)
    return number if math.isfinite(number) and number >= 0 else None


def _or_null(match: re.Match[str]) -> str:
    return match[0] if re.fullmatch(_NUMBER, match[2]) else f"{match[1]}null"


def _by_line(text: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for line in text.splitlines():
        match = _LINE.search(line.rstrip())
        if match is not None:
            fields = {key: float(value) for key, value in _FIELD.findall(match["rest"])}
            time = re.match(_NUMBER, match["rest"])
            records.append(
                {"name": match["name"], "timeMs": time and float(time.group()), **fields}
            )
        elif (count := _COUNT.search(line)) is not None:
            records.append({"count": int(count[1])})
    return records
