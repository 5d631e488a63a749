"""A user's own ONNX file: checked, and its image input described."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from benchlib.errors import InputError

_CHANNELS = 3
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The one input a graph takes: batch x 3 x height x width.

    A size is None where the graph leaves it open. ``dtype`` is numpy's name, "float32" mostly.
    """

    name: str
    batch: int | None
    height: int | None
    width: int | None
    dtype: str


def read(path: Path) -> ImageInput:
    """Check the graph at ``path`` and describe its input.

    Raises :class:`InputError`, naming the file and the remedy, when there is no such file, when
    it is not a whole and valid ONNX graph, or when it does not take one image tensor.
    """
    graph = _checked_graph(path)
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(
            "models",
            f"{path} has {len(inputs)} inputs ({names}); only graphs of one image input are timed",
        )
    tensor = inputs[0].type.tensor_type
    sizes = [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in tensor.shape.dim
    ]
    if len(sizes) != 4 or sizes[1] not in (None, _CHANNELS):
        shape = "x".join("?" if size is None else str(size) for size in sizes) or "unknown"
        raise InputError(
            "models",
            f"{path} takes an input of shape {shape}; export it to take batch x 3 x height x width",
        )
    batch, _, height, width = sizes
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return ImageInput(inputs[0].name, batch, height, width, dtype)


def digest(path: Path) -> str:
    """Hex digest of the content: of the file and of every external-data file that it names.

    Equals the file's own SHA-256 where it names none.
    """
    own = _sha256(path)
    tensors = external_data_helper._get_all_tensors(onnx.load(path, load_external_data=False))
    named = {
        external_data_helper.ExternalDataInfo(tensor).location
        for tensor in tensors
        if external_data_helper.uses_external_data(tensor)
    }
    if not named:
        return own
    beside = {name: _sha256(path.parent / name) for name in sorted(named)}
    return hashlib.sha256(json.dumps([own, beside]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _checked_graph(path: Path) -> onnx.GraphProto:
    if not path.is_file():
        raise InputError("models", f"there is no file {path}; give onnx: and the path to a file")
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(str(path))
    except OSError as error:
        raise InputError("models", f"{path} cannot be read ({error}); check its rights") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        # RuntimeError is what the checker's C++ side raises for what it cannot parse.
        problem = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            "models",
            f"{path} is not a whole, valid ONNX graph ({problem}); "
            "copy or export it again, with its external data file if it has one",
        ) from error
    if not model.graph.node:
        raise InputError("models", f"{path} holds no graph; copy or export it again")
    return model.graph
