"""Putting drawings into a notebook page: one HTML figure with its text alternative inside."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from IPython.display import HTML

from benchlib.report.drawing import Absent, Drawing
from benchlib.report.html import TEMPLATES

_LEAST_PIXELS_PER_INCH = 66
"""Labels of 8 points are then some 7 pixels high: the least that can be read."""


def figure(drawing: Drawing | Absent, figures_dir: str | Path | None = None) -> HTML:
    """Show ``drawing``; with ``figures_dir`` also write its SVG and PNG there."""
    if figures_dir and isinstance(drawing, Drawing):
        drawing.save(Path(figures_dir))
    return HTML(markup(drawing))


def styles() -> HTML:
    """The style of figures, tables and boxes; a notebook shows it before them."""
    css = (TEMPLATES / "report" / "content.css").read_text(encoding="utf-8")
    return HTML(f"<style>{css}</style>")


def markup(drawing: Drawing | Absent) -> str:
    """The ``<figure>`` element; for a missing drawing a paragraph that says why."""
    if isinstance(drawing, Absent):
        return reason(drawing)
    data = base64.b64encode(drawing.svg()).decode("ascii")
    alt = escape(drawing.alt, quote=True)
    label = escape(f"Figure {drawing.name}", quote=True)
    least = round(drawing.figure.get_figwidth() * _LEAST_PIXELS_PER_INCH)
    # The picture scrolls in a box of its own on narrow screens, so its labels stay readable;
    # tabindex lets the keyboard scroll it.
    return (
        f'<figure id="figure-{drawing.name}">'
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">'
        f'<img style="min-width:{least}px" alt="{alt}" '
        f'src="data:image/svg+xml;base64,{data}"></div>'
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>"
    )


def reason(missing: Absent, label: str = "") -> str:
    """A paragraph that says why there is no figure, of ``label`` where no heading does."""
    of = f" for {label}" if label else ""
    return f'<p class="absent">Not drawn{escape(of)}: {escape(missing.reason)}</p>'
