"""Layer information in both dialects, and the precision it proves."""

import json
from pathlib import Path

import pytest

from benchlib.case import Precision
from benchlib.trtexec import exports
from benchlib.trtexec.exports import BadFileError, Layer

DATA = Path(__file__).parent / "data"


def test_the_older_dialect() -> None:
    read = exports.read(DATA / "8.6/layers.json")
    assert [layer.type for layer in read][:2] == ["Reformat", "CaskConvolution"]
    assert [layer.precision for layer in read] == ["int8", "int8", "int8", "fp16", "fp32"]


def test_the_newer_dialect() -> None:
    read = exports.read(DATA / "11.1/layers.json")
    assert read[1].inputs == ("fp16",)
    assert [layer.precision for layer in read] == ["fp16", "fp16", "fp32"]
    assert read[2].inputs == ("bf16",)


def test_names_alone_prove_nothing() -> None:
    read = exports.read(DATA / "10.0/layers-names.json")
    assert len(read) == 3
    assert read[2].name == "/fc/Gemm"
    assert exports.share(read) is None
    assert exports.low(exports.share(read), Precision.FP16) is None


def test_shares_count_layers_that_compute() -> None:
    read = exports.read(DATA / "8.6/layers.json")
    assert exports.share(read) == {"int8": 0.5, "fp16": 0.25, "fp32": 0.25}
    assert exports.low(exports.share(read), Precision.INT8) == 0.5
    assert exports.low(exports.share(read), Precision.FP16) == 0.75
    assert exports.low(exports.share(read), Precision.FP32) == 0.75


def test_shares_of_time() -> None:
    read = exports.read(DATA / "8.6/layers.json")
    times = {"/conv1/Conv + /relu/Relu": 3.0, "/fc/Gemm": 1.0}
    assert exports.time_share(read, times) == {"int8": 0.75, "fp32": 0.25}
    assert exports.low(exports.time_share(read, times), Precision.INT8) == 0.75
    assert exports.time_share(read, {"another": 1.0}) is None
    assert exports.time_share(read, {}) is None


def test_time_that_only_moves_data_is_told_apart() -> None:
    read = exports.read(DATA / "8.6/layers.json")
    times = {read[0].name: 1.0, "/conv1/Conv + /relu/Relu": 2.0, "of no layer": 1.0}
    assert exports.time_share(read, times) == {"moving": 0.25, "int8": 0.5, "unknown": 0.25}


@pytest.mark.parametrize(
    ("shares", "computing"),
    [
        # What moves data has no precision, however long it takes
        ({"moving": 0.6, "int8": 0.3, "fp32": 0.1}, {"int8": 0.75, "fp32": 0.25}),
        ({"moving": 0.5, "int8": 0.46, "unknown": 0.04}, {"int8": 0.92, "unknown": 0.08}),
        ({"moving": 0.5, "int8": 0.44, "unknown": 0.06}, None),  # too much is of no known type
        ({"moving": 1.0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_time_of_computing_layers_alone(
    shares: dict[str, float] | None, computing: dict[str, float] | None
) -> None:
    found = exports.computing_time(shares)
    assert found == (computing and pytest.approx(computing))


def test_shares_of_work_go_by_the_nodes_in_a_layer() -> None:
    read = exports.read(DATA / "8.6/layers.json")
    work = {"/conv1/Conv": 60, "/layer1/Conv": 30, "/fc/Gemm": 10}
    macs = exports.macs(read, work)
    assert macs == (None, 60, 30, None, 10)
    assert exports.share(read, macs) == {"int8": 0.9, "fp32": 0.1}
    assert exports.share(read, exports.macs(read, {})) is None


def test_the_newer_dialects_nodes_are_found_by_name_or_by_metadata() -> None:
    read = exports.read(DATA / "11.1/layers.json")
    assert exports.macs(read, {"/conv1/Conv": 7, "/elsewhere": 2}) == (None, 7, None)
    fused = (
        '{"Layers": [{"Name": "__myl_Fc", "LayerType": "gemm", '
        '"Metadata": "[ONNX Layer: /a/Conv [1]]\\u001e[ONNX Layer: /b/Gemm]", '
        '"Outputs": [{"DataType": "Half"}]}]}'
    )
    assert exports.loads(fused)[0].nodes == ("/a/Conv [1]", "/b/Gemm")


def test_a_node_counts_once_however_many_layers_name_it() -> None:
    split = tuple(Layer(name, nodes=("/a/Conv",)) for name in ("first", "second"))
    assert exports.macs(split, {"/a/Conv": 5}) == (5, None)
    merged = (Layer("a || b", nodes=("a", "b")),)
    assert exports.macs(merged, {"a": 1, "b": 2}) == (3,)


def test_a_layer_of_renamed_nodes_is_counted_by_its_tensors() -> None:
    record = """{"Layers": [{"Name": "/x/Relu_output_0_nchwc", "LayerType": "Conv",
        "Inputs": [{"Dimensions": [1, 3, 8, 8]}, {"Dimensions": [16, 3, 3, 3]}],
        "Outputs": [{"Dimensions": [1, 16, 4, 4], "Format/Datatype": "FP32"}]}]}"""
    assert exports.macs(exports.loads(record), {}) == (16 * 16 * 27,)
    packed = record.replace(', {"Dimensions": [16, 3, 3, 3]}', "")
    assert exports.macs(exports.loads(packed), {}) == (None,)


@pytest.mark.parametrize(
    ("second", "output"),
    [
        ([1, 16, 4, 4], [1, 16, 4, 4]),  # the other side of a fused sum
        ([1, 16, 1, 1], [1, 16, 4, 4]),  # one that is spread over it
        ([1, 1, 4, 4], [1, 1, 4, 4]),  # one whose channels are as many as the images
        ([6, 64, 80], [6, 20, 80]),  # the second factor of an attention's product
    ],
)
def test_a_second_input_that_is_no_weight_counts_no_work(second: list, output: list) -> None:
    record = {"Name": "/x/Conv + /x/Add", "LayerType": "CaskConvolution"}
    record["Inputs"] = [{"Dimensions": [1, 3, 8, 8]}, {"Dimensions": second}]
    record["Outputs"] = [{"Dimensions": output, "Format/Datatype": "Int8"}]
    layers = exports.loads(json.dumps({"Layers": [record]}))
    assert exports.macs(layers, {}) == (None,)
    assert exports.macs(layers, {"/x/Conv": 7}) == (7,)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("Reformat", "Reformatting CopyNode for Input Tensor 0 to "),
        ("NoOp", "Reformatting CopyNode for Input Tensor 0 to "),
        ("NoOp", "reshape_before_"),
    ],
)
def test_a_copy_made_for_a_layer_takes_none_of_its_work(kind: str, prefix: str) -> None:
    name = "w + w_quantised_node + /a/Conv + /a/Relu || v + v_quantised_node + /b/Conv"
    out = [{"Dimensions": [1, 16, 4, 4], "Format/Datatype": "Int8"}]
    copy = {"Name": prefix + name, "LayerType": kind, "Outputs": out}
    layer = {"Name": name, "LayerType": "CaskConvolution", "Outputs": out}
    layers = exports.loads(json.dumps({"Layers": [copy, layer]}))
    macs = exports.macs(layers, {"/a/Conv": 5, "/b/Conv": 4})
    assert macs == (None, 9)
    assert exports.share(layers, macs) == {"int8": 1.0}


def test_an_fp32_engine_called_fp16_is_found_out() -> None:
    fp32 = (Layer("a", "CaskConvolution", ("fp32",), ("fp32",)),)
    assert exports.low(exports.share(fp32), Precision.FP16) == 0


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("fp32", {"bf16", "fp16", "int8", "uint8", "fp8", "int4", "fp4"}),
        ("tf32", {"bf16", "fp16", "int8", "uint8", "fp8", "int4", "fp4"}),
        ("fp16", {"int8", "uint8", "fp8", "int4", "fp4"}),
        ("bf16", {"int8", "uint8", "fp8", "int4", "fp4"}),
        ("int8", {"int4", "fp4"}),
        ("fp8", {"int4", "fp4"}),
    ],
)
def test_what_is_less_than_a_precision(precision: str, words: set[str]) -> None:
    every = "fp32 fp16 bf16 fp8 fp4 int8 uint8 int4 int32 int64 bool unknown".split()  # noqa: SIM905
    shares = dict.fromkeys(every, 0.1)
    assert exports.below(shares, Precision(precision)) == dict.fromkeys(words, 0.1)
    assert exports.below(None, Precision(precision)) == {}


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "word"),
    [
        ("QLinearConv", ("uint8", "fp32"), "uint8", "uint8"),
        ("MatMulIntegerToFloat", ("uint8", "int8"), "fp32", "uint8"),
        # It quantises its input itself; only its weights are seen in 8 bits.
        ("DynamicQuantizeMatMul", ("fp32", "int8"), "fp32", "int8"),
        ("MatMulNBits", ("fp32", "int4"), "fp32", "int4"),
        ("Conv", ("fp32", "fp32"), "fp32", "fp32"),
        # A mask or an image is written at the end, of numbers that were computed in FP32.
        ("PointWiseV2", ("fp32",), "uint8", "fp32"),
        ("QLinearAdd", ("uint8", "fp32"), "uint8", "uint8"),
        ("ArgMax", ("fp32",), "int64", "int64"),
    ],
)
def test_the_type_a_layer_computes_in(
    kind: str, inputs: tuple[str, ...], output: str, word: str
) -> None:
    assert Layer("n", kind, inputs, (output,)).precision == word


@pytest.mark.parametrize(
    ("name", "kind", "tactic", "word"),
    [
        ("__myl_FcCastAddErf_myl0_8", "fusion", "sm80_xmma_gemm_i8i8_i8i32_f32_tn", "int8"),
        ("v_projection_fused", "fusion", "sm80_xmma_gemm_i8f32_i8i32_f32", "int8"),
        ("__myl_FcAdd_myl0_7", "fusion", "0x0000000000000000", "int8"),
        ("/a/Conv + /a/Relu", "CaskConvolution", "sm80_xmma_fprop_implicit_gemm", "int8"),
        # What only makes wider numbers of narrow ones computes in the wider
        ("__myl_ConvertMulAdd_myl0_3", "kgen", "__myl_ConvertMulAdd_0x5a", "fp16"),
        ("__myl_AddRelu", "kgen", "pointwise_vectorized", "fp16"),
    ],
)
def test_what_myelin_makes_of_a_product_in_10_is_one(
    name: str, kind: str, tactic: str, word: str
) -> None:
    """Composed from names and kernels that users of 10.x print; a product of INT8 hands on FP16."""
    tensors = [f'[{{"Name": "t", "Format/Datatype": "{one}"}}]' for one in ("Int8", "Half")]
    document = (
        f'{{"Layers": [{{"Name": "{name}", "LayerType": "{kind}", "TacticName": "{tactic}",'
        f' "Inputs": {tensors[0]}, "Outputs": {tensors[1]},'
        ' "Metadata": "[ONNX Layer: /a/b][ONNX Layer: /c[0]]\\u001e[ONNX Layer: /d]"}]}'
    )
    (layer,) = exports.loads(document)
    assert layer.precision == word
    assert layer.nodes == ("/a/b", "/c[0]", "/d")


@pytest.mark.parametrize("kind", ["QuantizeLinear", "DynamicQuantizeLinear", "DequantizeLinear"])
def test_quantisers_compute_nothing(kind: str) -> None:
    assert not Layer("n", kind, ("fp32",), ("uint8",)).computes


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Row major linear FP32", "fp32"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("BFloat16", "bf16"),
        ("BF16", "bf16"),
        ("UInt8", "uint8"),
        ("FP8", "fp8"),
        ("Row major linear FP8E4M3 format", "fp8"),
        ("uint4", "int4"),
        ("something new", None),
    ],
)
def test_types_are_found_in_any_spelling(text: str, word: str | None) -> None:
    document = f'{{"Layers": [{{"Name": "a", "Outputs": [{{"Format/Datatype": "{text}"}}]}}]}}'
    assert exports.loads(document)[0].precision == word


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": 3}', '{"Layers": ["a"'])
def test_what_is_no_layer_information_is_refused(text: str) -> None:
    with pytest.raises(BadFileError):
        exports.loads(text)


def test_no_layers_is_an_answer() -> None:
    assert exports.loads('{"Layers": [], "Bindings": []}') == ()
    assert exports.share(()) is None


@pytest.mark.parametrize("kind", ["Reformat", "ReorderOutput", "NoOp", "QuantizeLinear", "Shuffle"])
def test_layers_that_only_move_data_do_not_count(kind: str) -> None:
    assert not Layer("a", kind, ("fp32",), ("int8",)).computes
