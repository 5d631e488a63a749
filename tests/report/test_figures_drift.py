"""What README.md shows is what the committed sets give, byte for byte."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import readme_tables

from benchlib.analysis.claims import findings as claims
from benchlib.analysis.results import load
from benchlib.report.figures import fps
from benchlib.report.style import Drawing
from benchlib.report.view import views

DRAWERS = {"fps-panels": fps.panels}
"""The figures that README.md shows, by the beginning of their names."""
SETS = ("rtx3090-published", "h200-tensorrt-8.6", "h100-tensorrt-8.6")


def pictures(root: Path) -> list[str]:
    return re.findall(r"!\[[^\]]*\]\((figures/[^)]+)\)", (root / "README.md").read_text("utf-8"))


def test_the_pictures_of_the_readme_are_what_their_set_gives(root: Path) -> None:
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    for name in ("matplotlib", "pillow"):
        # The lock's last line of a name is for the newest Pythons, where the pictures are drawn.
        *_, locked = re.findall(rf"^{name}==(\S+)", lock, re.MULTILINE)
        if locked != version(name):
            pytest.skip(f"{name} is {version(name)} here; {locked} drew the committed pictures")
    known = {}
    for one in SETS:
        for view in views(load(root / "results" / one)):
            drawn = [draw(view) for draw in DRAWERS.values()]
            known |= {one.name: one for one in drawn if isinstance(one, Drawing)}
    shown = pictures(root)
    assert shown
    for path in shown:
        picture = root / path
        drawing = known[picture.stem]
        assert drawing.svg() == picture.read_bytes(), f"{path} is stale: run make figures"


def test_the_tables_of_the_readme_are_what_their_sets_give(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    assert readme_tables.rewritten(text, root) == text, "run: python tools/readme_tables.py"
    for begin in (readme_tables.FINDINGS_BEGIN, readme_tables.BEGIN):
        with pytest.raises(ValueError, match=begin):
            readme_tables.rewritten(text.replace(begin, ""), root)


def test_a_table_of_the_readme_goes_by_year_and_says_what_failed(root: Path) -> None:
    frame = load(root / "results" / "h100-tensorrt-8.6").frame
    columns = readme_tables.COLUMNS
    header, _, *lines = readme_tables.table(frame, columns).splitlines()
    assert header.startswith("| year | network | accuracy, % | size | FP32")
    years = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    assert years == sorted(years)
    assert (years[0], years[-1]) == ("2015", "2024")
    refused = [line.split(" | ") for line in lines if line.startswith("| 2024 | starnet_s1 |")]
    int8 = header.split(" | ").index("INT8, calibrated (Q/DQ)")
    assert [cells[int8] for cells in refused] == ["✗"] * 3  # of the three sizes


def test_the_findings_of_the_readme_are_what_the_command_prints(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(readme_tables.FINDINGS_BEGIN)
    intro, _, *listed = rest.partition(readme_tables.FINDINGS_END)[0].strip().splitlines()
    measured, *beside = (load(root / folder) for folder in readme_tables.FINDINGS)
    printed = claims.lines(claims.of(measured, beside))
    assert all(folder in intro for folder in readme_tables.FINDINGS)
    assert len(listed) > 20
    assert {line.removeprefix("- ") for line in listed} <= set(printed)
