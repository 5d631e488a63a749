"""From the FP32 graph to every other form; INT8 for ONNX Runtime's kernels and by ModelOpt.

INT8 for ONNX Runtime's CPU kernels is another graph than TensorRT's: activations are uint8 and
asymmetric, biases int32 and every operator that can be is quantised. TensorRT refuses that form,
and ONNX Runtime runs TensorRT's form slower than FP32.

NVIDIA ModelOpt is a second quantiser for TensorRT, to be timed against ours. It pins its own
versions of onnx and ONNX Runtime, so it runs in an interpreter of its own.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from benchlib import process
from benchlib.case import TYPED_SCALES_OPSET, GraphForm, Int8Method
from benchlib.errors import InputError, first_line
from benchlib.export import fp16, qdq, torch_onnx
from benchlib.export.fp16 import Loss
from benchlib.export.qdq import Census
from benchlib.models import onnx_file
from benchlib.models.macs import RUNTIME_ERRORS

_SUFFIXES = (
    *("_scale", "_zero_point", "_quantized", "_ReduceMin", "_ReduceMax"),
    *("_QuantizeLinear_Input", "_QuantizeLinear_Output", "_DequantizeLinear_Output"),
)
"""What ONNX Runtime's quantiser puts behind a tensor's name, without a look at who has it."""

_GIVES_UP_WITH = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What it raises itself for a network that it cannot quantise."""


class _Batches(CalibrationDataReader):
    """Hands ONNX Runtime one batch at a time, so that one batch's activations are held."""

    def __init__(self, name: str, batches: Iterable[NDArray[np.float32]]) -> None:
        self._name = name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def quantise_for_cpu(
    model: onnx.ModelProto, target: Path, input_name: str, batches: Iterable[NDArray[np.float32]]
) -> None:
    """Write the FP32 graph ``model``, which is changed, as INT8 to ``target``.

    Ranges come from ``batches`` and are minimum to maximum: the other methods of ONNX Runtime
    keep the activations of all images in memory.
    """
    has_bodies = any(True for node in model.graph.node for _ in torch_onnx.bodies(node))
    torch_onnx.fold(model, qdq.weights(model.graph))
    _apply_beta(model.graph)
    _make_way(model.graph)
    try:
        with _quiet():
            quantize_static(
                model,
                target,
                _Batches(input_name, batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                # It leaves Relu out where a Q node clamps as well, and forgets that a branch may
                # read the Relu's output from before that node.
                extra_options={"QDQKeepRemovableActivations": has_bodies},
            )
    except (*_GIVES_UP_WITH, *RUNTIME_ERRORS) as error:
        raise InputError(
            "int8_method",
            f"ONNX Runtime's quantiser gave the network up ({first_line(error)}); "
            "NaN in the weights is one cause; take fp32",
        ) from error


def _apply_beta(graph: onnx.GraphProto) -> None:
    """Multiply each Gemm's constant bias by its beta: ONNX Runtime's quantiser divides by it."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = torch_onnx.Names(graph)
    for node in graph.node:
        beta = next((entry for entry in node.attribute if entry.name == "beta"), None)
        bias = constants.get(node.input[2]) if len(node.input) > 2 else None
        if node.op_type != "Gemm" or beta is None or bias is None:
            continue
        values = numpy_helper.to_array(bias)
        node.input[2] = names.free(f"{bias.name}_times_beta")
        graph.initializer.append(
            numpy_helper.from_array((values * beta.f).astype(values.dtype), node.input[2])
        )
        node.attribute.remove(beta)


def _make_way(graph: onnx.GraphProto) -> None:
    """Rename the inner tensors whose names the quantiser gives to its own."""
    names = torch_onnx.Names(graph)
    fixed = {value.name for value in (*graph.input, *graph.output)}
    aliases = {
        name: names.free(f"{name}_")
        for name in torch_onnx.names(graph) - fixed
        if name.endswith(_SUFFIXES)
    }
    torch_onnx.rename(graph, aliases)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back its advice to pre-process: the exporter has folded what that would fold."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


MODELOPT_VARIABLE = "BENCHLIB_MODELOPT_PYTHON"
"""Environment variable that names the interpreter which has ModelOpt."""

MODELOPT_LIMIT_S = 1800
_MODELOPT_TAIL = 400  # characters of its output that a message shows
_MODELOPT_INSTALL = (
    "python -m venv modelopt-env && modelopt-env/bin/pip install 'nvidia-modelopt[onnx]' && "
    f"export {MODELOPT_VARIABLE}=$PWD/modelopt-env/bin/python"
)


def modelopt_interpreter() -> str:
    """The Python that has ModelOpt; raises :class:`InputError` with how to get one."""
    named = os.environ.get(MODELOPT_VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise InputError(
                MODELOPT_VARIABLE, f"{named} is not a program; name a Python that has ModelOpt"
            )
        return named
    if find_spec("modelopt") is not None:
        return sys.executable
    raise InputError("int8_method", f"ModelOpt is not installed; get it with: {_MODELOPT_INSTALL}")


def quantise_by_modelopt(
    source: Path, input_name: str, batches: Iterable[NDArray[np.float32]]
) -> onnx.ModelProto:
    """Return the FP32 graph ``source`` with ModelOpt's Q/DQ nodes, the rest in FP32.

    Its output is at opset 19 or later, whatever ``source`` is at. Raises :class:`InputError`
    when ModelOpt is missing or fails.
    """
    python = modelopt_interpreter()
    with tempfile.TemporaryDirectory(prefix="benchlib-modelopt-") as folder:
        images, target = Path(folder, "images.npz"), Path(folder, "quantised.onnx")
        np.savez(images, **{input_name: np.concatenate(list(batches))})
        _run_modelopt(modelopt_command(python, source, target, images), Path(folder, "log"))
        if not target.is_file():
            raise InputError("int8_method", "ModelOpt ended well but wrote no graph; try qdq")
        return onnx.load(str(target))


def modelopt_command(python: str, source: Path, target: Path, images: Path) -> list[str]:
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


def _run_modelopt(arguments: list[str], log: Path) -> None:
    ended = process.run(arguments, log=log, time_limit_s=MODELOPT_LIMIT_S)
    if ended.timed_out:
        raise InputError("int8_method", f"ModelOpt took more than {MODELOPT_LIMIT_S} s; try qdq")
    if ended.code:
        output = log.read_text(encoding="utf-8", errors="replace").strip()[-_MODELOPT_TAIL:]
        raise InputError(
            "int8_method", f"ModelOpt failed ({output}); try qdq, or look at {MODELOPT_VARIABLE}"
        )


METHODS: dict[GraphForm, tuple[Int8Method, ...]] = {
    GraphForm.INT8_QDQ: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_QDQ_FP16: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_CPU: (Int8Method.ORT_STATIC,),
}
"""The quantisers that make each INT8 form; the first is taken unless another is asked for."""

_NAMED = 3  # products or tensors that a sentence names; the graph's facts have them all


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion could not do: products not in INT8, constants beyond FP16, and nodes of
    other domains than the standard's, which stay in FP32."""

    census: Census | None = None
    losses: tuple[Loss, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each thing that whoever reads the graph's time should know."""
        sentences = []
        if self.census is not None:
            unwilling = [str(one) for one in self.census.left_out if not one.on_purpose]
            if unwilling:
                count, others = self.census.quantised, self.census.left_out
                meant = len(others) - len(unwilling)
                besides = f" (besides {meant} on purpose)" if meant else ""
                sentences.append(
                    f"{count} of {count + len(others)} products are INT8; "
                    f"left out{besides}: {_some(unwilling)}"
                )
        if lost := [str(loss) for loss in self.losses if loss.matters]:
            sentences.append(f"FP16 does not hold all constants: {_some(lost)}")
        if self.foreign:
            sentences.append(f"not ONNX's own and so left in FP32: {_some(list(self.foreign))}")
        return tuple(sentences)


def _some(what: list[str]) -> str:
    more = len(what) - _NAMED
    return "; ".join(what[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def convert(
    source: Path,
    target: Path,
    form: GraphForm,
    *,
    input_name: str,
    batches: Iterable[NDArray[np.float32]] = (),
    calibration_graph: Path | None = None,
    method: Int8Method | None = None,
    half_io: bool = False,
) -> Outcome:
    """Write the FP32 graph ``source`` in another ``form`` to ``target`` and check it.

    ``batches`` (N x 3 x H x W) set the ranges of the INT8 forms; ours are seen on the FP32 graph
    ``calibration_graph`` where one is given, see :func:`benchlib.export.qdq.quantise`. ``method``
    is one of ``METHODS[form]``. Raises :class:`InputError` when an INT8 form would hold no INT8
    product, and :class:`onnx.checker.ValidationError` when the result breaks the standard.
    """
    model = _inlined(onnx.load(str(source)))
    census, losses, foreign = None, (), ()
    if form is GraphForm.FP16:
        nodes = onnx_file.parts(model, onnx.NodeProto)
        foreign = tuple(node.name or node.op_type for node in nodes if node.domain)
    if form is GraphForm.INT8_CPU:
        quantise_for_cpu(model, target, input_name, batches)
        census = _census(onnx.load(str(target)), form)
    else:
        if method is Int8Method.MODELOPT:
            model = quantise_by_modelopt(source, input_name, batches)
        elif form.is_int8:
            model = qdq.quantise(
                model,
                input_name,
                batches,
                calibration_graph=None
                if calibration_graph is None
                else _inlined(onnx.load(str(calibration_graph))),
                grouped=method is not Int8Method.QDQ_NO_DEPTHWISE,
                stored_weights=form is GraphForm.INT8_QDQ_FP16,
            )
        if form.is_int8:
            census = _census(model, form)
        if form is GraphForm.INT8_QDQ_FP16:
            model = _at_typed_scales(model)
        if form.has_half:
            model, losses = fp16.to_half(model, half_io=half_io)
        onnx.save(model, str(target))
    try:
        onnx.checker.check_model(str(target), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError(
            "form",
            f"the network does not become a valid graph as {form} "
            f"({first_line(error)}); take fp32, or export it at opset 17 in float32",
        ) from error
    return Outcome(census, losses, foreign)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without functions of its own: what stands in them would be passed over."""
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _census(model: onnx.ModelProto, form: GraphForm) -> Census:
    """Count the INT8 products; a graph that has none is not INT8 and must not be called so."""
    census = qdq.census(model.graph)
    if census.quantised:
        return census
    why = _some([str(one) for one in census.left_out]) or "it has no convolution or matrix product"
    raise InputError(
        "form",
        f"nothing of this network would be INT8 as {form} ({why}); take fp16, or export it with "
        "its weights as constants",
    )


def _at_typed_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` at an opset that allows FP16 scales; ModelOpt's is there already."""
    versions = [entry.version for entry in model.opset_import if not entry.domain]
    if max(versions) >= TYPED_SCALES_OPSET:
        return model
    return onnx.version_converter.convert_version(model, TYPED_SCALES_OPSET)
