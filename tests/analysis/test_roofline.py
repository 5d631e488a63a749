"""Rows under their roofs: measured, the data sheet's, or none."""

from __future__ import annotations

import pytest

from benchlib.analysis import roofline


def _row(row, **other):
    return row(
        "a", 2.0, **{"gmacs": 10.0, "mactivations": 20.0, "params_m": 10.0, "tf32": False, **other}
    )


def test_reached_intensity_and_share_by_hand(measured, row):
    one = measured([_row(row, device="NVIDIA GeForce RTX 3090")])
    (point,) = roofline.points(one)
    # 20 G operations in 2 ms; 4 bytes * (2 * 20 M + 10 M) = 200 MB moved
    assert (point.tera_ops, point.intensity) == (10.0, 100.0)
    assert point.roof == 35.6  # beyond the ridge of 38 operations per byte
    assert point.share == pytest.approx(10 / 35.6)


def test_memory_is_the_roof_below_the_ridge(measured, row):
    one = measured([_row(row, device="NVIDIA GeForce RTX 3090", mactivations=500.0, params_m=0.0)])
    (point,) = roofline.points(one)
    assert point.intensity == 5.0
    assert point.roof == pytest.approx(936 * 5 / 1000)


def test_a_batch_reads_its_weights_once(measured, row):
    (point,) = roofline.points(measured([_row(row, batch=4)]))
    assert point.intensity == pytest.approx(4 * 20_000 / (4 * (4 * 40 + 10)))
    assert point.tera_ops == 40.0


def test_measured_roofs_come_first_and_say_so(measured, row):
    own = {"fp32_tflops": 60.0, "tf32_tflops": 400.0, "memory_gb_s": 4000.0, "how": "GEMM, copy"}
    h200 = {"device": "NVIDIA H200"}
    roofs = roofline.roofs(measured([_row(row, **h200)], roofs=own), "fp32")
    assert (roofs.tera_ops, roofs.measured, roofs.how) == (60.0, True, "GEMM, copy")
    tf32 = roofline.roofs(measured([_row(row, tf32=True, **h200)], roofs=own), "fp32")
    assert tf32.tera_ops == 400.0


@pytest.mark.parametrize(
    ("device", "fp16", "memory"),
    [("NVIDIA H100 80GB HBM3", 990, 3350), ("Tesla T4", 65, 320), ("NVIDIA L4", 121, 300)],
)
def test_cards_of_the_data_sheets(measured, row, device, fp16, memory):
    roofs = roofline.roofs(measured([_row(row, device=device, precision="fp16")]), "fp16")
    assert (roofs.tera_ops, roofs.memory_gb_s, roofs.measured) == (fp16, memory, False)


def test_the_data_sheet_fills_in_and_is_named(measured, row):
    one = measured([_row(row, device="NVIDIA H200", precision="int8")], roofs={"fp32_tflops": 60})
    roofs = roofline.roofs(one, "int8")
    assert (roofs.tera_ops, roofs.memory_gb_s, roofs.measured) == (1979, 4800, False)
    assert "H200 data sheet" in roofs.how and "not measured" in roofs.how


@pytest.mark.parametrize(
    "other",
    [
        {"device": "NVIDIA Unknown 9000"},
        {"device": "NVIDIA H100 PCIe"},  # its variants differ in memory
        {"device": "cpu", "engine": "onnxruntime_cpu"},
        {"device": None},
    ],
)
def test_no_roof_is_made_up(measured, row, other):
    one = measured([_row(row, **other)])
    assert roofline.roofs(one, "fp32") is None
    (point,) = roofline.points(one)
    assert (point.roof, point.share) == (None, None)
    assert point.tera_ops == 10.0


def test_a_cpu_may_have_measured_roofs(measured, row):
    own = {"fp32_tflops": 0.5, "memory_gb_s": 20.0}
    one = measured([_row(row, device="cpu", engine="onnxruntime_cpu")], roofs=own)
    assert roofline.roofs(one, "fp32").ridge == 25.0


def test_rows_without_a_count_have_no_point(measured, row):
    assert roofline.points(measured([_row(row, gmacs=None)])) == ()


def test_the_published_rows_lie_under_the_data_sheets_roof(published):
    shares = [point.share for point in roofline.points(published)]
    assert len(shares) == 192
    assert min(shares) > 0 and max(shares) < 1


def test_a_data_sheet_is_of_whole_cards(measured, row):
    whole = measured([row("a", 1.0, device="NVIDIA H200", tf32=False)])
    part = measured([row("a", 1.0, device="NVIDIA H200 (MIG 1g.18gb)", tf32=False)])
    assert roofline.roofs(whole, "fp32") is not None
    assert roofline.roofs(part, "fp32") is None
