"""The matrix: all cases once, shuffled, with everything resolved."""

from __future__ import annotations

import json
import pickle
from functools import partial
from pathlib import Path

import onnx
import pytest

from benchlib import config
from benchlib.case import Engine, Int8Method, Typing
from benchlib.errors import InputError
from benchlib.measure import matrix
from benchlib.trtexec.command import Program

CPU = Program(Engine.ONNXRUNTIME_CPU, ("python",), "1.20.0", "cpu")
OLD = Program(Engine.TRTEXEC, ("trtexec",), "8.6.1", "cuda:0")


def many(**values: object) -> config.Parameters:
    return config.read_parameters(
        {
            "models": ["resnet18", "resnet34", "fast_scnn"],
            "resolutions": ["640x480", "1024x768"],
            "batch_sizes": [1, 4],
            **values,
        }
    )


def test_every_combination_once() -> None:
    cases = matrix.cases(many(), CPU)
    assert len(cases) == len({case.key for case in cases}) == 3 * 2 * 2


@pytest.mark.parametrize("what", [{"batch_sizes": [1, 2]}, {"shape_modes": ["static", "blog"]}])
def test_what_a_file_is_fixed_to_is_known_before_anything_runs(tmp_path: Path, what: dict) -> None:
    value = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    ends = [value("x", shape=(1, 3, 32, 48))], [value("y", shape=(1, 3, 32, 48))]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "net", *ends)
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset]), tmp_path / "fixed.onnx")
    asked = {"models": [f"onnx:{tmp_path}/fixed.onnx"], "resolutions": ["48x32"], **what}
    with pytest.raises(InputError, match=f"{next(iter(what))}: .*fixed.onnx .*fixed .*batch"):
        matrix.cases(config.read_parameters(asked), CPU)


def test_the_order_is_shuffled_by_the_seed() -> None:
    first = matrix.cases(many(seed=1), CPU)
    assert first == matrix.cases(many(seed=1), CPU)
    other = matrix.cases(many(seed=2), CPU)
    assert first != other
    assert sorted(first, key=str) == sorted(other, key=str)
    # Not network by network: a machine that warms up must not slow one of them alone.
    assert len({case.model for case in first[:4]}) > 1


def test_typing_and_method_are_resolved_by_the_program() -> None:
    (old,) = matrix.cases(
        config.read_parameters({"precision": "int8", "models": ["resnet18"]}), OLD
    )
    assert (old.typing, old.int8_method) == (Typing.WEAK, Int8Method.MADE_UP_RANGES)
    (cpu,) = matrix.cases(
        config.read_parameters({"precision": "int8", "models": ["resnet18"]}), CPU
    )
    assert (cpu.typing, cpu.int8_method) == (Typing.STRONG, Int8Method.ORT_STATIC)


def test_int8_methods_count_for_int8_only() -> None:
    both = {"models": ["resnet18"], "int8_methods": ["qdq", "qdq-no-depthwise"]}
    assert len(matrix.cases(config.read_parameters({**both, "precision": "int8"}), OLD)) == 2
    (case,) = matrix.cases(config.read_parameters({**both, "precision": "fp16"}), OLD)
    assert case.int8_method is None


def test_a_model_with_a_typo_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"models.*resnet81.*did you mean resnet18"):
        matrix.cases(config.read_parameters({"models": ["resnet81"]}), CPU)


def test_a_size_that_does_not_suit_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match=r"resolutions.*bisenetv2"):
        matrix.cases(
            config.read_parameters({"models": ["bisenetv2"], "resolutions": ["650x480"]}), CPU
        )


def test_what_a_row_keeps_of_its_settings_stands() -> None:
    """Row files and fingerprints hold this: another content would have all measured again."""
    given = config.read_parameters(
        {"extra_flags": ["--verbose"], "max_shape": [4, 960, 1280], "streams": 2, "models": ["x"]}
    )
    assert matrix.settings(given).as_json() == {
        "avg_runs": 50,
        "duration_s": 3.0,
        "warm_up_ms": 200,
        "iterations": 10,
        "cuda_graph": True,
        "transfers": False,
        "spin_wait": True,
        "streams": 2,
        "tf32": True,
        "builder_optimization_level": None,
        "workspace_mib": None,
        "profiling_verbosity": "detailed",
        "half_io": False,
        "threads": None,
        "seed": 0,
        "profile": False,
        "extra_flags": ["--verbose"],
        "min_shape": None,
        "opt_shape": None,
        "max_shape": [4, 960, 1280],
    }


def test_settings_can_be_keys_and_cross_a_process() -> None:
    one = matrix.settings(config.read_parameters({"extra_flags": ["--verbose"]}))
    assert pickle.loads(pickle.dumps(one)) == one
    assert {one: 1}[matrix.settings(config.read_parameters({"extra_flags": "--verbose"}))] == 1


def test_the_settings_of_committed_rows_are_read_and_written_alike(root: Path) -> None:
    stored = [
        json.loads(path.read_text())["detail"]["settings"]
        for path in (root / "results").glob("h100-*/rows/*.json")
    ]
    assert len(stored) > 1
    for one in stored:
        given = {name: one[name] for name in config.Settings.model_fields if name in one}
        assert config.Settings(**given).as_json() == one


def test_a_rest_between_queries_is_in_the_fingerprint_only_where_there_is_one() -> None:
    plain = matrix.settings(config.read_parameters({"idle_ms": 0})).as_json()
    assert plain == matrix.settings(config.read_parameters({})).as_json()
    assert "idle_ms" not in plain
    rested = matrix.settings(config.read_parameters({"idle_ms": 33.3})).as_json()
    assert rested == {**plain, "idle_ms": 33.3}
    with pytest.raises(InputError, match="idle_ms"):
        config.read_parameters({"idle_ms": -1})
