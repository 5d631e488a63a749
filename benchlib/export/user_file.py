"""A user's own ONNX file, made tidy and fixed to the shape that was asked for.

All that makes files differ is put right here, once, so that later steps have one kind of graph:
the operators of one standard at opset 13 or later, no local functions, no sparse weights, one
input, and a name of its own for every node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from benchlib.case import OPSET, GraphForm, Shape
from benchlib.errors import InputError, first_line
from benchlib.export import cache, calibration
from benchlib.models import macs, onnx_file
from benchlib.models.macs import RUNTIME_ERRORS
from benchlib.models.onnx_file import ImageInput

OLDEST_OPSET = 13
"""The first opset with scales per channel in QuantizeLinear; older files are brought up."""

IR_VERSION = 8
"""The file format's version that goes with opset 17; before 4 every weight was an input too."""

SAME_OUTPUT = 1e-3
"""Difference, in parts of the largest output, that a file brought to a newer opset may show.

Some hundred times float32's rounding over a deep network, and far below what another way of
resizing, onnx's own converter's known fault, changes."""

LEAST_WORK = 0.75
"""Part of a batch's multiply-adds, from those of one image, that a graph has to do.

What all images share, such as a table of positions, is worked out once; that is far less than a
quarter of any network's work."""

_ASYMMETRIC_UP_TO = 10  # the last opset in which Resize had no choice of coordinates
_STUB_BYTES = 1024  # smaller tensors hold shapes and scales, which the rewrites read
_HALF = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if name.startswith(("FLOAT16", "BFLOAT16", "FLOAT8", "FLOAT4"))
)
_REFUSALS = (ValueError, *RUNTIME_ERRORS)
"""What onnx's converter raises, and ONNX Runtime over what it made."""

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"}) | frozenset(
    {"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits", "QGemm"}
)
_INTEGER = frozenset(
    {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
)


def fixed(path: Path, shape: Shape) -> onnx.ModelProto:
    """Load the file at ``shape``: its open axes are set, or left open when that is dynamic.

    Open channels become three either way. Raises :class:`InputError`, naming the file, when it
    is not a valid graph of float32 images, when it is fixed to another shape, or when it cannot
    be brought to an opset that the other forms can be made of.
    """
    image = onnx_file.read(path)
    if image.dtype != "float32":
        raise InputError(
            "models", f"{path} takes {image.dtype} images; export it to take float32 ones"
        )
    image.check(path, shape)
    model = onnx_file.load(path)
    with _weights_aside(model) as light:
        if light.functions:
            light.CopyFrom(onnx.inliner.inline_local_functions(light))
            onnx_file.drop_unused(light.graph)
        for graph in onnx_file.parts(light, onnx.GraphProto):
            _store_densely(graph)
        _take_constants_from_inputs(light)
        if all(entry.domain for entry in light.opset_import):
            light.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model = _at_known_opset(path, model, image, shape)
    _check_mode(path, model)
    _check_work(path, model, image, shape)
    with _weights_aside(model) as light:
        _name_nodes(light)
        light.ir_version = max(light.ir_version, IR_VERSION)
        if image.is_open:
            _set_shape(light, image.name, shape)
        _infer_anew(light)
    return model


def _check_mode(path: Path, model: onnx.ModelProto) -> None:
    """Refuse a graph in training mode: its batch norms take means, its dropout draws numbers."""
    true = set()
    nodes = list(onnx_file.parts(model, onnx.NodeProto))
    for graph in onnx_file.parts(model, onnx.GraphProto):
        true |= {one.name for one in graph.initializer if _is_true(one)}
    for node in nodes:
        if node.op_type == "Constant" and _is_true(node.attribute[0].t):
            true.update(node.output)
    for node in nodes:
        trained = any(entry.name == "training_mode" and entry.i for entry in node.attribute)
        if trained or (node.op_type == "Dropout" and not true.isdisjoint(node.input[2:])):
            raise InputError(
                "models",
                f"{path} is in training mode ({node.op_type} {node.name or node.output[0]}); "
                "export the network after network.eval()",
            )


def _is_true(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.BOOL and bool(numpy_helper.to_array(tensor).all())


def _check_work(path: Path, model: onnx.ModelProto, image: ImageInput, shape: Shape) -> None:
    """Refuse a graph whose time would not be that of ``shape.batch`` images.

    One that takes the first image of a batch answers as fast for sixteen as for one.
    """
    if not any(image.name in node.input for node in onnx_file.parts(model, onnx.NodeProto)):
        raise InputError(
            "models", f"no output of {path} depends on its image {image.name!r}; export it again"
        )
    if shape.batch == 1 or image.batch is not None or cache.is_large(model):
        return
    try:
        single, whole = (
            macs.macs_of_model(model, image.name, (batch, *shape.nchw[1:]))
            for batch in (1, shape.batch)
        )
    except macs.UncountedError:
        return
    if whole < LEAST_WORK * shape.batch * single:
        raise InputError(
            "batch_sizes",
            f"{path} does {whole / single:.2g} times the work of one image at batch {shape.batch}, "
            "so it leaves images out; export it with the batch open throughout, or ask for 1",
        )


def check_convertible(file: Path, graph: Path, form: GraphForm) -> None:
    """Refuse to make ``form`` of ``graph``, the FP32 form of ``file``, that is not FP32 inside.

    What is worked out from constants alone does not count: it is the same at every precision.
    """
    model = onnx.load(str(graph), load_external_data=False)
    model = onnx.shape_inference.infer_shapes(model)
    constants, kinds = set(), {}
    graphs = list(onnx_file.parts(model, onnx.GraphProto))
    for part in graphs:
        constants |= onnx_file.constant_names(part)
        kinds |= {tensor.name: tensor.data_type for tensor in part.initializer}
        for value in (*part.input, *part.value_info, *part.output):
            kinds[value.name] = value.type.tensor_type.elem_type
    for node in (node for part in graphs for node in part.node):
        holds_graph = any(entry.HasField("g") for entry in node.attribute)
        if not holds_graph and all(name in constants for name in node.input if name):
            constants.update(node.output)
            continue
        _check_node(file, node, [kinds.get(name, 0) for name in node.output], form)


def _check_node(file: Path, node: onnx.NodeProto, kinds: list[int], form: GraphForm) -> None:
    what = None
    if half := _HALF.intersection(kinds):
        what = f"computes in {onnx_file.dtype_name(min(half))} inside already"
    elif node.op_type in _PRODUCTS and TensorProto.DOUBLE in kinds:
        what = "computes in float64 inside"
    elif node.op_type in _INTEGER or (form.is_int8 and node.op_type in _QUANTISERS):
        what = "is quantised already"
    if what is not None:
        raise InputError(
            "models",
            f"{file} {what} ({node.op_type} {node.name}), so no {form} graph is made of it; "
            "give the float32 network it was made from",
        )


@contextmanager
def _weights_aside(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """``model`` without its weights when they are too large for what onnx does in C++.

    They stand as external data meanwhile and come back under whatever name the tensor then has.
    """
    held: dict[str, bytes] = {}
    if cache.is_large(model):
        for tensor in onnx_file.parts(model, TensorProto):
            if len(tensor.raw_data) >= _STUB_BYTES:
                place = f"held-{len(held)}"
                held[place] = tensor.raw_data
                onnx.external_data_helper.set_external_data(tensor, place)
                tensor.ClearField("raw_data")
    yield model
    for tensor in onnx_file.parts(model, TensorProto) if held else ():
        if onnx_file.is_external(tensor):
            tensor.raw_data = held[onnx.external_data_helper.ExternalDataInfo(tensor).location]
            tensor.ClearField("data_location")
            del tensor.external_data[:]


def _store_densely(graph: onnx.GraphProto) -> None:
    """Write sparse weights out: TensorRT and the converters know dense ones only."""
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse, sparse.values.name))
    del graph.sparse_initializer[:]
    for node in graph.node:
        for entry in node.attribute:
            if entry.type == onnx.AttributeProto.SPARSE_TENSOR:
                dense = onnx.helper.make_attribute("value", _dense(entry.sparse_tensor, ""))
                entry.CopyFrom(dense)


def _dense(sparse: onnx.SparseTensorProto, name: str) -> TensorProto:
    values, places = (numpy_helper.to_array(part) for part in (sparse.values, sparse.indices))
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if places.ndim == 1:
        dense.reshape(-1)[places] = values
    else:
        dense[tuple(places.T)] = values
    return numpy_helper.from_array(dense, name)


def _take_constants_from_inputs(model: onnx.ModelProto) -> None:
    constants = onnx_file.constant_names(model.graph)
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        model.ir_version = max(model.ir_version, IR_VERSION)


def _at_known_opset(
    path: Path, model: onnx.ModelProto, image: ImageInput, shape: Shape
) -> onnx.ModelProto:
    """``model``, brought to opset 17 when it is too old, if it then gives the same output."""
    old = onnx_file.opset(model)
    if old >= OLDEST_OPSET:
        return model
    newer = onnx.ModelProto()
    newer.CopyFrom(model)
    # Otherwise the converter looks for the weights among the inputs.
    newer.ir_version = max(newer.ir_version, IR_VERSION)
    try:
        with _weights_aside(newer) as light:
            light.CopyFrom(onnx.version_converter.convert_version(light, OPSET))
            if old <= _ASYMMETRIC_UP_TO:
                _resize_as_before(light)
        problem = _difference(model, newer, image, shape)
    except _REFUSALS as error:
        problem = first_line(error)
    if problem:
        raise InputError(
            "models",
            f"{path} is at opset {old} and cannot be brought to {OPSET} ({problem}); "
            f"export it at opset {OLDEST_OPSET} to {OPSET}",
        )
    return newer


def _resize_as_before(model: onnx.ModelProto) -> None:
    """Resize with the coordinates it had up to opset 10, which onnx's converter leaves out."""
    for node in onnx_file.parts(model, onnx.NodeProto):
        if node.op_type == "Resize":
            known = {entry.name for entry in node.attribute}
            for name, value in (
                ("coordinate_transformation_mode", "asymmetric"),
                ("nearest_mode", "floor"),
            ):
                if name not in known:
                    node.attribute.append(onnx.helper.make_attribute(name, value))


def _difference(
    old: onnx.ModelProto, new: onnx.ModelProto, image: ImageInput, shape: Shape
) -> str | None:
    """In what the outputs of two graphs differ on one batch of noise; None when they do not.

    None as well where ONNX Runtime cannot run the old one, and there is nothing to compare with.
    """
    size = (image.batch or 1, 3, shape.height, shape.width)
    noise = np.random.default_rng(0).random(size, np.float32)
    after = _outputs(new, image.name, noise)
    try:
        before = _outputs(old, image.name, noise)
    except RUNTIME_ERRORS:
        return None
    for value, left, right in zip(old.graph.output, before, after, strict=True):
        if left.shape != right.shape or not _same(left, right):
            return f"output {value.name!r} is no longer the same"
    return None


def _same(left: NDArray[np.generic], right: NDArray[np.generic]) -> bool:
    if left.dtype.kind not in "fiu":
        return bool(np.array_equal(left, right))
    size = float(np.abs(np.nan_to_num(left)).max(initial=0))
    return bool(np.allclose(left, right, rtol=0, atol=SAME_OUTPUT * size, equal_nan=True))


def _outputs(model: onnx.ModelProto, name: str, noise: NDArray[np.float32]) -> list:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.onnx")
        cache.save(model, path)
        onnx.load_external_data_for_model(model, folder)  # what a large model was saved without
        session = calibration.graph_session(path)
        return session.run([value.name for value in model.graph.output], {name: noise})


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own: layers are told apart, and work counted, by name."""
    nodes = list(onnx_file.parts(model, onnx.NodeProto))
    taken = {node.name for node in nodes}
    seen = {""}
    for index, node in enumerate(nodes):
        if node.name in seen:
            name = f"{node.name or node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def _set_shape(model: onnx.ModelProto, name: str, shape: Shape) -> None:
    """Fix the input's axes or name them.

    A dynamic graph's axes get names of ours: one name for two axes would bind them together.
    """
    sizes = ("batch", 3, "height", "width") if shape.dynamic else shape.nchw
    for value in model.graph.input:
        if value.name == name:
            for axis, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
                axis.Clear()
                if isinstance(size, str):
                    axis.dim_param = size
                else:
                    axis.dim_value = size


def _infer_anew(model: onnx.ModelProto) -> None:
    """Replace the shapes that stand in the file: they may be of other sizes, or wrong."""
    ranks = {}
    for output in model.graph.output:
        ranks[output.name] = len(output.type.tensor_type.shape.dim)
        output.type.tensor_type.ClearField("shape")
    for graph in onnx_file.parts(model, onnx.GraphProto):
        del graph.value_info[:]
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True))
    for output in model.graph.output:
        if not output.type.tensor_type.HasField("shape"):
            # The standard asks for a rank even where none is inferred.
            output.type.tensor_type.shape.SetInParent()
            for _ in range(ranks[output.name]):
                output.type.tensor_type.shape.dim.add()
