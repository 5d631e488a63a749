"""Two measured sets side by side, and a set beside the published figures."""

from __future__ import annotations

import json

import pytest

from benchlib.analysis import comparable_groups
from benchlib.analysis import compare as analysis_compare
from benchlib.analysis.compare import Outcome, compare
from benchlib.analysis.results import MeasuredSet
from benchlib.case import device_name
from benchlib.errors import InputError


@pytest.mark.parametrize(
    ("second", "half", "outcome"),
    [
        (0.9, 0.01, Outcome.FASTER),
        (1.1, 0.01, Outcome.SLOWER),
        (1.005, 0.005, Outcome.SAME),
        (1.05, 0.03, Outcome.UNDECIDED),  # the intervals overlap
        (1.03, 0.01, Outcome.UNDECIDED),  # parted, but perhaps by less than matters
        (1.5, None, Outcome.UNDECIDED),  # nothing is known of the noise
    ],
)
def test_the_four_outcomes(measured, row, second, half, outcome):
    found = compare(measured([row("a", 1.0, half=half)]), measured([row("a", second, half=half)]))
    (only,) = found.rows
    assert only.outcome is outcome
    assert only.ratio == pytest.approx(second)
    assert found.slower == ((only,) if outcome is Outcome.SLOWER else ())


@pytest.mark.parametrize("second", [0.978, 0.9802, 0.9805, 1.0, 1.0198, 1.0225, 1.3])
def test_swapping_the_sets_swaps_faster_and_slower(measured, row, second):
    one, other = (measured([row("a", ms, half=1e-6)]) for ms in (1.0, second))
    swapped = {Outcome.FASTER: Outcome.SLOWER, Outcome.SLOWER: Outcome.FASTER}
    there, back = (compare(*sets).rows[0].outcome for sets in ((one, other), (other, one)))
    assert back is swapped.get(there, there)


def test_the_threshold_is_the_callers(measured, row):
    sets = measured([row("a", 1.0)]), measured([row("a", 1.1)])
    assert compare(*sets, threshold=0.2).rows[0].outcome is Outcome.SAME


def test_the_geometric_mean_has_an_interval_over_networks(measured, row):
    names = [f"n{i}" for i in range(8)]
    first = measured([row(name, 1.0) for name in names])
    second = measured([row(name, 2.0 if i % 2 else 0.5) for i, name in enumerate(names)])
    found = compare(first, second)
    assert found.mean_ratio == pytest.approx(1.0)
    assert 0.5 <= found.low < 1 < found.high <= 2.0
    few = compare(measured([row("a", 1.0)]), measured([row("a", 2.0)]))
    assert (few.mean_ratio, few.low, few.high) == (2.0, None, None)


def test_only_like_is_compared_with_like(measured, row):
    first = measured([row("a", 1.0), row("a", 1.0, batch=8), row("b", 1.0), row("c", 1.0)])
    second = measured(
        [row("a", 1.0), row("a", 1.0, shape_mode="blog"), row("c", 1.0, verdict="INVALID")]
    )
    found = compare(first, second)
    assert [(one.model, one.batch) for one in found.rows] == [("a", 1)]
    assert (found.only_first, found.only_second) == (3, 1)


def test_typing_and_int8_method_have_to_agree_where_both_are_known(measured, row):
    int8 = {"precision": "int8"}
    first = measured(
        [
            row("a", 1.0, int8_method="qdq", **int8),
            row("b", 1.0, typing="weak"),
            row("c", 1.0, typing="weak"),
        ]
    )
    second = measured(
        [
            row("a", 1.0, int8_method="modelopt", **int8),
            row("b", 1.0, typing="strong"),
            row("c", 1.0),
        ]
    )
    found = compare(first, second)
    assert [one.model for one in found.rows] == ["c"]
    assert (found.unlike, found.only_first, found.only_second) == (2, 2, 2)
    assert any("2 pairs left out" in line for line in found.lines())


def test_a_case_twice_in_one_set_is_refused(measured, row):
    twice = measured([row("a", 1.0), row("a", 1.1)], name="doubled")
    with pytest.raises(
        InputError, match=r"doubled: a-fp32-640 \(line 2 .* \(line 3 .*are both a at fp32"
    ):
        compare(twice, measured([row("a", 1.0)]))


def test_nothing_in_common_is_no_error(measured, row):
    found = compare(measured([row("a", 1.0)]), measured([row("b", 1.0)]))
    assert (found.rows, found.mean_ratio) == ((), None)
    assert "nothing to compare" in found.lines()


COPIED = {"started_at": "2026-11-25T13:14:04.159976Z", "gpu_uuid": "4f5e6d7c"}


@pytest.mark.parametrize(
    ("other", "is_copy"),
    [
        ({}, True),
        ({"latency_ci_high_ms": 1.3}, True),  # judged by other rules
        ({"latency_ms": 1.2, "latency_ci_high_ms": 1.3}, False),  # a difference is told
        ({"started_at": "2026-11-25T13:14:04.159977Z"}, False),
        ({"started_at": None}, False),
        ({"gpu_uuid": "01234567"}, False),  # two devices, begun by one signal
    ],
)
def test_a_copied_row_is_no_agreement(measured, row, other, is_copy):
    first = measured([row("a", 1.0, **COPIED), row("b", 1.0, started_at="1"), row("c", 1.0)])
    second = [row("a", 1.0, **COPIED) | other, row("b", 2.0, started_at="2"), row("d", 1.0)]
    found = compare(first, measured(second))
    assert (found.copied, found.only_first, found.only_second) == (int(is_copy), 1, 1)
    assert [one.model for one in found.rows] == (["b"] if is_copy else ["a", "b"])
    assert any("1 case left out: the same measure" in line for line in found.lines()) is is_copy
    if is_copy:
        assert found.mean_ratio == 2.0


def test_differences_of_the_surroundings_are_listed(measured, row):
    common = {"driver": "550", "date": "1", "gpu": {"name": "A"}, "packages": {"numpy": "1"}}
    other = {"driver": "560", "date": "2", "gpu": {"name": "A"}, "packages": {"numpy": "2"}}
    found = compare(measured([row("a", 1.0)], **common), measured([row("a", 1.0)], **other))
    assert [(one.field, one.first, one.second) for one in found.differences] == [
        ("driver", "550", "560"),
        ("packages.numpy", "1", "2"),
    ]
    assert "  driver: 550 -> 560" in found.lines()


def test_settings_that_change_what_is_timed_are_listed(measured, row):
    def timed(**of: dict[str, object]) -> MeasuredSet:
        return measured([row("a", 1.0)], parameters={"models": ["a"], **of})

    one = timed(fp32={"streams": 1, "tf32": True, "duration_s": 1}, fp16={"streams": 1})
    other = timed(fp32={"streams": 4, "tf32": False, "threads": 2, "duration_s": 3})
    assert compare(one, other).lines()[-2:] == ["  streams: 1 -> 4", "  tf32: True -> False"]
    apart = timed(fp32={"streams": 1}, fp16={"streams": 2})
    assert compare(one, apart).lines()[-1] == "  streams: 1 -> {'fp32': 1, 'fp16': 2}"
    for odd in ({"streams": 1}, {"fp32": None}, ["fp32"], "streams"):
        assert compare(one, measured([row("a", 1.0)], parameters=odd)).differences == ()


@pytest.mark.parametrize(("nodes", "said"), [(122, True), (127, False), (None, False)])
def test_another_graph_is_said_beside_its_case(measured, row, nodes, said):
    first, second = (row("a", 1.0, graph_layers=count) for count in (127, nodes))
    found = compare(measured([first]), measured([second]))
    (line,) = [one for one in found.lines() if " a " in one]
    assert line.endswith("; graph of 127 -> 122 nodes") is said


def test_json_is_plain(measured, row):
    found = compare(measured([row("a", 1.0)]), measured([row("a", 2.0)])).as_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["counts"] == {"faster": 0, "slower": 1, "same": 0, "undecided": 0}
    assert found["rows"][0]["outcome"] == "slower"


def test_the_method_of_int8_is_named(measured, row):
    rows = [row("a", 1.0, precision="int8", int8_method=word) for word in ("qdq", "modelopt")]
    found = compare(measured(rows), measured(rows))
    assert [one.made for one in found.rows] == ["int8 (modelopt)", "int8 (qdq)"]
    assert any("a int8 (qdq) 640x480" in line for line in found.lines())
    (plain,) = compare(measured([row("a", 1.0)]), measured([row("a", 1.0)])).rows
    assert (plain.made, plain.int8_method) == ("fp32", None)


class TestLiterature:
    def test_the_ratio_and_its_known_reasons(self, measured, row, published):
        ours = row(
            "fast_scnn",
            0.206,
            **{"device": "NVIDIA H200", "engine_version": "10.16.1", "cuda_graph": True},
            **{"transfers": False, "tf32": False},
        )
        (found,) = analysis_compare.beside_published(measured([ours]), published)
        assert (found.published_model, found.published_ms) == ("fast_scnn_blog", 1.03)
        assert found.ratio == pytest.approx(0.2)
        assert found.reasons == (
            "another GPU: NVIDIA H200, not NVIDIA GeForce RTX 3090",
            "TensorRT 10.16.1, not 10.0.1",
            "another network: the published figure is of fast_scnn_blog",
            "the published engine was tuned for its largest size, 3840x2144",
            "the published run had no CUDA graph",
            "TF32 was on in the published run",
        )

    def test_of_several_int8_methods_the_published_one_stands_beside(
        self, measured, row, published
    ):
        def made(ms: float, method: str) -> dict:
            return row("resnet18", ms, precision="int8", int8_method=method)

        rows = [made(0.2, "qdq"), made(0.1, "made-up ranges"), made(0.3, "qdq-no-depthwise")]
        (found,) = analysis_compare.beside_published(measured(rows), published)
        assert (found.int8_method, found.ours_ms) == ("made-up ranges", 0.1)
        assert not any("INT8 by" in reason for reason in found.reasons)
        (found,) = analysis_compare.beside_published(measured([rows[2], rows[0]]), published)
        assert (found.int8_method, found.ours_ms) == ("qdq", 0.2)
        assert "INT8 by qdq, not with made-up ranges" in found.reasons

    def test_a_papers_network_makes_way_for_the_variant_that_was_published(
        self, measured, row, published
    ):
        rows = [row("fast_scnn", 0.5), row("fast_scnn_blog", 0.4)]
        (found,) = analysis_compare.beside_published(measured(rows), published)
        assert (found.model, found.published_model) == ("fast_scnn_blog", "fast_scnn_blog")

    def test_shape_modes_stand_each_by_itself(self, measured, row, published):
        rows = [row("resnet18", 1.0, shape_mode=mode) for mode in ("static", "blog")]
        assert len(analysis_compare.beside_published(measured(rows), published)) == 2

    def test_the_blogs_own_rows_have_no_reason(self, published):
        found = analysis_compare.beside_published(published, published)
        assert len(found) == 192
        assert {one.ratio for one in found} == {1.0} and {one.reasons for one in found} == {()}

    def test_a_cpu_is_a_reason_and_what_was_not_published_has_no_row(
        self, measured, row, published
    ):
        cpu = {"engine": "onnxruntime_cpu", "device": "cpu", "engine_version": "1.23"}
        rows = [
            row("resnet18", 37.0, **cpu),
            row("ddrnet23_slim", 1.0),
            row("resnet18", 1, batch=8),
        ]
        (found,) = analysis_compare.beside_published(measured(rows), published)
        assert found.ratio == pytest.approx(20)
        assert found.reasons[0] == "a CPU, and ONNX Runtime in place of TensorRT"


@pytest.mark.parametrize(
    ("first", "second", "compared"),
    [
        ("NVIDIA H100", "NVIDIA H200", True),
        ("NVIDIA H100", "NVIDIA H100 (MIG 1g.10gb)", False),
        ("NVIDIA H100 (MIG 1g.10gb)", "NVIDIA H100 (MIG 2g.20gb)", False),
        ("NVIDIA H100 (MIG 1g.10gb)", "NVIDIA H100 (MIG 1g.10gb)", True),
        # As the driver itself names a slice, and older rows do.
        ("NVIDIA H100", "NVIDIA H100 MIG 1g.10gb", False),
        ("NVIDIA H100 (MIG 1g.10gb)", "NVIDIA H100 MIG 1g.10gb", True),
        ("NVIDIA H100", "NVIDIA H100 (green context sm:16)", False),
        ("NVIDIA RTX A2000 (Laptop)", "NVIDIA RTX A2000", True),
        ("NVIDIA H100 (vGPU)", None, True),
        ("cpu", "NVIDIA H100", True),
    ],
)
def test_a_part_of_a_card_is_compared_with_the_same_part_only(
    measured, row, first, second, compared
):
    found = compare(
        measured([row("a", 1.0, device=first)]), measured([row("a", 2.0, device=second)])
    )
    assert (len(found.rows), found.unlike) == ((1, 0) if compared else (0, 1))


def test_a_part_of_a_slice_is_called_by_both():
    told = "NVIDIA H100 (MIG 1g.10gb, green context sm:8)"
    for slice_ in ("NVIDIA H100 (MIG 1g.10gb)", "NVIDIA H100 MIG 1g.10gb"):
        assert device_name(slice_, ["green context sm:8"]) == told
    assert device_name("NVIDIA H100") == "NVIDIA H100"


def test_rows_of_a_card_and_of_a_part_of_it_are_never_mixed_in_a_set(table, row):
    names = ("NVIDIA H100", "NVIDIA H100 (MIG 1g.10gb)", "NVIDIA H100 (green context sm:16)")
    frame = table([row("a", 1.0 + place, device=name) for place, name in enumerate(names)])
    split = comparable_groups.parts(frame)
    assert {one.label: list(one.frame["latency_ms"]) for one in split} == {
        name: [1.0 + place] for place, name in enumerate(names)
    }
    assert [one.label for one in comparable_groups.parts(frame[:1])] == [""]
    assert len(comparable_groups.side_by_side(frame)) == 3


@pytest.mark.parametrize("threshold", [float("nan"), -1, 5, "0.02", True, None])
def test_a_threshold_that_is_no_part_is_refused(measured, row, threshold):
    sets = measured([row("a", 1.0)]), measured([row("a", 1.1)])
    with pytest.raises(InputError, match=r"threshold: .* give 0\.02 for two per cent"):
        compare(*sets, threshold=threshold)
