"""The proof of a row's precision, from a real engine's words and from a real run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchlib.case import Case, Engine, Precision, ShapeMode, Status, Typing
from benchlib.engines import discovery, layers
from benchlib.sweep import matrix, parameters, proof, run
from benchlib.sweep.evidence import Evidence
from benchlib.sweep.proof import Proof

DATA = Path(__file__).parents[1] / "engines" / "data"


def evidence(**parts: object) -> Evidence:
    case = Case(
        *("resnet18", Precision.INT8, 1, 480, 640),
        *(ShapeMode.STATIC, Typing.WEAK, Engine.TRTEXEC),
    )
    return Evidence(case, matrix.settings(parameters.read({})), **parts)


def test_layers_work_and_time_are_shared_out_by_type() -> None:
    found = proof.of(
        evidence(
            layers=DATA / "8.6/layers.json",
            profile=DATA / "8.6/profile.json",
            work={"/conv1/Conv": 60, "/layer1/Conv": 30, "/fc/Gemm": 10},
        )
    )
    assert found.low_share(Precision.INT8) == 0.5
    assert found.low_mac_share(Precision.INT8) == 0.9
    assert found.low_mac_share(Precision.FP32) is None
    kept = found.as_json()
    assert kept["shares"]["layers"] == {"int8": 0.5, "fp16": 0.25, "fp32": 0.25}
    assert kept["shares"]["macs"] == {"int8": 0.9, "fp32": 0.1}
    assert sum(kept["shares"]["time"].values()) == pytest.approx(1)
    first, second = kept["layers"][:2]
    assert (first["precision"], first["macs"]) == (None, None)  # a reformat computes nothing
    assert (second["precision"], second["macs"]) == ("int8", 60)


@pytest.mark.parametrize("name", ["missing.json", "time.log"])
def test_files_that_cannot_be_read_prove_nothing(name: str) -> None:
    found = proof.of(evidence(layers=DATA / "8.6" / name, profile=DATA / "8.6" / name))
    assert found == Proof()
    assert found.as_json()["shares"] == {"layers": None, "macs": None, "time": None}
    assert found.low_share(Precision.INT8) is None


@pytest.mark.parametrize(("elsewhere", "known"), [(10, True), (12, False)])
def test_work_that_no_layer_names_is_not_passed_over(elsewhere: int, known: bool) -> None:
    work = {"/conv1/Conv": 60, "/layer1/Conv": 30, "fused away": elsewhere}
    found = proof.of(evidence(layers=DATA / "8.6/layers.json", work=work))
    assert (found.of_macs is not None) == known
    assert (found.low_mac_share(Precision.INT8) is not None) == known


def test_names_alone_prove_nothing_of_the_work() -> None:
    found = proof.of(evidence(layers=DATA / "10.0/layers-names.json", work={"/fc/Gemm": 10}))
    assert (found.of_layers, found.of_macs) == (None, None)


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
    (row,) = run.run(parameters.read(given), program=discovery.find("onnxruntime_cpu")).rows
    assert row.status is Status.OK
    shares = row.detail["shares"]
    for share in shares.values():
        assert sum(share.values()) == pytest.approx(1)
    # ONNX Runtime leaves some squeeze-excite convolutions in FP32; they hold little of the work.
    assert 0.9 < layers.low(shares["macs"], Precision.INT8) < 1
    assert row.low_precision_share == layers.low(shares["layers"], Precision.INT8)
    assert sum(one["macs"] or 0 for one in row.detail["layers"]) == pytest.approx(row.gmacs * 1e9)
    assert {"moving", "uint8"} < shares["time"].keys()
