"""Graphs that people have, from FP32 to INT8: quantised as far as can be, and told how far."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

from benchlib.case import GraphForm
from benchlib.errors import InputError
from benchlib.export import convert, qdq, torch_onnx
from benchlib.export.convert import Outcome

INT8 = (GraphForm.INT8_QDQ, GraphForm.INT8_QDQ_FP16, GraphForm.INT8_CPU)
IMAGES = [np.random.default_rng(seed).random((1, 3, 8, 8), np.float32) for seed in range(3)]
HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def weights(*shape: int) -> np.ndarray:
    """The same for each shape, whichever test runs first."""
    return np.random.default_rng(shape).normal(0, 0.4, shape).astype(np.float32)


def model_of(text: str, **constants: np.ndarray) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text if text.startswith("<") else f"{HEADER} {text}")
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def results(path: Path) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return opened.run(None, {"x": IMAGES[0]})


def converted(
    model: onnx.ModelProto, form: GraphForm, folder: Path, bound: float = 0.1
) -> tuple[onnx.ModelProto, Outcome]:
    """The graph in ``form``, whose outputs are within ``bound`` (relative L2) of FP32's."""
    source, target = folder / "fp32.onnx", folder / f"{form}.onnx"
    onnx.save(model, str(source))
    outcome = convert.convert(source, target, form, input_name="x", batches=IMAGES)
    for wanted, given in zip(results(source), results(target), strict=True):
        assert np.linalg.norm(given - wanted) <= bound * np.linalg.norm(wanted)
    return onnx.load(str(target)), outcome


FOLDED = {
    "cast": ("w = Cast<to = 1>(h)", {"h": weights(8, 3, 3, 3).astype(np.float16)}),
    "transpose": ("w = Transpose<perm = [3, 2, 0, 1]>(h)", {"h": weights(3, 3, 3, 8)}),
    "reshape": ("w = Reshape(h, s)", {"h": weights(216), "s": np.array([8, 3, 3, 3])}),
    "identity": ("v = Identity(h)  w = Identity(v)", {"h": weights(8, 3, 3, 3)}),
    "weight norm": (
        """n = ReduceL2<axes = [1, 2, 3]>(h)  u = Div(h, n)  w = Mul(u, g)""",
        {"h": weights(8, 3, 3, 3), "g": np.full((8, 1, 1, 1), 1.5, np.float32)},
    ),
    "value_floats": (
        "h = Constant<value_floats = [0.5, -0.25, 0.125]> ()  w = Reshape(h, s)",
        {"s": np.array([1, 3, 1, 1])},
    ),
}


@pytest.mark.parametrize("form", INT8)
@pytest.mark.parametrize("case", FOLDED)
def test_weights_that_are_computed_from_constants_are_quantised(
    case: str, form: GraphForm, tmp_path: Path
) -> None:
    nodes, constants = FOLDED[case]
    model = model_of(
        f"g (float[1,3,8,8] x) => (float[1,A,B,C] y) {{ {nodes} y = Conv(x, w) }}", **constants
    )
    made, outcome = converted(model, form, tmp_path)
    assert outcome.census == qdq.Census(1, ())
    conv = next(node for node in made.graph.node if node.op_type == "Conv")
    writer = {name: node.op_type for node in made.graph.node for name in node.output}
    assert [writer[name] for name in conv.input] == ["DequantizeLinear"] * 2
    kinds = Counter(node.op_type for node in made.graph.node)
    assert not kinds.keys() & {"ReduceL2", "Transpose", "Reshape", "Identity", "Div"}


@pytest.mark.parametrize("form", INT8)
def test_functions_of_the_file_are_opened_first(form: GraphForm, tmp_path: Path) -> None:
    model = model_of(
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[1,3,8,8] x) => (float[1,8,A,B] y) { y = own.block(x, w) }
        <domain: "own", opset_import: ["" : 17]>
        block (a, b) => (c) { t = Conv(a, b)  c = Relu(t) }""",
        w=weights(8, 3, 3, 3),
    )
    made, outcome = converted(model, form, tmp_path)
    assert outcome.census == qdq.Census(1, ())
    assert not made.functions


def graph(text: str, **constants: np.ndarray) -> onnx.ModelProto:
    """Two quantisable convolutions and, between them, ``text``, which makes t from r."""
    return model_of(
        f"""g (float[1,3,8,8] x) => (float[1,4,A,B] y) {{
            c = Conv(x, w1)  r = Relu(c)  {text}  y = Conv(t, w2) }}""",
        w1=weights(8, 3, 1, 1),
        w2=weights(4, 8, 1, 1),
        **constants,
    )


@pytest.mark.parametrize(
    ("text", "constants", "why"),
    [
        (
            "m = ReduceMean(x)  w = Mul(k, m)  t = Conv(r, w)",
            {"k": weights(8, 8, 1, 1)},
            "its weights are computed while it runs",
        ),
        ("t = MatMul(k, r)", {"k": weights(8, 8)}, "its constant is on the left"),
        (
            "v = MatMul(r, k)  u = Unsqueeze(v, at)  t = Mul(u, r)",
            {"k": weights(8), "at": np.array([3])},
            "its weights are a vector",
        ),
        ('t = Einsum<equation = "bchw,cd->bdhw">(r, k)', {"k": weights(8, 8)}, "Einsum"),
        (
            """n = Size(r)  z = Equal(n, zero)
            t = If(z) <then_branch = a () => (o) { o = Identity(r) },
                       else_branch = b () => (o) { o = Conv(r, k) }>""",
            {"k": weights(8, 8, 1, 1), "zero": np.array(0)},
            "it stands in the body of If",
        ),
    ],
    ids=["computed", "left", "vector", "einsum", "body"],
)
@pytest.mark.parametrize("form", (GraphForm.INT8_QDQ, GraphForm.INT8_QDQ_FP16))
def test_what_cannot_be_quantised_is_named(
    text: str, constants: dict[str, np.ndarray], why: str, form: GraphForm, tmp_path: Path
) -> None:
    _, outcome = converted(graph(text, **constants), form, tmp_path)
    assert outcome.census is not None
    assert outcome.census.quantised == 2
    (left_out,) = outcome.census.left_out
    assert left_out.why.startswith(why)
    (remark,) = outcome.remarks
    assert remark.startswith(f"2 of 3 products are INT8; left out: {left_out.node}: {why}")


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("t = Conv<group = 2>(r, k)", {"k": weights(8, 4, 1, 1)}),
        ("t = ConvTranspose(r, k, b)", {"k": weights(8, 8, 2, 2), "b": weights(8)}),
        ("t = ConvTranspose<group = 2>(r, k)", {"k": weights(8, 4, 2, 2)}),
        ("t = MatMul(r, k)", {"k": weights(8, 8)}),
        ("t = MatMul(r, k)", {"k": weights(8, 8, 8)}),
        ("u = Conv(r, w2)  v = Conv(r, w2)  t = Concat<axis = 1>(u, v)", {}),
        (
            """f = Reshape(r, flat)  h = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(f, k, b)
            t = Reshape(h, map)""",
            {
                "k": weights(8, 512),
                "b": weights(8),
                "flat": np.array([1, 512]),
                "map": np.array([1, 8, 1, 1]),
            },
        ),
    ],
)
@pytest.mark.parametrize("form", INT8)
def test_products_of_every_kind_are_quantised(
    text: str, constants: dict[str, np.ndarray], form: GraphForm, tmp_path: Path
) -> None:
    _, outcome = converted(graph(text, **constants), form, tmp_path)
    assert outcome.census is not None
    assert outcome.census.left_out == ()
    assert outcome.remarks == ()


@pytest.mark.parametrize("form", INT8)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }", "no convolution or matrix"),
        (
            """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
            t = Transpose<perm = [0, 1, 3, 2]>(x)  y = MatMul(t, x) }""",
            "both its factors are computed, as in attention",
        ),
    ],
)
def test_a_graph_without_an_int8_product_is_refused(
    text: str, why: str, form: GraphForm, tmp_path: Path
) -> None:
    if form is GraphForm.INT8_CPU and "MatMul" in text:
        pytest.skip("ONNX Runtime's quantiser takes products of two activations")
    with pytest.raises(InputError, match=f"nothing of this network would be INT8 as {form}") as it:
        converted(model_of(text), form, tmp_path)
    assert why in str(it.value)


@pytest.mark.parametrize("form", INT8)
def test_weights_that_only_a_branch_reads_are_kept(form: GraphForm, tmp_path: Path) -> None:
    text = """m = ReduceMax<keepdims = 0>(r)  z = Greater(m, zero)
        t = If(z) <then_branch = a () => (o) { v = Identity(k)  o = Conv(r, v) },
                   else_branch = b () => (o) { v = Conv(r, alias)  o = Relu(v) }>"""
    constants = {"k": weights(8, 8, 1, 1), "kk": weights(8, 8, 1, 1), "zero": np.float32(0)}
    model = graph(f"alias = Identity(kk)  {text}", **constants)
    converted(model, form, tmp_path)


TAKEN = (
    *("r_scale", "r_zero", "r_quantised", "r_dequantised", "w1_axis0_scale", "r_zero_point"),
    *("r_QuantizeLinear_Output", "w1_quantized", "x_half", "y_half", "x_scale"),
    *("x_zero", "x_quantised", "x_dequantised"),
)
"""What our converters and ONNX Runtime's call what they add."""


@pytest.mark.parametrize("form", tuple(GraphForm)[1:])
def test_a_name_that_is_taken_is_left_to_its_owner(form: GraphForm, tmp_path: Path) -> None:
    last, constants, results = "r", "", ""
    for index, name in enumerate(TAKEN):
        constants += f"m{index} = Mul({last}, {name})  "
        results += f"{name} = Sigmoid({last})  m{index} = Mul({last}, {name})  "
        last = f"m{index}"
    near_one = {name: 1 + weights(1, 8, 1, 1) / 4 for name in TAKEN}
    converted(graph(f"{constants} t = Identity({last})", **near_one), form, tmp_path)
    converted(graph(f"{results} t = Identity({last})"), form, tmp_path)


def test_what_is_quantised_already_is_not_quantised_again(tmp_path: Path) -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
            q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
            w = DequantizeLinear(k, s, z)  c = Conv(d, w)  r = Relu(c)  y = Conv(r, v) }""",
        s=np.float32(0.01),
        z=np.int8(0),
        k=np.random.default_rng(1).integers(-50, 50, (8, 3, 1, 1)).astype(np.int8),
        v=weights(4, 8, 1, 1),
    )
    made, outcome = converted(model, GraphForm.INT8_QDQ, tmp_path)
    assert outcome.census == qdq.Census(2, ())
    counts = Counter(node.op_type for node in made.graph.node)
    assert (counts["QuantizeLinear"], counts["DequantizeLinear"]) == (3, 4)


@pytest.mark.parametrize("amplitude", [1e-9, 1.0, 1e9])
def test_steps_beyond_fp16_stay_numbers(amplitude: float) -> None:
    step = qdq.scale(np.array([amplitude]))
    assert np.isfinite(step).all()
    assert (step * qdq.LEVELS >= amplitude).all()


def test_folding_leaves_what_depends_on_the_input_or_on_chance() -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] y, float[2] z) {
            a = RandomNormal<shape = [2]>()  z = Relu(a)
            b = Neg(k)  c = Abs(b)  s = Shape(x)  d = Reshape(x, s)  y = Mul(d, c) }""",
        k=np.float32(2),
    )
    torch_onnx.fold(model, ["z", "c", "d"])
    assert [node.op_type for node in model.graph.node] == [
        *("RandomNormal", "Relu", "Shape", "Reshape", "Mul")
    ]
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    assert values["c"] == 2


@pytest.mark.parametrize("form", INT8)
def test_a_node_with_a_part_that_is_still_read_stays_beside_the_folded_one(
    form: GraphForm, tmp_path: Path
) -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,A,B,C] y, float[1,3,8,8] z) {
            w, b = Split<axis = 2>(h, s)  y = Conv(x, w)  c = ReduceMax(b)  z = Add(x, c) }""",
        h=weights(8, 3, 4, 1),
        s=np.array([1, 3]),
    )
    made, outcome = converted(model, form, tmp_path)
    assert outcome.census == qdq.Census(1, ())
    assert "Split" in {node.op_type for node in made.graph.node}


def test_losses_of_fp16_are_told(tmp_path: Path) -> None:
    model = graph("t = Mul(r, k)", k=np.full((1, 8, 1, 1), 70_000, np.float32))
    _, outcome = converted(model, GraphForm.FP16, tmp_path, bound=0.2)
    assert outcome.remarks == (
        "FP16 does not hold all constants: k: of 8 values 8 beyond 65504 (clamped)",
    )


def test_what_stays_in_fp32_as_another_houses_operator_is_told(tmp_path: Path) -> None:
    model = graph("t = Relu(r)")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    relu = next(node for node in model.graph.node if node.output[0] == "t")
    relu.op_type, relu.domain, relu.name = "Gelu", "com.microsoft", "theirs"
    _, outcome = converted(model, GraphForm.FP16, tmp_path)
    assert outcome.remarks == ("not ONNX's own and so left in FP32: theirs",)


def test_a_weight_that_is_an_input_with_a_default_is_taken_as_a_weight(tmp_path: Path) -> None:
    model = graph("t = Relu(r)")
    model.graph.input.append(onnx.helper.make_tensor_value_info("w1", 1, [8, 3, 1, 1]))
    for form in (GraphForm.FP16, *INT8):
        converted(model, form, tmp_path)


def test_a_graph_that_breaks_the_standard_is_refused_in_one_line(tmp_path: Path) -> None:
    """Weights in FP16: ONNX Runtime's quantiser writes FP16 scales, which opset 17 has not."""
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,8,A,B] y) {
            h = Cast<to = 10>(x)  c = Conv(h, w)  y = Cast<to = 1>(c) }""",
        w=weights(8, 3, 3, 3).astype(np.float16),
    )
    with pytest.raises(InputError, match="does not become a valid graph as int8-cpu") as refusal:
        converted(model, GraphForm.INT8_CPU, tmp_path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="its weights are float16, not float32"):
        converted(model, GraphForm.INT8_QDQ, tmp_path)


def test_int8_of_a_network_that_onnx_runtime_does_not_run_is_refused(tmp_path: Path) -> None:
    model = model_of(
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[1,3,8,8] x) => (float[1,8,A,B] y) { p = own.Plugin(x)  y = Conv(p, w) }""",
        w=weights(8, 3, 3, 3),
    )
    source = tmp_path / "fp32.onnx"
    onnx.save(model, str(source))
    for form in INT8:
        with pytest.raises(InputError, match="own:Plugin"):
            convert.convert(source, tmp_path / "out.onnx", form, input_name="x", batches=IMAGES)


def test_what_is_left_out_on_purpose_is_counted_apart() -> None:
    census = qdq.Census(
        3,
        (
            qdq.LeftOut("a", qdq.BY_METHOD),
            qdq.LeftOut("b", qdq.WIDENING),
            *(qdq.LeftOut(name, "why") for name in "cdefg"),
        ),
    )
    assert Outcome(census).remarks == (
        "3 of 10 products are INT8; left out (besides 2 on purpose): c: why; d: why; e: why; "
        "and 2 more",
    )
    assert Outcome(qdq.Census(3, census.left_out[:2])).remarks == ()
