"""The network to build: read from ONNX, its inputs and outputs, its shapes, its INT8 ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchlib.engines.flags import Options
from benchlib.engines.standin import shapes
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.tensorrt_library import Library, dims
from benchlib.engines.version import Version

FORCES_FLOAT_UNTIL = Version(10, 1)
"""Before it, trtexec gave float and INT8 tensors FP32 linear form unless formats were asked for."""

IO_TYPES = {
    "fp32": "FLOAT",
    "fp16": "HALF",
    "bf16": "BF16",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "bool": "BOOL",
}
LINEAR = "chw"

NARROW, WIDE = 2.0, 4.0
"""trtexec's made-up INT8 ranges: what goes into a layer, and what comes out of it."""


def create(library: Library, builder: Any, options: Options) -> Any:
    """An empty network with explicit batch, strongly typed if asked for."""
    creation = library.trt.NetworkDefinitionCreationFlag
    bits = 0
    explicit = getattr(creation, "EXPLICIT_BATCH", None)
    if explicit is not None:
        bits |= 1 << int(explicit)
    if options.get("--stronglyTyped"):
        typed = library.member("NetworkDefinitionCreationFlag", "STRONGLY_TYPED", "--stronglyTyped")
        bits |= 1 << int(typed)
    return builder.create_network(bits)


def parse(library: Library, network: Any, logger: Any, path: Path, log: Log) -> Any:
    """Fill ``network`` from an ONNX file and return the parser, whose memory backs the weights.

    Raises :class:`StandinError` after logging each of the parser's complaints.
    """
    if not path.is_file():
        raise StandinError(f"Could not open file {path}")
    parser = library.trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        for index in range(parser.num_errors):
            error = parser.get_error(index)
            log.error(f"Node {error.node()}: {error.desc()}")
        raise StandinError("Engine set up failed: the ONNX file was not parsed")
    return parser


def settle_io(library: Library, network: Any, options: Options) -> None:
    """Give inputs and outputs the asked-for types, or those trtexec gives by default."""
    for flag, tensors in (
        ("--inputIOFormats", [network.get_input(i) for i in range(network.num_inputs)]),
        ("--outputIOFormats", [network.get_output(i) for i in range(network.num_outputs)]),
    ):
        asked = options.get(flag)
        linear = 1 << int(library.trt.TensorFormat.LINEAR)
        if asked:
            types = _io_types(library, asked, flag, len(tensors))
            for tensor, dtype in zip(tensors, types, strict=True):
                if tensor.dtype != dtype:
                    tensor.dtype = dtype
                tensor.allowed_formats = linear
        elif not library.is_rtx and library.version < FORCES_FLOAT_UNTIL:
            for tensor in tensors:
                if tensor.dtype == library.trt.DataType.INT8:
                    tensor.dtype = library.trt.DataType.FLOAT
                tensor.allowed_formats = linear


def profile(library: Library, builder: Any, network: Any, options: Options, log: Log) -> Any:
    """The optimisation profile of a dynamic network, None for a static one.

    Raises :class:`StandinError` for shapes given to a static network, for names that are not
    inputs, and for shapes that contradict the network.
    """
    tensors = {tensor.name: tensor for tensor in _inputs(network)}
    given = shapes.filled(options, log)
    dynamic = [tensor for tensor in tensors.values() if -1 in dims(tensor.shape)]
    if not dynamic:
        if not given.empty:
            raise StandinError("The model is static: it takes no shapes; drop the shape flags")
        return None
    names = frozenset(tensors)
    made = builder.create_optimization_profile()
    for corner in (given.minimum, given.optimum, given.maximum):
        shapes.known(corner, names)
    for tensor in dynamic:
        if tensor.is_shape_tensor:
            raise StandinError(f"Input {tensor.name} is a shape; only data can be fed")
        corners = [
            _corner(corner, tensor, given.empty, log)
            for corner in (given.minimum, given.optimum, given.maximum)
        ]
        try:
            made.set_shape(tensor.name, *corners)
        except ValueError as error:
            raise StandinError(f"Shapes of {tensor.name} are not usable: {error}") from error
    return made


def is_quantised(library: Library, network: Any) -> bool:
    """Whether the network has Q/DQ layers, and so its own INT8 scales."""
    kinds = {library.trt.LayerType.QUANTIZE, library.trt.LayerType.DEQUANTIZE}
    return any(layer.type in kinds for layer in _layers(network))


def make_up_ranges(library: Library, network: Any) -> int:
    """Give every tensor without an INT8 range the one trtexec makes up; return how many got one.

    Layers are walked in order and the first range stays: inputs get ±2 (±4 for concatenations),
    outputs ±4 (±2 for poolings). Outputs of such an engine mean nothing.
    """
    kind = library.trt.LayerType
    made = 0
    for layer in _layers(network):
        going_in = WIDE if layer.type == kind.CONCATENATION else NARROW
        coming_out = NARROW if layer.type == kind.POOLING else WIDE
        ranges = [(layer.get_input(i), going_in) for i in range(layer.num_inputs)]
        ranges += [(layer.get_output(i), coming_out) for i in range(layer.num_outputs)]
        for tensor, bound in ranges:
            if tensor is not None and tensor.dynamic_range is None:
                if not tensor.set_dynamic_range(-bound, bound):
                    raise StandinError(f"TensorRT refused an INT8 range for {tensor.name}")
                made += 1
    return made


def _corner(corner: shapes.Shapes, tensor: Any, unset: bool, log: Log) -> tuple[int, ...]:
    if not unset and tensor.name not in corner:
        raise StandinError(f"Input {tensor.name} is missing from one of the shape flags")
    return shapes.settled(tensor.name, dims(tensor.shape), corner, log)


def _io_types(library: Library, text: str, flag: str, count: int) -> list[Any]:
    """One type per tensor from ``type:format[,…]``; a single one stands for all."""
    types = []
    for item in text.split(","):
        name, _, form = item.partition(":")
        if name not in IO_TYPES or form != LINEAR:
            raise StandinError(f"{flag}={item} is not supported here: use TYPE:{LINEAR}")
        types.append(library.member("DataType", IO_TYPES[name], flag))
    if len(types) == 1:
        types *= count
    if len(types) != count:
        raise StandinError(f"{flag} has {len(types)} entries for {count} tensors")
    return types


def _inputs(network: Any) -> Iterator[Any]:
    for index in range(network.num_inputs):
        yield network.get_input(index)


def _layers(network: Any) -> Iterator[Any]:
    for index in range(network.num_layers):
        yield network.get_layer(index)
