"""The export of times: one reader, one writer, nothing half."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib.trtexec import exports
from benchlib.trtexec.exports import BadFileError, Query

STORED = Path(__file__).parent / "data" / "8.6" / "times.json"


def test_a_stored_export_is_read() -> None:
    queries = exports.read_times(STORED)
    assert [query.compute_ms for query in queries] == [0.228592, 0.228638, 1e-05]
    assert queries[0].start_compute_ms == 200.114
    assert queries[0].enqueue_ms == pytest.approx(0.009)


def test_writing_gives_the_bytes_that_were_read(tmp_path: Path) -> None:
    again = tmp_path / "times.json"
    again.write_text(exports.dump_times(exports.read_times(STORED)))
    assert again.read_bytes() == STORED.read_bytes()
    assert list(tmp_path.iterdir()) == [again]


def test_a_gzipped_export_is_read(tmp_path: Path) -> None:
    packed = tmp_path / "times.json.gz"
    packed.write_bytes(gzip.compress(STORED.read_bytes()))
    assert exports.read_times(packed) == exports.read_times(STORED)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-20],
        lambda packed: packed[:10],
        lambda packed: packed[:12] + b"\xff" * 20 + packed[32:],
        lambda packed: packed[:-8] + bytes(8),
        lambda packed: packed + b"more",
        lambda _: gzip.compress(b"[" * 100_000),
        lambda _: gzip.compress(b"\xff\xfe"),
    ],
)
def test_a_damaged_gzip_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    packed = tmp_path / "times.json.gz"
    packed.write_bytes(damage(gzip.compress(STORED.read_bytes())))
    with pytest.raises(BadFileError, match=r"^times\.json\.gz: ") as caught:
        exports.read_times(packed)
    assert "\n" not in str(caught.value)


stamps = st.floats(0, 1e7, allow_nan=False).map(lambda value: float(f"{value:.6g}"))
queries = st.builds(Query, *[stamps] * 12)


@given(st.lists(queries, min_size=1, max_size=4))
def test_what_is_written_reads_back(written: list[Query]) -> None:
    assert exports.load_times(exports.dump_times(written)) == tuple(written)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2345.678, "2345.68"), (0.0, "0"), (1e-05, "1e-05"), (0.2286001, "0.2286"), (1e7, "1e+07")],
)
def test_numbers_are_printed_as_by_cpp(value: float, text: str) -> None:
    assert exports.number(value) == text


WHOLE = STORED.read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not whole JSON"),
        (WHOLE[: len(WHOLE) // 2], "not whole JSON"),
        ("[]", "holds no query"),
        ("{}", "holds no query"),
        ("[1]", "query 0 is not an object"),
        (WHOLE.replace('"computeMs" : 1e-05', '"computeMs" : NaN'), "query 2: computeMs is nan"),
        (WHOLE.replace('"computeMs" : 1e-05', '"computeMs" : "x"'), "query 2 has no number"),
        (WHOLE.replace('"computeMs" : 1e-05, ', ""), "query 2 has no number computeMs"),
    ],
)
def test_a_spoilt_export_is_refused_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(BadFileError, match=problem):
        exports.load_times(text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"gone\.json"):
        exports.read_times(tmp_path / "gone.json")
