"""NVIDIA ModelOpt as a second quantiser, to be timed against ours.

It pins its own versions of onnx and ONNX Runtime, so it runs in an interpreter of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchlib.errors import InputError

VARIABLE = "BENCHLIB_MODELOPT_PYTHON"
"""Environment variable that names the interpreter which has ModelOpt."""

TIME_LIMIT_S = 1800
_TAIL = 400  # characters of its output that a message shows
_INSTALL = (
    "python -m venv modelopt-env && modelopt-env/bin/pip install 'nvidia-modelopt[onnx]' && "
    f"export {VARIABLE}=$PWD/modelopt-env/bin/python"
)


def interpreter() -> str:
    """The Python that has ModelOpt; :class:`InputError` says how to get one."""
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise InputError(VARIABLE, f"{named} is not a program; name a Python that has ModelOpt")
        return named
    if find_spec("modelopt") is not None:
        return sys.executable
    raise InputError("int8_method", f"ModelOpt is not installed; get it with: {_INSTALL}")


def quantise(
    source: Path, input_name: str, batches: Iterable[NDArray[np.float32]]
) -> onnx.ModelProto:
    """Return the FP32 graph ``source`` with ModelOpt's Q/DQ nodes, the rest in FP32.

    Its output is at opset 19 or later, whatever ``source`` is at. Raises :class:`InputError`
    when ModelOpt is missing or fails.
    """
    python = interpreter()
    with tempfile.TemporaryDirectory(prefix="benchlib-modelopt-") as folder:
        images, target = Path(folder, "images.npz"), Path(folder, "quantised.onnx")
        np.savez(images, **{input_name: np.concatenate(list(batches))})
        _run(command(python, source, target, images))
        if not target.is_file():
            raise InputError("int8_method", "ModelOpt ended well but wrote no graph; try qdq")
        return onnx.load(str(target))


def command(python: str, source: Path, target: Path, images: Path) -> list[str]:
    """The command line that quantises ``source``."""
    return [
        *(python, "-m", "modelopt.onnx.quantization"),
        f"--onnx_path={source}",
        f"--output_path={target}",
        "--quantize_mode=int8",
        "--high_precision_dtype=fp32",
        "--calibration_method=entropy",
        f"--calibration_data={images}",
        "--calibration_eps=cpu",
    ]


def _run(arguments: list[str]) -> None:
    try:
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            "int8_method", f"ModelOpt took more than {TIME_LIMIT_S} s; try qdq"
        ) from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-_TAIL:]
        raise InputError("int8_method", f"ModelOpt failed ({said}); try qdq, or look at {VARIABLE}")
