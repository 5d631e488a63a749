"""The doctor's report, on this machine and on made-up ones."""

import json
from types import SimpleNamespace

import pynvml
import pytest

from benchlib import doctor
from benchlib.case import Engine
from benchlib.doctor import Trtexec
from benchlib.gpu import nvml
from benchlib.gpu.nvml import Gpu, Gpus
from benchlib.trtexec import locate
from benchlib.trtexec.locate import Interpreter

H200 = Gpu("NVIDIA H200", "580.1", "13.0", 150_754.8, "9.0", 1980, 3201, 700.0, False, 120)
WITH_GPU = Interpreter(("python",), "3.12.3", "13.0", ("NVIDIA H200",), numpy="2.0.0")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRTEXEC", locate.INTERPRETER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    locate.examine_interpreter.cache_clear()


def without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    monkeypatch.setattr(nvml, "gpu_on_bus", lambda: False)
    alone = Interpreter(("python",), "3.12.3", cuda_reason="no CUDA driver", numpy="2.0.0")
    monkeypatch.setattr(locate, "examine_interpreter", lambda python: alone)
    monkeypatch.setattr(doctor, "_trtexec", lambda: Trtexec(reason="not on PATH"))
    monkeypatch.setattr(locate, "trtexec_path", lambda: None)


def test_this_machine_is_reported_whatever_it_has() -> None:
    report = doctor.examine()
    assert json.loads(json.dumps(report.as_json())) == report.as_json()
    assert any(line.startswith("Will be used") for line in report.lines())


def test_a_machine_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    without_driver(monkeypatch)
    report = doctor.examine()
    found = report.as_json()
    assert found["engine"] == "onnxruntime_cpu"
    assert found["driver"] is None
    assert found["gpus"] == []
    assert found["clocks_lockable"] is False
    assert found["problems"] == []
    lines = "\n".join(report.lines())
    assert "none: no NVIDIA driver is installed" in lines
    assert "get it: python -m pip install tensorrt cuda-bindings" in lines
    assert [thing["what"] for thing in found["missing"]] == [
        "an NVIDIA GPU",
        "tensorrt and cuda-bindings",
        "trtexec",
    ]


def test_a_gpu_without_its_driver_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    without_driver(monkeypatch)
    monkeypatch.setattr(nvml, "gpu_on_bus", lambda: True)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    assert doctor.examine().missing[0].command == "sudo ubuntu-drivers install"


def test_not_even_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    without_driver(monkeypatch)
    monkeypatch.setattr(locate, "onnxruntime_version", lambda: None)
    report = doctor.examine()
    assert report.choice is None
    assert report.missing[0].command == "python -m pip install onnxruntime"
    assert any("nothing: no program that measures" in line for line in report.lines())
    assert report.as_json()["engine"] is None


def test_a_wrong_setting_is_a_problem_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTEXEC", "/no/such/trtexec")
    report = doctor.examine()
    assert "TRTEXEC: '/no/such/trtexec' is no program" in report.problems[0]
    assert report.choice is None
    assert any(line.startswith("Problem") for line in report.lines())


def test_a_gpu_machine_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "examine_gpus", lambda: Gpus("580.1", (H200,)))
    monkeypatch.setattr(locate, "examine_interpreter", lambda python: WITH_GPU)
    monkeypatch.setattr(locate, "trtexec_path", lambda: None)
    report = doctor.examine()
    assert report.choice is not None
    assert report.choice.program.engine is Engine.ONNXRUNTIME_CPU
    assert report.as_json()["gpus"] == [
        {
            "name": "NVIDIA H200",
            "capability": "9.0",
            "memory_mib": 143_770,
            "max_sm_clock_mhz": 1980,
            "power_limit_w": 700.0,
            "clock_steps": 120,
        }
    ]
    lines = "\n".join(report.lines())
    assert (
        "NVIDIA H200, compute capability 9.0, 140 GiB, up to 1980 MHz, power limit 700 W" in lines
    )
    assert "once there is a GPU" not in lines
    assert "sudo apt-get install libnvinfer-bin" in lines


@pytest.mark.parametrize(("user", "lockable"), [(0, None), (1000, False)])
def test_only_the_superuser_may_lock_clocks(
    user: int, lockable: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml.os, "geteuid", lambda: user)
    assert nvml.clocks_lockable(Gpus("580.1", (H200,)))[0] is lockable


def test_nvml_is_read_and_what_it_withholds_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def withheld(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.65.06",
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: "NVIDIA H200",
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (9, 0),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=150_754_820_096),
        "nvmlDeviceGetMaxClockInfo": lambda handle, which: 1980,
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 13000,
        "nvmlDeviceGetPowerManagementLimit": lambda handle: 700_000,
        "nvmlDeviceGetMigMode": withheld,
        "nvmlDeviceGetVirtualizationMode": withheld,
        "nvmlSystemGetConfComputeState": withheld,
        "nvmlSystemGetConfComputeSettings": lambda settings: 13,
        "nvmlDeviceGetSupportedMemoryClocks": withheld,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    found = nvml.examine_gpus()
    assert found.driver == "580.65.06"
    (gpu,) = found.devices
    assert gpu == Gpu(
        "NVIDIA H200", "580.65.06", "13.0", 150_754.820096, "9.0", 1980, 1980, 700.0, None, None
    )
    assert nvml.clocks_lockable(found) == (False, "the driver names no clocks to lock to")
