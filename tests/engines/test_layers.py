"""Layer information in both dialects, and the precision it proves."""

from pathlib import Path

import pytest

from benchlib.case import Precision
from benchlib.engines import layers
from benchlib.engines.layers import BadLayersError, Layer

DATA = Path(__file__).parent / "data"


def test_the_older_dialect() -> None:
    read = layers.read(DATA / "8.6/layers.json")
    assert [layer.type for layer in read][:2] == ["Reformat", "CaskConvolution"]
    assert [layer.precision for layer in read] == ["int8", "int8", "int8", "fp16", "fp32"]
    assert read[1].tactic == "sm80_xmma_fprop_implicit_gemm_int8"


def test_the_newer_dialect() -> None:
    read = layers.read(DATA / "11.1/layers.json")
    assert read[1].inputs == ("fp16",)
    assert [layer.precision for layer in read] == ["fp16", "fp16", "fp32"]
    assert read[2].inputs == ("bf16",)


def test_names_alone_prove_nothing() -> None:
    read = layers.read(DATA / "10.0/layers-names.json")
    assert len(read) == 3
    assert read[2].name == "/fc/Gemm"
    assert layers.share(read) is None
    assert layers.low_precision_share(read, Precision.FP16) is None


def test_shares_count_layers_that_compute() -> None:
    read = layers.read(DATA / "8.6/layers.json")
    assert layers.share(read) == {"int8": 0.5, "fp16": 0.25, "fp32": 0.25}
    assert layers.low_precision_share(read, Precision.INT8) == 0.5
    assert layers.low_precision_share(read, Precision.FP16) == 0.75
    assert layers.low_precision_share(read, Precision.FP32) is None


def test_shares_of_time() -> None:
    read = layers.read(DATA / "8.6/layers.json")
    times = {"/conv1/Conv + /relu/Relu": 3.0, "/fc/Gemm": 1.0}
    assert layers.low_precision_share(read, Precision.INT8, times) == 0.75
    assert layers.share(read, {"another": 1.0}) is None


def test_an_fp32_engine_called_fp16_is_found_out() -> None:
    fp32 = (Layer("a", "CaskConvolution", ("fp32",), ("fp32",)),)
    assert layers.low_precision_share(fp32, Precision.FP16) == 0


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
        ("something new", None),
    ],
)
def test_types_are_found_in_any_spelling(text: str, word: str | None) -> None:
    document = f'{{"Layers": [{{"Name": "a", "Outputs": [{{"Format/Datatype": "{text}"}}]}}]}}'
    assert layers.loads(document)[0].precision == word


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": 3}', '{"Layers": ["a"'])
def test_what_is_no_layer_information_is_refused(text: str) -> None:
    with pytest.raises(BadLayersError):
        layers.loads(text)


def test_no_layers_is_an_answer() -> None:
    assert layers.loads('{"Layers": [], "Bindings": []}') == ()
    assert layers.share(()) is None


@pytest.mark.parametrize("kind", ["Reformat", "ReorderOutput", "NoOp", "QuantizeLinear", "Shuffle"])
def test_layers_that_only_move_data_do_not_count(kind: str) -> None:
    assert not Layer("a", kind, ("fp32",), ("int8",)).computes
