"""A network is called faster only where a rebuilt engine would not turn it round, wherever two rows
are compared."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import benchlib
from benchlib import cli
from benchlib.analysis import ranking, significance
from benchlib.analysis.claims import catalogue, findings
from benchlib.analysis.compare import Outcome, compare
from benchlib.analysis.results import load
from benchlib.analysis.significance import REBUILD, Times

COMMITTED = [f"results/{name}" for name in ("h100-tensorrt-8.6", "h100-trtexec-8.6")]


@pytest.mark.parametrize(
    ("apart", "half", "faster"),
    [
        (0.025, 0.001, False),  # the intervals do not overlap, and a rebuild differs by as much
        (0.04, 0.001, True),
        (0.04, 0.008, False),  # the intervals take half of it
        (0.0301, None, True),
        (0.0299, None, False),
    ],
)
def test_every_comparison_goes_by_one_rule(table, measured, row, apart, half, faster):
    made = {"half": half, "accuracy": 70.0, "accuracy_metric": "ImageNet top-1"}
    slow, fast = row("b", 1.0 + apart, **made), row("a", 1.0, **made)
    frame = table([slow, fast])
    assert (ranking.fastest(frame, "fp32", "640x480").models == ("a",)) is faster
    assert list(ranking.choose(frame)["tied"]) == [True, not faster]
    assert list(ranking.undominated(frame)) == [not faster, True]
    assert bool(significance.significantly_faster_pairs(frame)[1, 0]) is faster
    (gain,) = significance.gains(
        table([{**slow, "model": "a"}, {**fast, "precision": "fp16"}]), "fp16"
    )
    assert (gain.faster, gain.slower) == (faster, False)
    (cell,) = compare(measured([{**slow, "model": "a"}]), measured([fast])).rows
    # Beside what it takes to be faster, a set without intervals tells nothing
    assert (cell.outcome is Outcome.FASTER) is (faster and half is not None)


def test_two_networks_of_one_time_are_seldom_called_apart():
    """Engines that differ by what two builds do, timed to 0.3 %: twenty thousand pairs."""
    rng = np.random.default_rng(3)
    ms = np.exp(rng.normal(0.0, REBUILD / 2 / 2**0.5, (2, 20_000)))
    one, other = (Times(some, some * 0.997, some * 1.003) for some in ms)
    wrong = one.faster_than(other) | other.faster_than(one)
    assert wrong.mean() < 0.05


def test_the_constants_are_those_of_the_committed_pairs():
    """The 37 cells and more that two committed sets have of their own builds."""
    ours, theirs = (load(one) for one in COMMITTED)
    pairs = [one for one in compare(theirs, ours).rows if not one.graphs]
    spread = np.sqrt(np.mean(np.log([one.ratio for one in pairs]) ** 2))
    assert len(pairs) >= 37 and 0.7 * REBUILD < 2 * spread < 1.3 * REBUILD
    certain = [one for one in pairs if one.outcome in (Outcome.FASTER, Outcome.SLOWER)]
    assert len(certain) <= 0.05 * len(pairs)
    keys = ["model", "precision", "resolution", "graph_layers"]
    mj = ours.frame.merge(theirs.frame, on=keys).eval("energy_mj_x / energy_mj_y").astype(float)
    off = np.abs(np.log(mj.dropna()))
    assert np.mean(off > np.log1p(significance.ENERGY_REBUILD)) < 0.05
    assert 0.7 < 2 * np.sqrt(np.mean(off**2)) / significance.ENERGY_REBUILD < 1.3


def test_what_users_call_has_the_same_threshold():
    assert inspect.signature(benchlib.compare).parameters["threshold"].default == REBUILD
    (option,) = [one for one in cli.compare.params if one.name == "threshold"]
    assert option.default == REBUILD


def test_the_finding_on_the_same_card_says_from_where_on_networks_are_faster(measured, row):
    """One time is 5 % off with narrow intervals, one with intervals that reach each other."""
    ends = ("latency_ci_low_ms", "latency_ci_high_ms")
    sets = []
    for name, factor in (("a", 1.0), ("b", 1.05)):
        rows = [row(f"n{i}", 1.0 + i) for i in range(6)]
        rows.append(row("n6", factor))
        wide = dict(zip(ends, (0.97 * factor, 1.03 * factor), strict=True))
        sets.append(measured([*rows, row("n7", factor, **wide)], name))
    found = findings.of(sets[0], sets[1:])
    one = next(one for one in found if one.claim == catalogue.SAME_TIME)
    assert "In 2 the times are more than 3 % apart, in 1 the intervals, which is when" in (
        one.sentence
    )
