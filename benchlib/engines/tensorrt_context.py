"""An execution context with its tensors bound: what is needed to run an engine once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchlib.engines import cuda_runtime
from benchlib.engines.cuda_runtime import Tensor
from benchlib.engines.standin import inputs, shapes
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.standin.options import dims_text
from benchlib.engines.tensorrt_library import NUMPY_TYPES, Library, dims

DYNAMIC = -1


@dataclass(frozen=True, slots=True)
class Bound:
    """A context whose inputs are on the device and whose outputs have room there.

    ``engine`` is held because it must outlive the context.
    """

    engine: Any
    context: Any
    tensors: tuple[Tensor, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.is_input)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if not tensor.is_input)


def bind(
    library: Library,
    engine: Any,
    given: shapes.Shapes,
    files: Mapping[str, Path],
    log: Log,
) -> Bound:
    """Make a context for the ``given`` input shapes and fill its inputs from ``files`` or anew.

    Raises :class:`StandinError` when memory does not suffice, a shape or file does not fit, or a
    tensor is of a kind that cannot be bound here.
    """
    context = engine.create_execution_context()
    if context is None:
        raise StandinError("Inference set up failed: no execution context; its reason is above")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    modes = {name: engine.get_tensor_mode(name) for name in names}
    going_in = [name for name in names if modes[name] == library.trt.TensorIOMode.INPUT]
    shapes.known(given, frozenset(going_in))
    for name in going_in:
        declared = dims(engine.get_tensor_shape(name))
        settled = shapes.settled(name, declared, given, log)
        if DYNAMIC in declared and not context.set_input_shape(name, settled):
            raise StandinError(f"Inference set up failed: {name} cannot be {dims_text(settled)}")
    missing = context.infer_shapes()
    if missing:
        raise StandinError(f"Inference set up failed: shapes of {', '.join(missing)} are unknown")
    tensors = tuple(_tensor(library, engine, context, name, name in going_in) for name in names)
    for tensor in tensors:
        if not context.set_tensor_address(tensor.name, tensor.device):
            raise StandinError(f"Inference set up failed: {tensor.name} cannot be bound")
        if tensor.is_input:
            _fill(tensor, files)
            tensor.upload()
        side = "Input" if tensor.is_input else "Output"
        log.info(f"{side} {tensor.name}: {dims_text(tensor.host.shape)} {tensor.host.dtype}")
    return Bound(engine, context, tensors)


def run_once(bound: Bound, stream: Any) -> None:
    """Enqueue one query on ``stream`` and wait for it; raises :class:`StandinError`."""
    if not bound.context.execute_async_v3(int(stream)):
        raise StandinError("Error occurred during inference: the query was not enqueued")
    cuda_runtime.synchronize(stream)


def _tensor(library: Library, engine: Any, context: Any, name: str, is_input: bool) -> Tensor:
    kind = engine.get_tensor_dtype(name).name
    shape = dims(context.get_tensor_shape(name))
    if kind not in NUMPY_TYPES:
        raise StandinError(f"Tensor {name} is of type {kind}, which cannot be bound here")
    if engine.is_shape_inference_io(name) or DYNAMIC in shape:
        raise StandinError(f"Tensor {name} has or is a shape known only at run time")
    if engine.get_tensor_format(name) != library.trt.TensorFormat.LINEAR:
        raise StandinError(f"Tensor {name} is not linear; build with --inputIOFormats=TYPE:chw")
    return Tensor(name, shape, NUMPY_TYPES[kind], is_input)


def _fill(tensor: Tensor, files: Mapping[str, Path]) -> None:
    shape, dtype = tensor.host.shape, tensor.host.dtype
    path = files.get(tensor.name)
    tensor.host[...] = (
        inputs.filled(dtype, shape) if path is None else inputs.from_file(path, dtype, shape)
    )
