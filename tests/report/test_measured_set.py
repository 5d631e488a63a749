from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchlib.analysis import published
from benchlib.analysis.measured import MeasuredSet, load, usable
from benchlib.errors import InputError
from benchlib.models import lineup
from benchlib.report.view import View, views
from benchlib.sweep.row import COLUMNS

Write = Callable[..., Path]


def test_a_set_has_every_column_with_its_type(invented: MeasuredSet) -> None:
    assert set(COLUMNS) <= set(invented.frame.columns)
    assert list(invented.frame["precision"].cat.categories)[:3] == ["fp32", "tf32", "fp16"]
    assert invented.frame["precision"].cat.ordered
    assert list(invented.frame["resolution"].cat.categories) == [
        *("640x480", "1024x768", "1920x1056"),
    ]
    assert invented.frame["transfers"].dtype == "boolean"
    row = invented.frame.iloc[0]
    assert row["fps"] == pytest.approx(1000 / row["latency_ms"])
    assert row["fps_low"] < row["fps"] < row["fps_high"]


def test_usable_leaves_out_what_failed_and_what_is_invalid(invented: MeasuredSet) -> None:
    kept = usable(invented.frame)
    assert len(invented.frame) - len(kept) == 3  # failed, skipped, INVALID; SUSPECT stays
    assert set(kept["verdict"]) == {"VALID", "SUSPECT"}


def test_words_that_look_like_missing_values_stay_words(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    rows["message"] = "NA"
    frame = load(write(tmp_path, rows)).frame
    assert set(frame["message"]) == {"NA"}
    assert frame["failure"].isna().any()  # an empty field is missing


def test_a_set_without_optional_columns_loads(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    few = rows[["model", "precision", "height", "width", "status", "latency_ms"]]
    frame = load(write(tmp_path, few)).frame
    assert frame["gmacs"].isna().all()
    assert (frame["batch"] == 1).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no table.csv"),
        ("model,precision\nresnet18,fp32\n", "lacks the columns height"),
        ("", "not a readable CSV"),
        (
            "model,precision,height,width,status,latency_ms\nresnet18,fp17,1,1,ok,1\n",
            "unknown precisions: fp17",
        ),
    ],
)
def test_a_broken_set_is_refused_in_words(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "table.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        load(tmp_path)


def test_a_broken_environment_is_refused(tmp_path: Path, rows: pd.DataFrame, write: Write) -> None:
    write(tmp_path, rows)
    (tmp_path / "environment.json").write_text("{")
    with pytest.raises(InputError, match=r"environment\.json"):
        load(tmp_path)


def test_batches_are_views_and_int8_methods_stand_side_by_side_in_one(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    eight = rows.assign(batch=8)
    other = rows[rows["precision"] == "int8"].assign(int8_method="made-up ranges", latency_ms=9.0)
    both = pd.concat([other, rows, eight], ignore_index=True)
    found = views(load(write(tmp_path / "mine", both)))
    assert [view.slug for view in found] == ["mine-batch-1", "mine-batch-8"]
    for view in found:
        assert not view.frame.duplicated(["model", "precision", "resolution"]).any()
    one, batched = found
    assert one.precisions == ["fp32", "fp16", "int8/qdq", "int8/made-up ranges"]
    assert batched.precisions == ["fp32", "fp16", "int8"]
    assert set(one.at("int8/made-up ranges")["latency_ms"]) == {9.0}
    assert set(one.at("int8/qdq")["int8_method"]) == {"qdq"}
    assert len(one.at("fp32")) == len(batched.at("fp32"))


def test_an_only_view_is_named_as_its_set(invented_view: View) -> None:
    assert invented_view.slug == "invented"
    assert invented_view.label == "Invented numbers, batch 1"


def test_a_cpu_run_says_so_wherever_it_is_named(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    cpu = write(tmp_path / "mine", rows.assign(engine="onnxruntime_cpu"), {"gpu": None})
    assert views(load(cpu))[0].label == "mine (CPU run), batch 1"
    card = write(tmp_path / "other", rows, {"gpu": None})
    assert views(load(card))[0].label == "other (Invented GPU), batch 1"


@pytest.fixture(scope="module")
def converted(published_dir: Path) -> list[dict]:
    return published.rows(published_dir / "source.csv")


def test_the_published_table_is_what_its_source_says(
    published_dir: Path, converted: list[dict]
) -> None:
    measured = load(published_dir)
    assert measured.published
    assert len(measured.frame) == 192
    assert set(measured.frame["model"]) == set(lineup.BLOG)
    source = pd.read_csv(published_dir / "source.csv")
    assert measured.frame["latency_ms"].tolist() == source["latency_ms"].tolist()
    again = pd.DataFrame(converted).reindex(columns=list(COLUMNS))
    for name in ("key", "gmacs", "params_m", "mactivations", "size_mb"):
        stored = pd.read_csv(published_dir / "table.csv")[name]
        assert stored.tolist() == again[name].tolist(), name


def test_the_published_table_claims_no_more_than_it_knows(published_dir: Path) -> None:
    frame = load(published_dir).frame
    unknown = ["latency_ci_low_ms", "cov", "n_samples", "sm_clock_mhz", "throughput_img_s"]
    assert frame[[*unknown, "verdict"]].isna().all().all()
    assert frame.loc[frame["task"] == "segmentation", "accuracy"].isna().all()
    int8 = frame[frame["precision"] == "int8"]
    assert set(int8["int8_method"]) == {"made-up ranges"}
    resnet = frame[(frame["model"] == "resnet18") & (frame["resolution"] == "640x480")]
    assert resnet["gmacs"].iloc[0] == pytest.approx(11.104, abs=5e-4)
