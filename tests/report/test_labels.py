from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from benchlib.report.style import Name, draw, spaced

positions = st.lists(st.floats(-5, 5), max_size=24).map(sorted)


@given(positions, st.floats(0.01, 0.5))
def test_labels_keep_their_order_and_their_distance(wanted: list[float], gap: float) -> None:
    placed = spaced(wanted, gap)
    assert len(placed) == len(wanted)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(placed))


@given(positions, st.floats(0.01, 0.5))
def test_spacing_moves_nothing_on_the_whole(wanted: list[float], gap: float) -> None:
    assert abs(sum(spaced(wanted, gap)) - sum(wanted)) < 1e-6


def test_labels_with_room_stay_where_they_want_to_be() -> None:
    assert spaced([0.0, 1.0, 5.0], 0.5) == [0.0, 1.0, 5.0]


def test_a_block_is_centred_on_what_its_members_want() -> None:
    assert spaced([1.0, 1.0, 1.0], 0.5) == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("y", [1.0, 30.0, 99.0])
@pytest.mark.parametrize("several", [1, 20])
def test_labels_that_have_room_stay_beside_the_axes(y: float, several: int) -> None:
    axes = Figure().add_subplot(xscale="log", yscale="log", xlim=(0.1, 10), ylim=(1, 100))
    draw(axes, [Name(1.0, y, f"{place}", "red") for place in range(several)])
    places = sorted(text.xyann[1] for text in axes.texts)
    assert 1 - 1e-9 <= places[0] <= places[-1] <= 100 + 1e-9
    assert places == sorted(set(places))


def test_a_leader_that_crosses_the_chart_does_not_look_like_a_line_of_it() -> None:
    figure = Figure()
    axes = figure.add_subplot(xscale="log", yscale="log", xlim=(0.1, 10), ylim=(1, 100))
    labels = [Name(1.0, 20.0, "one size", "red"), Name(8.0, 5.0, "all sizes", "blue")]
    draw(axes, labels)
    styles = {text.get_text(): text.arrow_patch.get_linestyle() for text in axes.texts}
    assert styles["all sizes"] == "-"
    assert styles["one size"] != "-"
