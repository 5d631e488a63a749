"""The per-layer profile, valid JSON or not quite."""

from pathlib import Path

import pytest

from benchlib.trtexec import exports
from benchlib.trtexec.exports import BadFileError, Layer

DATA = Path(__file__).parent / "data"


def test_a_profile() -> None:
    read = exports.read_profile(DATA / "10.16/profile.json")
    assert read.count == 50
    assert read.layers[0].name == "/conv1/Conv + /relu/Relu"
    assert read.layers[0].median_ms == 0.19
    assert read.times() == {"/conv1/Conv + /relu/Relu": 0.2, "/fc/Gemm": 0.05}


def test_quotes_in_a_name_are_survived() -> None:
    read = exports.read_profile(DATA / "8.6/profile.json")
    assert read.count == 50
    assert [layer.name for layer in read.layers] == [
        "/conv1/Conv + /relu/Relu",
        'a "quoted" name',
    ]
    assert read.layers[1].average_ms == 0.05
    assert read.layers[1].percentage == 20


def test_layers_of_one_name_are_added_up() -> None:
    one = '{"name": "a", "timeMs": 10, "averageMs": 1}'
    assert exports.load_profile(f'[{{"count": 10}}, {one}, {one}]').times() == {"a": 2.0}


def test_a_missing_mean_follows_from_the_sum() -> None:
    read = exports.load_profile('[{"count": 10}, {"name": "a", "timeMs": 5}]')
    assert read.layers[0].average_ms == 0.5
    assert read.layers[0].median_ms is None


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '[{"count": 0}]', '[{"count": 10}]', '[{"name": "a", "averageMs": 1}]'],
)
def test_what_holds_no_run_is_refused(text: str) -> None:
    with pytest.raises(BadFileError):
        exports.load_profile(text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"gone\.json"):
        exports.read_profile(tmp_path / "gone.json")


NOT_KNOWN = [
    "-",
    "nan",
    "-nan",
    "NaN",
    "inf",
    "-inf",
    "Infinity",
    "-1.5",
    "",
    "null",
    "1e999",
    "-nan(ind)",
    "1,5",
    "9" * 400,
    "true",
]


@pytest.mark.parametrize("value", NOT_KNOWN)
@pytest.mark.parametrize("name", ["conv1", 'a \\"quoted\\" name', 'a "quoted" name'])
def test_what_is_no_time_is_not_known_and_the_layer_stays(value: str, name: str) -> None:
    text = f"""[
  {{ "count" : 100 }}
, {{ "name" : "{name}", "timeMs" : {value}, "averageMs" : {value}, "medianMs" : {value}, "percentage" : {value} }}
, {{ "name" : "conv2", "timeMs" : 8.2, "averageMs" : 0.082, "medianMs" : 0.08, "percentage" : 100 }}
]"""  # noqa: E501
    read = exports.load_profile(text)
    first, second = read.layers
    assert first.name == name.replace("\\", "")
    assert (first.time_ms, first.average_ms, first.median_ms, first.percentage) == (None,) * 4
    assert (second.time_ms, second.average_ms, second.percentage) == (8.2, 0.082, 100)
    assert read.times() == {"conv2": 0.082}


@pytest.mark.parametrize("value", NOT_KNOWN)
def test_a_mean_that_is_not_known_follows_from_the_sum(value: str) -> None:
    text = f'[{{"count": 10}}, {{"name": "a", "timeMs": 5, "averageMs": {value}}}]'
    assert exports.load_profile(text).times() == {"a": 0.5}
    text = f'[{{"count": 10}}, {{"name": "a", "timeMs": {value}, "averageMs": 0.5}}]'
    assert exports.load_profile(text).times() == {"a": 0.5}
    assert exports.load_profile(text).layers[0].time_ms is None


@pytest.mark.parametrize("value", NOT_KNOWN)
def test_shares_of_time_are_numbers_whatever_the_profile_holds(value: str) -> None:
    text = f"""[{{"count": 10}}, {{"name": "a", "averageMs": {value}}},
        {{"name": "b", "averageMs": 1.0}}]"""
    engine = tuple(Layer(name, "Conv", ("fp32",), ("fp32",)) for name in "ab")
    assert exports.time_share(engine, exports.load_profile(text).times()) == {"fp32": 1.0}
    text = f'[{{"count": 10}}, {{"name": "a", "averageMs": {value}}}]'
    assert exports.time_share(engine, exports.load_profile(text).times()) is None


@pytest.mark.parametrize("count", ["-", "nan", "-nan", "true", '"10"', "-3", "1.5", "null", ""])
def test_a_count_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(BadFileError, match="no profiled run"):
        exports.load_profile(f'[{{"count": {count}}}, {{"name": "a", "timeMs": 5}}]')
