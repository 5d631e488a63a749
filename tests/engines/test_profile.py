"""The per-layer profile, valid JSON or not quite."""

from pathlib import Path

import pytest

from benchlib.engines import profile
from benchlib.engines.profile import BadProfileError

DATA = Path(__file__).parent / "data"


def test_a_profile() -> None:
    read = profile.read(DATA / "10.16/profile.json")
    assert read.count == 50
    assert read.layers[0].name == "/conv1/Conv + /relu/Relu"
    assert read.layers[0].median_ms == 0.19
    assert read.times() == {"/conv1/Conv + /relu/Relu": 0.2, "/fc/Gemm": 0.05}


def test_quotes_in_a_name_are_survived() -> None:
    read = profile.read(DATA / "8.6/profile.json")
    assert read.count == 50
    assert [layer.name for layer in read.layers] == [
        "/conv1/Conv + /relu/Relu",
        'a "quoted" name',
    ]
    assert read.layers[1].average_ms == 0.05
    assert read.layers[1].percentage == 20


def test_layers_of_one_name_are_added_up() -> None:
    one = '{"name": "a", "timeMs": 10, "averageMs": 1}'
    assert profile.loads(f'[{{"count": 10}}, {one}, {one}]').times() == {"a": 2.0}


def test_a_missing_mean_follows_from_the_sum() -> None:
    read = profile.loads('[{"count": 10}, {"name": "a", "timeMs": 5}]')
    assert read.layers[0].average_ms == 0.5
    assert read.layers[0].median_ms is None


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '[{"count": 0}]', '[{"count": 10}]', '[{"name": "a", "averageMs": 1}]'],
)
def test_what_holds_no_run_is_refused(text: str) -> None:
    with pytest.raises(BadProfileError):
        profile.loads(text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadProfileError, match=r"gone\.json"):
        profile.read(tmp_path / "gone.json")
