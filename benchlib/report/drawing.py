"""What a figure function gives back: a drawing with its words, or the reason there is none."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchlib.report import theme


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure and the words that go with it.

    ``name`` is safe as a file name; ``alt`` says kind, axes and finding for those who cannot see
    it; ``caption`` stands under it.
    """

    figure: Figure
    name: str
    alt: str
    caption: str

    def svg(self) -> bytes:
        """The figure as SVG: same figure, same bytes (no date, no random ids)."""
        return self._saved("svg", {"Date": None, "Creator": None})

    def png(self) -> bytes:
        """The figure as PNG at 150 dots per inch: same figure, same bytes."""
        return self._saved("png", {"Software": None})

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write ``NAME.svg`` and ``NAME.png`` into ``folder`` and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for suffix, content in (("svg", self.svg()), ("png", self.png())):
            path = folder / f"{self.name}.{suffix}"
            path.write_bytes(content)
            written.append(path)
        return written[0], written[1]

    def _saved(self, form: str, metadata: dict[str, None]) -> bytes:
        sink = io.BytesIO()
        with theme.style():
            self.figure.savefig(sink, format=form, metadata=metadata)
        return sink.getvalue()


@dataclass(frozen=True, slots=True)
class Absent:
    """No drawing, and why: shown in words where the figure would have stood."""

    name: str
    reason: str
