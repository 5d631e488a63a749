from pathlib import Path

import pandas as pd
import pytest

from benchlib.report import explorer, picker
from benchlib.report.document import load_sets
from benchlib.report.drawing import Absent, Drawing
from benchlib.report.explorer import Choice, Explorer
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


def test_a_tie_is_called_a_tie(published_view: View) -> None:
    picks = picker.pick(published_view, "int8", "640x480")
    assert [one.model for one in picks if one.tied] == ["fast_scnn_blog", "resnet18"]
    assert "are tied for fastest" in picker.html(picks, "int8", "640x480")


def test_overlapping_intervals_tie(invented_view: View) -> None:
    rows = invented_view.frame.copy()
    here = (rows["precision"] == "fp32") & (rows["resolution"] == "640x480")
    rows.loc[here, ["latency_ci_low_ms", "latency_ci_high_ms"]] = [0.01, 99.0]
    wide = View("wide", "wide", rows)
    assert all(one.tied for one in picker.pick(wide, "fp32", "640x480"))
    assert sum(one.tied for one in picker.pick(invented_view, "fp32", "640x480")) == 1


def test_terms_apply_within_a_metric(invented_view: View) -> None:
    picks = picker.pick(
        invented_view, "fp32", "640x480", least_accuracy=70, metric="Cityscapes mIoU"
    )
    assert [one.model for one in picks] == ["ddrnet23_slim"]


def test_picks_are_fastest_first(invented_view: View) -> None:
    times = [one.latency_ms for one in picker.pick(invented_view, "fp16", "640x480")]
    assert times == sorted(times)
    assert isinstance(invented_view.frame, pd.DataFrame)
