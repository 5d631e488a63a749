"""What becomes FP16, what stays float32 because the standard says so, and what is lost by it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from benchlib.export import convert

RAMP = np.linspace(-1, 1, 3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8)


def model_of(text: str, opset: int = 17, domains: str = "", **constants: object) -> onnx.ModelProto:
    """``g (input) => (outputs) { … }`` as a model; ``constants`` become its initialisers."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}{domains}]> {text}'
    )
    for name, value in constants.items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def results(model: onnx.ModelProto, image: np.ndarray = RAMP) -> list[np.ndarray]:
    opened = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (entry,) = opened.get_inputs()
    kind = np.float16 if entry.type == "tensor(float16)" else np.float32
    return opened.run(None, {entry.name: image.astype(kind)})


def halved(model: onnx.ModelProto, *, half_io: bool = False, atol: float = 4e-3) -> onnx.ModelProto:
    """The FP16 graph, valid and close to FP32's in every output."""
    half, *_ = convert.to_half(model, half_io=half_io)
    onnx.checker.check_model(half, full_check=True)
    assert [one.name for one in half.graph.output] == [one.name for one in model.graph.output]
    for wanted, given in zip(results(model), results(half), strict=True):
        np.testing.assert_allclose(given.astype(np.float64), wanted, rtol=4e-3, atol=atol)
    wide = convert.widened(half)
    onnx.checker.check_model(wide, full_check=True)
    assert [one.name for one in wide.graph.output] == [one.name for one in model.graph.output]
    for wanted, given in zip(results(model), results(wide), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=8e-3, atol=2 * atol)
    return half


def types(model: onnx.ModelProto) -> dict[str, int]:
    found = onnx.shape_inference.infer_shapes(model).graph
    values = (*found.input, *found.output, *found.value_info)
    return {tensor.name: tensor.data_type for tensor in found.initializer} | {
        value.name: value.type.tensor_type.elem_type for value in values
    }


def writers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


@pytest.mark.parametrize("value", [10_001.0, -20_000.0, 65_504.0])
def test_constants_up_to_65504_are_kept(value: float) -> None:
    model = model_of("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Mul(x, c) }", c=[value])
    half, losses, _ = convert.to_half(model)
    assert [numpy_helper.to_array(one) for one in half.graph.initializer] == [np.float16(value)]
    assert losses == ()


@pytest.mark.parametrize("half_io", [False, True])
def test_fp16_is_computed_as_fp16_when_its_error_is_measured(half_io: bool) -> None:
    """ONNX Runtime's kernels take FP32, and the casts between two of them it takes out."""
    model = model_of(
        "g (float[1,3,8,8] x) => (float[1,3,8,8] y) { a = Mul(x, c)  y = Sub(a, x) }", c=3.0
    )
    half, *_ = convert.to_half(model, half_io=half_io)
    image = RAMP.astype(np.float16)
    (given,) = results(convert.widened(half))
    np.testing.assert_array_equal(given, (image * np.float16(3) - image).astype(np.float32))


@pytest.mark.parametrize(
    "body",
    [
        "a = Mul(x, c)  b = Mul(a, a)  y = Sqrt(b)",
        """yes = Constant<value_int = 1>()  so = Cast<to = 9>(yes)  a = Mul(x, c)
        y = If(so) <then_branch = t () => (float[1,3,8,8] p) { b = Mul(a, a)  p = Sqrt(b) },
                    else_branch = e () => (float[1,3,8,8] q) { q = Relu(a) }>""",
    ],
    ids=["plain", "in a branch"],
)
def test_what_overflows_on_the_way_is_seen(body: str) -> None:
    model = model_of(f"g (float[1,3,8,8] x) => (float[1,3,8,8] y) {{ {body} }}", c=300.0)
    half, losses, _ = convert.to_half(model)
    assert losses == ()
    (wanted,), (given,) = results(model), results(convert.widened(half))
    np.testing.assert_array_equal(np.isinf(given), wanted**2 > convert.LARGEST_HALF)


NORMALISING = """g (float[1,3,8,8] x) => (float[1,1,8,8] y) {
    f = Conv(x, w)  b = Mul(f, c)  s = Mul(b, b)  m = ReduceMean<axes = [1]>(s)
    r = Sqrt(m)  t = Div(r, c)  y = Relu(t) }"""
CONSTANTS = {"w": np.linspace(-1, 1, 12).reshape(4, 3, 1, 1), "c": 1000.0}


@pytest.mark.parametrize("half_io", [False, True])
def test_what_passes_fp16_on_the_way_stays_in_float32(half_io: bool) -> None:
    model = model_of(NORMALISING, **CONSTANTS)
    assert not np.isfinite(results(convert.widened(convert.to_half(model)[0]))).all()
    beyond = convert.beyond_half(model, "x", [RAMP, 0 * RAMP])
    assert beyond == {"s", "m"}
    half, losses, wide = convert.to_half(model, half_io=half_io, beyond=beyond)
    onnx.checker.check_model(half, full_check=True)
    assert (losses, wide) == ((), ("s", "m", "r"))
    found, made = types(half), writers(half)
    for name, kind in {"b": "FLOAT16", "s": "FLOAT", "m": "FLOAT", "r": "FLOAT"}.items():
        assert found[name] == getattr(TensorProto, kind)
    relu = next(node for node in half.graph.node if node.op_type == "Relu")
    assert found[relu.input[0]] == TensorProto.FLOAT16
    assert found["y"] == (TensorProto.FLOAT16 if half_io else TensorProto.FLOAT)
    casts = [made[name].input[0] for name in made if made[name].op_type == "Cast"]
    assert sorted(casts) == sorted(["b", "r"] + ([] if half_io else ["x", relu.output[0]]))
    (wanted,), (given,) = results(model), results(convert.widened(half))
    np.testing.assert_allclose(given, wanted, rtol=4e-3, atol=4e-3)


def test_a_graph_that_passes_fp16_nowhere_is_the_same_byte_for_byte() -> None:
    model = model_of(NORMALISING, **CONSTANTS | {"c": 10.0})
    beyond = convert.beyond_half(model, "x", [RAMP])
    assert convert.beyond_half(model, "x", [RAMP], growth=1e4) > beyond
    plain, ranged = convert.to_half(model), convert.to_half(model, beyond=beyond)
    assert plain == ranged
    assert plain[2] == ()


@pytest.mark.parametrize(
    ("body", "factor", "beyond"),
    [
        ("m = Where(a, x, c)  s = Softmax(m)  y = Identity(s)", -np.inf, set()),
        ("b = Div(x, c)  y = Tanh(b)", 0.0, set()),
        ("b = Mul(x, c)  n = ReduceL2<axes = [1]>(b)  y = Div(x, n)", 300.0, {"n"}),
        ("b = Mul(x, c)  n = ReduceL2<axes = [1]>(b)  y = Div(x, n)", 100.0, set()),
        ("b = Mul(x, c)  n = ReduceLogSumExp<axes = [1]>(b)  y = Sub(x, n)", 20.0, {"n"}),
        ("b = Mul(x, c)  n = ReduceLogSumExp<axes = [1]>(b)  y = Sub(x, n)", 5.0, set()),
        ("b = com.microsoft.Gelu(x)  y = Mul(b, c)", 1e5, {"y"}),
        ("y = com.theirs.Gelu(x)", 1e5, set()),
    ],
)
def test_which_tensors_pass_fp16(body: str, factor: float, beyond: set[str]) -> None:
    """Infinity does not, as FP16 has it; a norm does when the sum of squares inside does."""
    model = model_of(
        f"g (float[1,3,8,8] x) => (float[1,3,8,8] y) {{ a = Greater(x, c)  {body} }}",
        domains=', "com.microsoft" : 1, "com.theirs" : 1',
        c=factor,
    )
    assert convert.beyond_half(model, "x", [RAMP]) == beyond


@pytest.mark.parametrize("shared", [False, True])
def test_a_quantised_product_beyond_fp16_is_int8_with_float32_around_it(shared: bool) -> None:
    """The Q/DQ pair behind it as well, whose scale and result FP16 would not hold."""
    model = model_of(
        f"""g (float[1,3,8,8] x) => (float[1,4,8,8] y) {{
            q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
            v = DequantizeLinear(k, s, z)  f = Conv(d, v)
            p = QuantizeLinear(f, big, z)  e = DequantizeLinear(p, big, z)
            r = Div(e, big)  g = Tanh(r)  {"u = Conv(d, v)" if shared else "u = Tanh(x)"}
            m = ReduceMean(u)  y = Add(g, m) }}""",
        19,
        s=0.0078125,
        z=np.int8(0),
        k=np.full((4, 3, 1, 1), 100, np.int8),
        big=1e5,
    )
    half, _, wide = convert.to_half(model, beyond={"f"})
    onnx.checker.check_model(half, full_check=True)
    assert wide == ("r",)
    found, made = types(half), writers(half)
    assert all(made[name].op_type == "DequantizeLinear" for name in made["f"].input)
    assert {found[name] for name in ("f", "e", "r", *made["f"].input)} == {TensorProto.FLOAT}
    assert found[made["q"].input[0]] == TensorProto.FLOAT16
    assert found[made["u"].input[0]] == TensorProto.FLOAT16
    if shared:
        assert all(made[name].op_type == "DequantizeLinear" for name in made["u"].input)
    (wanted,), (given,) = results(model), results(half)
    np.testing.assert_allclose(given, wanted, rtol=4e-3, atol=8e-3)


def test_what_fp16_does_not_hold_is_clamped_and_told() -> None:
    values = [[1.0, 7e4, -1e30], [np.inf, 1e-12, 0.0]]
    model = model_of(
        "g (float[1,3,8,8] x) => (float[2,3] y) { s = Size(x)  y = Identity(c) }", c=values
    )
    half, (loss,), _ = convert.to_half(model)
    kept = numpy_helper.to_array(next(one for one in half.graph.initializer if one.name == "c"))
    assert kept.tolist() == [[1, 65504, -65504], [np.inf, 2**-24, 0]]
    assert (loss.tensor, loss.clamped, loss.raised, loss.size) == ("c", 2, 1, 6)
    assert loss.matters
    assert str(loss) == ("c: of 6 values 2 beyond 65504 (clamped) and 1 below 6e-8 (raised to it)")


@pytest.mark.parametrize(
    ("shape", "small", "matters"),
    [((), 1, True), ((8,), 8, False), ((100, 3), 2, False), ((100, 3), 3, True)],
)
def test_small_values_matter_where_they_are_many_and_no_biases(
    shape: tuple[int, ...], small: int, matters: bool
) -> None:
    values = np.ones(shape, np.float32)
    values.reshape(-1)[:small] = 1e-9
    assert convert.halved("c", values)[1].matters is matters


@pytest.mark.parametrize("half_io", [False, True])
def test_a_cast_to_float_follows_its_tensor(half_io: bool) -> None:
    """The mask is FP16 where the activations are, so that the product is of one type."""
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
            above = Greater(x, zero)  mask = Cast<to = 1>(above)  y = Mul(x, mask) }""",
        zero=0.0,
    )
    half = halved(model, half_io=half_io)
    assert types(half)["mask"] == TensorProto.FLOAT16
    assert Counter(node.op_type for node in half.graph.node)["Cast"] == (1 if half_io else 3)


def test_arithmetic_on_shapes_stays_in_float32() -> None:
    """A product of sizes is soon beyond 65504: 640 x 480 is 307200."""
    model = model_of(
        """g (float[1,3,H,W] x) => (float[1,3,A,B] y) {
            s = Shape(x)  f = Cast<to = 1>(s)  n = ReduceProd<keepdims = 0>(f)
            r = Mul(n, million)  q = Mul(r, x)  y = Mul(q, hundred) }""",
        million=1e-6,
        hundred=100.0,
    )
    half, *_ = convert.to_half(model)
    image = np.ones((1, 3, 480, 640), np.float32)
    wanted, given = results(model, image)[0], results(half, image)[0]
    np.testing.assert_allclose(given, wanted, rtol=2e-3)


@pytest.mark.parametrize(("opset", "scale"), [(17, "FLOAT"), (19, "FLOAT16")])
def test_quantisation_scales_are_fp16_from_opset_19_on(opset: int, scale: str) -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
            q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }""",
        opset,
        s=0.0078125,
        z=np.int8(0),
    )
    half = halved(model, atol=0.0079)  # a step: halves are rounded either way
    made = writers(half)
    found = types(half)
    for kind in ("QuantizeLinear", "DequantizeLinear"):
        (node,) = [one for one in half.graph.node if one.op_type == kind]
        assert found[node.input[1]] == getattr(TensorProto, scale)
    relu = next(node for node in half.graph.node if node.op_type == "Relu")
    assert found[relu.input[0]] == TensorProto.FLOAT16
    assert made["y"].op_type == "Cast"


@pytest.mark.parametrize("constant", ["initializer", "value", "value_floats"])
def test_the_scales_of_resize_keep_their_digits(constant: str) -> None:
    """1.3 in FP16 and back is 1.2998, which may cost a row of the output."""
    scales = {
        "initializer": "",
        "value": "s = Constant<value = float[4] {1.0, 1.0, 1.3, 1.3}> ()",
        "value_floats": "s = Constant<value_floats = [1.0, 1.0, 1.3, 1.3]> ()",
    }
    model = model_of(
        f"""g (float[1,3,8,8] x) => (float[1,3,A,B] y) {{
            {scales[constant]}  r = Relu(x)  y = Resize<mode = "linear">(r, , s) }}""",
        **({"s": [1.0, 1.0, 1.3, 1.3]} if constant == "initializer" else {}),
    )
    half = halved(model)
    (resize,) = [one for one in half.graph.node if one.op_type == "Resize"]
    values = {one.name: numpy_helper.to_array(one) for one in half.graph.initializer}
    assert values[resize.input[2]].dtype == np.float32
    assert values[resize.input[2]].tolist() == np.float32([1, 1, 1.3, 1.3]).tolist()
    assert types(half)[resize.input[0]] == TensorProto.FLOAT16


IF = """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
    r = Relu(x)  m = ReduceMax<keepdims = 0>(r)  c = Greater(m, zero)
    i = If(c) <
        then_branch = t () => (o) {
            h = Mul(r, w)  k = Constant<value_float = 0.5>()  o = Add(h, k) },
        else_branch = e () => (o) { o = Identity(r) }>
    y = Mul(i, w) }"""

LOOP = """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
    y = Loop(n, yes, x) <
        body = b (int64 i, bool on, float[1,3,8,8] a) => (go, z) {
            go = Identity(on)  p = Mul(a, w)  z = Add(p, x) }> }"""

SCAN = """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
    s, y = Scan <num_scan_inputs = 1,
        body = b (float[3,8,8] a, float[3,8,8] e) => (u, v) {
            u = Mul(e, w)  v = Add(u, a) }>(k, x) }"""


@pytest.mark.parametrize("half_io", [False, True])
@pytest.mark.parametrize(
    ("text", "constants"),
    [
        (IF, {"w": 0.75, "zero": 0.0}),
        (LOOP, {"w": 0.5, "n": np.int64(3), "yes": np.bool_(True)}),
        (SCAN, {"w": 0.5, "k": np.ones((3, 8, 8))}),
    ],
    ids=["if", "loop", "scan"],
)
def test_bodies_of_control_flow_are_halved_too(
    text: str, constants: dict[str, object], half_io: bool
) -> None:
    half = halved(model_of(text, **constants), half_io=half_io)
    (flow,) = [node for node in half.graph.node if node.op_type in ("If", "Loop", "Scan")]
    kinds = {
        value.type.tensor_type.elem_type
        for entry in flow.attribute
        for value in (*entry.g.input, *entry.g.output)
    }
    assert TensorProto.FLOAT16 in kinds
    assert TensorProto.FLOAT not in kinds


def test_operators_kept_in_float32_hand_on_to_others() -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,3,8,2] y, int64[1,3,8,2] at) {
            r = Relu(x)  v, at = TopK(r, k)  y = Mul(v, two) }""",
        k=np.array([2]),
        two=2.0,
    )
    half = halved(model)
    found = types(half)
    top, mul = (next(n for n in half.graph.node if n.op_type == k) for k in ("TopK", "Mul"))
    assert found[top.input[0]] == TensorProto.FLOAT
    assert found[mul.input[0]] == TensorProto.FLOAT16


@pytest.mark.parametrize("half_io", [False, True])
def test_an_output_that_others_read_keeps_its_name_and_type(half_io: bool) -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] a, float[1,3,8,8] y, float[2] c) {
            a = Relu(x)  y = Mul(a, two)  c = Identity(k) }""",
        two=2.0,
        k=[1.5, 2.5],
    )
    half = halved(model, half_io=half_io)
    kind = TensorProto.FLOAT16 if half_io else TensorProto.FLOAT
    assert {value.type.tensor_type.elem_type for value in half.graph.output} == {kind}


def test_names_that_are_taken_are_passed_over() -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
            x_half = Relu(x)  y_half = Mul(x_half, c)  y = Add(y_half, c) }""",
        c=0.5,
    )
    halved(model)


def test_a_half_that_is_half_already_can_be_halved() -> None:
    """Weights stored as FP16 behind a Cast, as some exporters write them."""
    model = model_of(
        "g (float[1,3,8,8] x) => (float[1,3,8,8] y) { w = Cast<to = 1>(h)  y = Mul(x, w) }",
        h=np.float16(0.3),
    )
    halved(model)


def test_sequences_stay_in_float32() -> None:
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,6,8,8] y) {
            r = Relu(x)  s = SequenceConstruct(r, x)
            t = ConcatFromSequence<axis = 1>(s)  y = Mul(t, two) }""",
        two=2.0,
    )
    halved(model)


@pytest.mark.parametrize("half_io", [False, True])
def test_an_operator_of_another_house_stays_in_float32(half_io: bool) -> None:
    """Shape inference stops behind it, and all that follows is still of one type."""
    model = model_of(
        """g (float[1,3,8,8] x) => (float[1,3,8,8] y) {
            r = Relu(x)  e = com.microsoft.Gelu(r)  m = Mul(e, two)  y = Relu(m) }""",
        two=2.0,
        domains=', "com.microsoft" : 1',
    )
    half = halved(model, half_io=half_io)
    made = writers(half)
    gelu, mul = (next(n for n in half.graph.node if n.op_type == k) for k in ("Gelu", "Mul"))
    assert made[gelu.input[0]].attribute[0].i == TensorProto.FLOAT
    assert made[mul.input[0]].attribute[0].i == TensorProto.FLOAT16
