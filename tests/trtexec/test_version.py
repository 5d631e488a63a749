"""Versions as people and banners write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchlib.errors import InputError
from benchlib.trtexec.flags import Version, parse_version, version_from_banner


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (8600, "8.6.0"),
        (8510, "8.5.10"),
        (9300, "9.3.0"),
        (100001, "10.0.1"),
        (101302, "10.13.2"),
        (110100, "11.1.0"),
        (13200, "1.32.0"),
    ],
)
def test_both_banner_schemes(number: int, text: str) -> None:
    assert str(version_from_banner(number)) == text


@given(st.integers(8, 20), st.integers(0, 9), st.integers(0, 99))
def test_a_banner_number_reads_back(major: int, minor: int, patch: int) -> None:
    version = Version(major, minor, patch)
    assert version_from_banner(version.banner()) == version


@pytest.mark.parametrize("text", ["8.6.0.12", "v8.6", "8.6", " 8.6.0 ", "8.6.0.post1", "8.6-rc1"])
def test_wheels_and_people_are_understood(text: str) -> None:
    assert parse_version(text) == Version(8, 6)


def test_versions_compare_as_numbers() -> None:
    assert parse_version("10.4") < parse_version("10.16") < parse_version("11.0.1")


@pytest.mark.parametrize("text", ["", "ten", "8", "8.x", "8..6"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"tensorrt: .* write it like 8\.6"):
        parse_version(text)
