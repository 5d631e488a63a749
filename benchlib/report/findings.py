"""The first section: the claims tested on every measured set."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from benchlib.analysis.measured import MeasuredSet


def findings_section(sets: Sequence[MeasuredSet]) -> str:
    """HTML of the tested claims, one table per set."""
    if importlib.util.find_spec("benchlib.analysis.findings") is None:
        names = ", ".join(one.name for one in sets)
        return f'<p class="absent">The claims have not been tested on {names}.</p>'
    return ""
