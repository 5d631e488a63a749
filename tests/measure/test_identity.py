"""A network is known by its content; names stay what they are, and fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchlib import config
from benchlib.case import LONGEST_KEY, Case, Engine, Precision, ShapeMode, Typing
from benchlib.gpu.nvml import Gpu
from benchlib.measure import environment, matrix
from benchlib.measure.environment import Redactor, model_names
from benchlib.models import onnx_file
from benchlib.trtexec.command import Program

CPU = Program(Engine.ONNXRUNTIME_CPU, ("python",), "1.20.0", "cpu")


def write_net(path: Path, value: float, *, external: bool = False) -> str:
    """A file whose one weight is ``value``; returns the model's name."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 32, 32])
    weight = numpy_helper.from_array(np.full((1, 3, 32, 32), value, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [image], [result])
    graph.initializer.append(weight)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        model,
        path,
        save_as_external_data=external,
        location="w.bin" if external else None,
        size_threshold=0,
    )
    return f"onnx:{path}"


def cases(*models: str, precision: str = "fp32") -> tuple[Case, ...]:
    given = {"models": list(models), "resolutions": ["32x32"], "precision": precision}
    return matrix.cases(config.read_parameters(given), CPU)


def of_file(model: str, digest: str) -> Case:
    return Case(
        model,
        Precision.FP32,
        1,
        32,
        32,
        ShapeMode.STATIC,
        Typing.STRONG,
        Engine.TRTEXEC,
        None,
        digest,
    )


def test_two_files_of_one_name_are_two_networks(tmp_path: Path) -> None:
    a, b = write_net(tmp_path / "a/net.onnx", 1), write_net(tmp_path / "b/net.onnx", 2)
    found = cases(a, b)
    assert len({case.key for case in found}) == len({case.model_digest for case in found}) == 2


def test_one_content_in_two_folders_is_one_network_measured_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = write_net(tmp_path / "a/net.onnx", 1), write_net(tmp_path / "b/net.onnx", 1)
    assert [case.model for case in cases(a, b)] == [a]
    assert f"{b} is the same file as {a}" in caplog.text
    assert cases(a)[0].key == cases(b)[0].key


def test_a_changed_file_is_another_network(tmp_path: Path) -> None:
    model = write_net(tmp_path / "net.onnx", 1)
    before = cases(model)[0].key
    write_net(tmp_path / "net.onnx", 2)
    assert cases(model)[0].key != before


def test_external_data_belongs_to_the_content(tmp_path: Path) -> None:
    write_net(tmp_path / "net.onnx", 1, external=True)
    before = onnx_file.digest(tmp_path / "net.onnx")
    graph = (tmp_path / "net.onnx").read_bytes()
    (tmp_path / "w.bin").unlink()
    write_net(tmp_path / "net.onnx", 2, external=True)
    assert (tmp_path / "net.onnx").read_bytes() == graph
    assert onnx_file.digest(tmp_path / "net.onnx") != before


def test_a_plan_writes_a_graph_for_each_file_and_times_its_own(tmp_path: Path) -> None:
    a, b = write_net(tmp_path / "a/net.onnx", 1), write_net(tmp_path / "b/net.onnx", 2)
    given = {"models": [a, b], "resolutions": ["32x32"], "precision": "fp32"}
    steps = matrix.steps(config.read_parameters(given), CPU)
    graphs = [step.graph[-1] for step in steps]
    assert len(set(graphs)) == 2
    for step, graph in zip(steps, graphs, strict=True):
        assert all(graph in " ".join(command.argv) for command in step.commands)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose PATH is this folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    environment.jetson.cache_clear()
    yield tmp_path
    environment.jetson.cache_clear()


ORIN = Gpu("Orin (nvgpu)", *[None] * 7)


def test_a_gpu_that_nvml_does_not_show_is_named_by_cuda(bare: Path) -> None:
    """Else all such cards were one device, and the engine built for one were timed on another."""
    program = Program(Engine.TRTEXEC, ("trtexec",), "10.3.0", "cuda:0", card="NVIDIA A10")
    assert environment.device_name(program, None) == "NVIDIA A10"
    assert environment.device_name(program, None, ["--greenContext=sm:8"]) == (
        "NVIDIA A10 (green context sm:8)"
    )
    assert environment.device_name(replace(program, card=None), None) == "cuda:0"
    assert environment.device_name(program, ORIN) == "Orin (nvgpu)"
    assert environment.device_name(CPU, None) == "cpu"


def test_a_jetson_is_its_board_and_power_mode(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML gives every Orin one name, and the mode changes what it can do by a factor of three."""
    model = bare / "model"
    model.write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    monkeypatch.setattr(environment, "JETSON_MODEL", model)
    program = Program(Engine.TRTEXEC, ("trtexec",), "10.3.0", "cuda:0", card="Orin")
    assert environment.device_name(program, ORIN) == "Orin (nvgpu)"
    nvpmodel = bare / "nvpmodel"
    nvpmodel.write_text("#!/bin/sh\nprintf 'NV Power Mode: 15W\\n0\\n'\n")
    nvpmodel.chmod(0o755)
    environment.jetson.cache_clear()
    for gpu in (ORIN, None):
        name = environment.device_name(program, gpu)
        assert name == "NVIDIA Jetson Orin Nano Developer Kit 15W"
    assert environment.device_name(CPU, None) == "cpu"


def test_keys_of_the_line_up_are_what_they_were() -> None:
    case = replace(of_file("resnet18", ""), model_digest=None)
    assert case.key == "resnet18-fp32-b1-32x32-static-strong-trtexec-e541de54"
    assert "model_digest" not in case.as_json()


@pytest.mark.parametrize("name", ["a" * 251, "网" * 80, "$^%", "x" * 60])
def test_keys_are_bounded_safe_and_told_apart(name: str) -> None:
    first, second = (of_file(f"onnx:/d/{name}.onnx", digit * 64) for digit in "12")
    assert first.key != second.key
    assert first.network != second.network
    for text in (first.key, first.network):
        assert len(text) <= LONGEST_KEY
        assert text.isascii()
        assert "/" not in text
    assert first.key.startswith(name[:60]) or not name.isalnum() or not name.isascii()


class TestNames:
    def test_the_fewest_folders_that_tell_files_apart(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        one = [of_file("onnx:x/a/net.onnx", "1"), of_file("onnx:x/b/net.onnx", "2")]
        found = model_names([*one, of_file("onnx:x/other.onnx", "3")])
        assert list(found.values()) == ["onnx:a/net.onnx", "onnx:b/net.onnx", "onnx:other.onnx"]

    def test_a_single_file_is_named_by_itself(self):
        assert model_names([of_file("onnx:/secret/net.onnx", "1")]) == {
            "onnx:/secret/net.onnx": "onnx:net.onnx"
        }

    def test_accounts_are_not_named(self):
        home = "/home"
        pair = [
            of_file(f"onnx:{home}/ann/n.onnx", "1" * 64),
            of_file(f"onnx:{home}/bob/n.onnx", "2" * 64),
        ]
        assert list(model_names(pair).values()) == ["onnx:n.onnx#11111111", "onnx:n.onnx#22222222"]

    def test_a_name_that_a_row_of_other_content_has_is_not_taken(self):
        new = of_file("onnx:/data/a/n.onnx", "2" * 64)
        named = model_names([new], [("onnx:n.onnx", "1" * 64)])
        assert list(named.values()) == ["onnx:n.onnx#22222222"]

    def test_a_network_keeps_the_name_that_its_rows_have(self):
        new = of_file("onnx:/data/a/n.onnx", "2" * 64)
        named = model_names([new], [("onnx:a/n.onnx", "2" * 64)])
        assert list(named.values()) == ["onnx:a/n.onnx"]


PLACES = Redactor.naming(
    [
        (Path("bench/.work"), "{work}"),
        (Path("bench"), "{set}"),
        (Path("/srv/my set"), "{cache}"),
        (Path("/srv/ann"), "~"),
    ]
)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("python -m benchlib.trtexec.x", "python -m benchlib.trtexec.x"),
        ("bench/rows/k bench/.work/g", "{set}/rows/k {work}/g"),
        ("notebooks/bench/x and the bench", "notebooks/bench/x and the bench"),
        ("/srv/my set/x '/srv/my set'", "{cache}/x '{cache}'"),
        ("/srv/ann2/x /srv/ann.old/x /srv/ann/x", "/srv/ann2/x /srv/ann.old/x ~/x"),
        ("/data/srv/ann/x", "/data/srv/ann/x"),
        ("cannot write /srv/ann.", "cannot write ~."),
        ("gcc -I/srv/ann/include A=/srv/ann:/srv/ann/b", "gcc -I~/include A=~:~/b"),
        ("file:///srv/ann/x", "file://~/x"),
    ],
)
def test_only_whole_parts_of_paths_get_another_name(text: str, short: str) -> None:
    assert PLACES.shorten(text) == short


@pytest.mark.parametrize(
    ("argument", "short"),
    [
        ("--onnx=/data/a=b/m.onnx", "--onnx=…/m.onnx"),
        ("--onnx=/srv/my set/m.onnx", "--onnx={cache}/m.onnx"),
        ("--onnx=/srv/my set 2/m.onnx", "--onnx=…/m.onnx"),
        ("--loadInputs=x:/data/a.bin,y:/srv/ann/b.bin", "--loadInputs=x:…/a.bin,y:~/b.bin"),
        ("--shapes=input:1x3x32x32", "--shapes=input:1x3x32x32"),
        ("/usr/bin/trtexec", "…/trtexec"),
        ("/data/a=b/trtexec", "…/trtexec"),
        ("-m", "-m"),
        ("--useCudaGraph", "--useCudaGraph"),
    ],
)
def test_arguments_hide_other_folders(argument: str, short: str) -> None:
    assert PLACES._argument(argument) == short
