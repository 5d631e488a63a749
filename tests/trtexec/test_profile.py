"""The per-layer profile, valid JSON or not quite."""

from pathlib import Path

import pytest

from benchlib.trtexec import exports
from benchlib.trtexec.exports import BadFileError, Layer

DATA = Path(__file__).parent / "data"


def test_a_profile() -> None:
    read = exports.read_profile(DATA / "10.16/profile.json")
    assert read == {"/conv1/Conv + /relu/Relu": 0.2, "/fc/Gemm": 0.05}


def test_quotes_in_a_name_are_survived() -> None:
    read = exports.read_profile(DATA / "8.6/profile.json")
    assert list(read) == ["/conv1/Conv + /relu/Relu", 'a "quoted" name']
    assert read['a "quoted" name'] == 0.05


def test_layers_of_one_name_are_added_up() -> None:
    one = '{"name": "a", "timeMs": 10, "averageMs": 1}'
    assert exports.load_profile(f'[{{"count": 10}}, {one}, {one}]') == {"a": 2.0}


def test_a_missing_mean_follows_from_the_sum() -> None:
    assert exports.load_profile('[{"count": 10}, {"name": "a", "timeMs": 5}]') == {"a": 0.5}


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
def test_what_is_no_time_is_not_known_and_the_others_stay(value: str, name: str) -> None:
    text = f"""[
  {{ "count" : 100 }}
, {{ "name" : "{name}", "timeMs" : {value}, "averageMs" : {value}, "medianMs" : {value}, "percentage" : {value} }}
, {{ "name" : "conv2", "timeMs" : 8.2, "averageMs" : 0.082, "medianMs" : 0.08, "percentage" : 100 }}
]"""  # noqa: E501
    assert exports.load_profile(text) == {"conv2": 0.082}


@pytest.mark.parametrize("value", NOT_KNOWN)
def test_a_mean_that_is_not_known_follows_from_the_sum(value: str) -> None:
    text = f'[{{"count": 10}}, {{"name": "a", "timeMs": 5, "averageMs": {value}}}]'
    assert exports.load_profile(text) == {"a": 0.5}
    text = f'[{{"count": 10}}, {{"name": "a", "timeMs": {value}, "averageMs": 0.5}}]'
    assert exports.load_profile(text) == {"a": 0.5}


@pytest.mark.parametrize("value", NOT_KNOWN)
def test_shares_of_time_are_numbers_whatever_the_profile_holds(value: str) -> None:
    text = f"""[{{"count": 10}}, {{"name": "a", "averageMs": {value}}},
        {{"name": "b", "averageMs": 1.0}}]"""
    engine = tuple(Layer(name, "Conv", ("fp32",), ("fp32",)) for name in "ab")
    assert exports.time_share(engine, exports.load_profile(text)) == {"fp32": 1.0}
    text = f'[{{"count": 10}}, {{"name": "a", "averageMs": {value}}}]'
    assert exports.time_share(engine, exports.load_profile(text)) is None


@pytest.mark.parametrize("count", ["-", "nan", "-nan", "true", '"10"', "-3", "1.5", "null", ""])
def test_a_count_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(BadFileError, match="no profiled run"):
        exports.load_profile(f'[{{"count": {count}}}, {{"name": "a", "timeMs": 5}}]')
