"""What the command line writes is what was accepted; ``tools/golden.py`` says how and why."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchlib.cli import main

_FILE = Path(__file__).resolve().parents[1] / "tools" / "golden.py"
_spec = importlib.util.spec_from_file_location("golden", _FILE)
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

PAGE = """<html><style>h2 { color: red }</style><h1>Report</h1>
<h2 class="x" id="Speed">Speed</h2><p>ResNet is  fast.</p>
<table><tr><th>size</th><td>1.5</td></tr></table><img alt="a line" src="data:">
<h2 id="End">End</h2><p>Done.</p></html>"""


# Each command runs in one test only, so workers of pytest-xdist share them without waiting.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("report", "models") else ())
        for name in golden.COMMANDS
    ],
)
def test_what_is_written_is_what_was_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.startswith("plan-"):  # computes nothing, so this process will do
        monkeypatch.setattr(golden, "_run", _run_here)
        monkeypatch.chdir(golden.ROOT)
        monkeypatch.delenv("TRTEXEC", raising=False)
    made = golden.outputs(name, tmp_path)
    found = golden.differences(name, made)
    assert not found, "\n".join([*found, golden.remedy(name)])
    reason = golden.elsewhere()
    if name == "report" and reason:
        pytest.skip(f"all text is as accepted; figures and markup were not compared: {reason}")


def _run_here(arguments: Sequence[str], folder: Path) -> bytes:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout_bytes


def test_the_check_knows_the_package_by_its_command_line_only() -> None:
    for node in ast.walk(ast.parse(_FILE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(one.name for one in node.names)]
            assert not any(name.split(".")[0] == "benchlib" for name in names)


def test_everything_accepted_belongs_to_a_command() -> None:
    digests = json.loads((golden.ACCEPTED / golden.DIGESTS).read_text(encoding="utf-8"))
    files = [one for one in golden.ACCEPTED.rglob("*") if one.is_file()]
    texts = {one.relative_to(golden.ACCEPTED).as_posix().removesuffix(".xz") for one in files}
    paths = {*digests["sha256"], *texts} - {golden.DIGESTS}
    of_report = {path for path in paths if path.startswith("report/")}
    assert paths - of_report == {f"{name}.json" for name in golden.COMMANDS if name != "report"}
    assert {"report/report.txt", "report/report.html#Latency"} <= of_report
    pictures = {path for path in of_report if path.startswith("report/figures/")}
    assert {Path(path).suffix for path in pictures} == {".svg", ".png"}


@pytest.fixture
def made() -> dict[str, bytes]:
    lines = [f'"key {number}"' for number in range(200)]
    return {
        "report/report.txt": b"== Speed\nfast\n== End\ndone\n",
        "report/latency.csv": "\n".join(lines).encode(),
        "report/report.html#Speed": b"<h2>",
        "report/figures/fps.svg": b"<svg/>",
        "report/figures/fps.png": b"\x89PNG",
    }


def test_what_was_accepted_does_not_differ(made: dict[str, bytes], tmp_path: Path) -> None:
    golden.accept("report", made, tmp_path)
    assert golden.differences("report", made, tmp_path) == []
    assert golden.elsewhere(tmp_path) == ""


def test_a_difference_in_text_is_shown_with_its_place(
    made: dict[str, bytes], tmp_path: Path
) -> None:
    golden.accept("report", made, tmp_path)
    changed = made | {
        "report/latency.csv": made["report/latency.csv"].replace(b'"key 150"', b'"key x"'),
        "report/report.txt": made["report/report.txt"].replace(b"done", b"gone"),
    }
    table, page = golden.differences("report", changed, tmp_path)
    assert "report/latency.csv: from line 151 on" in table
    assert '-"key 150"' in table and '+"key x"' in table and "key 100" not in table
    assert "line 4, section 'End'" in page and "-done" in page and "+gone" in page


@pytest.mark.parametrize("path", ["report/figures/fps.svg", "report/report.html#Speed"])
def test_other_bytes_lost_files_and_new_files_are_told(
    path: str, made: dict[str, bytes], tmp_path: Path
) -> None:
    golden.accept("report", made, tmp_path)
    assert golden.differences("report", made | {path: b"other"}, tmp_path) == [
        f"{path}: other bytes"
    ]
    assert golden.differences("report", made | {f"{path}2": b""}, tmp_path) == [f"{path}2: is new"]
    del made[path]
    assert golden.differences("report", made, tmp_path) == [f"{path}: is no longer written"]


def test_where_other_packages_draw_only_text_is_compared(
    made: dict[str, bytes], tmp_path: Path
) -> None:
    golden.accept("report", made, tmp_path)
    file = tmp_path / golden.DIGESTS
    stored = json.loads(file.read_text(encoding="utf-8"))
    stored["drawn_with"]["matplotlib"] = "1.0"
    file.write_text(json.dumps(stored), encoding="utf-8")
    assert "1.0 drew what was accepted" in golden.elsewhere(tmp_path)
    changed = made | {"report/figures/fps.svg": b"other"}
    assert golden.differences("report", changed, tmp_path) == []
    changed["report/latency.csv"] = b"other"
    assert len(golden.differences("report", changed, tmp_path)) == 1


def test_accepting_one_command_leaves_the_others(made: dict[str, bytes], tmp_path: Path) -> None:
    large = {"models.json": b"x" * (golden.STORED_PLAIN_BYTES + 1)}
    golden.accept("report", made, tmp_path)
    golden.accept("models", large, tmp_path)
    assert (tmp_path / "models.json.xz").is_file()
    del made["report/latency.csv"]
    golden.accept("report", made, tmp_path)
    assert not (tmp_path / "report" / "latency.csv").exists()
    assert golden.differences("report", made, tmp_path) == []
    assert golden.differences("models", large, tmp_path) == []
    small = {"models.json": b"[]"}
    golden.accept("models", small, tmp_path)
    assert not (tmp_path / "models.json.xz").exists()
    assert golden.differences("models", small, tmp_path) == []


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("0.028632146404865666", "0.0286321464"),
        ("0.9999999999999999, 1.0", "1.0, 1.0"),
        ("1.2345678901234e-05", "1.23456789e-05"),
        ("-103.02702436423992", "-103.0270244"),
        ('"TensorRT 10.16.1.2", 0.00012345, 1234567890123', None),
    ],
)
def test_only_last_digits_are_cut(written: str, compared: str | None) -> None:
    assert golden.shortened(written) == (compared or written)


def test_the_page_falls_into_sections_and_words() -> None:
    parts = golden.sections(PAGE)
    assert list(parts) == ["top", "Speed", "End"]
    assert "".join(parts.values()) == PAGE
    assert golden.words(parts["top"]) == "Report\n"
    assert golden.words(parts["Speed"]).splitlines() == [
        "== Speed",
        "ResNet is fast.",
        "| size | 1.5",
        "[picture: a line]",
    ]


def test_a_picture_of_the_page_is_known_by_its_file() -> None:
    page = (
        '<img src="data:image/svg+xml,%3Csvg a=&#39;1&#39;/%3E">'
        '<img src="data:image/svg+xml,%3Csvg/%3E">'
    )
    named = golden.with_names(page, {"report/figures/fps.svg": b'<svg\na="1"/>'})
    assert named == '<img src="report/figures/fps.svg"><img src="data:image/svg+xml,%3Csvg/%3E">'


def test_a_command_that_fails_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(golden.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    refused = ("plan", "--json", "--preset", "quick", "--tensorrt", "1.0")
    monkeypatch.setitem(golden.COMMANDS, "plan-quick-8.6", refused)
    assert golden.main(["plan-quick-8.6", "compare-h200-tensorrt-8.6"]) == 1
    told = capsys.readouterr().out
    assert "plan-quick-8.6: failed" in told and "benchlib: " in told
    assert "compare-h200-tensorrt-8.6: as accepted" in told


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        golden.main(["--accept", "plans"])
    assert ended.value.code == 2
    assert "no command is called plans" in capsys.readouterr().err
