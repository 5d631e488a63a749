"""ModelOpt runs in an interpreter of its own; a stand-in for that interpreter is run here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchlib.case import GraphForm, Int8Method
from benchlib.errors import InputError
from benchlib.export import convert
from benchlib.export.build import make

IMAGES = [np.zeros((1, 3, 192, 256), np.float32)] * 2


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the interpreter's place: copies the graph, keeps its arguments."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, sys, numpy\n"
        "options = dict(item[2:].split('=') for item in sys.argv[3:])\n"
        "images = numpy.load(options['calibration_data'])\n"
        "note = pathlib.Path(__file__).with_name('seen')\n"
        "note.write_text(' '.join([*sys.argv[1:3], options['quantize_mode'], "
        "*(f'{name}{images[name].shape}' for name in images)]))\n"
        "shutil.copy(options['onnx_path'], options['output_path'])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv(convert.MODELOPT_VARIABLE, str(program))
    return tmp_path / "seen"


def test_calibration_images_reach_it(stand_in: Path, tiny_path: Path) -> None:
    model = convert.quantise_by_modelopt(tiny_path, "input", IMAGES)
    assert model == onnx.load(str(tiny_path))
    assert stand_in.read_text() == "-m modelopt.onnx.quantization int8 input(2, 3, 192, 256)"


def test_failure_carries_what_it_said(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho No module named modelopt >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv(convert.MODELOPT_VARIABLE, str(program))
    with pytest.raises(InputError, match=r"int8_method: ModelOpt failed \(No module named"):
        convert.quantise_by_modelopt(tiny_path, "input", IMAGES)


def test_missing_package_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tiny_path: Path
) -> None:
    monkeypatch.delenv(convert.MODELOPT_VARIABLE, raising=False)
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'nvidia-modelopt\[onnx\]'"):
        make(
            f"onnx:{tiny_path}",
            GraphForm.INT8_QDQ,
            height=192,
            width=256,
            int8_method=Int8Method.MODELOPT,
        )


def test_interpreter_must_be_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(convert.MODELOPT_VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(InputError, match="BENCHLIB_MODELOPT_PYTHON"):
        convert.modelopt_interpreter()
