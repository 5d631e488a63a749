import csv
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import published_set
import pytest

from benchlib.analysis.comparable_groups import Variant
from benchlib.analysis.results import MeasuredSet, codes, load, usable
from benchlib.errors import InputError
from benchlib.measure.record import COLUMNS
from benchlib.models import registry
from benchlib.report import sections
from benchlib.report.document import Document
from benchlib.report.view import View, views

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
            "line 2, column precision: 'fp17' is not one of fp32, tf32, fp16",
        ),
    ],
)
def test_a_broken_set_is_refused_in_words(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "table.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        load(tmp_path)


LINE = {"model": "resnet18", "precision": "fp32", "height": "480", "width": "640"}
LINE |= {"status": "ok", "latency_ms": "1.5", "batch": "1", "message": "a, b", "mine": "x"}


def _table(folder: Path, *lines: dict[str, str], encoding: str = "utf-8", **dialect: str) -> Path:
    with (folder / "table.csv").open("w", encoding=encoding, newline="") as sink:
        writer = csv.DictWriter(sink, list(LINE), **dialect)
        writer.writeheader()
        writer.writerows(lines or [LINE])
    return folder


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"latency_ms": "0,6061"}, "column latency_ms: '0,6061' is no number; write digits with a"),
        ({"latency_ms": "1,234.5"}, "'1,234.5' is no number"),
        ({"latency_ms": "1 234"}, "'1 234' is no number"),
        ({"latency_ms": "1_234"}, "'1_234' is no number"),
        ({"latency_ms": "nan"}, "'nan' is no number"),
        ({"latency_ms": "-inf"}, "'-inf' is no number"),
        ({"latency_ms": "1e999"}, "'1e999' is too large"),
        ({"latency_ms": "=1.5"}, "'=1.5' is no number"),
        ({"latency_ms": "0"}, "'0' is not greater than 0"),
        ({"latency_ms": "-1.5"}, "'-1.5' is not greater than 0"),
        ({"height": ""}, "column height: is empty; fill it in"),
        ({"height": "480.5"}, "'480.5' is no whole number"),
        ({"batch": "0"}, "'0' is not at least 1"),
        ({"status": "OK"}, "column status: 'OK' is not one of ok, failed, skipped"),
        ({"status": ""}, "column status: is empty"),
        ({"model": " "}, "column model: is empty"),
        ({"verdict": "GOOD"}, "'GOOD' is not one of VALID, SUSPECT, INVALID"),
        ({"precision": "FP32"}, "'FP32' is not one of fp32"),
        ({"shape_mode": "open"}, "'open' is not one of static"),
        ({"typing": "duck"}, "'duck' is not one of weak"),
        ({"int8_method": "entropy"}, "'entropy' is not one of qdq"),
        ({"engine": "tvm"}, "'tvm' is not one of trtexec"),
        ({"failure": "bad luck"}, "'bad luck' is not one of oom_build"),
        ({"cuda_graph": "WAHR"}, "'WAHR' is neither True nor False"),
        ({"low_precision_share": "43"}, "'43' is not at most 1"),
        ({"latency_ci_low_ms": "-0.1"}, "'-0.1' is not greater than 0"),
    ],
)
def test_a_cell_that_its_column_cannot_hold_is_refused_by_line_and_column(
    tmp_path: Path, cell: dict[str, str], said: str
) -> None:
    good = LINE | dict.fromkeys(cell, "1" if "latency" in next(iter(cell)) else "")
    good |= {name: LINE[name] for name in cell if name in LINE}
    # A cell of two lines stands before it: the line is the file's, not the row's number.
    pd.DataFrame([good | {"message": "two\nlines"}, good | cell]).to_csv(
        tmp_path / "table.csv", index=False
    )
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    text = str(caught.value)
    assert f"table.csv, line 4, column {next(iter(cell))}: " in text and "\n" not in text
    assert said in text


def test_a_table_that_a_spreadsheet_saved_is_read_as_before(tmp_path: Path) -> None:
    before = load(_table(tmp_path)).frame
    again = _table(tmp_path, encoding="utf-8-sig", lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    with (again / "table.csv").open("a", newline="") as sink:
        sink.write("\r\n" + "," * (len(LINE) - 1) + "\r\n")
    pd.testing.assert_frame_equal(load(again).frame, before)
    assert before["mine"].tolist() == ["x"]
    spaced = _table(tmp_path, LINE | {"latency_ms": " 1.5 ", "status": "ok "})
    pd.testing.assert_frame_equal(load(spaced).frame, before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{header}\n{line}\n{cut}", "line 3: 4 cells under 6 columns"),
        ("{header}\nresnet18,fp32,480,640,ok,0,6061\n", "line 2: 7 cells under 6 columns"),
        ("{header},status\n{line},ok\n", "line 1: two columns are called status"),
        ("{header}\n{line}\n".replace("{header}", "\n{header}"), "names no columns"),
        ('{header}\n{line}\n"{line}\n', "not a readable CSV"),
        ("model;precision;height;width;status;latency_ms\n", "by semicolons; save it with commas"),
        ("model\tprecision\theight\twidth\tstatus\tlatency_ms\n", "by tabs; save it with commas"),
        ("\ufeff", "names no columns"),
    ],
)
def test_a_table_out_of_shape_is_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    header, line = "model,precision,height,width,status,latency_ms", "resnet18,fp32,480,640,ok,1"
    content = text.format(header=header, line=line, cut="resnet18,fp16,480,6")
    (tmp_path / "table.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_two_lines_of_one_case_are_refused(tmp_path: Path) -> None:
    twins = [LINE | {"key": "a"}, LINE | {"key": "b"}, LINE | {"key": "a", "latency_ms": "9"}]
    pd.DataFrame(twins).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(InputError, match=r"line 4: its case stands in line 2 already \(a\)"):
        load(tmp_path)


def test_one_key_of_two_cases_is_refused_where_it_names_evidence(tmp_path: Path) -> None:
    rows = [LINE | {"key": "a"}, LINE | {"key": "b"}, LINE | {"key": "a", "height": "99"}]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    assert len(load(tmp_path).frame) == 3
    _set_with_rows(tmp_path, {"a": json.dumps({"key": "a"})})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(InputError, match="line 4, column key: line 2 has 'a' too"):
        load(tmp_path)


def test_cells_that_deny_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2, column latency_ms: is empty though the row is"):
        load(_table(tmp_path, LINE | {"latency_ms": ""}))
    turned = LINE | {"latency_ci_low_ms": "2", "latency_ci_high_ms": "1.2"}
    pd.DataFrame([turned]).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(InputError, match=r"column latency_ci_low_ms: '2' is more than '1\.2'"):
        load(tmp_path)
    apart = LINE | {"latency_ci_low_ms": "1.6", "latency_ci_high_ms": "1.7"}
    pd.DataFrame([apart]).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(InputError, match=r"latency_ms: '1\.5' is outside of its interval, 1\.6 to"):
        load(tmp_path)
    # Nothing was counted in an INVALID row, and a failed one has no time.
    for row in ({"status": "ok", "verdict": "INVALID"}, {"status": "failed"}):
        pd.DataFrame([LINE | {"latency_ms": ""} | row]).to_csv(tmp_path / "table.csv", index=False)
        assert len(load(tmp_path).frame) == 1


def test_a_key_that_is_no_files_name_has_no_evidence(tmp_path: Path) -> None:
    pd.DataFrame([LINE | {"key": "k" * 300}]).to_csv(tmp_path / "table.csv", index=False)
    assert load(tmp_path).layers("k" * 300) == ()


def test_notes_among_the_reasons_of_an_older_table_and_row_are_told_apart(tmp_path: Path) -> None:
    line = LINE | {"key": "k", "verdict": "SUSPECT", "reasons": "drift;power_limited"}
    pd.DataFrame([line]).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "rows").mkdir()
    old = {"key": "k", "reasons": ["drift", "power_limited"], "detail": {"reasons": ["a", "b"]}}
    (tmp_path / "rows" / "k.json").write_text(json.dumps(old))
    measured = load(tmp_path)
    assert measured.frame.loc[0, ["reasons", "notes"]].tolist() == ["drift", "power_limited"]
    assert (measured.doubts("k"), measured.remarks("k")) == (("a",), ("b",))
    assert sections.meanings(measured) == {"drift": "a", "power_limited": "b"}
    (row,) = measured.frame.itertuples()
    assert codes(row) == ["drift", "power_limited"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    _table(tmp_path, LINE | {"message": "café"}, encoding=encoding)
    with pytest.raises(InputError, match=r"not a readable CSV .*in UTF-8 and with commas"):
        load(tmp_path)


SEEN = {"commands": [["trtexec", "--fp16"]], "reasons": ["why"], "shares": {"macs": {"fp16": 1}}}
SEEN |= {"graph": {"fidelity": {"relative_l2": 0.5}}, "layers": [{"name": "conv", "macs": 3}]}


def _set_with_rows(folder: Path, documents: dict[str, str]) -> Path:
    """Rows ``whole`` and ``bad`` in the table, and files as they are given."""
    lines = [LINE | {"key": "whole"}, LINE | {"key": "bad", "model": "resnet34"}]
    pd.DataFrame(lines).to_csv(folder / "table.csv", index=False)
    (folder / "rows").mkdir()
    for name, text in documents.items():
        (folder / "rows" / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def test_what_a_rows_file_holds_is_read(tmp_path: Path) -> None:
    newer = {"key": "bad", "schema_version": 2, "detail": SEEN, "more": 1}
    text = "\ufeff" + json.dumps({"key": "whole", "detail": SEEN})
    measured = load(_set_with_rows(tmp_path, {"whole": text, "bad": json.dumps(newer)}))
    assert measured.damaged == ()
    for key in ("whole", "bad"):
        assert measured.commands(key) == (("trtexec", "--fp16"),)
        assert measured.doubts(key) == ("why",)
        assert measured.shares(key) == {"macs": {"fp16": 1.0}}
        assert measured.off_fp32(key) == 0.5
        assert measured.layers(key) == ({"name": "conv", "macs": 3},)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"key": "bad", "detail": {',
        "[]",
        "7",
        "[" * 100_000,
        '{"key": "other"}',
        '{"detail": 3}',
        '{"detail": {"graph": "none"}}',
        '{"detail": {"commands": ["trtexec"]}}',
        '{"detail": {"layers": [{"name": "conv", "time_ms": "soon"}]}}',
        '{"detail": {"shares": {"time": {"fp16": NaN}}}}',
    ],
)
def test_a_rows_file_that_is_damaged_is_told_of_and_the_rest_stands(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = json.dumps({"key": "whole", "detail": SEEN})
    measured = load(_set_with_rows(tmp_path, {"whole": whole, "bad": text}))
    (sentence,) = measured.damaged
    assert sentence.startswith("rows/bad.json cannot be read (") and "\n" not in sentence
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path.name}: {sentence}"]
    assert measured.frame["latency_ms"].tolist() == [1.5, 1.5]
    assert measured.commands("bad") == () == measured.layers("bad")
    assert measured.commands("whole") == (("trtexec", "--fp16"),)
    page = Document((measured,))
    assert "rows/bad.json cannot be read" in page.overview()._repr_html_()
    assert "trtexec --fp16" in page.commands()._repr_html_()
    assert page.failures() and not page.layer_times() and not page.precisions()
    assert len(page.not_drawn()[0].items) == 2


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        # A spreadsheet whose thousands have a point read 1.5 so
        ({"latency_ms": 1500.0}, "1 cell, the first latency_ms of whole: 1.5 in the table, 1500.0"),
        ({"latency_ms": 1.6, "batch": 8}, "2 cells, the first batch of whole: 1.0 in the table, 8"),
        ({"verdict": "SUSPECT"}, "verdict of whole: nothing in the table, SUSPECT in its row"),
        ({"status": "failed", "latency_ms": None}, "status of whole: ok in the table, failed in"),
    ],
)
def test_a_table_that_differs_from_its_rows_is_told_of(
    tmp_path: Path, cells: dict[str, object], words: str
) -> None:
    row = json.dumps({"key": "whole"} | cells)
    measured = load(_set_with_rows(tmp_path, {"whole": row}))
    (sentence,) = measured.damaged
    assert sentence.startswith("table.csv and rows/ differ in ") and words in sentence
    assert measured.frame["latency_ms"].tolist() == [1.5, 1.5]


def test_rounded_cells_are_no_difference(tmp_path: Path) -> None:
    row = json.dumps({"key": "whole", "latency_ms": 1.50049, "batch": 1, "status": "ok"})
    assert load(_set_with_rows(tmp_path, {"whole": row})).damaged == ()


def test_a_folder_in_place_of_a_row_and_a_row_without_a_line_are_told_of(tmp_path: Path) -> None:
    folder = _set_with_rows(tmp_path, {"extra": '{"key": "extra"}', "torn": "{"})
    (folder / "rows" / "bad.json").mkdir()
    bad, extra, torn = load(folder).damaged
    assert bad.startswith("rows/bad.json cannot be read (Is a directory)")
    assert extra.startswith("rows/extra.json has no line in table.csv; its row is left out")
    assert torn.startswith("rows/torn.json cannot be read") and torn.endswith("row is left out")


@pytest.mark.parametrize("text", ["{", "[]", '{"published": "no"}', '{"published": 0}'])
def test_a_broken_environment_is_refused(
    tmp_path: Path, rows: pd.DataFrame, write: Write, text: str
) -> None:
    write(tmp_path, rows)
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(InputError, match=r"environment\.json"):
        load(tmp_path)


def test_batches_are_views_and_int8_methods_stand_side_by_side_in_one(
    tmp_path: Path, rows: pd.DataFrame, write: Write
) -> None:
    eight = rows.assign(batch=8)
    nine = dict.fromkeys(("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms"), 9.0)
    other = rows[rows["precision"] == "int8"].assign(int8_method="made-up ranges", **nine)
    both = pd.concat([other, rows, eight], ignore_index=True)
    found = views(load(write(tmp_path / "mine", both)))
    assert [view.slug for view in found] == ["mine-batch-1", "mine-batch-8"]
    for view in found:
        assert not view.frame.duplicated(["model", "variant", "resolution"]).any()
    one, batched = found
    fp32, qdq, made_up = Variant("fp32"), Variant("int8", "qdq"), Variant("int8", "made-up ranges")
    assert one.precisions == [fp32, Variant("fp16"), qdq, made_up]
    assert batched.precisions == [fp32, Variant("fp16"), Variant("int8")]
    assert set(one.at(made_up)["latency_ms"]) == {9.0}
    assert set(one.at(qdq)["int8_method"]) == {"qdq"}
    assert len(one.at(fp32)) == len(batched.at(fp32)) > 0


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
    return published_set.rows(published_dir / "source.csv")


def test_the_published_table_is_what_its_source_says(
    published_dir: Path, converted: list[dict]
) -> None:
    measured = load(published_dir)
    assert measured.published
    assert len(measured.frame) == 192
    assert set(measured.frame["model"]) == set(registry.BLOG)
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


def test_a_rows_file_is_opened_once_however_much_is_asked_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({"key": "whole", "detail": SEEN})
    folder = _set_with_rows(tmp_path, {"whole": text})
    opened = []
    read_text = Path.read_text

    def counted(path: Path, *values: object, **named: object) -> str:
        opened.append(path.name)
        return read_text(path, *values, **named)

    monkeypatch.setattr(Path, "read_text", counted)
    page = Document((load(folder),))
    for part in (page.overview, page.commands, page.failures, page.layer_times, page.precisions):
        part()
    assert opened.count("whole.json") == 1
