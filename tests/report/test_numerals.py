"""Shares as people read them."""

import pytest

from benchlib.analysis import wording


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.00179, "0.18 %"),
        (0.066, "6.6 %"),
        (0.42, "42 %"),
        (0.994, "99 %"),
        (0.9982, "99.8 %"),
        (0.99999, "> 99.9 %"),
        (1.0, "100 %"),
        (1.003, "100.3 %"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_only_what_is_whole_is_a_hundred_percent(share: float | None, text: str) -> None:
    assert wording.percent(share) == text


def test_a_table_rounds_below_ten_to_whole_percents() -> None:
    assert wording.percent(0.066, tenths=False) == "7 %"
    assert wording.percent(0.998, tenths=False) == "99.8 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0654, "0.065"),
        (0.3546, "0.35"),
        (9.996, "10.0"),
        (42.74, "42.7"),
        (99.96, "100"),
        (426.7, "427"),
        (999.6, "1,000"),
        (4273.4, "4,270"),
        (-120816.6, "-121,000"),
    ],
)
def test_no_number_has_more_than_three_digits(value: float, text: str) -> None:
    assert wording.short(value) == text


def test_a_span_of_one_value_is_that_value() -> None:
    assert wording.span(1.051, 1.12, ".2f") == "1.05 to 1.12"
    assert wording.span(1.051, 1.049, ".2f") == "1.05"
