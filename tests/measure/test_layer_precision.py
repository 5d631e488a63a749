"""The proof of a row's precision, from a real engine's words and from a real run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from benchlib import config
from benchlib.case import Case, Engine, Precision, ShapeMode, Status, Typing, Verdict
from benchlib.measure import matrix, measurement, rejudge, runner
from benchlib.measure.exporter import Network
from benchlib.measure.measurement import LayerPrecision, Measurement, read_layers
from benchlib.measure.record import Row
from benchlib.stats.quality_checks import Reason
from benchlib.trtexec import exports, locate
from benchlib.trtexec.exports import Layer

DATA = Path(__file__).parents[1] / "trtexec" / "data"


def evidence(**parts: object) -> Measurement:
    case = Case(
        *("resnet18", Precision.INT8, 1, 480, 640),
        *(ShapeMode.STATIC, Typing.WEAK, Engine.TRTEXEC),
    )
    return Measurement(case, matrix.settings(config.read_parameters({})), **parts)


def test_layers_work_and_time_are_shared_out_by_type() -> None:
    found = measurement.layer_precision(
        evidence(
            layers=read_layers(DATA / "8.6/layers.json"),
            profile=exports.read_profile(DATA / "8.6/profile.json"),
            work={"/conv1/Conv": 60, "/layer1/Conv": 30, "/fc/Gemm": 10},
        )
    )
    assert found.low_share(Precision.INT8) == 0.5
    assert found.low_mac_share(Precision.INT8) == 0.9
    assert found.low_mac_share(Precision.FP32) == 0.9
    assert found.below(Precision.INT8) == {}
    assert found.below(Precision.FP32) == {
        "computing layers": {"int8": 0.5, "fp16": 0.25},
        "multiply-accumulates": {"int8": 0.9},
    }
    kept = found.as_json()
    assert kept["shares"]["layers"] == {"int8": 0.5, "fp16": 0.25, "fp32": 0.25}
    assert kept["shares"]["macs"] == {"int8": 0.9, "fp32": 0.1}
    assert sum(kept["shares"]["time"].values()) == pytest.approx(1)
    moving = replace(found, of_time={"moving": 0.5, "int8": 0.2, "fp16": 0.3})
    assert moving.low_time_share(Precision.INT8) == pytest.approx(0.4)
    assert moving.low_time_share(Precision.FP16) == pytest.approx(1)
    assert kept["shares"]["time"]["unknown"] > exports.UNPLACED
    assert found.low_time_share(Precision.INT8) is None
    first, second = kept["layers"][:2]
    assert (first["precision"], first["macs"]) == (None, None)  # a reformat computes nothing
    assert (second["precision"], second["macs"]) == ("int8", 60)


@pytest.mark.parametrize("name", ["missing.json", "time.log"])
def test_files_that_cannot_be_read_prove_nothing(name: str) -> None:
    found = measurement.layer_precision(evidence(layers=read_layers(DATA / "8.6" / name)))
    assert found == LayerPrecision()
    assert found.as_json()["shares"] == {"layers": None, "macs": None, "time": None}
    assert found.low_share(Precision.INT8) is None
    assert found.low_time_share(Precision.INT8) is None


@pytest.mark.parametrize(("elsewhere", "known"), [(10, True), (12, False)])
def test_work_that_no_layer_names_is_not_passed_over(elsewhere: int, known: bool) -> None:
    work = {"/conv1/Conv": 60, "/layer1/Conv": 30, "fused away": elsewhere}
    found = measurement.layer_precision(
        evidence(layers=read_layers(DATA / "8.6/layers.json"), work=work)
    )
    assert (found.of_macs is not None) == known
    assert (found.low_mac_share(Precision.INT8) is not None) == known


def test_names_alone_prove_nothing_of_the_work() -> None:
    found = measurement.layer_precision(
        evidence(layers=read_layers(DATA / "10.0/layers-names.json"), work={"/fc/Gemm": 10})
    )
    assert (found.of_layers, found.of_macs) == (None, None)


def test_the_files_own_types_are_part_of_the_proof() -> None:
    network = Network(products={"fp16": 3, "fp32": 1})
    found = measurement.layer_precision(evidence(network=network))
    assert found.below(Precision.FP32) == {"file's products": {"fp16": 0.75}}
    assert found.below(Precision.FP16) == {}
    assert found.as_json()["declared"] == {"fp16": 3, "fp32": 1}


def layer(kind: str, *types: str) -> Layer:
    return Layer(kind, kind, types[:1], types[-1:])


@pytest.mark.parametrize(
    ("kinds", "below"),
    [
        # A mask is cast to UINT8 and scaled up: no arithmetic of the network.
        ([("Conv", "fp32"), ("ArgMax", "fp32", "int64"), ("Resize", "uint8")], {}),
        ([("QLinearConv", "uint8"), ("Resize", "uint8")], {"uint8": 1.0}),
        ([("Conv", "fp32"), ("QLinearAdd", "uint8")], {"uint8": 0.5}),
        ([("CaskConvolution", "fp32"), ("PointWiseV2", "int8")], {"int8": 0.5}),
        ([("Conv", "fp32"), ("LayerNormalization", "fp16")], {"fp16": 0.5}),
    ],
)
def test_which_layers_are_below_fp32(kinds: list[tuple[str, ...]], below: dict[str, float]) -> None:
    engine = tuple(layer(*kind) for kind in kinds)
    found = measurement.layer_precision(evidence(layers=engine)).below(Precision.FP32)
    assert found == ({"computing layers": below} if below else {})


def test_a_run_is_judged_by_the_time_of_its_layers(
    fake_run: Callable[..., runner.Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three layers are FP16, and the profile has all its time in the third."""
    engine = (layer("Conv", "fp32"), *(layer("Conv", "fp16"),) * 2)
    names = ("Conv_0", "Conv_1", "Conv_2")
    named = tuple(replace(one, name=name) for one, name in zip(engine, names, strict=True))
    monkeypatch.setattr(exports, "read", lambda path: named)
    given = {"precision": "fp16", "min_rounds": 1, "max_rounds": 1}
    for profile, doubted in ((True, True), (False, False)):
        (row,) = fake_run(**given, profile=profile).rows
        assert row.low_precision_share == pytest.approx(2 / 3)
        assert (Reason.PRECISION in row.reasons) is doubted, row.detail.reasons


def fp32_row(path: Path, folder: Path) -> Row:
    given = {
        "models": [f"onnx:{path}"],
        "precision": "fp32",
        "resolutions": ["32x32"],
        "duration_s": 0.05,
        "roofs": False,
        "min_rounds": 1,
        "max_rounds": 1,
        "out_dir": str(folder),
    }
    (row,) = runner.run(config.read_parameters(given), program=locate.find("onnxruntime_cpu")).rows
    assert row.status is Status.OK, row.message
    return row


@pytest.mark.slow
def test_a_file_below_fp32_called_fp32_is_told_and_doubted(tmp_path: Path) -> None:
    sound = small_network(tmp_path / "sound.onnx")
    row = fp32_row(sound, tmp_path / "sound")
    assert "precision" not in row.reasons
    assert row.low_precision_share == 0
    (again,) = rejudge.rejudge(tmp_path / "sound").rows
    assert (again.reasons, again.changed) == (row.reasons, False)
    for kind, path, share in (
        ("uint8", in_int8(sound, tmp_path / "int8.onnx"), 1.0),
        ("fp16", small_network(tmp_path / "half.onnx", np.float16), None),
    ):
        row = fp32_row(path, tmp_path / kind)
        assert row.verdict is Verdict.SUSPECT
        assert "precision" in row.reasons
        sentence = row.detail.reasons[row.reasons.index("precision")]
        assert f"{kind}, less than the fp32" in sentence
        assert share is None or row.low_precision_share == share


@pytest.mark.slow
def test_a_file_of_doubles_called_fp32_is_told_and_doubted(tmp_path: Path) -> None:
    # ONNX Runtime's processor has no convolution of doubles, but a matrix product
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,32,32] x) => (float[1,3,32,8] y)
        { a = Cast <to = 11> (x) b = MatMul (a, w) y = Cast <to = 1> (b) }"""
    )
    weights = np.random.default_rng(0).standard_normal((32, 8))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "double.onnx")
    row = fp32_row(tmp_path / "double.onnx", tmp_path / "set")
    assert (
        "100% of the file's products are fp64, more than the fp32 that the row is called"
        in (row.detail.reasons[row.reasons.index("precision")])
    )


def small_network(path: Path, inside: type[np.floating] = np.float32) -> Path:
    """One convolution that computes in ``inside`` between FP32 tensors."""
    word = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(inside))
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[1,3,32,32] x) => (float[1,4,32,32] y)
        {{ a = Cast <to = {word}> (x) b = Conv <pads = [1, 1, 1, 1]> (a, w)
           y = Cast <to = 1> (b) }}"""
    )
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(inside)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, path)
    return path


def in_int8(source: Path, path: Path) -> Path:
    image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    left = iter([{"x": image}])

    class Images(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(left, None)

    quantize_static(source, path, Images())
    return path


@pytest.mark.slow
def test_a_real_int8_run_proves_its_work_and_its_time(tmp_path: Path) -> None:
    given = {
        "models": ["mobilenet_v3_small"],
        "precision": "int8",
        "resolutions": ["128x96"],
        "duration_s": 0.1,
        "profile": True,
        "roofs": False,
        "out_dir": str(tmp_path / "set"),
    }
    (row,) = runner.run(config.read_parameters(given), program=locate.find("onnxruntime_cpu")).rows
    assert row.status is Status.OK
    shares = row.detail.shares
    for share in shares.values():
        assert sum(share.values()) == pytest.approx(1)
    # ONNX Runtime leaves some squeeze-excite convolutions in FP32; they hold little of the work.
    assert exports.low(shares["macs"], Precision.INT8) > 0.9
    assert row.low_precision_share == exports.low(shares["layers"], Precision.INT8)
    assert sum(one["macs"] or 0 for one in row.detail.layers) == pytest.approx(row.gmacs * 1e9)
    assert {"moving", "uint8"} < shares["time"].keys()
