"""A user's own ONNX file: checked, its image input described, its content known by a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto

from benchlib.case import Shape
from benchlib.errors import InputError, first_line

_CHANNELS = 3
_DEFAULT_DOMAIN = "ai.onnx"  # the long name of the domain that is mostly written as ""
_LARGEST_MESSAGE = 2**31 - 1
"""Bytes of one protobuf message, and so of one ONNX file; larger weights stand beside it."""

_BLOCK = 1 << 20

_PREPARING = frozenset({"Add", "Cast", "Clip", "Div", "Identity", "Mul", "Sub"})
"""What Keras's own scaling of pixels becomes, in front of the Transpose that tf2onnx writes."""

_Part = TypeVar("_Part", bound=Message)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The one input a graph takes: batch x 3 x height x width.

    A size is None where the graph leaves it open, by a symbol, by no size at all or by one below
    1. ``channels_open`` says so of the channels. ``dtype`` is numpy's name, "float32" mostly.
    """

    name: str
    batch: int | None
    height: int | None
    width: int | None
    dtype: str
    channels_open: bool = False

    @property
    def is_open(self) -> bool:
        """Whether any of the four sizes is open."""
        return self.channels_open or None in (self.batch, self.height, self.width)

    def check(self, path: Path, shape: Shape) -> None:
        """Raise :class:`InputError`, naming ``path``, when the graph is fixed to another shape
        than ``shape``; when that is dynamic, if it is fixed at all."""
        own = {"batch": self.batch, "height": self.height, "width": self.width}
        closed = {axis: size for axis, size in own.items() if size is not None}
        if shape.dynamic and closed:
            raise InputError(
                "shape_modes",
                f"{path} has a fixed {' and '.join(closed)}; take shape_modes=[static], or export "
                "it with dynamic axes",
            )
        for axis, size in closed.items():
            if size != getattr(shape, axis):
                raise InputError(
                    "batch_sizes" if axis == "batch" else "resolutions",
                    f"{path} is fixed to {axis} {size}, not {getattr(shape, axis)}; "
                    f"ask for {size} or export it with dynamic axes",
                )


def read(path: Path) -> ImageInput:
    """Check the graph at ``path`` and describe its input.

    Raises :class:`InputError`, naming the file and the remedy, when there is no such file, when
    it is not a whole and valid ONNX graph, or when it does not take one image tensor and give
    tensors.
    """
    graph = _checked_graph(path)
    constants = constant_names(graph)
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(
            "models",
            f"{path} has {len(inputs)} inputs ({names}); only graphs of one image input are timed",
        )
    tensor = inputs[0].type.tensor_type
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    shape = "x".join("?" if size is None else str(size) for size in sizes) or "unknown"
    if len(sizes) == 4 and _is_nhwc(graph, inputs[0].name, sizes):
        raise InputError(
            "models",
            f"{path} takes NHWC images (shape {shape}, channels last); export it to take NCHW "
            f"ones, batch x 3 x height x width (tf2onnx: --inputs-as-nchw {inputs[0].name})",
        )
    if len(sizes) != 4 or sizes[1] not in (None, _CHANNELS):
        raise InputError(
            "models",
            f"{path} takes an input of shape {shape}; export it to take batch x 3 x height x width",
        )
    batch, channels, height, width = sizes
    dtype = dtype_name(tensor.elem_type)
    return ImageInput(inputs[0].name, batch, height, width, dtype, channels is None)


def load(path: Path) -> onnx.ModelProto:
    """The model with its weights; what the standard forbids and readers allow is mended.

    Nodes and weights that no output depends on are left out, see :func:`drop_unused`.

    For a file that :func:`read` has passed; raises :class:`InputError` when its external data
    cannot be read.
    """
    try:
        model = onnx.load(path, "protobuf", load_external_data=False)
        _mend(model)
        drop_unused(model.graph)
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, DecodeError, onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise _not_whole(path, error) from error
    return model


def drop_unused(graph: onnx.GraphProto) -> None:
    """Take out of ``graph`` the nodes and weights that none of its outputs depends on, and the
    inputs that the weights are defaults of.

    A file keeps them when an output, such as a training head's, was taken off its list alone.
    TensorRT leaves such nodes out of an engine. ONNX Runtime computes them in every inference,
    and work counted over them would be the work of another network.
    """
    constants = constant_names(graph)
    _drop_unused_of(graph)
    gone = constants - constant_names(graph)
    for place in reversed(range(len(graph.input))):
        if graph.input[place].name in gone:  # else a weight would become an input
            del graph.input[place]


def _drop_unused_of(graph: onnx.GraphProto) -> set[str]:
    """Drop what no output of ``graph`` depends on; return the names that it reads."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):  # the standard has every node behind those it reads from
        while node.output and not node.output[-1]:
            node.output.pop()  # an optional output that is not asked for
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(filter(None, node.input))
        for body in bodies(node):
            needed |= _drop_unused_of(body)
    if len(kept) < len(graph.node):
        replace_nodes(graph, reversed(kept))
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in needed:
            del graph.initializer[place]
    for place in reversed(range(len(graph.sparse_initializer))):
        if graph.sparse_initializer[place].values.name not in needed:
            del graph.sparse_initializer[place]
    return needed


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node: branches of If, bodies of Loop and Scan."""
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            yield entry.g
        yield from entry.graphs


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Make ``nodes``, which may stand in ``graph`` now, the nodes of ``graph``."""
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def digest(path: Path) -> str:
    """Hex digest of the content: of the file and of every external-data file that it names.

    Equals the file's own SHA-256 where it names none. Raises :class:`InputError` when one of
    them cannot be read.
    """
    try:
        own = sha256(path)
        try:
            model = onnx.load(path, "protobuf", load_external_data=False)
        except DecodeError:  # it is refused where it is read
            return own
        named = {_location(tensor) for tensor in parts(model, TensorProto) if is_external(tensor)}
        if not named:
            return own
        beside = {name: sha256(path.parent / name) for name in sorted(named)}
    except OSError as error:
        raise _unreadable(path, error) from error
    return hashlib.sha256(json.dumps([own, beside]).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def parts(message: Message, kind: type[_Part]) -> Iterator[_Part]:
    """Every message of ``kind`` inside ``message``: in subgraphs, attributes, functions as well."""
    for _, value in message.ListFields():
        if isinstance(value, Message):
            value = (value,)
        elif isinstance(value, str | bytes | int | float) or not isinstance(value[0], Message):
            continue
        for part in value:
            if isinstance(part, kind):
                yield part
            if not isinstance(part, TensorProto):  # which holds no message but its data
                yield from parts(part, kind)


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operator set; 0 when the file names none."""
    return max((entry.version for entry in model.opset_import if not entry.domain), default=0)


def constant_names(graph: onnx.GraphProto) -> set[str]:
    """The names of the graph's initialisers, sparse ones included."""
    names = {tensor.name for tensor in graph.initializer}
    return names | {tensor.values.name for tensor in graph.sparse_initializer}


def dtype_name(elem_type: int) -> str:
    """numpy's name of an ONNX element type, ONNX's own in lower case where numpy has none."""
    try:
        name = onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        name = "object"
    return TensorProto.DataType.Name(elem_type).lower() if name == "object" else name


def _check_values(path: Path, *values: onnx.ValueInfoProto) -> None:
    """Refuse as input or output what is no tensor, a sequence for instance, or of no known rank."""
    for value in values:
        kind = value.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            what = kind.removesuffix("_type").replace("_", " ")
            raise InputError(
                "models",
                f"{path} has {value.name!r} of type {what}; export it with plain tensors as input "
                "and output",
            )
        if _lacks_shape(value):
            raise InputError(
                "models",
                f"{path} does not say how many axes {value.name!r} has; "
                "export it with the shapes of input and output",
            )


def _is_nhwc(graph: onnx.GraphProto, name: str, sizes: list[int | None]) -> bool:
    """Whether the channels come last: by the sizes, or by the Transpose that all is led through."""
    if sizes[1] == _CHANNELS:
        return False
    if sizes[3] == _CHANNELS:
        return True
    return sizes[1] is None and _is_turned(graph, name)


def _is_turned(graph: onnx.GraphProto, name: str) -> bool:
    """Whether all that reads a tensor turns it to NCHW, perhaps scaled or shifted before."""
    readers = [node for node in graph.node if name in node.input]
    return bool(readers) and all(
        _brings_channels_forward(node)
        or (node.op_type in _PREPARING and _is_turned(graph, node.output[0]))
        for node in readers
    )


def _brings_channels_forward(node: onnx.NodeProto) -> bool:
    order = next((list(entry.ints) for entry in node.attribute if entry.name == "perm"), None)
    return node.op_type == "Transpose" and order == [0, 3, 1, 2]


def _checked_graph(path: Path) -> onnx.GraphProto:
    if not path.is_file():
        raise InputError("models", f"there is no file {path}; give onnx: and the path to a file")
    try:
        if path.stat().st_size > _LARGEST_MESSAGE:
            raise InputError(
                "models",
                f"{path} is larger than 2 GB, the limit of one ONNX file; "
                "export it with external data",
            )
        model = onnx.load(path, "protobuf", load_external_data=False)
        mended = _mend(model)
        version = opset(model)
        newest = onnx.defs.onnx_opset_version()
        if version > newest:
            raise InputError(
                "models",
                f"{path} is at opset {version}, and the installed onnx knows opsets up to "
                f"{newest}; export it at an older one or upgrade onnx",
            )
        _check_values(path, *model.graph.input, *model.graph.output)
        onnx.checker.check_model(_without_external(path, model) if mended else str(path))
    except OSError as error:
        raise _unreadable(path, error) from error
    except InputError:
        raise
    except (DecodeError, onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        # RuntimeError is what the checker's C++ side raises for what it cannot parse.
        raise _not_whole(path, error) from error
    if not model.graph.node:
        raise InputError("models", f"{path} holds no graph; copy or export it again")
    if not model.graph.output:
        raise InputError("models", f"{path} has no output; export it again")
    names = [value.name for value in model.graph.output]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(
            "models",
            f"{path} has the output {', '.join(sorted(twice))} more than once; export each once",
        )
    return model.graph


def _without_external(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with external tensors empty: of a model in memory the checker misses their files.

    Raises :class:`OSError` for a file that is missing.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in filter(is_external, parts(copy, TensorProto)):
        (path.parent / _location(tensor)).stat()
        tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
    return copy


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        "models",
        f"{path} cannot be read ({error}); check its rights, or copy or export it again, with its "
        "external data",
    )


def _not_whole(path: Path, error: Exception) -> InputError:
    return InputError(
        "models",
        f"{path} is not a whole, valid ONNX graph ({first_line(error)}); "
        "copy or export it again, with its external data file if it has one",
    )


def _mend(model: onnx.ModelProto) -> bool:
    """Mend what the standard forbids and readers allow; return whether there was anything.

    That is the default domain under its long name, a graph without a name, and outputs whose
    rank is not said.
    """
    nameless = model.HasField("graph") and not model.graph.name
    if nameless:
        model.graph.name = "graph"
    places = [*parts(model, onnx.NodeProto), *parts(model, onnx.OperatorSetIdProto)]
    renamed = [place for place in places if place.domain == _DEFAULT_DOMAIN]
    for place in renamed:
        place.domain = ""
    if renamed:
        for holder in (model, *model.functions):
            _merge_default(holder)
    shapeless = [value for value in model.graph.output if _lacks_shape(value)]
    if shapeless:
        _infer_ranks(model, shapeless)
    return bool(renamed or shapeless or nameless)


def _lacks_shape(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")


def _infer_ranks(model: onnx.ModelProto, outputs: list[onnx.ValueInfoProto]) -> None:
    """Give ``outputs`` the ranks that shape inference finds; some may go without."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError:
        return
    found = {value.name: value for value in inferred.graph.output}
    for value in outputs:
        value.CopyFrom(found[value.name])


def _merge_default(holder: onnx.ModelProto | onnx.FunctionProto) -> None:
    """Leave one import of the default domain, the newest, of several."""
    imports = list(holder.opset_import)
    newest = max((entry.version for entry in imports if not entry.domain), default=None)
    kept = [entry for entry in imports if entry.domain]
    if newest is not None:
        kept.insert(0, onnx.helper.make_opsetid("", newest))
    del holder.opset_import[:]
    holder.opset_import.extend(kept)


def _location(tensor: TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's values stand in another file."""
    return tensor.data_location == TensorProto.EXTERNAL
