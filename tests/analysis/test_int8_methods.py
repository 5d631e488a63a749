"""INT8 made in several ways: never slower is a claim, and every cell that is slower is named."""

from __future__ import annotations

from benchlib.analysis.claims import catalogue, observations
from benchlib.analysis.claims.catalogue import Answer, Finding
from benchlib.analysis.claims.findings import findings
from benchlib.case import Int8Method
from benchlib.measure.record import Detail

MADE_UP, QDQ, SPARED = "made-up ranges", "qdq", "qdq-no-depthwise"


def network(row, name: str, fp16: float, nodes: dict[str, int] | None = None, **ms: float):
    """Rows of one network; ``ms`` by method, with hyphens and blanks left out."""
    words = {"made_up": MADE_UP, "qdq": QDQ, "spared": SPARED}
    nodes = nodes or {}
    return [row(name, fp16, precision="fp16", key=f"{name}-fp16")] + [
        row(
            name,
            value,
            precision="int8",
            int8_method=words[word],
            graph_layers=nodes.get(word, 100),
            build_s=value * 100,
            key=f"{name}-{word}",
        )
        for word, value in ms.items()
    ]


def answers(found) -> dict[str, tuple]:
    ours = (catalogue.CALIBRATED, catalogue.DEPTHWISE)
    return {one.claim: (one.verdict, one.estimate, one.n) for one in found if one.claim in ours}


def test_every_method_has_a_name_in_words():
    assert set(observations.NAMES) == set(Int8Method)


def test_a_set_with_one_method_says_nothing_of_methods(table, measured, row):
    rows = network(row, "a", 1.0, qdq=0.8) + network(row, "b", 1.0, qdq=0.8)
    assert answers(findings(table(rows))) == {}
    assert observations.made(measured(rows)) == ()


def test_slower_cells_are_counted_and_named(table, row):
    rows = network(row, "a", 1.0, made_up=0.50, qdq=0.60)
    rows += network(row, "b", 1.0, made_up=0.50, qdq=0.55)
    rows += network(row, "c", 1.0, made_up=0.50, qdq=0.50)
    found = {one.claim: one for one in findings(table(rows))}[catalogue.CALIBRATED]
    assert (found.verdict, found.n) == (Answer.REFUTED, 3)
    assert abs(found.estimate - 1.1) < 1e-9
    assert "slower in 2 of 3 cells: a at 640×480 and b at 640×480" in found.sentence
    assert "1.00× to 1.20×" in found.sentence


def test_what_lies_within_two_percent_or_the_intervals_is_not_slower(table, row):
    rows = network(row, "a", 1.0, made_up=0.500, qdq=0.508)
    rows += network(row, "b", 1.0, made_up=0.500, qdq=0.490)
    assert answers(findings(table(rows)))[catalogue.CALIBRATED][0] is Answer.SUPPORTED
    rows += network(row, "c", 1.0, made_up=0.500, qdq=0.600)
    assert answers(findings(table(rows)))[catalogue.CALIBRATED][0] is Answer.PARTLY


def test_one_network_is_too_few(table, row):
    rows = network(row, "a", 1.0, made_up=0.50, qdq=0.60)
    assert answers(findings(table(rows)))[catalogue.CALIBRATED] == (Answer.CANT_TELL, None, 1)


def test_networks_with_nothing_to_leave_out_do_not_count(table, measured, row):
    fewer = {"qdq": 100, "spared": 60}
    rows = network(row, "plain", 1.0, qdq=0.5, spared=0.9)  # as many nodes: the same graph
    rows += network(row, "a", 1.0, fewer, qdq=0.5, spared=0.75)
    rows += network(row, "b", 1.0, fewer, qdq=0.5, spared=0.70)
    verdict, estimate, n = answers(findings(table(rows)))[catalogue.DEPTHWISE]
    assert (verdict, n) == (Answer.REFUTED, 2)
    assert abs(estimate - 1.45) < 1e-9
    (part,) = observations.made(measured(rows))
    same = {(one.model, one.method) for one in part.cells if one.same_as_qdq}
    assert same == {("plain", Int8Method.QDQ_NO_DEPTHWISE)}
    assert {one.model for one in part.over_qdq} == {"a", "b"}


def test_a_reconstruction_and_an_invalid_row_are_left_out(table, row):
    rows = [
        line
        for name in ("dapspnet", "a", "b")
        for line in network(row, name, 1.0, made_up=0.5, qdq=0.9)
    ]
    rows[-1]["verdict"] = "INVALID"
    assert answers(findings(table(rows)))[catalogue.CALIBRATED] == (Answer.CANT_TELL, None, 1)


def test_cells_hold_gain_and_build(measured, row):
    rows = network(row, "a", 1.0, made_up=0.5, qdq=1.25) + network(row, "b", 1.0, made_up=1.0)
    (part,) = observations.made(measured(rows))
    by = {(one.model, one.method): one for one in part.cells}
    slow = by["a", Int8Method.QDQ]
    assert (slow.gain.ratio, slow.gain.slower, slow.gain.faster) == (0.8, True, False)
    assert by["a", Int8Method.MADE_UP_RANGES].gain.faster
    even = by["b", Int8Method.MADE_UP_RANGES].gain
    assert (even.slower, even.faster) == (False, False)
    assert slow.build_s == 125.0
    assert (slow.int8, slow.fp32, slow.moving) == (None, None, None)  # no rows on disk


def test_shares_are_of_time_where_all_were_profiled(measured, row):
    one = measured(network(row, "a", 1.0, made_up=0.5, qdq=1.25))
    keys = one.frame.loc[one.frame["precision"] == "int8", "key"]
    layers, time = {"int8": 0.5, "fp32": 0.5}, {"int8": 0.02, "fp32": 0.96, "moving": 0.02}
    shares = {"layers": layers, "time": time}
    one.details.update({key: Detail.model_validate({"shares": shares}) for key in keys})
    (part,) = observations.made(one)
    assert {(cell.int8, cell.fp32, cell.moving) for cell in part.cells} == {(0.02, 0.96, 0.02)}
    one.details[keys.iloc[0]] = Detail.model_validate({"shares": {"layers": layers}})
    (part,) = observations.made(one)
    assert {(cell.int8, cell.fp32) for cell in part.cells} == {(0.5, 0.5)}


def test_the_measured_set_says_what_it_was_measured_for(root, headline):
    from benchlib.analysis.results import load

    one = load(root / "results" / "h100-tensorrt-8.6")
    found = findings(one.frame)
    assert headline(found, catalogue.CALIBRATED).verdict is Answer.REFUTED
    left_out = headline(found, catalogue.DEPTHWISE)
    assert (left_out.verdict, left_out.n) == (Answer.REFUTED, 5)
    (part,) = observations.made(one)
    spared = [cell for cell in part.cells if cell.method is Int8Method.QDQ_NO_DEPTHWISE]
    # What was left out of INT8 ran in FP32 although FP16 was allowed: the engines' own words.
    assert all(cell.fp32 > 0.25 * (1 - cell.moving) for cell in spared if not cell.same_as_qdq)
    assert all(cell.fp32 < 0.1 for cell in spared if cell.same_as_qdq)


def test_never_falls_with_one_cell_and_holds_with_many(table, row, headline):
    def answer(*int8: float) -> Finding:
        rows = [
            line
            for index, ms in enumerate(int8)
            for line in (
                row(f"n{index}", 1.0, precision="fp16"),
                row(f"n{index}", ms, precision="int8", int8_method=QDQ),
            )
        ]
        return headline(findings(table(rows)), catalogue.INT8_FP16)

    assert answer(0.5, 0.5).verdict is Answer.CANT_TELL
    assert answer(0.5, 1.5).verdict is Answer.PARTLY
    assert answer(1.5, 1.5, 0.5).verdict is Answer.REFUTED
    assert answer(*[0.5] * 6).verdict is Answer.SUPPORTED
    assert answer(1.5, 0.5, 2.0).sentence.endswith(
        "in 2 of 3 cells, taking 1.75× as long in the median and up to 2.00× as long: "
        "n2 at 640×480 and n0 at 640×480."
    )
    assert "in 1 of 2 cells, taking up to 1.50× as long: n1" in answer(0.5, 1.5).sentence
