from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchlib.analysis import published
from benchlib.analysis.measured import MeasuredSet, load, usable
from benchlib.errors import InputError
from benchlib.models import lineup
from benchlib.report.view import views
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


def test_batches_and_int8_methods_are_views_of_their_own(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    eight = rows.assign(batch=8)
    other = rows[rows["precision"] == "int8"].assign(int8_method="qdq-no-depthwise")
    measured = load(write(tmp_path, pd.concat([rows, other, eight], ignore_index=True)))
    found = views(measured)
    assert len(found) == 3
    assert len({view.slug for view in found}) == 3
    assert sum(view.batch == 8 for view in found) == 1
    for view in found:
        assert not view.frame.duplicated(["model", "precision", "resolution"]).any()
        assert view.precisions == ["fp32", "fp16", "int8"]


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
