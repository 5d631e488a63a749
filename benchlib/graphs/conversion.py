"""From the FP32 graph to every other form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from numpy.typing import NDArray

from benchlib.case import Int8Method
from benchlib.errors import InputError, first_line
from benchlib.graphs import fp16, int8_cpu, modelopt, placement, qdq, ranges
from benchlib.graphs.form import TYPED_SCALES_OPSET, GraphForm
from benchlib.graphs.fp16 import Loss
from benchlib.graphs.placement import Census

METHODS: dict[GraphForm, tuple[Int8Method, ...]] = {
    GraphForm.INT8_QDQ: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_QDQ_FP16: (Int8Method.QDQ, Int8Method.QDQ_NO_DEPTHWISE, Int8Method.MODELOPT),
    GraphForm.INT8_CPU: (Int8Method.ORT_STATIC,),
}
"""The quantisers that make each INT8 form; the first is taken unless another is asked for."""

_NAMED = 3  # products or tensors that a sentence names; the graph's facts have them all


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a conversion could not do: products not in INT8, constants beyond FP16."""

    census: Census | None = None
    losses: tuple[Loss, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each thing that whoever reads the graph's time should know."""
        found = []
        if self.census is not None:
            unwilling = [str(one) for one in self.census.left_out if not one.on_purpose]
            if unwilling:
                count, others = self.census.quantised, self.census.left_out
                meant = len(others) - len(unwilling)
                besides = f" (besides {meant} on purpose)" if meant else ""
                found.append(
                    f"{count} of {count + len(others)} products are INT8; "
                    f"left out{besides}: {_some(unwilling)}"
                )
        if lost := [str(loss) for loss in self.losses if loss.matters]:
            found.append(f"FP16 does not hold all constants: {_some(lost)}")
        return tuple(found)


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
    witness: Path | None = None,
    method: Int8Method | None = None,
    half_io: bool = False,
    percentile: float = ranges.PERCENTILE,
) -> Outcome:
    """Write the FP32 graph ``source`` in another ``form`` to ``target`` and check it.

    ``batches`` (N x 3 x H x W) set the ranges of the INT8 forms; ours are seen on the FP32 graph
    ``witness`` where one is given, see :func:`benchlib.graphs.qdq.quantise`. ``method`` is one
    of ``METHODS[form]``. Raises :class:`InputError` when an INT8 form would hold no INT8 product,
    and :class:`onnx.checker.ValidationError` when the result breaks the standard.
    """
    model = _inlined(onnx.load(str(source)))
    census, losses = None, ()
    if form is GraphForm.INT8_CPU:
        int8_cpu.quantise(model, target, input_name, batches)
        census = _census(onnx.load(str(target)), form)
    else:
        if method is Int8Method.MODELOPT:
            model = modelopt.quantise(source, input_name, batches)
        elif form.is_int8:
            model = qdq.quantise(
                model,
                input_name,
                batches,
                witness=None if witness is None else _inlined(onnx.load(str(witness))),
                grouped=method is not Int8Method.QDQ_NO_DEPTHWISE,
                stored_weights=form is GraphForm.INT8_QDQ_FP16,
                percentile=percentile,
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
    return Outcome(census, losses)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without functions of its own: what stands in them would be passed over."""
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _census(model: onnx.ModelProto, form: GraphForm) -> Census:
    """Count the INT8 products; a graph that has none is not INT8 and must not be called so."""
    census = placement.census(model.graph)
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
