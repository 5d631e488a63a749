"""An executed notebook as one page that opens with no network, and that page as a PDF."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from html import escape, unescape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from benchlib import process
from benchlib.errors import InputError
from benchlib.report.parts import TEMPLATES

log = logging.getLogger(__name__)

COMFORTABLE_MB = 5.0
"""Decimal megabytes; above it a page is slow to mail and to open, so a warning is logged."""

CHROMIUM_VARIABLE = "CHROMIUM"
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PRINT_LIMIT_S = 120
_SLOT = "<!-- contents -->"
_HEADING = re.compile(r'<h2\b[^>]*\bid="([^"]+)"[^>]*>(.*?)</h2>', re.DOTALL)
_ANCHOR = re.compile(r'<a class="anchor-link".*?</a>', re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_PICTURE = re.compile(r'(?<= src=")data:image/svg\+xml,[^"]+')


def export(notebook: str | Path, page: str | Path) -> Path:
    """Write ``notebook`` (executed) as the offline HTML ``page`` and return its path.

    Raises :class:`InputError` when there is no such notebook or it is not one.
    """
    source, target = Path(notebook), Path(page)
    if not source.is_file():
        raise InputError("notebook", f"no file {source}; run it first, for instance with papermill")
    try:
        parsed = nbformat.read(source, as_version=4)
    except nbformat.reader.NotJSONError:
        raise InputError("notebook", f"{source} is not a notebook") from None
    for cell in parsed.cells:
        # What was said on the way is for the terminal; what a reader has to know, the cells show.
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    parsed.cells = _without_empty(parsed.cells)
    exporter = HTMLExporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)])
    body, _ = exporter.from_notebook_node(parsed)
    # nbconvert escapes signs that a quoted attribute may hold: a twelfth of the pictures' letters.
    body = _PICTURE.sub(lambda found: unescape(found[0]), body)
    content = _with_contents(body).encode("utf-8")
    megabytes = len(content) / 1e6
    if megabytes > COMFORTABLE_MB:
        log.warning("%s is %.1f MB; fewer sets or sizes make it smaller", target.name, megabytes)
    target.parent.mkdir(parents=True, exist_ok=True)
    process.write_whole(target, content)
    return target


def contents(body: str) -> str:
    """One line of links to the headings of second level that ``body`` has, in order."""
    links = [
        f'<a href="#{escape(anchor, quote=True)}">{escape(text)}</a>'
        for anchor, inner in _HEADING.findall(body)
        if (text := unescape(_TAG.sub("", _ANCHOR.sub("", inner))).strip())
    ]
    return " ".join(links)


def _with_contents(body: str) -> str:
    """``body`` with its contents under the title, or on top where it has none."""
    navigation = f'<nav class="toc" aria-label="Contents">{contents(body)}</nav>'
    if "</h1>" not in body:
        return body.replace(_SLOT, navigation)
    return body.replace(_SLOT, "").replace("</h1>", f"</h1>{navigation}", 1)


def _without_empty(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """``cells`` without the sections that have nothing to show, and without their headings."""
    kept: list[nbformat.NotebookNode] = []
    for cell in cells:
        shown = [one.get("data", {}).get("text/html") for one in cell.get("outputs", ())]
        if shown and not any(words is None or words.strip() for words in shown):
            if kept and kept[-1].cell_type == "markdown" and kept[-1].source.startswith("##"):
                kept.pop()
            continue
        kept.append(cell)
    return kept


def chromium() -> Path | None:
    """A Chromium or Chrome here: what ``CHROMIUM`` names, else the first on the path."""
    for name in (os.environ.get(CHROMIUM_VARIABLE), *_CHROMIUM_NAMES):
        path = shutil.which(name) if name else None
        if path:
            return Path(path)
    return None


def pdf(page: str | Path, out: str | Path) -> Path:
    """Print the HTML ``page`` to the PDF ``out`` with Chromium and return its path.

    Raises :class:`InputError` when there is no Chromium or it could not print.
    """
    source, target = Path(page).resolve(), Path(out)
    browser = chromium()
    if browser is None:
        raise InputError(
            "pdf",
            "no Chromium or Chrome was found; install one or name it in the environment variable "
            f"{CHROMIUM_VARIABLE}",
        )
    if not source.is_file():
        raise InputError("pdf", f"no file {page}; render the report first")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [
            *(str(browser), "--headless", "--no-pdf-header-footer"),
            # Root has no sandbox in Chromium; the page is ours and can reach nothing.
            *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
            *(f"--user-data-dir={profile}", "--generate-pdf-document-outline"),
            *(f"--print-to-pdf={target.resolve()}", source.as_uri()),
        ]
        keep = {"capture_output": True, "text": True, "errors": "replace", "check": False}
        try:
            ended = subprocess.run(command, timeout=_PRINT_LIMIT_S, **keep)
        except subprocess.TimeoutExpired:
            raise InputError(
                "pdf", f"{browser.name} printed nothing in {_PRINT_LIMIT_S} s"
            ) from None
    if ended.returncode != 0 or not target.is_file():
        last_line = ended.stderr.strip().splitlines()[-1:] or ["no message"]
        raise InputError("pdf", f"{browser.name} could not print the page: {last_line[0]}")
    return target
