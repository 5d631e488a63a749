import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchlib.analysis.results import load
from benchlib.report import methods

Write = Callable[..., Path]


def test_commands_are_shown_once_per_set_of_flags(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    folder = write(tmp_path / "mine", rows)
    build = ["trtexec", "--onnx={work}/a.onnx", "--saveEngine={work}/a.plan", "--fp16"]
    times = [["trtexec", f"--loadEngine={{work}}/a.plan{run}", "--useCudaGraph"] for run in "12"]
    (folder / "rows").mkdir()
    key = rows.loc[rows["precision"] == "fp16", "key"].iloc[0]
    row = {"detail": {"commands": [build, *times]}}
    (folder / "rows" / f"{key}.json").write_text(json.dumps(row))
    page = methods.commands(load(folder))._repr_html_()
    assert page.count("<pre") == 1
    assert "FP16" in page
    assert page.count("--useCudaGraph") == 1
    assert "--saveEngine" in page


def test_a_set_without_commands_says_so(published_dir: Path) -> None:
    assert "not kept" in methods.commands(load(published_dir))._repr_html_()


def test_provenance_names_the_table_by_its_hash(published_dir: Path) -> None:
    said = methods.provenance([load(published_dir)])._repr_html_()
    assert "table.csv sha256" in said
    assert str(published_dir) not in said


def test_provenance_has_the_days_of_the_set_and_of_its_rows(invented_dir: Path) -> None:
    one = load(invented_dir)
    begun = replace(one, environment={**one.environment, "date": "2026-11-25T10:50:51Z"})
    days = "measured 2026-11-25", " to 2026-11-27"
    assert days[0] in (said := methods.provenance([begun])._repr_html_()) and days[1] not in said
    begun.frame["started_at"] = "2026-11-27T14:42:37.230397Z"
    assert "".join(days) in methods.provenance([begun])._repr_html_()


def test_every_fault_says_what_was_done() -> None:
    assert all(len(fault) == 3 and all(fault) for fault in methods.FAULTS)
    assert "--useCudaGraph" in methods.FAULTS[0][1]
