"""Parameters and presets: what is taken, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchlib import case, config
from benchlib.case import Precision
from benchlib.errors import InputError
from benchlib.models import registry


def test_every_parameter_has_a_default_and_a_help_text() -> None:
    for name, field in config.Parameters.model_fields.items():
        assert not field.is_required(), name
        assert field.description, name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modles": ["resnet18"]}, ["modles", "did you mean models?"]),
        ({"precision": "fp17"}, ["precision", "'fp17'", "did you mean fp16?"]),
        ({"engine": "trtexce"}, ["engine", "did you mean trtexec?"]),
        ({"resolutions": ["640*480"]}, ["resolutions", "'640*480'", "like 640x480"]),
        ({"batch_sizes": [0]}, ["batch_sizes", "0"]),
        ({"duration_s": True}, ["duration_s", "True", "is a switch"]),
        ({"batch_sizes": [8, True]}, ["batch_sizes", "True", "is a switch"]),
        ({"workspace_mib": True}, ["workspace_mib", "is a switch"]),
        ({"duration_s": -1}, ["duration_s", "-1", "greater than 0"]),
        ({"shape_modes": ["statc"]}, ["shape_modes", "did you mean static?"]),
        ({"int8_methods": ["qqd"]}, ["int8_methods", "did you mean qdq?"]),
        ({"models": []}, ["models"]),
        ({"min_shape": [1, 0, 640]}, ["min_shape", "[batch, height, width]"]),
        ({"seed": "many"}, ["seed", "'many'"]),
        ({"duration_s": 0}, ["duration_s", "0"]),
        ({"duration_s": float("nan")}, ["duration_s", "nan"]),
        ({"iterations": 0}, ["iterations", "0"]),
        ({"warm_up_ms": -1}, ["warm_up_ms", "-1"]),
        ({"streams": 0}, ["streams", "0"]),
        ({"threads": 0}, ["threads", "0"]),
        ({"builder_optimization_level": 9}, ["builder_optimization_level", "9"]),
    ],
)
def test_bad_values_are_refused_in_one_line(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        config.read_parameters(values)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert raised.value.field == next(iter(values))


def test_lists_may_come_as_text_from_the_papermill_command_line() -> None:
    given = config.read_parameters(
        {"models": "[resnet18, fast_scnn]", "resolutions": "640x480", "batch_sizes": 2}
    )
    assert given.models == ("resnet18", "fast_scnn")
    assert given.resolutions == ("640x480",)
    assert given.batch_sizes == (2,)


def test_repeats_are_measured_once() -> None:
    assert config.read_parameters({"batch_sizes": [1, 2, 1]}).batch_sizes == (1, 2)


def test_the_presets_of_the_checkout_are_good() -> None:
    assert {"quick", "blog", "full", "edge"} <= set(config.preset_names())
    for name in config.preset_names():
        one = config.find_preset(name)
        for given in one.runs():
            assert given.preset == name
            for model in given.models:
                for size in given.resolutions:
                    registry.card(model).check_size(*case.resolution(size))


def test_blog_is_the_blogs_matrix() -> None:
    blog = config.find_preset("blog")
    given = blog.runs()[0]
    assert set(given.models) == set(registry.BLOG)
    assert len(given.models) * len(given.resolutions) * len(blog.precisions) == 16 * 4 * 3


def test_full_is_the_whole_line_up() -> None:
    assert set(config.find_preset("full").runs()[0].models) == set(registry.names())


def test_modern_is_fourteen_networks_at_three_sizes() -> None:
    modern = config.find_preset("modern")
    given = modern.runs()[0]
    later = {card.name for card in registry.TIMM_CARDS if card.year >= 2021}
    assert len(given.models) == 14 and set(given.models) <= later
    assert len(given.resolutions) == 3 and modern.precisions == (Precision.FP16, Precision.INT8)


def test_quick_holds_one_of_the_papers_networks() -> None:
    quick = config.find_preset("quick")
    assert quick.precisions == (Precision.FP32, Precision.INT8)
    given = quick.runs()[0]
    assert len(given.models) >= 6
    assert given.resolutions == ("640x480", "1024x768")
    assert any(registry.card(model).task == "segmentation" for model in given.models)


def test_a_presets_unknown_key_is_refused_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precisions: [fp32]\nresolution: [640x480]\n")
    with pytest.raises(InputError, match=r"resolution: in mine\.yaml.*did you mean resolutions\?"):
        config.find_preset(str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("just words", "holds text"),
        ("seed: [1", "line 1"),
        ("- 1\n- 2", "holds a list"),
        ("", "holds nothing"),
        ("# only a comment\n", "holds nothing"),
        ("{}", "holds nothing"),
        ("models:\n\t- resnet18\n", "line 2: a tab where YAML takes spaces only"),
        ("models: [resnet18]\nseed: 1\nmodels: [fast_scnn]\n", "line 3: models stands twice"),
        ("models: [resnet18]\n'models': [fast_scnn]\n", "line 2: models stands twice"),
        ("seed: {a: 1, b: {c: 1, c: 2}}\n", "line 1: c stands twice"),
        ("models: *nets\n", "line 1: found undefined alias"),
        ("--- {seed: 1}\n--- {seed: 2}\n", "another document"),
        ("seed: 2024-13-45\n", "month"),
        ("seed: " + "[" * 3000, "nested too deeply"),
        ("seed: &self [*self]\n", "seed"),
        ("a: &a [x, x]\nseed: [*a, *a]\n", "no parameter has this name"),
        ("seed: a\0b\n", "special characters"),
        ("precision: int8\nprecisions: [fp32]\n", "precisions is set beside it"),
        ("out_dir: somewhere\n", "use -o"),
        ("preset: blog\n", "use --preset"),
        ("precisions: '[fp32'\n", "not YAML"),
        ("1: 2\n", "no parameter has this name"),
        ("duration_s: .inf\n", "finite"),
        ("retries: 2\n", "use min_rounds and max_rounds"),
        ("min_rounds: 11\n", "10 is less than min_rounds, 11"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        config.find_preset(str(path))
    message = str(raised.value)
    assert "mine.yaml" in message
    assert words in message
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfmodels: [resnet18]\nseed: 3\n",
        b"models: [resnet18]\r\nseed: 3\r\n",
        "models: [resnet18]\nseed: 3\n".encode("utf-16"),
        b"models: &nets [resnet18]\nseed: 3\n",
    ],
)
def test_presets_of_other_editors_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    (given,) = config.find_preset(str(path)).runs()
    assert (given.models, given.seed) == (("resnet18",), 3)


@pytest.mark.parametrize("text", ["016", "[8, 016]", "-016", "0_16"])
def test_a_number_that_yaml_takes_for_octal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1: \S+16 is -?14 in YAML.* write 16 or -?14"):
        config.read_yaml(text)


def test_numbers_that_mean_the_same_either_way_are_read() -> None:
    assert config.read_yaml("[0, 00, 07, 16, 1_000, 0x10, -3]") == [0, 0, 7, 16, 1000, 16, -3]


def test_a_preset_may_be_named_by_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("models: [vgg11_bn]")
    assert config.find_preset(tmp_path / "mine.yaml").name == "mine"


def test_a_merged_key_may_be_set_again() -> None:
    text = "base: &b {x: 1}\nmid: &m {<<: *b, x: 2}\ntop: {<<: *m, x: 3}\n"
    assert config.read_yaml(text)["top"] == {"x": 3}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"out_dir": "x"}, "use -o"),
        ({"preset": "x"}, "use --preset"),
        ({"precision": "fp16", "precisions": ["fp32"]}, "keep one of the two"),
    ],
)
def test_what_would_be_dropped_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        config.find_preset("quick").with_values(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": 0}, "target: 0: Input should be greater than 0 "),
        ({"target": "nan"}, "target: 'nan': "),
        ({"max_rounds": 0}, "max_rounds: 0: Input should be greater than or equal to 1 "),
        ({"max_rounds": 2}, "max_rounds: 2 is less than min_rounds, 3; raise it or lower that"),
        ({"min_rounds": 0}, "min_rounds: 0: "),
        ({"time_ceiling_s": -1}, "time_ceiling_s: -1: "),
        ({"processes": 3}, "processes: there is none since cases are timed in rounds; use min_"),
        ({"cool_down_s": 1}, "cool_down_s: there is none since cases are timed in rounds; use"),
    ],
)
def test_rounds_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as raised:
        config.read_parameters(values)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert config.read_parameters({"target": 0.01, "min_rounds": 2, "max_rounds": 2}).target == 0.01


@pytest.mark.parametrize("name", ["calibration_dir", "fleet", "out_dir"])
def test_an_empty_text_stands_for_no_folder_and_no_host(name: str) -> None:
    """Of a variable that a script has not set: the folder at hand is not what was meant."""
    with pytest.raises(InputError, match=f"{name}: '': .* at least 1 character"):
        config.read_parameters({name: ""})


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'fast'.*blog.*full.*quick"):
        config.find_preset("fast")


def test_changes_go_over_the_preset() -> None:
    quick = config.find_preset("quick").with_values(
        {"precisions": ["fp16"], "models": ["resnet18"]}
    )
    (given,) = quick.runs()
    assert given.precision is Precision.FP16
    assert given.models == ("resnet18",)
    assert given.duration_s == config.find_preset("quick").values["duration_s"]


def test_one_precision_stands_for_a_list_of_one() -> None:
    assert config.find_preset("quick").with_values({"precision": "fp16"}).precisions == (
        Precision.FP16,
    )


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean fp16"):
        config.find_preset("quick").with_values({"precisions": ["fp17"]})


def test_a_changed_preset_is_not_called_by_its_name_alone() -> None:
    quick = config.find_preset("quick")
    same = quick.with_values({"seed": 0, "precisions": [*quick.precisions]})
    assert same.told_from(quick).runs()[0].preset == "quick"
    other = quick.with_values({"models": ["resnet18"], "duration_s": 9.0, "precisions": ["fp16"]})
    assert other.told_from(quick).runs()[0].preset == (
        "quick, changed: duration_s, models, precisions"
    )
