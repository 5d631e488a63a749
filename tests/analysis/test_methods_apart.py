"""A set with several INT8 methods, or rests between queries: never mixed."""

from benchlib.analysis import comparable_groups
from benchlib.analysis.claims.catalogue import Finding
from benchlib.analysis.claims.findings import findings
from benchlib.analysis.compare import beside_published, compare


def told(table, row, *methods: str) -> tuple[Finding, ...]:
    """Findings of nine networks whose INT8 is four, then twice, as fast as FP32, by method."""
    rows = []
    for index in range(9):
        name = f"network{index}"
        rows.append(row(name, 8.0 + index, gmacs=1.0 + index))
        for place, method in enumerate(methods):
            ms = (8.0 + index) / (4 - 2 * place)
            int8 = {"precision": "int8", "int8_method": method, "gmacs": 1.0 + index}
            rows.append(row(name, ms, **int8))
    return findings(table(rows))


def test_what_the_methods_share_is_told_once_and_without_a_method(table, row):
    one, both = told(table, row, "qdq"), told(table, row, "qdq", "modelopt")
    fp32 = [found.as_json() for found in one if "FP32" in found.subset]
    assert fp32
    assert [found.as_json() for found in both if "FP32" in found.subset] == fp32


def test_what_differs_is_told_for_each_method_by_name(table, row):
    both = told(table, row, "qdq", "modelopt")
    gains = {
        found.subset.partition(":")[0]: found.estimate
        for found in both
        if "INT8 by" in found.subset and found.estimate in (2.0, 4.0)
    }
    assert gains == {"INT8 by qdq": 4.0, "INT8 by modelopt": 2.0}


def test_a_sentence_that_differs_names_its_method_and_the_first_of_the_enum_leads(table, row):
    both = told(table, row, "modelopt", "qdq")
    gain = next(found for found in both if found.subset.startswith("INT8 by qdq"))
    assert gain.sentence.startswith("With INT8 by qdq: ")
    first = {}
    for found in both:
        first.setdefault(found.claim, found)
    assert not any("modelopt" in found.sentence for found in first.values())
    assert any("With INT8 by qdq" in found.sentence for found in first.values())
    assert not any("With INT8" in found.sentence for found in told(table, row, "qdq"))


def test_a_rest_between_queries_makes_a_group_of_its_own_and_is_named(table, row, measured):
    plain, old = row("a", 1.0, idle_ms=0.0), row("b", 2.0)
    rested = [row("a", 3.0, key="a-rested", idle_ms=33.3), row("b", 4.0, key="b-r", idle_ms=33.3)]
    for made in (comparable_groups.parts, comparable_groups.side_by_side):
        found = made(table([plain, old, *rested]))
        assert [(one.label, list(one.frame["latency_ms"])) for one in found] == [
            ("back to back", [1.0, 2.0]),
            ("rest of 33.3 ms after each query", [3.0, 4.0]),
        ]
        # Nobody expects one, so that it is named where there is nothing else too
        assert [one.label for one in made(table(rested))] == ["rest of 33.3 ms after each query"]
        assert [one.label for one in made(table([plain, old]))] == [""]
    two = compare(measured([plain, old]), measured(rested))
    assert (two.rows, two.unlike) == ((), 2)
    assert "the rest between queries differ" in "\n".join(two.lines())
    assert len(compare(measured([plain]), measured([row("a", 1.0)])).rows) == 1
    assert beside_published(measured(rested), measured([plain, old])) == ()


def test_parts_of_unlike_typing_keep_to_their_own_surroundings(table, row):
    int8 = {"precision": "int8", "typing": None}
    rows = [row("a", 1.0, typing="weak"), row("a", 2.0, typing="strong")]
    rows += [row("a", 3.0 + n, int8_method=m, **int8) for n, m in enumerate(("of old", "qdq"))]
    found = comparable_groups.parts(table(rows))
    assert {(one.surroundings, one.method, *one.frame["latency_ms"]) for one in found} == {
        (f"{typing} typing", f"INT8 by {method}", first, second)
        for typing, first in (("weak", 1.0), ("strong", 2.0))
        for method, second in (("of old", 3.0), ("qdq", 4.0))
    }
    # The known one leads
    assert found[0].method == "INT8 by qdq"
