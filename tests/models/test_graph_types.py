"""The type in which each product of a file computes, however the file says it."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from benchlib.models import macs

HEAD = '<ir_version: 10, opset_import: ["": 21, "own": 1, "com.microsoft": 1]>'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("(float[1,3,8,8] x, float[4,3,1,1] w) => (float[1,4,8,8] y) { y = Conv (x, w) }", "fp32"),
        (
            """(float[1,3,8,8] x, float16[4,3,1,1] w) => (float16[1,4,8,8] y)
            { h = Cast <to = 10> (x) y = Conv (h, w) }""",
            "fp16",
        ),
        (
            """(float[1,3,8,8] x, float[4,3,1,1] w) => (bfloat16[1,4,8,8] y)
            { h = Cast <to = 16> (x) v = Cast <to = 16> (w) y = Conv (h, v) }""",
            "bf16",
        ),
        # The weights are only stored as FP16.
        (
            """(float[1,3,8,8] x, float16[4,3,1,1] w) => (float[1,4,8,8] y)
            { v = Cast <to = 1> (w) y = Conv (x, v) }""",
            "fp32",
        ),
        (
            """(float[1,3,8,8] x, int8[4,3,1,1] w, float s, uint8 z, int8 o)
            => (float[1,4,8,8] y)
            { q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
              v = DequantizeLinear (w, s, o) y = Conv (d, v) }""",
            "uint8",
        ),
        (
            """(float[8,8] x, int8[8,4] w, float s, int8 z) => (float[8,4] y)
            { q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
              v = DequantizeLinear (w, s, z) t = Transpose (v) u = Transpose (t)
              y = MatMul (d, u) }""",
            "int8",
        ),
        # The weights are widened and then multiplied in FP32.
        (
            """(float[8,8] x, int8[8,4] w, float s, int8 z) => (float[8,4] y)
            { v = DequantizeLinear (w, s, z) y = MatMul (x, v) }""",
            "fp32",
        ),
        (
            """(float[8,8] x, int8[8,4] w) => (int32[8,4] y)
            { q, s, z = DynamicQuantizeLinear (x) y = MatMulInteger (q, w, z) }""",
            "uint8",
        ),
        (
            """(uint8[1,3,8,8] x, float s, uint8 z, int8[4,3,1,1] w)
            => (uint8[1,4,8,8] y) { y = QLinearConv (x, s, z, w, s, z, s, z) }""",
            "uint8",
        ),
        (
            """(float[8,8] x, int8[8,4] w, float s) => (float[8,4] y)
            { y = com.microsoft.DynamicQuantizeMatMul (x, w, s) }""",
            "int8",
        ),
        # What an operator unknown to ONNX gives has no type; the weights have one.
        (
            """(float16[8,8] x, float16[8,4] w) => (float16[8,4] y)
            { a = com.microsoft.Gelu (x) y = MatMul (a, w) }""",
            "fp16",
        ),
        (
            """(bool c, float16[8,8] x, float16[8,4] w) => (float16[8,4] y)
            { y = If (c) <
                then_branch = t () => (float16[8,4] a) { a = MatMul (x, w) },
                else_branch = e () => (float16[8,4] b) { b = Identity (w) }
              > }""",
            "fp16",
        ),
    ],
    ids=[
        *("plain", "half", "bf16", "half weights", "q/dq", "transposed q/dq", "8-bit weights"),
        *("dynamic", "qlinear", "fused dynamic", "after a foreign operator", "in a branch"),
    ],
)
def test_the_type_of_a_product(tmp_path: Path, body: str, expected: str) -> None:
    path = tmp_path / "one.onnx"
    onnx.save(onnx.parser.parse_model(f"{HEAD} g {body}"), path)
    assert macs.products_by_type(path) == {expected: 1}


def test_functions_are_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "function.onnx"
    text = f"""{HEAD} g (float16[8,8] x, float16[8,4] w) => (float16[8,4] y)
        {{ y = own.product (x, w) }}
        <opset_import: ["": 21], domain: "own">
        product (a, b) => (c) {{ c = MatMul (a, b) }}"""
    onnx.save(onnx.parser.parse_model(text), path)
    assert macs.products_by_type(path) == {"fp16": 1}


def test_several_are_counted_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "mixed.onnx"
    text = f"""{HEAD} g (float[8,8] x, float[8,8] w, float16[8,8] v) => (float16[8,8] y)
        {{ a = MatMul (x, w) b = MatMul (a, w) r = Relu (b) h = Cast <to = 10> (r)
           y = MatMul (h, v) }}"""
    onnx.save(onnx.parser.parse_model(text), path)
    assert macs.products_by_type(path) == {"fp32": 2, "fp16": 1}


def test_a_head_that_no_output_depends_on_is_not_counted(tmp_path: Path) -> None:
    body = """(float[1,3,8,8] x, float[4,3,1,1] w, float16[4,4,1,1] v) => (float[1,4,8,8] y)
        { y = Conv (x, w) h = Cast <to = 10> (y) lost = Conv (h, v) }"""
    path = tmp_path / "net.onnx"
    onnx.save(onnx.parser.parse_model(f"{HEAD} g {body}"), path)
    assert macs.products_by_type(path) == {"fp32": 1}


def test_a_file_that_cannot_be_read_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "torn.onnx"
    path.write_bytes(b"\x08\x08torn")
    assert macs.products_by_type(path) == {}
    assert macs.products_by_type(tmp_path / "missing.onnx") == {}
