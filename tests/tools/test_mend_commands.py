"""The commands of a row are those that its log says ran, in every committed set and once mended."""

from __future__ import annotations

import json
from pathlib import Path

import mend_commands
import pytest

from benchlib.measure.store import read_log

ROOT = Path(__file__).resolve().parents[2]
LOGGED = sorted((ROOT / "results").glob("*/rows"))


def ran(folder: Path, row: dict) -> list[list[str]]:
    log = read_log(folder / row["log"])
    return [list(arguments) for arguments in mend_commands.started(log)]


@pytest.mark.parametrize("rows", LOGGED, ids=lambda path: path.parent.name)
def test_the_commands_of_committed_rows_agree_with_their_logs(rows: Path) -> None:
    files = sorted(rows.glob("*.json"))
    assert files
    for path in files:
        row = json.loads(path.read_text(encoding="utf-8"))
        listed = row["detail"]["commands"]
        found = [[word for word in argv if word.startswith("--")] for argv in listed]
        assert found == ran(rows.parent, row), path.name


def test_there_are_committed_sets_to_look_at() -> None:
    assert {path.parent.name for path in LOGGED} >= {"h100-tensorrt-8.6", "h200-tensorrt-8.6"}


BUILD = ["trtexec", "--onnx={cache}/a b.onnx", "--saveEngine={work}/k.b0.p0.engine", "--fp16"]
PROFILE = ["trtexec", "--loadEngine={work}/k.b0.p0.engine", "--exportProfile={work}/p.json"]
TIME = ["trtexec", "--loadEngine={cache}/plans/1/engine.plan", "--warmUp=200", "--exportTimes=t"]
BUILT = ["trtexec", "--onnx={cache}/a b.onnx", "--saveEngine={cache}/plans/.k/e.plan", "--fp16"]
PROFILED = ["trtexec", "--loadEngine={cache}/plans/1/engine.plan", "--exportProfile={work}/p.json"]


def said(*commands: list[str]) -> str:
    return "".join(
        f"&&&& {state} TensorRT.trtexec [TensorRT v8600] # {' '.join(argv)}\n[I] words\n"
        for argv in commands
        for state in ("RUNNING", "PASSED")
    )


def measured(folder: Path, log: str, commands: list[list[str]]) -> Path:
    (folder / "rows").mkdir(parents=True)
    (folder / "k.log").write_text(log)
    row = {"key": "k", "latency_ms": 0.1 + 0.2, "log": "k.log", "detail": {"commands": commands}}
    (folder / "rows" / "k.json").write_text(json.dumps(row, indent=1) + "\n")
    (folder / "environment.json").write_text(json.dumps({"notes": ["One."]}, indent=1) + "\n")
    return folder


@pytest.mark.parametrize(
    ("log", "left"),
    [
        ([BUILT, PROFILED, TIME, TIME], [BUILT, PROFILED, TIME, TIME]),
        ([PROFILED, TIME, TIME], [PROFILED, TIME, TIME]),
        ([TIME], [TIME]),
    ],
    ids=["built", "engine found", "only timed"],
)
def test_what_did_not_run_is_struck_and_nothing_else_changes(
    tmp_path: Path, log: list, left: list
) -> None:
    listed = [BUILD, PROFILE, TIME, BUILD, PROFILE, TIME]
    folder = measured(tmp_path / "set", said(*log), listed)
    before = json.loads((folder / "rows/k.json").read_text())
    assert mend_commands.main([str(folder)]) == 0
    after = json.loads((folder / "rows/k.json").read_text())
    assert after["detail"].pop("commands") == left
    assert before["detail"].pop("commands") == listed
    assert after == before
    notes = json.loads((folder / "environment.json").read_text())["notes"]
    assert notes[0] == "One."
    assert f"{len(listed) - len(left)} of {len(listed)} commands" in notes[1]
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert mend_commands.main([str(folder)]) == 0
    assert texts == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "log",
    [
        said(TIME, TIME, TIME),
        said([*TIME[:2], "--warmUp=400", TIME[3]]),
        said([*TIME, "--verbose"]),
        "no banner\n",
    ],
    ids=["more ran", "another warm-up", "another flag", "nothing told"],
)
def test_a_log_that_does_not_fit_is_named_and_left(
    tmp_path: Path, log: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = measured(tmp_path / "set", log, [BUILD, TIME, BUILD, TIME])
    text = (folder / "rows/k.json").read_bytes()
    assert mend_commands.main([str(folder)]) == 1
    assert "k.json: left as it is" in capsys.readouterr().err
    assert (folder / "rows/k.json").read_bytes() == text
    assert json.loads((folder / "environment.json").read_text())["notes"] == ["One."]


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("--onnx=a.onnx --fp16", ("--onnx=a.onnx", "--fp16")),
        ("--onnx=a b.onnx --fp16", ("--onnx=a b.onnx", "--fp16")),
        ("'--onnx=a b.onnx' --fp16", ("--onnx=a b.onnx", "--fp16")),
        ("'--onnx={work}/it'\"'\"'s.onnx' --fp16", ("--onnx={work}/it's.onnx", "--fp16")),
        ("--onnx=it's.onnx '--saveEngine=a b'", ("--onnx=it's.onnx", "--saveEngine=a b")),
        ("--shapes='a:b':1x3 -h", ("--shapes='a:b':1x3", "-h")),
        ("--onnx=a - b -1.onnx", ("--onnx=a - b -1.onnx",)),
        ("'--onnx=a", ("'--onnx=a",)),
        ("", ()),
    ],
)
def test_the_arguments_of_what_began(words: str, arguments: tuple[str, ...]) -> None:
    banners = [
        f"&&&& {state} TensorRT.trtexec [TensorRT v100500] [b1] # trtexec {words}\n"
        for state in ("RUNNING", "FAILED", "RUNNING", "PASSED")
    ]
    assert mend_commands.started("[I] x\n".join(banners)) == (arguments, arguments)
    assert mend_commands.started("nothing began") == ()
