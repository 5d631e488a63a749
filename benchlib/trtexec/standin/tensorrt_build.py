"""The installed TensorRT, and an engine built from ONNX as trtexec's build flags ask."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchlib.trtexec.exports import number
from benchlib.trtexec.flags import Options, Version, parse_version
from benchlib.trtexec.standin import tensor_io
from benchlib.trtexec.standin.program import Log, StandinError, path_of

RTX = "tensorrt_rtx"

NUMPY_TYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
"""Types of inputs and outputs that numpy has too, by TensorRT's names."""


@dataclass(frozen=True, slots=True)
class Library:
    """``trt`` is the module ``tensorrt`` or ``tensorrt_rtx``, ``name`` is its name."""

    trt: Any
    name: str
    version: Version

    @property
    def is_rtx(self) -> bool:
        return self.name == RTX

    def member(self, enum: str, member: str, flag: str) -> Any:
        """``trt.ENUM.MEMBER``; raises :class:`StandinError` naming ``flag`` where it is missing.

        So a flag that this version cannot serve is an error and never passed over.
        """
        value = getattr(getattr(self.trt, enum, None), member, None)
        if value is None:
            raise StandinError(
                f"{flag} is not supported by {self.name} {self.version}: it has no {enum}.{member}"
            )
        return value

    def logger(self, log: Log) -> Any:
        """A TensorRT logger that writes to ``log``; it must outlive all that is made with it."""
        return _logger_class(self.trt)(log)

    def register_plugins(self, logger: Any) -> None:
        """Make TensorRT's own plugins known, as trtexec does; TensorRT-RTX has none.

        Raises :class:`StandinError` when they cannot be registered.
        """
        register = getattr(self.trt, "init_libnvinfer_plugins", None)
        if register is not None and not register(logger, ""):
            raise StandinError("Could not load library libnvinfer_plugin: no plugin is registered")


def load_library(name: str) -> Library:
    """Import TensorRT; raises :class:`StandinError` when that fails."""
    try:
        trt = importlib.import_module(name)
    except ImportError as error:
        raise StandinError(f"Could not load library {name}: {error}") from error
    return Library(trt, name, parse_version(trt.__version__))


def dims(value: Iterable[int]) -> tuple[int, ...]:
    """TensorRT's dimensions as a tuple; -1 stands for a dynamic one."""
    return tuple(int(size) for size in value)


def _logger_class(trt: Any) -> type:
    severity = trt.ILogger.Severity
    failures = (severity.INTERNAL_ERROR, severity.ERROR)

    class Logger(trt.ILogger):
        """Called from the builder's threads: short, and it raises nothing."""

        def __init__(self, log: Log) -> None:
            trt.ILogger.__init__(self)
            self._target = log

        def log(self, severity_: Any, message: str) -> None:
            line = f"[TRT] {message}"
            if severity_ in failures:
                self._target.error(line)
            elif severity_ == severity.WARNING:
                self._target.warning(line)
            elif severity_ == severity.INFO:
                self._target.info(line)
            else:
                self._target.detail(line)

    return Logger


FORCES_FLOAT_UNTIL = Version(10, 1)
"""Before it, trtexec gave float and INT8 tensors FP32 linear form unless formats were asked for."""

IO_TYPES = {"fp32": "FLOAT", "fp16": "HALF"}
IO_TYPES |= {name: name.upper() for name in ("bf16", "int8", "int32", "int64", "uint8", "bool")}
LINEAR = "chw"

NARROW, WIDE = 2.0, 4.0
"""trtexec's made-up INT8 ranges: what goes into a layer, and what comes out of it."""


def create_network(library: Library, builder: Any, options: Options) -> Any:
    """An empty network with explicit batch, strongly typed if asked for."""
    creation = library.trt.NetworkDefinitionCreationFlag
    bits = 0
    if hasattr(creation, "EXPLICIT_BATCH"):
        bits |= 1 << int(creation.EXPLICIT_BATCH)
    if options.get("--stronglyTyped"):
        typed = library.member("NetworkDefinitionCreationFlag", "STRONGLY_TYPED", "--stronglyTyped")
        bits |= 1 << int(typed)
    return builder.create_network(bits)


def parse_network(library: Library, network: Any, logger: Any, path: Path, log: Log) -> Any:
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
    linear = 1 << int(library.trt.TensorFormat.LINEAR)
    for flag, tensors in (
        ("--inputIOFormats", [network.get_input(i) for i in range(network.num_inputs)]),
        ("--outputIOFormats", [network.get_output(i) for i in range(network.num_outputs)]),
    ):
        asked = options.get(flag)
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


def optimisation_profile(builder: Any, network: Any, options: Options, log: Log) -> Any:
    """The optimisation profile of a dynamic network, None for a static one.

    Raises :class:`StandinError` for shapes given to a static network, for names that are not
    inputs, and for shapes that contradict the network.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    tensors = {tensor.name: tensor for tensor in inputs}
    given = tensor_io.filled_shapes(options, log)
    dynamic = [tensor for tensor in tensors.values() if -1 in dims(tensor.shape)]
    if not dynamic:
        if not given.empty:
            raise StandinError("The model is static: it takes no shapes; drop the shape flags")
        return None
    names = frozenset(tensors)
    made = builder.create_optimization_profile()
    for corner in (given.minimum, given.optimum, given.maximum):
        tensor_io.known_shapes(corner, names)
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


def _corner(corner: tensor_io.Shapes, tensor: Any, unset: bool, log: Log) -> tuple[int, ...]:
    if not unset and tensor.name not in corner:
        raise StandinError(f"Input {tensor.name} is missing from one of the shape flags")
    return tensor_io.settled_shapes(tensor.name, dims(tensor.shape), corner, log)


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


def _layers(network: Any) -> list[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


MIB = 2**20
WHOLE_PHASE_UNTIL = Version(9, 1)
"""Before it, "built in" covers parsing too; afterwards the build call alone."""

PRECISIONS = {f"--{name}": name.upper() for name in ("fp16", "bf16", "int8", "fp8", "int4")}
POOLS = {
    "workspace": "WORKSPACE",
    "dlaSRAM": "DLA_MANAGED_SRAM",
    "dlaLocalDRAM": "DLA_LOCAL_DRAM",
    "dlaGlobalDRAM": "DLA_GLOBAL_DRAM",
    "tacticSharedMem": "TACTIC_SHARED_MEMORY",
}
INTEGERS = {
    "--avgTiming": "avg_timing_iterations",
    "--minTiming": "min_timing_iterations",
    "--maxAuxStreams": "max_aux_streams",
    "--maxTactics": "max_num_tactics",
    "--builderOptimizationLevel": "builder_optimization_level",
}
"""Flags whose number goes straight to an attribute of the builder's configuration."""

SERVED = frozenset(PRECISIONS.keys() | INTEGERS.keys()).union(
    """
    --onnx --saveEngine --minShapes --optShapes --maxShapes --shapes --inputIOFormats
    --outputIOFormats --memPoolSize --workspace --noTF32 --sparsity --stronglyTyped
    --profilingVerbosity --timingCacheFile --noBuilderCache
    """.split()  # noqa: SIM905
)


def build(library: Library, logger: Any, options: Options, log: Log) -> bytes | memoryview:
    """Build the network of ``--onnx`` and return the plan; raises :class:`StandinError`."""
    began = time.perf_counter()
    try:
        builder = library.trt.Builder(logger)
    except TypeError as error:
        raise StandinError(f"Engine set up failed: no builder could be made: {error}") from error
    network = create_network(library, builder, options)
    # The parser's memory backs the weights, so it is kept until the build is done.
    parser = parse_network(library, network, logger, Path(options["--onnx"]), log)
    settle_io(library, network, options)
    config = builder.create_builder_config()
    profile = optimisation_profile(builder, network, options, log)
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise StandinError("Engine set up failed: the shapes make no valid optimisation profile")
    configure(library, config, options)
    set_precisions(library, config, network, options, log)
    cache_path = path_of(options, "--timingCacheFile")
    if cache_path is not None:
        _read_cache(config, cache_path, log)
    build_began = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    ended = time.perf_counter()
    del parser
    if plan is None:
        raise StandinError("Engine set up failed: the builder gave no plan; its reason is above")
    if cache_path is not None:
        _write_cache(config, cache_path, log)
    whole = library.version < WHOLE_PHASE_UNTIL and not library.is_rtx
    log.info(f"Engine built in {number(ended - (began if whole else build_began))} sec.")
    data = memoryview(plan)
    log.info(f"Created engine with size: {number(data.nbytes / MIB)} MiB")
    return data


def configure(library: Library, config: Any, options: Options) -> None:
    """Carry over memory pools, timing repeats, levels and all flags but the precisions."""
    for flag, attribute in INTEGERS.items():
        value = options.get(flag)
        if value is not None and value >= 0:
            _assign(library, config, attribute, value, flag)
    for pool, size in (options.get("--memPoolSize") or {}).items():
        _limit(library, config, pool, size, "--memPoolSize")
    if options.get("--workspace"):
        _limit(library, config, "workspace", options["--workspace"], "--workspace")
    verbosity = options["--profilingVerbosity"].upper()
    config.profiling_verbosity = library.member(
        "ProfilingVerbosity", verbosity, "--profilingVerbosity"
    )
    if options["--noTF32"]:
        config.clear_flag(library.member("BuilderFlag", "TF32", "--noTF32"))
    if options.get("--noBuilderCache"):
        config.set_flag(library.member("BuilderFlag", "DISABLE_TIMING_CACHE", "--noBuilderCache"))
    if options["--sparsity"] == "enable":
        config.set_flag(library.member("BuilderFlag", "SPARSE_WEIGHTS", "--sparsity"))
    elif options["--sparsity"] == "force":
        raise StandinError("--sparsity=force is not supported: weights are taken as they are")


def set_precisions(library: Library, config: Any, network: Any, options: Options, log: Log) -> None:
    """Allow the asked-for precisions, with trtexec's ranges for INT8 that has none of its own."""
    asked = [flag for flag in PRECISIONS if options.get(flag)]
    if options.get("--stronglyTyped"):
        if asked:
            log.warning(f"{' '.join(asked)} dropped: --stronglyTyped takes the graph's types")
        return
    if "--int8" in asked and "--fp8" in asked:
        raise StandinError("--int8 and --fp8 cannot be used together")
    for flag in asked:
        config.set_flag(library.member("BuilderFlag", PRECISIONS[flag], flag))
    if "--int8" in asked and not is_quantised(library, network):
        made = make_up_ranges(library, network)
        log.warning(f"INT8 without calibration: {made} ranges were made up; outputs mean nothing")


def _assign(library: Library, config: Any, attribute: str, value: int, flag: str) -> None:
    if not hasattr(config, attribute):
        raise StandinError(
            f"{flag} is not supported by {library.name} {library.version}: "
            f"its builder has no {attribute}"
        )
    setattr(config, attribute, value)


def _limit(library: Library, config: Any, pool: str, size: str | float, flag: str) -> None:
    if pool not in POOLS:
        raise StandinError(f"{flag}: no memory pool is called {pool}; there is {', '.join(POOLS)}")
    try:
        limit = int(float(size) * MIB)
    except ValueError:
        raise StandinError(
            f"{flag} needs a bare number of MiB for {pool}, not {size!r}: "
            "suffixes mean different things in different versions"
        ) from None
    config.set_memory_pool_limit(library.member("MemoryPoolType", POOLS[pool], flag), limit)


def _read_cache(config: Any, path: Path, log: Log) -> None:
    try:
        known = path.read_bytes()
    except OSError as error:
        log.warning(f"Timing cache {path} is not read: {error.strerror}")
        known = b""
    if not config.set_timing_cache(config.create_timing_cache(known), False):
        log.warning(f"Timing cache {path} is of another library or GPU and is not used")
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_cache(config: Any, path: Path, log: Log) -> None:
    cache = config.get_timing_cache()
    if cache is None:
        log.warning(f"Timing cache {path} is not written: the builder gave none")
        return
    tensor_io.write(path, memoryview(cache.serialize()))
