from pathlib import Path

import pytest

from benchlib.analysis import ranking
from benchlib.report import explorer
from benchlib.report.document import load_sets
from benchlib.report.explorer import Choice, Explorer
from benchlib.report.style import Absent, Drawing
from benchlib.report.view import View


@pytest.fixture
def panel(invented_dir: Path, published_dir: Path) -> Explorer:
    return Explorer(load_sets([published_dir, invented_dir]))


@pytest.mark.parametrize("figure", explorer.FIGURES)
def test_every_figure_of_the_list_draws(figure: str, invented_view: View) -> None:
    drawing = explorer.draw(invented_view, Choice(figure, precision="int8"))
    assert isinstance(drawing, Drawing)


def test_a_choice_narrows_the_rows(invented_view: View) -> None:
    choice = Choice("Heat map of FPS", "fp16", "640x480", ("ResNet",))
    kept = explorer.narrowed(invented_view, choice).frame
    assert set(kept["model"]) == {"resnet18", "resnet50"}
    assert len(kept) == 2


def test_a_speed_up_keeps_what_it_is_against(invented_view: View) -> None:
    kept = explorer.narrowed(invented_view, Choice("Speed-up against FP32", "int8"))
    assert kept.precisions == ["fp32", "int8"]


def test_a_network_without_a_family_counts_as_other(invented_view: View) -> None:
    kept = explorer.narrowed(invented_view, Choice("Heat map of FPS", families=("Other",)))
    assert set(kept.frame["model"]) == {"onnx:mine.onnx"}


def test_nothing_left_is_said(invented_view: View) -> None:
    empty = explorer.draw(invented_view, Choice("Heat map of FPS", families=("ShuffleNet",)))
    assert isinstance(empty, Absent)


def test_a_control_changes_the_figure(panel: Explorer) -> None:
    before = panel.picture.value
    panel.choose(precision="fp16")
    assert "FPS by input size at FP16" in panel.picture.value
    assert panel.picture.value != before


def test_another_set_brings_its_own_sizes(panel: Explorer, invented_view: View) -> None:
    panel.choose(size="3840x2144")
    panel.choose(set=invented_view.label)
    assert panel.choice.size == explorer.ALL
    assert "Invented numbers" in panel.picture.value
    panel.choose(figure="Two columns of your choice", x="megapixels", y="fps")
    assert "Frames per second (log) against Input, megapixels" in panel.picture.value


def test_the_picker_follows_the_terms(panel: Explorer) -> None:
    panel.choose(precision="int8", size="640x480", limit=1.0, least=75.0)
    assert "<strong>mnasnet1_3</strong> is fastest in INT8 at 640×480" in panel.picks.value
    panel.choose(limit=0.1)
    assert "No network meets these terms" in panel.picks.value


def test_the_picker_names_whom_it_passed_over(panel: Explorer) -> None:
    panel.choose(precision="int8", size="640x480", limit=1.5)
    assert "vgg11_bn" in panel.picks.value
    assert "Left out" not in panel.picks.value
    panel.choose(least=70.0)
    said = "Left out: vgg11_bn, vgg13_bn and vgg16_bn, timed without the classifier"
    assert said in panel.picks.value
    assert "<li>vgg" not in panel.picks.value


def test_an_accuracy_of_what_is_asked_back(panel: Explorer, invented_view: View) -> None:
    panel.choose(set=invented_view.label, least=70.0)
    assert "cannot be ranked together" in panel.picks.value
    panel.choose(metric="Cityscapes mIoU")
    assert "<strong>ddrnet23_slim</strong> is fastest" in panel.picks.value


def test_a_tie_is_called_a_tie(published_view: View) -> None:
    picks = ranking.choose(published_view.at("int8", "640x480"))
    page = explorer.section(picks, "int8", "640x480")._repr_html_()
    assert "<strong>fast_scnn_blog and resnet18</strong> are tied for fastest" in page
