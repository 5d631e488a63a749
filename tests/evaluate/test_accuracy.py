"""Accuracy of what was timed: real networks in real ONNX Runtime over images with known labels."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
import timm
from click.testing import CliRunner
from onnx import TensorProto, helper
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.models import ResNet18_Weights

from benchlib import config
from benchlib.case import Engine, GraphForm, Verdict
from benchlib.cli import main
from benchlib.errors import InputError
from benchlib.evaluate import accuracy, dataset, predict
from benchlib.evaluate.accuracy import Proportion
from benchlib.export import cache, calibration
from benchlib.export.build import make
from benchlib.measure import engine_cache, record, runner
from benchlib.measure.record import Row, RowError
from benchlib.measure.store import Store
from benchlib.models import registry
from benchlib.trtexec import locate
from benchlib.trtexec.command import Program

NETWORK = "mobilenet_v3_small"
SIDE = 64
PHOTOS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket")
WRONG = "rocket"  # the photo that stands in a class the network does not give it
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}

TRTEXEC = """
import os, sys
from pathlib import Path

given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
ours = (sys.executable, "-m", "benchlib.trtexec.standin.onnxruntime_cpu")
if "--saveEngine" in given:
    head = bytearray(64)
    head[:4], head[24:28] = b"ftrt", bytes((10, 16, 1, 0))
    Path(given["--saveEngine"]).write_bytes(head + Path(given["--onnx"]).read_bytes())
    Path(given["--exportLayerInfo"]).write_text('{"Layers": []}')
    sys.exit(0)
graph = Path(given["--loadEngine"]).with_suffix(".onnx")
graph.write_bytes(Path(given.pop("--loadEngine")).read_bytes()[64:])
rest = [f"{name}={value}" if value else name for name, value in given.items()]
os.execv(ours[0], [*ours, f"--onnx={graph}", *rest])
"""
"""Keeps a graph as its plan and leaves the computing to the CPU's engine program."""

STANDIN = """
import os, subprocess, sys
from pathlib import Path

import numpy as np
import onnxruntime

given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
if "--answer" in given:
    with open(os.environ["STARTS"], "a") as starts:
        starts.write("started\\n")
    plan = Path(given["--loadEngine"]).read_bytes()[64:]
    session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    for raw in Path(given["--answer"]).glob("*.raw"):
        values = np.fromfile(raw, np.float32).reshape(entry.shape)
        np.save(raw.with_suffix(".npy"), session.run(None, {entry.name: values})[0])
rest = [argument for argument in sys.argv[1:] if not argument.startswith("--answer")]
sys.exit(subprocess.run([sys.executable, os.environ["TRTEXEC"], *rest]).returncode)
"""
"""The same with the stand-in's own flag, which answers a folder of inputs in one process."""


def _row(directory: Path, model: str, precision: str) -> Row:
    with Store(directory).opened() as store:
        (row,) = [r for r in store.rows if r.model == model and r.precision == precision]
    return row


def _measured(directory: Path, program: Program, precision: str, models: list[str], **more) -> None:
    values = {"models": models, "precision": precision, "resolutions": [f"{SIDE}x{SIDE}"]}
    values |= {
        "duration_s": 0.05,
        "min_rounds": 1,
        "max_rounds": 1,
        "roofs": False,
        "out_dir": str(directory),
    } | more
    outcome = runner.run(config.read_parameters(values), program=program)
    assert [row.status for row in outcome.rows] == ["ok"] * len(models)


def _colours(path: Path, *, root: bool) -> None:
    """Class 0, 1, 2 for red, green, blue; with ``root`` NaN where a normalised mean is below 0."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Sqrt" if root else "Identity", ["flat"], ["output"]),
    ]
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    end = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "colours", [entry], [end])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set of real rows on the CPU, and two user's files beside it."""
    folder = tmp_path_factory.mktemp("accuracy")
    _colours(folder / "colours.onnx", root=False)
    _colours(folder / "roots.onnx", root=True)
    files = [f"onnx:{folder / name}.onnx" for name in ("colours", "roots")]
    program = locate.find("onnxruntime_cpu")
    _measured(folder / "set", program, "fp32", [NETWORK, *files], batch_sizes=[1])
    _measured(folder / "set", program, "int8", [NETWORK], batch_sizes=[4])
    scene = _row(folder / "set", NETWORK, "fp32").model_copy(
        update={"key": "scene", "model": "fast_scnn"}
    )
    with Store(folder / "set").opened() as store:
        store.save_row(scene)
    return folder


@pytest.fixture(scope="module")
def on_trtexec(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Program]:
    """A set measured by a program with plans, and that program."""
    folder = tmp_path_factory.mktemp("trtexec")
    script = folder / "trtexec.py"
    script.write_text(TRTEXEC)
    program = Program(Engine.TRTEXEC, (sys.executable, str(script)), "10.16.1", "cuda:0")
    _measured(folder / "set", program, "fp16", [NETWORK], batch_sizes=[2])
    return folder / "set", program


@pytest.fixture(scope="module")
def steps() -> dataset.Preprocessing:
    return dataset.preprocessing_of(NETWORK, SIDE, SIDE)


def _photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB").resize((150, 120))


def _said(graph: Path, steps: dataset.Preprocessing, batch: int) -> dict[str, int]:
    """What a graph says of each photo, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    said = {}
    for name in PHOTOS:
        image = np.repeat(steps.tensor(_photo(name))[None], batch, axis=0)
        said[name] = int(session.run(None, {"input": image})[0][0].argmax())
    return said


@pytest.fixture(scope="module")
def exact(measured: Path, steps: dataset.Preprocessing) -> dict[str, int]:
    graph = make(NETWORK, GraphForm.FP32, height=SIDE, width=SIDE)
    return _said(graph.path, steps, 1)


@pytest.fixture(scope="module")
def photos(measured: Path, exact: dict[str, int]) -> Path:
    """The bundled photos in the classes FP32 gives them, but for one."""
    folder = measured / "photos"
    for name, index in exact.items():
        label = (index + 1) % 1000 if name == WRONG else index
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        _photo(name).save(folder / str(label) / f"{name}.png")
    return folder


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """One image of each colour, and a fourth in the wrong folder."""
    folder = tmp_path / "colours"
    for name, value in COLOURS.items():
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (90, 80), value).save(folder / name / "plain.png")
    Image.new("RGB", (90, 80), COLOURS["blue"]).save(folder / "red" / "not_red.png")
    (folder / "classes.txt").write_text("red 0\ngreen 1\nblue 2\n")
    return folder


def test_top1_of_known_labels_is_exact(measured: Path, photos: Path) -> None:
    row = _row(measured / "set", NETWORK, "fp32")
    report = accuracy.measure(measured / "set", photos, [row.key])
    (one,) = report.scored
    assert (one.verdict, one.non_finite, one.n) == (Verdict.VALID, 0, 6)
    assert (one.top1.count, one.top1.n, one.top1.share) == (5, 6, pytest.approx(5 / 6))
    assert one.paired is None
    assert one.graph_sha256 == row.detail.graph.sha256
    assert one.notes == (accuracy.RANDOM,)
    assert accuracy.RANDOM in report.lines()[1]


def test_int8_is_compared_with_fp32_image_by_image(
    measured: Path, photos: Path, exact: dict[str, int], steps: dataset.Preprocessing
) -> None:
    """The batch of four does not divide the six images: what fills it up must not count."""
    row = _row(measured / "set", NETWORK, "int8")
    graph = make(NETWORK, GraphForm.INT8_CPU, height=SIDE, width=SIDE, batch=4)
    coarse = _said(graph.path, steps, 4)
    (one,) = accuracy.measure(measured / "set", photos, [row.key]).scored
    right = [name for name in PHOTOS if name != WRONG and coarse[name] == exact[name]]
    differ = sum(coarse[name] != exact[name] for name in PHOTOS)
    assert (one.paired.disagreement.count, one.paired.disagreement.n) == (differ, 6)
    assert one.paired.fp32_top1.count == 5
    assert one.paired.lost == 5 - len(right)
    assert one.calibration == row.detail.graph.calibration.model_dump()
    assert one.form == "int8-cpu"


def test_without_keys_all_that_classify_are_scored_and_kept_apart_from_the_row(
    measured: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(measured)
    table = (measured / "set" / "table.csv").read_bytes()
    row = _row(measured / "set", "onnx:colours.onnx", "fp32")
    accuracy.measure(measured / "set", colours, [row.key])
    report = accuracy.measure(measured / "set", colours)
    assert [one.model for one in report.scored].count(NETWORK) == 2
    assert ["segmentation" in reason for _, reason in report.left_out] == [True]
    text = (measured / "set" / "accuracy.json").read_text()
    assert str(measured) not in text
    kept = {row["key"]: row for row in json.loads(text)["rows"]}
    assert kept.keys() == {one.key for one in report.scored}
    found = kept[row.key]
    assert (found["top1"]["count"], found["top1"]["n"]) == (3, 4)
    assert found["images"]["name"] == "colours"
    assert found["images"]["sha256"] == dataset.read_folder(colours).sha256
    assert (measured / "set" / "table.csv").read_bytes() == table


def test_rows_scored_earlier_stay(measured: Path, photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(measured / "set", copy, ignore=shutil.ignore_patterns("accuracy.json"))
    keys = [_row(copy, NETWORK, precision).key for precision in ("fp32", "int8")]
    for key in keys:
        accuracy.measure(copy, photos, [key], limit=2)
    kept = json.loads((copy / "accuracy.json").read_text())["rows"]
    assert sorted(row["key"] for row in kept) == sorted(keys)
    assert {row["images"]["n"] for row in kept} == {2}


def test_a_nan_makes_the_row_invalid(
    measured: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(measured)
    key = _row(measured / "set", "onnx:roots.onnx", "fp32").key
    report = accuracy.measure(measured / "set", colours, [key])
    (one,) = report.scored
    assert (one.verdict, one.reasons) == (Verdict.INVALID, ("numerics",))
    assert (one.top1, one.paired, one.non_finite) == (None, None, 4)
    assert "INVALID numerics: 4 of 4 images" in one.line()


def test_another_file_of_the_same_name_is_refused(
    measured: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(measured / "roots.onnx", tmp_path / "colours.onnx")
    monkeypatch.chdir(tmp_path)
    key = _row(measured / "set", "onnx:colours.onnx", "fp32").key
    with pytest.raises(InputError, match="is not the file"):
        accuracy.measure(measured / "set", colours, [key])


def test_a_row_calibrated_with_own_images_needs_them_again(
    measured: Path, photos: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    _photo("coffee").save(own / "a.png")
    row = _row(measured / "set", NETWORK, "int8")
    identity = asdict(calibration.folder(own).identity)
    graph = row.detail.graph.model_dump() | {"calibration": identity}
    with Store(tmp_path / "set").opened() as store:
        store.save_row(row.model_copy(update={"detail": row.detail.but(graph=graph)}))
    for given in (None, next(photos.iterdir())):
        with pytest.raises(InputError, match="calibrated with 1 images of own; give that folder"):
            accuracy.measure(tmp_path / "set", photos, calibration_dir=given)
    (one,) = accuracy.measure(tmp_path / "set", photos, calibration_dir=own).scored
    assert one.calibration == identity
    # The graph of the row was calibrated with other images.
    assert "not byte for byte" in one.notes[0]


def test_a_plan_is_found_again_and_run_by_its_program(
    photos: Path, on_trtexec: tuple[Path, Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, program = on_trtexec
    monkeypatch.setattr(locate, "find", lambda engine: program)
    (one,) = accuracy.measure(directory, photos, limit=3).scored
    assert one.failure is None, one.message
    assert (one.form, one.engine_reused, one.n) == ("fp16", True, 3)
    assert "one process per batch" in one.route
    assert one.notes == (accuracy.RANDOM,)
    # FP16 changes few predictions; a scrambled input or output would change most.
    assert one.top1.count >= 2
    assert one.paired.disagreement.count <= 1


def test_another_version_builds_a_plan_of_its_own_and_says_so(
    photos: Path, on_trtexec: tuple[Path, Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, program = on_trtexec
    monkeypatch.setattr(locate, "find", lambda engine: replace(program, version="10.16.0"))
    monkeypatch.setenv(engine_cache.LIMIT_VARIABLE, "0")
    unused = cache.root() / "plans" / "unused" / "facts.json"
    unused.parent.mkdir()
    unused.write_text("{}")
    os.utime(unused, (0, 0))
    (one,) = accuracy.measure(directory, photos, limit=1).scored
    assert not unused.exists(), "the limit of kept engines holds here as well"
    assert (one.failure, one.engine_reused, one.engine_version) == (None, False, "10.16.0")
    assert "timed with 10.16.1, run here with 10.16.0" in one.notes


@pytest.fixture
def on_standin(
    on_trtexec: tuple[Path, Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Program]:
    """The same set as if the stand-in over the tensorrt wheel had measured it."""
    directory, program = on_trtexec
    script = tmp_path / "standin.py"
    script.write_text(STANDIN)
    monkeypatch.setenv("TRTEXEC", program.command[1])
    monkeypatch.setenv("STARTS", str(tmp_path / "starts"))
    row = _row(directory, NETWORK, "fp16")
    with Store(tmp_path / "set").opened() as store:
        store.save_row(row.model_copy(update={"engine": Engine.TENSORRT_PYTHON}))
    command = (sys.executable, str(script))
    mine = replace(program, engine=Engine.TENSORRT_PYTHON, command=command)
    monkeypatch.setattr(locate, "find", lambda engine: mine)
    return tmp_path / "set", mine


def test_the_standin_answers_many_batches_in_one_process_as_trtexec_does_one_by_one(
    photos: Path,
    on_standin: tuple[Path, Program],
    on_trtexec: tuple[Path, Program],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, _ = on_standin
    (one,) = accuracy.measure(directory, photos).scored
    assert one.failure is None, one.message
    assert "one process for many batches" in one.route
    # Six images in batches of two: three batches, one process.
    assert (tmp_path / "starts").read_text().count("started") == 1
    before, program = on_trtexec
    monkeypatch.setattr(locate, "find", lambda engine: program)
    (other,) = accuracy.measure(before, photos).scored
    assert (one.n, one.top1, one.paired) == (6, other.top1, other.paired)


def test_a_long_row_of_images_goes_to_the_standin_in_chunks(
    photos: Path,
    on_standin: tuple[Path, Program],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, _ = on_standin
    monkeypatch.setattr(
        predict, "ByStandin", partial(predict.ByStandin, chunk_bytes=2 * 3 * SIDE * SIDE * 4 + 1)
    )
    (one,) = accuracy.measure(directory, photos).scored
    assert (one.failure, one.n) == (None, 6)
    assert one.top1.count >= 4
    assert (tmp_path / "starts").read_text().count("started") == 2  # two batches, then one


def test_an_answer_that_is_missing_is_a_failure(
    photos: Path, on_standin: tuple[Path, Program]
) -> None:
    directory, program = on_standin
    script = Path(program.command[1])
    script.write_text(script.read_text().replace('glob("*.raw")', 'glob("*1.raw")'))
    (one,) = accuracy.measure(directory, photos).scored
    assert (one.failure, one.top1) == ("bad_output", None)
    assert "the output cannot be read" in one.message


def test_a_program_that_fails_is_a_failure_and_no_number(
    photos: Path, on_trtexec: tuple[Path, Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, program = on_trtexec
    broken = (sys.executable, "-c", "import sys; sys.exit('the engine is broken')")
    other = replace(program, command=broken, version="10.16.2")
    monkeypatch.setattr(locate, "find", lambda engine: other)
    report = accuracy.measure(directory, photos)
    (one,) = report.scored
    assert not report.ok
    assert (one.top1, one.verdict, one.failure) == (None, None, "crash")
    assert "the engine is broken" in one.message


def test_rows_of_a_missing_gpu_are_refused_before_anything_runs(
    photos: Path, on_trtexec: tuple[Path, Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = on_trtexec
    (directory / "accuracy.json").unlink(missing_ok=True)

    def missing(engine: str) -> Program:
        raise locate.MissingProgramError("the CUDA driver shows no GPU")

    monkeypatch.setattr(locate, "find", missing)
    with pytest.raises(InputError, match=r"was measured with trtexec .* shows no GPU"):
        accuracy.measure(directory, photos)
    assert not (directory / "accuracy.json").exists()


def test_wilson_interval_against_numbers_by_hand() -> None:
    # (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964
    found = Proportion.of(5, 6)
    assert (found.low, found.high) == pytest.approx((0.436498, 0.969947), abs=1e-5)
    none = Proportion.of(0, 10)
    assert (none.low, none.high) == pytest.approx((0, 0.277533), abs=1e-5)


def test_mcnemar_against_numbers_by_hand() -> None:
    labels = np.zeros(20, dtype=np.int64)
    exact, coarse = labels.copy(), labels.copy()
    coarse[:5] = 7  # only FP32 right
    exact[5:6] = 7  # only the other right
    exact[6:8], coarse[6:8] = 3, 4  # both wrong, and not the same
    exact[8:10] = coarse[8:10] = 9  # both wrong alike
    found = accuracy.paired(coarse, exact, labels)
    assert (found.lost, found.gained, found.disagreement.count) == (5, 1, 8)
    assert found.p_value == pytest.approx(2 * (1 + 6) / 2**6)
    assert found.fp32_top1.count == 15
    assert accuracy.paired(exact, exact, labels).p_value == 1


def test_at_the_published_size_the_transforms_are_torchvisions() -> None:
    steps, photo = (
        dataset.preprocessing_of("resnet18", 224, 224),
        Image.fromarray(skimage.data.astronaut()),
    )
    wanted = ResNet18_Weights.IMAGENET1K_V1.transforms()(photo).numpy()
    assert steps.published_size
    np.testing.assert_array_equal(steps.tensor(photo), wanted)
    # The way to other sizes, taken to this one, has to agree.
    preset = ResNet18_Weights.IMAGENET1K_V1.transforms()
    preset.crop_size, preset.resize_size = [112], [128]
    half = dataset.Preprocessing(preset, "half", 224, 224)
    np.testing.assert_allclose(half.tensor(photo), wanted, atol=1e-6)


@pytest.mark.parametrize("model", ["mobilenetv4_conv_small", "timm:vit_tiny_patch16_224"])
def test_timms_networks_have_timms_transforms(model: str) -> None:
    settings = timm.get_pretrained_cfg(registry.card(model).timm_weights)
    photo = Image.fromarray(skimage.data.astronaut())
    given = ("interpolation", "mean", "std", "crop_pct")
    own = {name: getattr(settings, name) for name in given}
    wanted = timm.data.create_transform(settings.input_size, **own)(photo).numpy()
    found = dataset.preprocessing_of(model, 224, 224)
    assert found.published_size and registry.card(model).timm_weights in found.words
    np.testing.assert_allclose(found.tensor(photo), wanted, atol=1e-6)


def test_weights_of_other_classes_give_no_top1() -> None:
    words = dataset.preprocessing_refusal("timm:vit_tiny_patch16_224.augreg_in21k")
    assert words is not None and "no weights for ImageNet's classes" in words


def test_another_size_is_covered_and_said() -> None:
    steps = dataset.preprocessing_of("resnet18", 96, 160)
    assert steps.tensor(_photo("coffee")).shape == (3, 96, 160)
    assert "160x96" in steps.words and "224x224" in steps.words


def test_the_order_is_torchvisions_and_a_limit_spreads_over_classes(tmp_path: Path) -> None:
    for name in ("10", "9", "2"):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for file in ("b.PNG", "a.jpg", "deeper/c.png"):
            Image.new("RGB", (4, 4)).save(tmp_path / name / file)
        (tmp_path / name / "notes.txt").write_text("no image")
    found = dataset.read_folder(tmp_path)
    theirs = ImageFolder(str(tmp_path))
    assert [str(image.path) for image in found.images] == [path for path, _ in theirs.samples]
    assert [image.label for image in found.images] == [10] * 3 + [2] * 3 + [9] * 3
    assert [image.label for image in dataset.read_folder(tmp_path, 3).images] == [10, 2, 9]
    assert dataset.read_folder(tmp_path, 3).sha256 != found.sha256
    Image.new("RGB", (4, 4), "red").save(tmp_path / "9" / "b.PNG")
    assert dataset.read_folder(tmp_path).sha256 != found.sha256


def test_imagenets_thousand_are_counted_in_order(tmp_path: Path) -> None:
    for index in range(1000):
        (tmp_path / f"n{index * 7:08d}").mkdir()
    for index in (0, 999):
        Image.new("RGB", (4, 4)).save(tmp_path / f"n{index * 7:08d}" / "a.png")
    assert [image.label for image in dataset.read_folder(tmp_path).images] == [0, 999]
    (tmp_path / "n00000000" / "a.png").unlink()
    (tmp_path / "n00000000").rmdir()
    with pytest.raises(InputError, match="999 subfolders"):
        dataset.read_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no subfolders"),
        ({"a.png": ""}, "has no subfolders"),
        ({"cat/a.png": ""}, "name them by class index"),
        ({"7/a.txt": ""}, "holds no image"),
        ({"cat/a.png": "", "classes.txt": "dog 3"}, "gives cat no index"),
        ({"cat/a.png": "", "classes.txt": "cat three"}, "classes.txt does not map"),
        ({"cat/a.png": "", "classes.json": '{"cat": "3"}'}, "gives cat no index"),
        ({"cat/a.png": "", "classes.json": "[3"}, "classes.json does not map"),
        ({"cat/a.png": "", "classes.json": "[]"}, "gives cat no index"),
        ({"cat/a.png": "", "classes.json": '{"cat": 1, "cat": 2}'}, "has cat twice"),
        ({"cat/a.png": "", "classes.json": "[" * 100_000}, "classes.json does not map"),
        ({"cat/a.png": "", "classes.txt": "cat 1\ncat 2"}, "has cat twice"),
        ({"cat/a.png": "", "classes.txt": "dog 1\n\ncat"}, "line 3 is 'cat'"),
        ({"cat/a.png": "", "classes.txt": "cat 1_0"}, "line 1 is 'cat 1_0'"),
        ({"cat/a.png": "", "classes.txt": "cat 9999999999"}, "line 1"),
        ({"9999999999/a.png": ""}, "name them by class index"),
        ({"1/a.png": "", "01/a.png": ""}, "'01' and '1' mean the same class"),
        ({"Cat/a.png": "", "CAT/a.png": "", "classes.txt": "cat 1"}, "gives CAT no index"),
        ({"cat/a.png": "", "dog/a.txt": "", "classes.txt": "cat 1\ndog 2"}, "no image in dog"),
        ({"0/a.png": "", "__MACOSX/a.txt": "", "1/.hidden/a.png": ""}, "no image in 1;"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        dataset.read_folder(tmp_path)


def _image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def _names(folder: Path) -> list[tuple[str, int]]:
    return [(image.name, image.label) for image in dataset.read_folder(folder).images]


def test_copies_that_tools_leave_are_passed_over(tmp_path: Path) -> None:
    for name in ("0/a.png", "1/deep/b.png"):
        _image(tmp_path / name)
    for name in ("0/.ipynb_checkpoints/a-checkpoint.png", "1/@eaDir/b.png/thumb.jpg"):
        _image(tmp_path / name)
    (tmp_path / "0" / "._a.png").write_bytes(b"\0\5\26\7")
    _image(tmp_path / "__MACOSX" / "a.png")
    _image(tmp_path / ".git" / "a.png")
    assert _names(tmp_path) == [("0/a.png", 0), ("1/deep/b.png", 1)]


def test_links_are_followed_and_none_goes_round(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "images"
    _image(store / "cats" / "a.png")
    dog = _image(store / "dogs" / "b.png")
    (folder / "1").mkdir(parents=True)
    (folder / "0").symlink_to(store / "cats", target_is_directory=True)
    (folder / "1" / "b.png").symlink_to(dog)
    (folder / "1" / "more").symlink_to(store / "dogs", target_is_directory=True)
    (folder / "1" / "again").symlink_to(store / "dogs", target_is_directory=True)
    for around in (folder, folder / "1", tmp_path):
        (folder / "1" / f"to_{around.name}").symlink_to(around, target_is_directory=True)
    assert _names(folder) == [("0/a.png", 0), ("1/b.png", 1), ("1/again/b.png", 1)]
    (folder / "2").symlink_to(folder, target_is_directory=True)
    with pytest.raises(InputError, match="no image in 2;"):
        dataset.read_folder(folder)


def test_a_link_to_an_image_that_is_gone_is_complained_of(tmp_path: Path) -> None:
    _image(tmp_path / "0" / "a.png")
    (tmp_path / "0" / "b.png").symlink_to(tmp_path / "annex" / "b.png")
    (_, gone) = dataset.read_folder(tmp_path).images
    with pytest.raises(InputError, match=r"images: 0/b\.png cannot be read.*; take it out"):
        gone.open()


def test_a_class_that_is_gone_or_that_is_another_is_complained_of(tmp_path: Path) -> None:
    _image(tmp_path / "0" / "a.png")
    (tmp_path / "README.md").symlink_to(tmp_path / "gone.md")
    assert _names(tmp_path) == [("0/a.png", 0)]
    (tmp_path / "1").symlink_to(tmp_path / "annex", target_is_directory=True)
    with pytest.raises(InputError, match="1 cannot be read"):
        dataset.read_folder(tmp_path)
    (tmp_path / "1").unlink()
    (tmp_path / "1").symlink_to(tmp_path / "0", target_is_directory=True)
    with pytest.raises(InputError, match="the subfolders '0' and '1' are one folder"):
        dataset.read_folder(tmp_path)


def test_images_of_kinds_that_are_not_read_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.gif", "c.HEIC", "notes.txt"):
        _image(tmp_path / "0" / "a.png").with_name(name).touch()
    assert _names(tmp_path) == [("0/a.png", 0)]
    assert "2 images in 0 are passed over (.gif, .heic)" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfcaf\xc3\xa9 1\r\ngreat dane 2\r\n\r\n# the rest\r\nOwl\t3\r\n",
        "cafe\u0301 1\n  great dane   2\nOWL 3 \nnot here 7\n".encode(),
    ],
)
def test_class_names_are_compared_as_people_see_them(tmp_path: Path, text: bytes) -> None:
    for name in ("caf\u00e9", "great dane ", "owl"):
        _image(tmp_path / name / "a.png")
    (tmp_path / "classes.txt").write_bytes(text)
    assert [label for _, label in _names(tmp_path)] == [1, 2, 3]
    (tmp_path / "classes.txt").unlink()
    pairs = '{"cafe\u0301": 1, "great dane": 2, "owl": 3}'
    (tmp_path / "classes.json").write_text(pairs, encoding="utf-8-sig")
    assert [label for _, label in _names(tmp_path)] == [1, 2, 3]


def test_two_folders_that_look_alike_are_refused(tmp_path: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        _image(tmp_path / name / "a.png")
    (tmp_path / "classes.txt").write_text("caf\u00e9 1", encoding="utf-8")
    with pytest.raises(InputError, match="mean the same class"):
        dataset.read_folder(tmp_path)


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    _image(folder / "0" / os.fsdecode(b"\xe9.png"))
    found = dataset.read_folder(folder)
    assert json.dumps(found.as_json(), ensure_ascii=False).encode()
    assert len(found.sha256) == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema_version": 2, "rows": []}', "is of schema version 2 and this benchlib reads 1"),
        ('{"schema_version": 1, "ro', "cannot be read"),
        ('{"schema_version": 1, "rows": [{}]}', "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_an_accuracy_file_that_cannot_be_read_is_not_written_over(
    colours: Path, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "accuracy.json").write_text(text)
    with pytest.raises(InputError, match=rf"set: accuracy\.json {words}.*; move it away") as caught:
        accuracy.measure(tmp_path, colours)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "accuracy.json").read_text() == text


def _with_evidence(row: Row, part: str, value: object) -> str:
    """The row's JSON with another ``part`` in its evidence or in that of its graph."""
    document = json.loads(record.dump_row(row))
    detail = document["detail"]
    (detail if part in detail else detail["graph"])[part] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("graph", None, "its graph"),
        ("graph", {"form": "fp32"}, "its graph"),
        ("settings", {}, "its settings"),
        ("input_shape", None, "its input's shape"),
        ("calibration", {"name": "mine"}, "its calibration"),
    ],
)
def test_a_row_that_lacks_evidence_is_refused(
    measured: Path, part: str, value: object, words: str
) -> None:
    row = _row(measured / "set", NETWORK, "fp32")
    assert predict.check(row, None).on_cpu
    lacking = record.load_row(_with_evidence(row, part, value))
    with pytest.raises(InputError, match=f"does not tell {words}; measure it again"):
        predict.check(lacking, None)


@pytest.mark.parametrize(
    ("part", "value", "where"),
    [
        ("graph", "none", "detail.graph"),
        ("settings", [], "detail.settings"),
        ("input_shape", [1, 3, 64], "detail.graph.input_shape"),
        ("input_shape", [1, 3, "64", 64], "detail.graph.input_shape"),
    ],
)
def test_a_row_with_evidence_of_another_shape_is_refused(
    measured: Path, part: str, value: object, where: str
) -> None:
    row = _row(measured / "set", NETWORK, "fp32")
    with pytest.raises(RowError, match=where):
        record.load_row(_with_evidence(row, part, value))


def test_bad_choices_are_one_line_with_status_2(
    measured: Path, photos: Path, colours: Path, tmp_path: Path
) -> None:
    directory = str(measured / "set")
    (tmp_path / "high" / "1000").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "high" / "1000" / "a.png")
    (tmp_path / "broken" / "3").mkdir(parents=True)
    (tmp_path / "broken" / "3" / "a.png").write_text("no image")
    network = _row(measured / "set", NETWORK, "fp32").key
    for argv, words in (
        ([str(tmp_path / "none"), "--images", str(photos)], "holds no rows"),
        ([directory, "--images", str(tmp_path / "none")], "is not a folder"),
        ([directory, "--images", str(photos), "--key", "nobody"], "no row is called 'nobody'"),
        ([directory, "--images", str(photos), "--key", "nobody"], "; 2 more"),
        ([directory, "--images", str(photos), "--key", "scene"], "does segmentation"),
        ([directory, "--images", str(tmp_path / "high"), "--key", network], "class index 1000"),
        ([directory, "--images", str(tmp_path / "broken"), "--key", network], "3/a.png cannot be"),
    ):
        done = CliRunner().invoke(main, ["accuracy", *argv])
        assert (done.exit_code, len(done.stderr.strip().splitlines())) == (2, 1), done.output
        assert words in done.stderr


def test_the_command_prints_json(measured: Path, photos: Path) -> None:
    key = _row(measured / "set", NETWORK, "fp32").key
    argv = ["accuracy", str(measured / "set"), "--images", str(photos), "--key", key, "--json"]
    done = CliRunner().invoke(main, [*argv, "--limit", "4"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["images"]["n"], said["images"]["found"]) == (4, 6)
    assert said["rows"][0]["top1"]["n"] == 4


def test_trtexecs_own_way_to_write_a_nan_is_read() -> None:
    text = '[\n { "name" : "nan", "dimensions" : "2x2", "values" : [ nan, -inf, inf, 1e-05 ] } ]'
    found = predict.first_output(text)
    assert found.shape == (2, 2)
    np.testing.assert_array_equal(found, np.float32([[np.nan, -np.inf], [np.inf, 1e-5]]))


def test_equal_scores_are_told_of() -> None:
    class Fixed:
        route = "a table"

        def scores(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            for _ in batches:
                yield np.float32([[1, 2, 2], [3, 2, 2], [0, 0, np.nan]])

    found = predict.predict(Fixed(), [np.zeros((3, 3, 8, 8), dtype=np.float32)], 3)
    assert found.index.tolist() == [1, 0, -1]
    assert found.tied.tolist() == [True, False, False]
    assert found.non_finite == 1


@pytest.mark.parametrize("shape", [(2, 5), (3, 5, 1), (3,)])
def test_what_is_no_row_of_scores_per_image_is_refused(shape: tuple[int, ...]) -> None:
    class Other:
        route = "a table"

        def scores(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            for _ in batches:
                yield np.zeros(shape, dtype=np.float32)

    with pytest.raises(InputError, match="no list of class scores"):
        predict.predict(Other(), [np.zeros((3, 3, 8, 8), dtype=np.float32)], 3)
