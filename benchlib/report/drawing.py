"""What a figure function gives back: a drawing with its words, or the reason there is none."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from benchlib.report import theme
from benchlib.report.section import Shown

_DECIMALS = re.compile(rb"(?<![\w.#])(\d*[1-9]\d*\.\d\d)\d+")
"""Places beyond a hundredth of a point, which nobody sees and which are an eighth of a file.
Numbers below 1 stay: among them are the scales of letters."""

_SAFE = " !'()*+,-./:;=?@[]_$&~"
"""What may stand in a ``data:`` URL as it is."""

_LEAST_PIXELS_PER_INCH = 66
"""Labels of 8 points are then some 7 pixels high: the least that can be read."""


@dataclass(frozen=True, slots=True)
class Drawing(Shown):
    """A figure and the words that go with it.

    ``name`` is safe as a file name; ``alt`` says kind, axes and finding for those who cannot see
    it; ``caption`` stands under it.
    """

    figure: Figure
    name: str
    alt: str
    caption: str

    @property
    def least_pixels(self) -> int:
        """Width on the page below which the labels could not be read."""
        return round(self.figure.get_figwidth() * _LEAST_PIXELS_PER_INCH)

    @property
    def data_url(self) -> str:
        """The SVG as a ``data:`` URL, in text: a quarter shorter than in base64."""
        text = self.svg().decode("utf-8").replace('"', "'")
        return f"data:image/svg+xml,{quote(' '.join(text.split()), safe=_SAFE)}"

    def svg(self) -> bytes:
        """The figure as SVG: same figure, same bytes (no date, no random ids)."""
        content = self._saved("svg", {"Date": None, "Creator": None})
        return _DECIMALS.sub(rb"\1", content)

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
class Absent(Shown):
    """No drawing, and why: shown in words where the figure would have stood.

    ``label`` names the rows where no heading does.
    """

    name: str
    reason: str
    label: str = ""
