"""Names that people give their files and folders, in figures, tables and the names of files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.text import Text
from papermill.parameterize import parameterize_path

from benchlib import pipeline
from benchlib.analysis.comparable_groups import Variant
from benchlib.errors import InputError
from benchlib.report import style
from benchlib.report.document import load_sets
from benchlib.report.figures import fps, tiles
from benchlib.report.tables import grid, latency
from benchlib.report.view import View, slug

ODD = {
    "resnet18": "onnx:cost_$a_$b.onnx",
    "resnet50": r"onnx:a^2_{x} & <b>|\frac%.onnx",
    "vgg11_bn": f"onnx:{'long_name_' * 20}1.onnx",
    "efficientnet_b0": f"onnx:{'long_name_' * 20}1.onnx".replace("1.onnx", "2.onnx"),
    "fast_scnn": f"onnx:{'long_name_' * 10}1{'_and_more_of_it' * 4}.onnx",
    "ddrnet23_slim": f"onnx:{'long_name_' * 10}2{'_and_more_of_it' * 4}.onnx",
    "mobilenet_v3_small": "onnx:模型.onnx",
    "onnx:mine.onnx": "onnx:网络.onnx",
}


@pytest.fixture
def view(rows: pd.DataFrame, view_of: Callable[[pd.DataFrame], View]) -> View:
    return view_of(rows.assign(model=rows["model"].map(ODD)))


@pytest.mark.parametrize(
    "draw", [lambda v: fps.draw_fps(v, Variant("fp16")), tiles.draw_fps, fps.draw_speedup]
)
def test_figures_draw_them_as_they_are_and_apart(view: View, draw) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw(view.drawable())
        assert drawn.svg()
    drawn.figure.draw_without_rendering()
    texts = "\n".join(text.get_text() for text in drawn.figure.findobj(Text))
    assert ODD["resnet18"] in texts
    assert ODD["resnet50"] in texts


def test_drawn_names_are_short_and_no_two_are_alike(view: View) -> None:
    names = dict(zip(view.frame["model"], view.drawable().frame["model"], strict=True))
    assert len(names) == len(set(names.values())) == len(ODD)
    assert all(len(name) <= 50 for name in names.values())


def test_signs_without_a_glyph_are_written_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_FALLBACKS", ())
    style._fonts.cache_clear()
    style._faces.cache_clear()
    try:
        assert style.drawable("模_ü$\n") == "\\u6a21_ü$\\n"
    finally:
        style._fonts.cache_clear()
        style._faces.cache_clear()


def test_latex_has_no_sign_that_means_something_to_it(view: View) -> None:
    text = grid.latex(latency.build(view))
    assert r"onnx:cost\_\$a\_\$b.onnx" in text
    assert (
        r"a\textasciicircum{}2\_\{x\} \& \textless{}b\textgreater{}\textbar{}"
        r"\textbackslash{}frac\%.onnx" in text
    )


def test_html_shows_them_as_they_are(view: View) -> None:
    text = latency.build(view)._repr_html_()
    assert "&lt;b&gt;" in text
    assert "<b>" not in text


@pytest.mark.parametrize("text", ["测量", "a" * 300, "ü", "$$"])
def test_file_names_are_safe_bounded_and_their_own(text: str) -> None:
    name = slug(text)
    assert name.isascii()
    assert 0 < len(name) <= 130
    assert slug(text + text[-1]) != name


def test_names_of_files_stay_what_they_were() -> None:
    assert slug("h100-tensorrt-8.6 INT8 by qdq") == "h100-tensorrt-8-6-int8-by-qdq"


def test_sets_whose_files_would_have_one_name_are_refused(rows, write, tmp_path: Path) -> None:
    folders = [write(tmp_path / name, rows, {"device": "x"}) for name in ("my set", "my_set")]
    with pytest.raises(InputError, match=r"'my set' and 'my_set' would share names of files"):
        load_sets(folders)


@pytest.mark.parametrize("path", ["out/my{card}/b.ipynb", "a{{b}}/{0}/{", "}x", "plain/b.ipynb"])
def test_papermill_leaves_braces_in_paths_alone(path: str) -> None:
    assert parameterize_path(pipeline._literal(Path(path)), {"card": "h100"}) == path
