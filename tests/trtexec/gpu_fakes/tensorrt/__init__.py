"""TensorRT's Python interface over the fake GPU, as far as the stand-in uses it.

``FAKE_TENSORRT`` is the version (8.6.0 unless set); what that version lacks is missing here too.
The network is always the same: input 1x3x8x4 (2 dynamic sizes with ``FAKE_NETWORK=dynamic``), a
convolution, a concatenation, a pooling, output 1x2x8x4: ten times the first values of the input.
What the builder was told goes to the GPU's journal. A plan is a line of text.
"""

import ctypes
import os
from enum import Enum, IntEnum

import numpy as np
from cuda.bindings import runtime as gpu

__version__ = os.environ.get("FAKE_TENSORRT", "8.6.0")
MAJOR = int(__version__.partition(".")[0])
DYNAMIC = os.environ.get("FAKE_NETWORK") == "dynamic"


def _enum(name, *members):
    return IntEnum(name, {member: number for number, member in enumerate(members)})


_strong = ["STRONGLY_TYPED"] if MAJOR >= 10 else []
NetworkDefinitionCreationFlag = _enum(
    "NetworkDefinitionCreationFlag", *(["EXPLICIT_BATCH"] if MAJOR < 11 else []), *_strong
)
_weak = {8: ["FP16", "INT8", "FP8"], 10: ["FP16", "INT8", "FP8", "BF16", "INT4"]}.get(MAJOR, [])
BuilderFlag = _enum("BuilderFlag", "TF32", "DISABLE_TIMING_CACHE", "SPARSE_WEIGHTS", *_weak)
MemoryPoolType = _enum("MemoryPoolType", "WORKSPACE", "DLA_MANAGED_SRAM")
ProfilingVerbosity = _enum("ProfilingVerbosity", "LAYER_NAMES_ONLY", "DETAILED", "NONE")
TensorFormat = _enum("TensorFormat", "LINEAR", "CHW32")
DataType = _enum("DataType", "FLOAT", "HALF", "INT8", "INT32")
LayerType = _enum("LayerType", "CONVOLUTION", "CONCATENATION", "POOLING", "QUANTIZE", "DEQUANTIZE")
TensorIOMode = _enum("TensorIOMode", "NONE", "INPUT", "OUTPUT")
LayerInformationFormat = _enum("LayerInformationFormat", "ONELINE", "JSON")


class ILogger:
    class Severity(Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class IProfiler:
    pass


class Logger(ILogger):
    ERROR = ILogger.Severity.ERROR

    def __init__(self, severity):
        pass


def init_libnvinfer_plugins(logger, namespace):
    gpu.note("plugins")
    return True


def nptype(dtype):
    return np.float32


class Tensor:
    is_shape_tensor = False

    def __init__(self, name, shape=(1, 2, 8, 4)):
        self.name, self.shape = name, shape
        self.dtype, self.allowed_formats = DataType.FLOAT, 0xFFFF
        self.dynamic_range = None

    def set_dynamic_range(self, low, high):
        gpu.note("range", self.name, low, high)
        self.dynamic_range = (low, high)
        return True


class Layer:
    def __init__(self, kind, inputs, outputs):
        self.type, self._inputs, self._outputs = kind, inputs, outputs
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)

    def get_input(self, index):
        return self._inputs[index]

    def get_output(self, index):
        return self._outputs[index]


class Network:
    num_inputs = num_outputs = 1

    def __init__(self):
        first = Tensor("input", (1, 3, -1, -1) if DYNAMIC else (1, 3, 8, 4))
        middle, joined, last = Tensor("middle"), Tensor("joined"), Tensor("output")
        self._tensors = first, last
        self._layers = [
            Layer(LayerType.CONVOLUTION, [first, None], [middle]),
            Layer(LayerType.CONCATENATION, [middle, Tensor("side")], [joined]),
            Layer(LayerType.POOLING, [joined], [last]),
        ]
        self.num_layers = 3

    def get_input(self, index):
        return self._tensors[0]

    def get_output(self, index):
        return self._tensors[1]

    def get_layer(self, index):
        return self._layers[index]


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        pass

    def parse_from_file(self, path):
        return "bad" not in path

    def get_error(self, index):
        class Error:
            def node(self):
                return 7

            def desc(self):
                return "no such operator"

        return Error()


class Profile:
    def set_shape(self, name, low, best, high):
        gpu.note("profile", name, low, best, high)


class Config:
    def __init__(self):
        self.__dict__["noted"] = True

    def __setattr__(self, name, value):
        gpu.note("config", name, getattr(value, "name", value))

    avg_timing_iterations = builder_optimization_level = max_aux_streams = 0
    profiling_verbosity = min_timing_iterations = max_num_tactics = 0

    def set_flag(self, flag):
        gpu.note("set", flag.name)

    def clear_flag(self, flag):
        gpu.note("clear", flag.name)

    def set_memory_pool_limit(self, pool, size):
        gpu.note("pool", pool.name, size)

    def add_optimization_profile(self, profile):
        return 0

    def create_timing_cache(self, known):
        return known

    def set_timing_cache(self, cache, ignore_mismatch):
        gpu.note("cache", len(cache))
        return True

    def get_timing_cache(self):
        class Cache:
            def serialize(self):
                return b"timings"

        return Cache()


class Builder:
    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags=0):
        gpu.note("network", flags)
        return Network()

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        if os.environ.get("FAKE_NETWORK") == "unbuildable":
            self._logger.log(ILogger.Severity.ERROR, "Could not find any implementation for node X")
            return None
        tensor = network.get_input(0)
        gpu.note("build", tensor.dtype.name, tensor.allowed_formats)
        return b"ftrt plan"


class Inspector:
    def get_engine_information(self, form):
        assert form is LayerInformationFormat.JSON
        return '{"Layers": ["convolution", "pooling"], "Bindings": ["input", "output"]}'


class Context:
    profiler = None
    enqueue_emits_profile = True

    def __init__(self):
        self._shape = (1, 3, 8, 4)
        self._addresses = {}

    def set_input_shape(self, name, shape):
        self._shape = shape
        return True

    def infer_shapes(self):
        return []

    def get_tensor_shape(self, name):
        return self._shape if name == "input" else (1, 2, *self._shape[2:])

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return address > 0

    def execute_async_v3(self, stream):
        gpu.note("enqueue", stream)
        first, second = (self._values(name) for name in ("input", "output"))
        second[:] = 10 * first[: second.size]
        return gpu.launch(gpu.streams[stream])

    def _values(self, name):
        """A tensor's memory, which the fake GPU keeps on the host."""
        count = int(np.prod(self.get_tensor_shape(name)))
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(self._addresses[name]))

    def report_to_profiler(self):
        self.profiler.report_layer_time("convolution", 1.5)
        self.profiler.report_layer_time("pooling", 0.5)
        return True


class Engine:
    num_io_tensors = 2

    def get_tensor_name(self, index):
        return ("input", "output")[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "input" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType.FLOAT

    def get_tensor_shape(self, name):
        return (1, 3, -1, -1) if DYNAMIC and name == "input" else (1, 3, 8, 4)

    def get_tensor_format(self, name):
        return TensorFormat.LINEAR

    def is_shape_inference_io(self, name):
        return False

    def create_execution_context(self):
        gpu.note("context")
        return Context()

    def create_engine_inspector(self):
        return Inspector()


class Runtime:
    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, plan):
        if bytes(plan)[:4] != b"ftrt":
            self._logger.log(ILogger.Severity.ERROR, "The plan is of another version")
            return None
        return Engine()
