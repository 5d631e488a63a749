"""A user's own ONNX file at the shape that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from benchlib.case import GraphForm, Shape
from benchlib.errors import InputError, MachineError
from benchlib.export import cache, calibration, user_file
from benchlib.export.build import Graph, make
from benchlib.export.torch_onnx import export
from benchlib.models import macs, onnx_file

FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as fixed.onnx (1 x 3 x 32 x 48) and as dynamic.onnx."""
    folder = tmp_path_factory.mktemp("user")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    export(network, Shape(1, 32, 48), folder / "fixed.onnx")
    export(network, Shape(1, 32, 48, dynamic=True), folder / "dynamic.onnx")
    return folder


@pytest.fixture
def graph_for(files: Path) -> Callable[..., Graph]:
    def of(name: str, form: GraphForm = GraphForm.FP32, **options: object) -> Graph:
        return make(f"onnx:{files / name}", form, **({"height": 32, "width": 48} | options))

    return of


def test_fixed_file_is_taken_as_it_is(graph_for: Callable[..., Graph]) -> None:
    graph = graph_for("fixed.onnx")
    assert graph.weights == "from file"
    assert graph.seed is None
    assert graph.input_shape == (1, 3, 32, 48)


def test_open_axes_are_fixed(graph_for: Callable[..., Graph]) -> None:
    graph = graph_for("dynamic.onnx", height=64, width=80, batch=2)
    model = onnx.load(str(graph.path))
    for value, channels in ((model.graph.input[0], 3), (model.graph.output[0], 2)):
        sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert sizes == [2, channels, 64, 80]


@pytest.mark.parametrize("form", [form for form in GraphForm if form is not GraphForm.FP32])
def test_every_form_can_be_made(graph_for: Callable[..., Graph], form: GraphForm) -> None:
    graph = graph_for("dynamic.onnx", form)
    assert graph.fidelity is not None
    assert graph.fidelity.relative_l2 is not None
    assert graph.fidelity.relative_l2 < (0.01 if form is GraphForm.FP16 else 0.1)


def test_other_sizes_than_the_fixed_ones_are_refused(graph_for: Callable[..., Graph]) -> None:
    with pytest.raises(InputError, match=r"resolutions: 64x48 .*fixed at 48x32"):
        graph_for("fixed.onnx", height=48, width=64)
    with pytest.raises(InputError, match=r"batch_sizes: .*fixed to batch 1, not 4"):
        graph_for("fixed.onnx", batch=4)
    with pytest.raises(InputError, match=r"shape_modes: .*fixed batch and height and width"):
        graph_for("fixed.onnx", dynamic=True)


def test_open_graph_stays_open_when_dynamic(graph_for: Callable[..., Graph]) -> None:
    opened = calibration.graph_session(graph_for("dynamic.onnx", dynamic=True).path)
    batch = np.zeros((3, 3, 16, 20), np.float32)
    (output,) = opened.run(None, {opened.get_inputs()[0].name: batch})
    assert output.shape == (3, 2, 16, 20)


def test_truncated_file_is_named(files: Path) -> None:
    broken = files / "broken.onnx"
    broken.write_bytes((files / "fixed.onnx").read_bytes()[:200])
    with pytest.raises(InputError, match=r"models: .*broken\.onnx"):
        make(f"onnx:{broken}", GraphForm.FP32, height=32, width=48)


def test_half_precision_images_are_refused(graph_for: Callable[..., Graph], files: Path) -> None:
    graph = graph_for("fixed.onnx", GraphForm.FP16, half_io=True)
    (files / "half.onnx").write_bytes(graph.path.read_bytes())
    with pytest.raises(InputError, match=r"half\.onnx takes float16 images"):
        graph_for("half.onnx")


FORMS = tuple(GraphForm)


def odd(path: Path, change: Callable[[onnx.ModelProto], object], opset: int = 17) -> str:
    """A small classifier at ``path``, changed; the name to ask for it by."""
    values = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(values.normal(0, 0.2, shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["c1"], "first", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"], "relu"),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], "second", pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["c2"], ["p"], "pool"),
            helper.make_node("Flatten", ["p"], ["y"], "flat"),
        ],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", FLOAT, ["N", 8])],
        [weight("w1", 8, 3, 3, 3), weight("w2", 8, 8, 3, 3)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    change(model)
    onnx.save(model, str(path))
    return f"onnx:{path}"


def made(model: str, form: GraphForm = GraphForm.FP32, **options: object) -> Graph:
    return make(model, form, **({"height": 32, "width": 32} | options))


def answer(path: Path | str, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """The first output for one fixed image of noise."""
    opened = calibration.graph_session(Path(str(path).removeprefix("onnx:")))
    name = opened.get_inputs()[0].name
    return opened.run(None, {name: np.random.default_rng(1).random((1, 3, *size), np.float32)})[0]


def with_input(*sizes: int | str | None) -> Callable[[onnx.ModelProto], None]:
    """A change of the input's shape; None leaves a size unsaid."""

    def change(model: onnx.ModelProto) -> None:
        for axis, size in zip(dims_of(model.graph.input[0]), sizes, strict=True):
            axis.Clear()
            if isinstance(size, str):
                axis.dim_param = size
            elif size is not None:
                axis.dim_value = size

    return change


def dims_of(value: onnx.ValueInfoProto) -> Any:
    return value.type.tensor_type.shape.dim


def with_head(*nodes: onnx.NodeProto, kind: onnx.TypeProto | None = None) -> Callable[..., None]:
    """A change that adds nodes after ``y``, the last one's output in its place."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node.extend(nodes)
        del model.graph.output[:]
        kind_of = kind or helper.make_tensor_type_proto(FLOAT, None)
        model.graph.output.append(helper.make_value_info(nodes[-1].output[0], kind_of))

    return change


@pytest.mark.parametrize(
    "sizes",
    [
        (1, "C", 32, 32),
        (1, None, 32, 32),
        ("N", "C", "H", "W"),
        ("?", "?", "?", "?"),
        (0, 3, 0, 0),
        (-1, -1, -1, -1),
        (1, 3, "side", "side"),
        (None, None, None, None),
    ],
)
def test_every_way_to_leave_an_axis_open_is_fixed(tmp_path: Path, sizes: tuple[Any, ...]) -> None:
    model = odd(tmp_path / "net.onnx", with_input(*sizes))
    wide = 32 if sizes[3] == 32 else 48
    path = made(model, width=wide).path
    graph = onnx.load(str(path)).graph
    assert [axis.dim_value for axis in dims_of(graph.input[0])] == [1, 3, 32, wide]
    assert answer(path, (32, wide)).shape == (1, 8)
    assert macs.of(model, 32, wide).gmacs > 0


@pytest.mark.parametrize("sizes", [("N", "N", "N", "N"), (-1, -1, -1, -1), ("n", "c", "h", "w")])
def test_a_dynamic_graph_has_three_channels_and_names_of_its_own(
    tmp_path: Path, sizes: tuple[Any, ...]
) -> None:
    graph = made(odd(tmp_path / "net.onnx", with_input(*sizes)), dynamic=True)
    axes = dims_of(onnx.load(str(graph.path)).graph.input[0])
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 3, "height", "width"]
    assert answer(graph.path, (16, 24)).shape == (1, 8)


@pytest.mark.parametrize(
    "sizes", [(1, 32, 32, 3), ("N", None, None, 3), (1, "h", "w", 3), (None, 32, 32, 3)]
)
def test_channels_last_are_refused_as_such(tmp_path: Path, sizes: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"net\.onnx takes NHWC images .*inputs-as-nchw x"):
        made(odd(tmp_path / "net.onnx", with_input(*sizes)))


@pytest.mark.parametrize("before", [(), ("Cast",), ("Mul", "Sub")])
def test_channels_last_are_seen_by_the_transpose_where_no_size_says_so(
    tmp_path: Path, before: tuple[str, ...]
) -> None:
    def change(model: onnx.ModelProto) -> None:
        with_input("a", "b", "c", "d")(model)
        model.graph.node[0].input[0] = "nchw"
        scale = numpy_helper.from_array(np.ones(3, np.float32), "scale")
        model.graph.initializer.append(scale)
        nodes, name = [], "x"
        for index, kind in enumerate(before):
            last, name = name, f"p{index}"
            inputs = [last] if kind == "Cast" else [last, "scale"]
            to = {"to": FLOAT} if kind == "Cast" else {}
            nodes.append(helper.make_node(kind, inputs, [name], **to))
        nodes.append(helper.make_node("Transpose", [name], ["nchw"], perm=[0, 3, 1, 2]))
        nodes += model.graph.node
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    with pytest.raises(InputError, match="NHWC"):
        made(odd(tmp_path / "net.onnx", change))


def test_an_image_three_pixels_wide_is_no_channels_last(tmp_path: Path) -> None:
    model = odd(tmp_path / "net.onnx", with_input(1, 3, 32, 3))
    assert made(model, width=3).input_shape == (1, 3, 32, 3)


def test_other_external_data_are_another_network(tmp_path: Path) -> None:
    def written(step: float) -> str:
        def change(model: onnx.ModelProto) -> None:
            branches = {}
            for name in ("then_branch", "else_branch"):
                value = numpy_helper.from_array(np.full((1, 8), step, np.float32), name)
                branches[name] = helper.make_graph(
                    [
                        helper.make_node("Constant", [], [f"{name}_c"], value=value),
                        helper.make_node("Add", ["y", f"{name}_c"], [f"{name}_z"]),
                    ],
                    name,
                    [],
                    [helper.make_tensor_value_info(f"{name}_z", FLOAT, ["N", 8])],
                )
            model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
            with_head(helper.make_node("If", ["yes"], ["z"], **branches))(model)
            for index, tensor in enumerate(onnx_file.parts(model, onnx.TensorProto)):
                onnx.external_data_helper.set_external_data(tensor, f"net.{index % 2}.data")

        for file in tmp_path.glob("*.data"):
            file.unlink()
        return odd(tmp_path / "net.onnx", change)

    model = written(1)
    file, first = (tmp_path / "net.onnx").read_bytes(), answer(made(model).path)
    digest = onnx_file.digest(tmp_path / "net.onnx")
    written(2)
    assert (tmp_path / "net.onnx").read_bytes() == file
    assert onnx_file.digest(tmp_path / "net.onnx") != digest
    np.testing.assert_allclose(answer(made(model).path), first + 1, rtol=1e-5)
    (tmp_path / "net.0.data").unlink()
    with pytest.raises(InputError, match=r"net\.0\.data"):
        onnx_file.digest(tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"net\.onnx"):
        made(model)


def test_a_file_without_external_data_is_known_by_its_own_bytes(tmp_path: Path) -> None:
    odd(tmp_path / "net.onnx", lambda model: None)
    assert onnx_file.digest(tmp_path / "net.onnx") == onnx_file.sha256(tmp_path / "net.onnx")


def weights_as_inputs(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, FLOAT, tensor.dims))


def long_domain(model: onnx.ModelProto) -> None:
    for place in (*model.opset_import, *model.graph.node):
        place.domain = "ai.onnx"


def both_domains(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx", 17))
    model.graph.node[2].domain = "ai.onnx"


def no_names(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = ""


def no_graph_name(model: onnx.ModelProto) -> None:
    model.graph.name = ""


def local_function(model: onnx.ModelProto) -> None:
    body = [
        helper.make_node("Conv", ["a", "w"], ["t"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["t"], ["b"]),
    ]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(
        helper.make_function("mine", "ConvRelu", ["a", "w"], ["b"], body, imports)
    )
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[0].CopyFrom(helper.make_node("ConvRelu", ["x", "w1"], ["c1"], domain="mine"))
    model.ir_version = 9


def sparse_weights(model: onnx.ModelProto) -> None:
    dense = numpy_helper.to_array(model.graph.initializer.pop())
    places = np.flatnonzero(dense > 0)
    values = numpy_helper.from_array(dense.ravel()[places], "w2")
    where = numpy_helper.from_array(places, "where")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, dense.shape))


def output_of_unknown_rank(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.ClearField("shape")


def output_of_a_wrong_shape(model: onnx.ModelProto) -> None:
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [7, 7, 7]))


ODDITIES = [
    weights_as_inputs,
    long_domain,
    both_domains,
    no_names,
    no_graph_name,
    local_function,
    sparse_weights,
    output_of_unknown_rank,
    output_of_a_wrong_shape,
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", ODDITIES)
def test_what_is_odd_is_made_tidy_and_every_form_of_it(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], form: GraphForm
) -> None:
    model = odd(tmp_path / "net.onnx", change)
    graph = made(model, form)
    whole = onnx.load(str(made(model).path))
    assert [value.name for value in whole.graph.input] == ["x"]
    names = [node.name for node in whole.graph.node]
    assert "" not in names
    assert len(set(names)) == len(names)
    assert {node.domain for node in whole.graph.node} == {""}
    assert not whole.functions
    assert not whole.graph.sparse_initializer
    if form is GraphForm.FP32:
        plain = model if change is not long_domain else odd(tmp_path / "p.onnx", lambda _: None)
        np.testing.assert_allclose(answer(graph.path), answer(plain), rtol=1e-5)
    else:
        assert graph.fidelity.relative_l2 < 0.1


def test_names_that_are_there_twice_are_told_apart(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.name = "same"
        model.graph.node[4].name = "same_1"

    names = [
        node.name
        for node in onnx.load(str(made(odd(tmp_path / "net.onnx", change)).path)).graph.node
    ]
    assert names[0] == "same"
    assert names[4] == "same_1"
    assert len(set(names)) == 5


@pytest.mark.parametrize("kind", ["linear", "nearest"])
@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_an_old_resize_stays_what_it_was(
    tmp_path: Path, operator: str, opset: int, kind: str
) -> None:
    """onnx's own converter leaves its coordinates out, and other pixels come back."""

    def change(model: onnx.ModelProto) -> None:
        scales = numpy_helper.from_array(np.array([1, 1, 1.5, 1.5], np.float32), "scales")
        model.graph.initializer.append(scales)
        model.graph.node.insert(
            3, helper.make_node(operator, ["c2", "scales"], ["big"], "big", mode=kind)
        )
        del model.graph.node[4:]
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("big", FLOAT, [1, 8, 48, 48]))

    model = odd(tmp_path / "net.onnx", change, opset)
    graph = made(model)
    assert graph.opset == 17
    np.testing.assert_allclose(answer(graph.path), answer(model), rtol=1e-5)
    assert made(model, GraphForm.INT8_QDQ).fidelity.relative_l2 < 0.1


def test_a_file_that_changes_on_its_way_to_a_newer_opset_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(user_file, "_resize_as_before", lambda model: None)
    with pytest.raises(InputError, match=r"is at opset 10 and cannot .*'big' is no longer"):
        test_an_old_resize_stays_what_it_was(tmp_path, "Resize", 10, "linear")


def test_a_file_is_read_as_protobuf_whatever_its_name_ends_with(tmp_path: Path) -> None:
    assert made(odd(tmp_path / "net.bin", lambda model: None)).form is GraphForm.FP32
    (tmp_path / "net.bin").rename(tmp_path / "net.json")
    assert made(f"onnx:{tmp_path / 'net.json'}").form is GraphForm.FP32


def test_an_opset_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is at opset 99"):
        made(odd(tmp_path / "net.onnx", lambda model: None, opset=99))


TENSOR = helper.make_tensor_type_proto(FLOAT, ["N", 8])


def trains(model: onnx.ModelProto, operator: str, mode: bool = True) -> None:
    """Put a layer after the pooling that is in training mode, or not."""
    vector = numpy_helper.from_array(np.ones(8, np.float32), "ones")
    model.graph.initializer.extend([vector, numpy_helper.from_array(np.array(mode), "mode")])
    if operator == "Dropout":
        layer = helper.make_node("Dropout", ["p", "", "mode"], ["q"], "drop")
    else:
        made = ["q", "mean", "variance"] if mode else ["q"]
        given = ["p", *["ones"] * 4]
        layer = helper.make_node("BatchNormalization", given, made, "bn", training_mode=mode)
    model.graph.node.insert(4, layer)
    model.graph.node[5].input[0] = "q"


@pytest.mark.parametrize("operator", ["BatchNormalization", "Dropout"])
def test_layers_of_training_that_are_switched_off_are_taken(tmp_path: Path, operator: str) -> None:
    model = odd(tmp_path / "net.onnx", lambda model: trains(model, operator, mode=False))
    assert made(model).form is GraphForm.FP32


REFUSED = [
    (
        with_head(
            helper.make_node("SequenceConstruct", ["y"], ["s"]),
            kind=helper.make_sequence_type_proto(TENSOR),
        ),
        "'s' of type sequence",
    ),
    (
        with_head(
            helper.make_node("Optional", ["y"], ["o"]), kind=helper.make_optional_type_proto(TENSOR)
        ),
        "'o' of type optional",
    ),
    (with_head(helper.make_node("Foo", ["y"], ["f"], domain="a")), "how many axes 'f' has"),
    (lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"), "how many axes 'x'"),
    (lambda model: dims_of(model.graph.input[0]).pop(), "shape 1x3x32"),
    (lambda model: model.graph.input.add().CopyFrom(OTHER), r"2 inputs \(x, mask\)"),
    (lambda model: model.graph.input[0].type.tensor_type.ClearField("elem_type"), "net.onnx"),
    (lambda model: model.graph.output.pop(), "no output"),
    (lambda model: model.graph.output.append(model.graph.output[0]), "the output y more than once"),
    (lambda model: trains(model, "BatchNormalization"), r"training mode \(BatchNormalization bn"),
    (lambda model: trains(model, "Dropout"), r"training mode \(Dropout drop\).*network.eval"),
]
OTHER = helper.make_tensor_value_info("mask", FLOAT, [1, 1, 32, 32])


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_what_cannot_be_timed_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[onnx.ModelProto], object], words: str
) -> None:
    with pytest.raises(InputError, match=words) as raised:
        made(odd(tmp_path / "net.onnx", change))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["UINT8", "STRING", "DOUBLE", "BFLOAT16"])
def test_images_of_another_type_are_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DataType.Value(kind)

    name = {"DOUBLE": "float64"}.get(kind, kind.lower())
    with pytest.raises(InputError, match=f"takes {name} images"):
        made(odd(tmp_path / "net.onnx", change))


def inner(kind: int) -> Callable[[onnx.ModelProto], None]:
    """A change that makes the first convolution compute in another type."""

    def change(model: onnx.ModelProto) -> None:
        weights = model.graph.initializer[0]
        numbers = numpy_helper.to_array(weights).ravel().tolist()
        weights.CopyFrom(helper.make_tensor("w1", kind, weights.dims, numbers))
        model.graph.node[0].input[0] = "low"
        model.graph.node[1].input[0] = "back"
        model.graph.node.insert(1, helper.make_node("Cast", ["c1"], ["back"], to=FLOAT))
        model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["low"], to=kind))

    return change


def inner_quantiser(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "step"))
    model.graph.node[2].input[0] = "d"
    for operator, source, result in (("Dequantize", "q", "d"), ("Quantize", "r1", "q")):
        node = helper.make_node(f"{operator}Linear", [source, "step"], [result], operator)
        model.graph.node.insert(2, node)


INT8_FORMS = [form for form in GraphForm if form.is_int8]


@pytest.mark.parametrize("form", [GraphForm.FP16, *INT8_FORMS])
@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE])
def test_a_file_of_another_precision_inside_is_taken_as_fp32_only(
    tmp_path: Path, kind: int, form: GraphForm
) -> None:
    model = odd(tmp_path / "net.onnx", inner(kind))
    assert made(model).form is GraphForm.FP32
    with pytest.raises(InputError, match=r"net\.onnx computes in float(16|64) inside"):
        made(model, form)


@pytest.mark.parametrize("form", INT8_FORMS)
def test_a_quantised_file_is_not_quantised_again(tmp_path: Path, form: GraphForm) -> None:
    model = odd(tmp_path / "net.onnx", inner_quantiser)
    assert made(model).form is GraphForm.FP32
    with pytest.raises(InputError, match=r"is quantised already \(QuantizeLinear Quantize\)"):
        made(model, form)


def test_weights_that_are_only_stored_in_fp16_are_no_other_precision(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        weights = numpy_helper.to_array(model.graph.initializer[0])
        stored = numpy_helper.from_array(weights.astype(np.float16), "stored")
        model.graph.initializer[0].CopyFrom(stored)
        model.graph.node.insert(0, helper.make_node("Cast", ["stored"], ["w1"], to=FLOAT))

    assert made(odd(tmp_path / "net.onnx", change), GraphForm.INT8_QDQ).fidelity is not None


def test_a_graph_too_large_for_one_file_is_written_beside_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limit set below this network's weights; two gigabytes would take minutes."""
    monkeypatch.setattr(cache, "_LARGEST_GRAPH", 1000)
    store = tmp_path / "cache"
    for change, opset in ((local_function, 17), (with_input("n", 3, "h", "w"), 11)):
        model = odd(tmp_path / "net.onnx", change, opset)
        graph = made(model, cache_dir=store)
        data = cache.data_of(graph.path)
        assert graph.path.stat().st_size < data.stat().st_size
        np.testing.assert_array_equal(answer(graph.path), answer(model))
        assert graph.sha256 != onnx_file.sha256(graph.path)

        out = tmp_path / "elsewhere" / "out.onnx"
        out.parent.mkdir(exist_ok=True)
        cache.copy(graph.path, out)
        data.write_bytes(bytes(data.stat().st_size))
        np.testing.assert_array_equal(answer(out), answer(model))
        assert made(model, cache_dir=store) == graph  # damaged data are written again
        np.testing.assert_array_equal(answer(graph.path), answer(model))
    assert not [path for path in store.iterdir() if path.is_dir()]


def test_whatever_a_library_raises_becomes_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("lost") from RuntimeError("\n\x1b[93mno kernel\x1b[0m for Foo\nlong advice")

    monkeypatch.setattr("benchlib.export.convert.convert", fail)
    caplog.set_level("DEBUG", logger="benchlib")
    with pytest.raises(InputError) as raised:
        made(odd(tmp_path / "net.onnx", lambda model: None), GraphForm.FP16)
    assert "net.onnx could not be written as fp16 at 32x32 (KeyError: no kernel for Foo)" in str(
        raised.value
    )
    assert "Traceback" in caplog.text


def test_a_network_that_cannot_be_exported_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images @ images.reshape(7, -1)

    monkeypatch.setattr("benchlib.models.torch_network.build", lambda *_: Refuses())
    with pytest.raises(InputError, match=r"resnet18 could not be written as fp32 .*RuntimeError"):
        made("resnet18", height=64, width=64, seed=987)


def test_an_operator_that_cannot_be_exported_is_one_line_and_no_dump(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchlib.models.torch_network.build", lambda *_: nn.RMSNorm(64).eval())
    with pytest.raises(InputError, match=r"UnsupportedOperatorError.*rms_norm"):
        made("resnet18", height=64, width=64, seed=986)
    assert capfd.readouterr().out == ""


def test_a_full_disk_is_not_laid_at_the_networks_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchlib.export.cache.save", fail)
    with pytest.raises(MachineError, match="No space left"):
        made(odd(tmp_path / "net.onnx", lambda model: None), cache_dir=tmp_path / "cache")


def _with_a_dropped_head(path: Path, *, weights_as_inputs: bool = False) -> Path:
    """One convolution that is asked for, and a head of two larger ones that nothing reads."""
    random = np.random.default_rng(0)
    sizes = {"stem": (4, 3, 3, 3), "aux_1": (64, 4, 3, 3), "aux_2": (64, 64, 3, 3), "lone": (9,)}
    weights = [
        numpy_helper.from_array(random.random(size, np.float32), name)
        for name, size in sizes.items()
    ]
    chain = (("x", "stem", "y"), ("y", "aux_1", "a"), ("a", "aux_2", "b"))
    nodes = [
        helper.make_node("Conv", [before, weight], [after], name=weight, pads=[1] * 4)
        for before, weight, after in chain
    ]
    # An optional output that is not asked for, which ONNX Runtime's quantiser would follow
    nodes.insert(1, helper.make_node("MaxPool", ["y"], ["z", ""], kernel_shape=[2, 2]))
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["n", 3, "h", "w"])]
    if weights_as_inputs:
        inputs += [helper.make_tensor_value_info(name, FLOAT, sizes[name]) for name in sizes]
    outputs = [helper.make_tensor_value_info("z", FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.mark.parametrize("weights_as_inputs", [False, True])
def test_what_no_output_depends_on_is_neither_computed_nor_counted(
    tmp_path: Path, weights_as_inputs: bool
) -> None:
    path = _with_a_dropped_head(tmp_path / "cut.onnx", weights_as_inputs=weights_as_inputs)
    for form in (GraphForm.FP32, GraphForm.INT8_CPU):
        graph = make(f"onnx:{path}", form, height=32, width=32, cache_dir=tmp_path / "cache")
        written = onnx.load(str(graph.path)).graph
        products = [node for node in written.node if node.op_type.endswith("Conv")]
        assert len(products) == 1
        assert [value.name for value in written.input] == ["x"]
        assert graph.fidelity is not None
    cost = macs.of_onnx(path, 32, 32)
    assert cost.gmacs == 32 * 32 * 4 * 27 / 1e9
    assert cost.params == 4 * 27


def test_what_only_a_branch_reads_is_kept(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
    flag = numpy_helper.from_array(np.array(True), "flag")

    def branch(name: str, node: onnx.NodeProto) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(node.output[0], FLOAT, None)
        dead = helper.make_node("Relu", ["shifted"], [f"{name}_dead"])
        return helper.make_graph([dead, node], name, [], [out])

    nodes = [
        helper.make_node("Neg", ["x"], ["shifted"]),
        helper.make_node(
            "If",
            ["flag"],
            ["y"],
            then_branch=branch("one", helper.make_node("Conv", ["shifted", "w"], ["a"])),
            else_branch=branch("two", helper.make_node("Conv", ["x", "w"], ["b"])),
        ),
    ]
    given = [helper.make_tensor_value_info("x", FLOAT, ["n", 3, "h", "w"])]
    asked = [helper.make_tensor_value_info("y", FLOAT, ["n", 1, "h", "w"])]
    graph = helper.make_graph(nodes, "g", given, asked, [weight, flag])
    path = tmp_path / "branch.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    model = onnx_file.load(path)
    assert [node.op_type for node in model.graph.node] == ["Neg", "If"]
    assert {tensor.name for tensor in model.graph.initializer} == {"w", "flag"}
    for entry in model.graph.node[1].attribute:
        assert [node.op_type for node in entry.g.node] == ["Conv"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("batch", 0), ("height", -32), ("width", 48.0), ("height", "32"), ("batch", True)),
        *(("seed", -1), ("seed", 2**64)),
    ],
)
def test_sizes_that_are_no_whole_numbers_are_refused_by_name(
    graph_for: Callable[..., Graph], field: str, value: object
) -> None:
    with pytest.raises(InputError, match=f"{field}: .* is no whole number from"):
        graph_for("dynamic.onnx", **{field: value})


def test_a_graph_that_leaves_images_of_a_batch_out_is_refused(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    first, axis = (numpy_helper.from_array(np.array([0]), name) for name in ("first", "axis"))
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["one"], axis=0),
        helper.make_node("Conv", ["one", "w"], ["y"]),
    ]
    given = [helper.make_tensor_value_info("x", FLOAT, ["n", 3, "h", "w"])]
    asked = [helper.make_tensor_value_info("y", FLOAT, [None, 4, None, None])]
    graph = helper.make_graph(nodes, "g", given, asked, [weight, first, axis])
    path = tmp_path / "first.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    assert user_file.fixed(path, Shape(1, 32, 32)).graph.node
    with pytest.raises(InputError, match=r"batch_sizes: .* does 1 times the work of one image"):
        user_file.fixed(path, Shape(4, 32, 32))


def test_a_graph_whose_outputs_are_constants_is_refused(tmp_path: Path) -> None:
    value = numpy_helper.from_array(np.ones((1, 4), np.float32))
    nodes = [
        helper.make_node("Relu", ["x"], ["lost"]),
        helper.make_node("Constant", [], ["y"], value=value),
    ]
    given = [helper.make_tensor_value_info("x", FLOAT, ["n", 3, "h", "w"])]
    asked = [helper.make_tensor_value_info("y", FLOAT, [1, 4])]
    path = tmp_path / "constant.onnx"
    model = helper.make_model(
        helper.make_graph(nodes, "g", given, asked), opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"models: no output of .* depends on its image 'x'"):
        user_file.fixed(path, Shape(1, 32, 32))


def test_a_file_of_onnx_runtimes_quantiser_is_not_quantised_again(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = numpy_helper.from_array(np.ones((8, 4), np.int8), "q")
        step = numpy_helper.from_array(np.array(0.1, np.float32), "step")
        model.graph.initializer.extend([weight, step])
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        node = helper.make_node("DynamicQuantizeMatMul", ["y", "q", "step"], ["z"], "fast")
        node.domain = "com.microsoft"
        with_head(node, kind=helper.make_tensor_type_proto(FLOAT, ["N", 4]))(model)

    model = odd(tmp_path / "net.onnx", change)
    assert made(model, GraphForm.FP16).fidelity.relative_l2 < 0.01
    with pytest.raises(InputError, match=r"is quantised already .DynamicQuantizeMatMul fast"):
        made(model, GraphForm.INT8_CPU)
