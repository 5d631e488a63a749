"""A user's own ONNX file, fixed to the shape that was asked for."""

from __future__ import annotations

from pathlib import Path

import onnx

from benchlib.errors import InputError
from benchlib.graphs.shape import Shape
from benchlib.models import onnx_file

_IMAGE_AXES = ("batch", "height", "width")


def fixed(path: Path, shape: Shape) -> onnx.ModelProto:
    """Load the file at ``shape``: its open axes are set, or left open when that is dynamic.

    Raises :class:`InputError`, naming the file, when it is not a valid graph of float32 images
    or when it is fixed to another shape.
    """
    image = onnx_file.read(path)
    if image.dtype != "float32":
        raise InputError(
            "models", f"{path} takes {image.dtype} images; export it to take float32 ones"
        )
    own = {"batch": image.batch, "height": image.height, "width": image.width}
    if shape.dynamic:
        if closed := [axis for axis in _IMAGE_AXES if own[axis] is not None]:
            raise InputError(
                "shape_mode",
                f"{path} has a fixed {' and '.join(closed)}; export it with dynamic axes",
            )
    else:
        _check_shape(path, own, shape)
    model = onnx.load(str(path))
    if not shape.dynamic and None in own.values():
        _set_shape(model, image.name, shape)
    return model


def _check_shape(path: Path, own: dict[str, int | None], shape: Shape) -> None:
    for axis in _IMAGE_AXES:
        wanted = getattr(shape, axis)
        if own[axis] not in (None, wanted):
            field = "batch_sizes" if axis == "batch" else "resolutions"
            raise InputError(
                field,
                f"{path} is fixed to {axis} {own[axis]}, not {wanted}; "
                f"ask for {own[axis]} or export it with dynamic axes",
            )


def _set_shape(model: onnx.ModelProto, name: str, shape: Shape) -> None:
    """Fix the input and drop the shapes that were worked out for the open one."""
    for value in model.graph.input:
        if value.name == name:
            for axis, size in zip(value.type.tensor_type.shape.dim, shape.nchw, strict=True):
                axis.Clear()
                axis.dim_value = size
    for output in model.graph.output:
        for axis in output.type.tensor_type.shape.dim:
            axis.Clear()  # the rank stays: the standard asks for it even where it is not inferred
    del model.graph.value_info[:]
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True))
