import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from skimage.color import rgb2lab

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
    assert len(set(lines)) == len(lines) == 16
    assert not set(lines) & set(style.PRECISION_COLORS.values())


# Machado et al. 2009, at full severity, in linear RGB.
_NORMAL = np.eye(3)
_PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
_DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
_TRITANOPIA = [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.303900],
]


def seen(colors: list[str], eye: list[list[float]]) -> np.ndarray:
    """The colours in CIELAB, as an eye that mixes linear RGB by the matrix ``eye`` sees them."""
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(linear @ np.array(eye).T, 0, 1)
    shown = np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055)
    return rgb2lab(shown)


@pytest.mark.parametrize("eye", [_NORMAL, _PROTANOPIA, _DEUTERANOPIA, _TRITANOPIA])
@pytest.mark.parametrize(("families", "distance"), [(8, 20.4), (16, 18.1)])
def test_families_are_told_apart_by_colour_blind_eyes(
    eye: list[list[float]], families: int, distance: float
) -> None:
    """Those of the blog by colour; all of them by colour and, where it is close, by mark."""
    lab = seen([swatch.line for swatch in style.FAMILIES.values()][:families], eye)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert apart[~np.eye(families, dtype=bool)].min() >= distance


def test_no_family_but_the_black_one_is_nearly_black() -> None:
    lightness = seen([swatch.line for swatch in style.FAMILIES.values()], _NORMAL)[:, 0]
    assert sorted(lightness)[1] >= 25


def test_marks_of_the_later_families_begin_elsewhere() -> None:
    frame = pd.DataFrame({"model": ["a", "b"], "family": ["ResNet", "ConvNeXt"]})
    looks = style.looks(frame)
    assert looks["a"].marker == style.MARKERS[0] != looks["b"].marker


def test_no_family_begins_with_the_mark_that_is_hard_to_see() -> None:
    """A star has half the ink of a disc of its size: as the only mark of a family it is a speck."""
    assert "*" not in {style.MARKERS[swatch.mark] for swatch in style.FAMILIES.values()}


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
