"""Digits follow the noise."""

from __future__ import annotations

import pytest

from benchlib.stats.summary import rounded, rounded_interval


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (5.4712, 5.41, 5.53, "5.47"),
        (5.4712, 5.0, 6.0, "5.5"),
        (5.4712, 1.0, 10.0, "5"),
        (5.4712, 0.0, 90.0, "5"),
        (123.456, 123.0, 124.0, "123.5"),
        (123.456, 80.0, 160.0, "120"),
        (123.456, 123.455, 123.457, "123.5"),
        (0.22862, 0.22861, 0.22863, "0.2286"),
        (0.02286, 0.0227, 0.0231, "0.0229"),
        (1234567.0, 1234560.0, 1234570.0, "1235000"),
        (0.99996, 0.99995, 0.99997, "1.000"),
        (5.4712, 5.4712, 5.4712, "5.471"),
        (5.4712, None, None, "5.5"),
        (-5.4712, -5.53, -5.41, "-5.47"),
        (0.0, 0.0, 0.1, "0"),
        (None, None, None, ""),
    ],
)
def test_text(value, low, high, shown):
    assert rounded(value, low, high) == shown


def test_an_interval_has_the_digits_of_its_value():
    assert rounded_interval(5.4712, 5.41, 5.53) == "5.47 [5.41, 5.53]"
    assert rounded_interval(123.456, 80.0, 164.0) == "120 [80, 160]"
    assert rounded_interval(5.4712, None, None) == "5.5"
    assert rounded_interval(None, None, None) == ""


def test_no_number_is_not_shown():
    with pytest.raises(ValueError, match="leave the cell empty"):
        rounded(float("nan"), 1, 2)


@pytest.mark.parametrize("value", [9.9996, 0.99999, 99.999, 0.0099996])
def test_never_more_than_four_digits_even_when_rounding_carries(value):
    shown = rounded(value, value, value)
    assert len(shown.replace(".", "").lstrip("0")) <= 4
