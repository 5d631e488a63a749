"""Rows of two files with one name: told apart in the table, never paired, never dropped."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchlib.analysis import comparable_groups, results, significance
from benchlib.analysis.compare import compare
from benchlib.errors import InputError

X, Y = "1" * 64, "2" * 64


def line(key: str, model: str, digest: str | None, precision: str, ms: float, **more) -> dict:
    return {
        "key": key,
        "model": model,
        "precision": precision,
        "batch": 1,
        "height": 32,
        "width": 32,
        "shape_mode": "static",
        "typing": "strong",
        "engine": "trtexec",
        "int8_method": "qdq" if precision == "int8" else None,
        "status": "ok",
        "verdict": "VALID",
        "latency_ms": ms,
        "model_digest": digest,
        **more,
    }


def load(tmp_path: Path, *rows: dict, name: str = "set") -> results.MeasuredSet:
    folder = tmp_path / name
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return results.load(folder)


def test_int8_is_paired_with_fp32_of_the_same_content(tmp_path):
    found = load(
        tmp_path,
        line("1", "onnx:n.onnx", X, "fp32", 2.0),
        line("2", "onnx:n.onnx", Y, "fp32", 80.0),
        line("3", "onnx:n.onnx", X, "int8", 1.0),
        line("4", "onnx:n.onnx", Y, "int8", 20.0),
    )
    (part,) = comparable_groups.parts(found.frame)
    assert {(one.model, one.ratio) for one in significance.gains(part.frame, "int8")} == {
        ("onnx:n.onnx#11111111", 2.0),
        ("onnx:n.onnx#22222222", 4.0),
    }


def test_a_network_has_one_name_whatever_its_rows_say(tmp_path):
    found = load(
        tmp_path,
        line("1", "onnx:n.onnx", X, "fp32", 2.0),
        line("2", "onnx:a/n.onnx", X, "int8", 1.0),
        line("3", "onnx:b/n.onnx", Y, "fp32", 3.0),
    )
    assert list(found.frame["model"]) == ["onnx:n.onnx", "onnx:n.onnx", "onnx:b/n.onnx"]


def test_a_table_without_digests_is_read_as_it_stands(tmp_path):
    row = line("1", "onnx:n.onnx", None, "fp32", 2.0)
    del row["model_digest"]
    assert list(load(tmp_path, row).frame["model"]) == ["onnx:n.onnx"]


@pytest.mark.parametrize("method", [None, "qdq"])
def test_a_cell_twice_is_an_error_that_names_both_rows(tmp_path, method):
    found = load(
        tmp_path,
        line("k1", "resnet18", None, "int8", 2.0, int8_method=method),
        line("k2", "resnet18", None, "int8", 3.0, int8_method=method),
    )
    words = r"k1 \(line 2 of table.csv\) and k2 \(line 3 of table.csv\) are both resnet18 at int8"
    for split in (comparable_groups.parts, comparable_groups.side_by_side):
        with pytest.raises(InputError, match=words):
            split(found.frame)


def test_int8_of_unknown_making_is_kept_beside_the_methods(tmp_path):
    found = load(
        tmp_path,
        line("1", "resnet18", None, "int8", 2.0),
        line("2", "resnet18", None, "int8", 3.0, int8_method="modelopt"),
        line("3", "resnet18", None, "int8", 4.0, int8_method=None),
    )
    split = comparable_groups.parts(found.frame)
    assert sorted(key for part in split for key in part.frame["key"]) == ["1", "2", "3"]
    (whole,) = comparable_groups.side_by_side(found.frame)
    assert len(whole.frame) == 3


def test_sets_are_compared_by_content(tmp_path):
    first = load(
        tmp_path,
        line("1", "onnx:a/n.onnx", X, "fp32", 2.0),
        line("2", "onnx:b/n.onnx", Y, "fp32", 80.0),
        name="first",
    )
    second = load(tmp_path, line("1", "onnx:n.onnx", Y, "fp32", 40.0), name="second")
    found = compare(first, second)
    assert [(row.model, row.ratio) for row in found.rows] == [("onnx:b/n.onnx", 0.5)]
    assert (found.only_first, found.only_second, found.unlike) == (1, 0, 0)


def test_a_changed_file_is_not_compared_with_what_it_was(tmp_path):
    first = load(tmp_path, line("1", "onnx:n.onnx", X, "fp32", 2.0), name="first")
    second = load(tmp_path, line("1", "onnx:n.onnx", Y, "fp32", 3.0), name="second")
    found = compare(first, second)
    assert (found.rows, found.unlike) == ((), 1)


def test_a_file_of_unknown_content_is_not_compared_with_two(tmp_path):
    old = load(tmp_path, line("1", "onnx:n.onnx", None, "fp32", 2.0), name="old")
    one = line("1", "onnx:a/n.onnx", X, "fp32", 1.0)
    two = line("2", "onnx:b/n.onnx", Y, "fp32", 80.0)
    assert compare(old, load(tmp_path, one, two, name="both")).rows == ()
    assert len(compare(old, load(tmp_path, one, name="single")).rows) == 1
