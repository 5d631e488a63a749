"""Compares what the command line writes with what was accepted, and accepts what it writes now.

    python tools/golden.py                   # compare; says what differs, exit status 1
    python tools/golden.py --accept          # take what is written now as right; look at git diff
    python tools/golden.py plan-quick-8.6    # only this command (names: --help)

For whoever restructures the package: modules may move and change their names, what a user gets must
not change by accident. So this file imports nothing of benchlib. It runs ``python -m benchlib ...``
of this checkout: ``plan`` for every preset and four TensorRT versions, ``report`` over the three
committed sets with figures, ``findings``, ``compare`` and ``models``.
``tests/test_golden.py`` compares with the same functions.

What was accepted lies in ``tests/golden``. Text is stored whole, large text compressed, so that a
difference can be shown: all JSON, the latency tables, the words of the page. Figures and the markup
of the page, section by section, are stored as SHA-256 in ``digests.json``.

What changes without anyone having changed the package, and what is done about it:

- The processor. NumPy has AVX-512 forms of exp and log that differ in the last digit, which moves a
  coordinate of a figure by 0.000001 and some pixels by 1 of 255; OpenBLAS has a form for each
  processor too, which changes last digits of the fitted latency model. The commands therefore run
  with NumPy's baseline instructions and one form of OpenBLAS (:func:`environment`), and numbers in
  JSON with more than ``DIGITS`` digits are cut to these.
- Versions. The page names those of benchlib, Python and the drawing packages: cut out. Other
  versions of ``DRAWN_WITH``, or another kind of processor, draw other bytes: figures and markup are
  then not compared, all text still is.
- ``report.ipynb``, the executed notebook, holds folders and times: left out. The page holds none.

Folder, home, cache, time zone, hash seed, number of threads and commit change nothing.
"""

from __future__ import annotations

import argparse
import base64
import difflib
import hashlib
import json
import lzma
import os
import platform
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import unescape
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = ROOT / "tests" / "golden"
DIGESTS = "digests.json"

SETS = ("rtx3090-published", "h100-tensorrt-8.6", "h200-tensorrt-8.6")
BESIDE = {"h100-tensorrt-8.6": "h100-trtexec-8.6", "h200-tensorrt-8.6": "h100-tensorrt-8.6"}
"""The set that each is compared with; itself where it was measured by nobody here."""

PRESETS = ("blog", "full", "quick")
TENSORRT = ("8.6", "10.0", "10.16", "11.1")  # one of each set of flags and typing rules

DIGITS = 10
"""Significant digits kept of a longer number; sums in another order differ from the 15th on."""

STORED_PLAIN_BYTES = 150_000
"""Larger text is compressed; what is smaller can be read in git diff."""

LINES_SHOWN = 40
"""Of a difference, from its first line on; more would hide the names of the files."""

LINES_COMPARED = 2000
"""From the first that differs on. A whole plan has 60,000, for which difflib takes minutes."""

LIMIT_S = 500
"""For one command; the slowest, the report, takes half a minute on two cores."""

DRAWN_WITH = (
    *("matplotlib", "pillow", "numpy", "scipy", "pandas", "seaborn"),
    *("nbconvert", "nbformat", "jinja2", "pygments", "mistune"),
)
"""The packages that decide over the bytes of figures and of the page's markup."""

_LONG_NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
_VERSIONS = re.compile(r'(<ul class="provenance"><li>)benchlib [^<]*')
_PICTURE = re.compile(r'data:image/svg\+xml,([^"]+)')
_PACKED = re.compile(r'(<script class="(\w+)" type="text/plain">)([^<]+)')
_SECTION = re.compile(r'(?=<h2\b[^>]*\bid=")')
_SECTION_NAME = re.compile(r'<h2\b[^>]*\bid="([^"]+)"')


def _commands() -> dict[str, tuple[str, ...]]:
    """Arguments of ``python -m benchlib`` by a name; the slow ones first, for parallel tests."""
    folders = {one: f"results/{one}" for one in SETS}
    named: dict[str, tuple[str, ...]] = {
        "report": ("report", *folders.values()),
        "models": ("models", "--json"),
    }
    for one, folder in folders.items():
        named[f"findings-{one}"] = ("findings", "--json", folder)
        other = f"results/{BESIDE.get(one, one)}"
        named[f"compare-{one}"] = ("compare", "--json", other, folder)
    for preset in PRESETS:
        for release in TENSORRT:
            arguments = ("plan", "--json", "--preset", preset, "--tensorrt", release)
            named[f"plan-{preset}-{release}"] = arguments
    return named


COMMANDS = _commands()


def outputs(name: str, folder: Path) -> dict[str, bytes]:
    """Run the command of this name; what it wrote, made comparable, by the name of the file.

    ``folder`` takes the files themselves, as they were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name != "report":
        written = folder / f"{name}.json"
        written.write_bytes(_run(COMMANDS[name], folder))
        return {written.name: shortened(written.read_text(encoding="utf-8")).encode()}
    report = folder / "report"
    _run((*COMMANDS[name], "-o", str(report), "--figures", str(report / "figures")), folder)
    files = {path.relative_to(folder).as_posix(): path for path in report.rglob("*")}
    found = {
        path: file.read_bytes()
        for path, file in sorted(files.items())
        if file.is_file() and path not in ("report/report.ipynb", "report/report.html")
    }
    page = _VERSIONS.sub(r"\1versions", (report / "report.html").read_text(encoding="utf-8"))
    # What is packed has other bytes with another zlib; the explorer's rows are compared unpacked.
    packed = {name: text for _, name, text in _PACKED.findall(page)}
    told = json.loads(zlib.decompress(base64.b64decode(packed["payload"])))
    rows = "".join(f"{json.dumps(row)}\n" for row in [told["columns"], *told["rows"]])
    found["report/explorer.txt"] = rows.encode()
    markup = sections(with_names(_PACKED.sub(r"\1packed", page), found))
    found |= {f"report/report.html#{title}": part.encode() for title, part in markup.items()}
    found["report/report.txt"] = "".join(map(words, markup.values())).encode()
    return found


def environment(folder: Path) -> dict[str, str]:
    """The environment of the commands: this checkout, an empty cache, the same arithmetic."""
    # In the function: whoever asks for --help should not wait for it.
    import numpy as np

    kept = {k: v for k, v in os.environ.items() if k != "TRTEXEC" and not k.startswith("BENCHLIB_")}
    beyond_baseline = np.show_config(mode="dicts")["SIMD Extensions"].get("found", ())
    disabled = (kept.get("NPY_DISABLE_CPU_FEATURES", ""), *beyond_baseline)
    return {
        **kept,
        # The kernel of the report's notebook, too, has to find this checkout.
        "PYTHONPATH": str(ROOT),
        "BENCHLIB_CACHE": str(folder / "cache"),
        "NPY_DISABLE_CPU_FEATURES": ",".join(filter(None, disabled)),
        # Runs on every x86 of 64 bits; OpenBLAS for other processors does not know the name.
        **({"OPENBLAS_CORETYPE": "Nehalem"} if platform.machine() == "x86_64" else {}),
    }


def _run(arguments: Sequence[str], folder: Path) -> bytes:
    """The standard output of ``python -m benchlib`` with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "benchlib", *arguments],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip()[-2000:]
        raise RuntimeError(f"benchlib {' '.join(arguments)}: status {done.returncode}\n{last}")
    return done.stdout


def shortened(text: str) -> str:
    """``text`` with every number of more than ``DIGITS`` digits cut to these, the rest as it is."""

    def cut(found: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", found[0].split("e")[0]).lstrip("0")
        return found[0] if len(digits) <= DIGITS else repr(float(f"{float(found[0]):.{DIGITS}g}"))

    return _LONG_NUMBER.sub(cut, text)


def with_names(page: str, files: Mapping[str, bytes]) -> str:
    """``page`` with the name of the file instead of each picture that is one of ``files``.

    So a picture that changed is one difference, and markup that differs is not taken for it.
    """
    names = {_told(content.decode()): path for path, content in files.items() if b"<svg" in content}
    return _PICTURE.sub(lambda found: names.get(_told(unquote(unescape(found[1]))), found[0]), page)


def _told(svg: str) -> str:
    """A picture as it is compared: in a ``data:`` URL it has other quotes and blanks."""
    return " ".join(svg.replace('"', "'").split())


def sections(page: str) -> dict[str, str]:
    """The page in pieces, by the ``id`` of the heading each begins with; together all of it."""
    pieces: dict[str, str] = {}
    for part in _SECTION.split(page):
        found = _SECTION_NAME.match(part)
        title = found[1] if found else "top"
        pieces[title] = pieces.get(title, "") + part
    return pieces


class _Words(HTMLParser):
    """Collects what a reader sees: a line per paragraph, table row or line of code."""

    BREAKS = frozenset(
        (
            *("p", "div", "h1", "h2", "h3", "h4", "li", "ul", "ol", "tr", "table", "caption"),
            *("pre", "figure", "figcaption", "details", "summary"),
        )
    )
    UNSEEN = frozenset(("style", "script", "svg"))

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in self.UNSEEN
        if tag == "h2":
            self.parts.append("\n== ")
        elif tag in self.BREAKS:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag == "img":
            self.parts.append(f"\n[picture: {dict(attrs).get('alt')}]\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in self.UNSEEN
        if tag in self.BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data)


def words(markup: str) -> str:
    """What a reader sees of ``markup``, with the words of its pictures; no empty lines."""
    reader = _Words()
    reader.feed(markup)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def drawn_with() -> dict[str, str]:
    """What decides over the bytes of figures and markup, here."""
    found = {"processor": platform.machine()}
    for name in DRAWN_WITH:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def elsewhere(folder: Path = ACCEPTED) -> str:
    """Why figures and markup cannot be compared here; empty where they can."""
    here, there = drawn_with(), _digests(folder)["drawn_with"]
    return ", ".join(
        f"{name} is {here.get(name)}, {value} drew what was accepted"
        for name, value in there.items()
        if here.get(name) != value
    )


def differences(name: str, made: Mapping[str, bytes], folder: Path = ACCEPTED) -> list[str]:
    """What of the command ``name`` is not as accepted: one text per file, empty if all is."""
    known = _digests(folder)["sha256"]
    digests = {path: value for path, value in known.items() if _belongs(path, name)}
    texts = {path: file for path, file in _texts(folder).items() if _belongs(path, name)}
    comparable = not elsewhere(folder)
    found = []
    for path in sorted({*digests, *texts, *made}):
        if path not in made:
            found.append(f"{path}: is no longer written")
        elif path not in digests and path not in texts:
            found.append(f"{path}: is new")
        elif path in texts:
            accepted = _stored(texts[path])
            if accepted != made[path]:
                found.append(f"{path}: {_difference(accepted, made[path])}")
        elif comparable and digests[path] != _sha256(made[path]):
            found.append(f"{path}: other bytes")
    return found


def accept(name: str, made: Mapping[str, bytes], folder: Path = ACCEPTED) -> None:
    """Store ``made`` as what the command ``name`` has to write from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    before = _digests(folder)
    digests = {path: one for path, one in before["sha256"].items() if not _belongs(path, name)}
    for path, file in _texts(folder).items():
        if _belongs(path, name) and (path not in made or _stored(file) != made[path]):
            file.unlink()
    kept = _texts(folder)
    for path, content in made.items():
        if not _is_text(path):
            digests[path] = _sha256(content)
        elif path not in kept:
            _store(folder / path, content)
    drawn = drawn_with() if name == "report" else before["drawn_with"]
    stored = {"drawn_with": drawn, "sha256": dict(sorted(digests.items()))}
    (folder / DIGESTS).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def remedy(name: str) -> str:
    """What to do about a difference."""
    return (
        f"If this is meant: python tools/golden.py --accept {name}, look at git diff, and say in "
        "the commit what changed. Pictures as they were: figures/."
    )


def _belongs(path: str, name: str) -> bool:
    return path.startswith("report/") if name == "report" else path == f"{name}.json"


def _is_text(path: str) -> bool:
    return Path(path).suffix in (".json", ".csv", ".tex", ".txt")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digests(folder: Path) -> dict[str, dict[str, str]]:
    file = folder / DIGESTS
    if not file.is_file():
        return {"drawn_with": {}, "sha256": {}}
    return json.loads(file.read_text(encoding="utf-8"))


def _texts(folder: Path) -> dict[str, Path]:
    """The files stored whole, by the name of what they hold."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != DIGESTS)
    return {file.relative_to(folder).as_posix().removesuffix(".xz"): file for file in files}


def _stored(file: Path) -> bytes:
    content = file.read_bytes()
    return lzma.decompress(content) if file.suffix == ".xz" else content


def _store(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if len(content) <= STORED_PLAIN_BYTES:
        file.write_bytes(content)
    else:
        packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
        file.with_name(f"{file.name}.xz").write_bytes(packed)


def _difference(accepted: bytes, made: bytes) -> str:
    """The lines that differ, from the first on, and where the first is."""
    before, now = (content.decode().splitlines() for content in (accepted, made))
    pairs = enumerate(zip_longest(before, now))
    first = next((number for number, (one, other) in pairs if one != other), None)
    if first is None:
        return "other line ends"
    window = slice(max(0, first - 1), first + LINES_COMPARED)
    compared = difflib.unified_diff(before[window], now[window], n=1, lineterm="")
    lines = [line[:300] for line in compared if not line.startswith(("---", "+++"))]
    # Its line numbers are of the window.
    lines = ["..." if line.startswith("@@") else line for line in lines][1:]
    left = len(lines) - LINES_SHOWN
    more = [f"and {left} lines more"] if left > 0 else []
    heading = next((one for one in reversed(now[: first + 1]) if one.startswith("== ")), "")
    place = f"line {first + 1}{f', section {heading[3:]!r}' if heading else ''}"
    shown = [f"from {place} on (- accepted, + now)", *lines[:LINES_SHOWN], *more]
    return "\n    ".join(shown)


def main(arguments: Iterable[str] | None = None) -> int:
    """The command line of this file; the exit status is 1 when something differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accept", action="store_true", help="store what is written now")
    parser.add_argument(
        *("names",),
        nargs="*",
        metavar="NAME",
        help=f"only these, of: {', '.join(COMMANDS)}",
    )
    asked = parser.parse_args(None if arguments is None else list(arguments))
    unknown = [name for name in asked.names if name not in COMMANDS]
    if unknown:
        parser.error(f"no command is called {unknown[0]}; there are {', '.join(COMMANDS)}")
    # Not removed: whoever looks for a difference wants the files.
    folder = Path(tempfile.mkdtemp(prefix="golden-"))
    failed = wrong = 0
    for name in asked.names or COMMANDS:
        try:
            made = outputs(name, folder)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name}: failed\n{error}", flush=True)
            failed += 1
            continue
        found = differences(name, made)
        wrong += bool(found)
        print("\n".join([f"{name}: {'differs' if found else 'as accepted'}", *found]), flush=True)
        if asked.accept:
            accept(name, made)
        elif found:
            print(remedy(name))
    if not asked.accept and (reason := elsewhere()):
        print(f"figures and markup were not compared: {reason}")
    print(f"written now: {folder}")
    return int(failed > 0 or (wrong > 0 and not asked.accept))


if __name__ == "__main__":
    sys.exit(main())
