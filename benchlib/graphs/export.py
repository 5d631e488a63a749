"""A torch network as an ONNX file at a resolution, at the opset that was asked for."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from benchlib.graphs.form import OPSET
from benchlib.graphs.shape import Shape

if TYPE_CHECKING:
    from torch import nn

INPUT = "input"
OUTPUT = "output"


class ExportError(RuntimeError):
    """The exporter gave a graph other than the one that was asked for."""


def export(network: nn.Module, shape: Shape, path: Path) -> None:
    """Write ``network`` to ``path`` as one self-contained file, then read it back and check it.

    Raises :class:`ExportError` when the file's opset, input or output is not as asked.
    """
    import torch

    example = torch.zeros(shape.nchw)
    axes = dynamic_axes(_rank(network, shape)) if shape.dynamic else None
    if traces():
        _trace(network, example, axes, path)
    else:
        from benchlib.graphs.dynamo import export as export_by_dynamo

        export_by_dynamo(network, example, axes, path)
    verify(path, shape)


def traces() -> bool:
    """Whether this torch still has the tracing exporter, the one that honours the opset."""
    return find_spec(f"torch.onnx.symbolic_opset{OPSET}") is not None


def dynamic_axes(output_rank: int) -> dict[str, dict[int, str]]:
    """Names of the axes left open; a map (rank 4) as output has its height and width open too."""
    output = {0: "batch"}
    if output_rank == 4:
        output |= {2: "output_height", 3: "output_width"}
    return {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: output}


def _rank(network: nn.Module, shape: Shape) -> int:
    import torch

    with torch.no_grad():
        return network(torch.zeros(shape.nchw)).ndim


def _trace(
    network: nn.Module, example: Any, axes: dict[str, dict[int, str]] | None, path: Path
) -> None:
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        # It warns that it will go away, and at every shape read while tracing.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
        )


def verify(path: Path, shape: Shape) -> None:
    """Check a file that was just exported; raise :class:`ExportError` if it is not as asked."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    found = opset(model)
    if found != OPSET:
        raise ExportError(f"opset {found} was written where {OPSET} was asked for")
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    if names != [INPUT, OUTPUT]:
        raise ExportError(f"inputs and outputs are {names}, not {[INPUT, OUTPUT]}")
    axes = model.graph.input[0].type.tensor_type.shape.dim
    if shape.dynamic:
        open_axes = [axis.dim_param for axis in axes]
        if open_axes != ["batch", "", "height", "width"]:
            raise ExportError(f"the dynamic axes came out as {open_axes}")
    elif [axis.dim_value for axis in axes] != list(shape.nchw):
        raise ExportError(f"the input came out as {[axis.dim_value for axis in axes]}")


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operator set; 0 when the file names none."""
    return max((entry.version for entry in model.opset_import if not entry.domain), default=0)
