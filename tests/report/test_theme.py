import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from benchlib.case import Precision, Verdict
from benchlib.models import registry
from benchlib.report import style


def contrast_on_white(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05)


def test_lines_and_text_stand_out_from_white() -> None:
    for swatch in [*style.FAMILIES.values(), style.swatch("nobody's family")]:
        assert contrast_on_white(swatch.line) >= 3.0
        assert contrast_on_white(swatch.text) >= 4.5


def test_a_colour_means_one_family_and_no_precision() -> None:
    lines = [swatch.line for swatch in style.FAMILIES.values()]
    assert len(set(lines)) == len(lines) == 8
    assert not set(lines) & set(style.PRECISION_COLORS.values())


def test_every_family_of_the_lineup_has_a_colour() -> None:
    families = {registry.card(name).family for name in registry.names()}
    assert families <= set(style.FAMILIES)


def test_every_precision_and_verdict_has_a_mark() -> None:
    assert set(style.PRECISION_MARKERS) == {precision.value for precision in Precision}
    assert len(set(style.PRECISION_MARKERS.values())) == len(Precision)
    assert set(style.VERDICT_SYMBOLS) == {verdict.value for verdict in Verdict}


def test_members_of_a_family_differ_by_mark() -> None:
    frame = pd.DataFrame({"model": ["b", "a", "c"], "family": ["VGG", "VGG", "unheard of"]})
    looks = style.looks(frame)
    assert looks["a"].color == looks["b"].color == style.FAMILIES["VGG"].line
    assert looks["a"].marker != looks["b"].marker
    assert looks["c"].family == style.OTHER


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_a_look_does_not_depend_on_the_order_of_rows(order: list[str]) -> None:
    looks = style.looks(pd.DataFrame({"model": order, "family": ["ResNet", "ResNet"]}))
    assert looks["a"].marker == style.MARKERS[0]
