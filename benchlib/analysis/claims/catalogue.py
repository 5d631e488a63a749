"""The claims: the blog's and ours; and the finding, which is the result of one test of a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from benchlib.analysis.latency_model import Dependence
from benchlib.analysis.significance import Array
from benchlib.analysis.wording import listed, plural
from benchlib.case import Word

# The blog's claims, in our words, with the figures it printed; and ours.
#
# The blog is the backbone benchmark of 4 May 2024 on an RTX 3090 with TensorRT 10.0.1,
# https://willbrennan.github.io/blog/2024/05/04/backbone-benchmark.html.


WORK = "Compute time does not depend on model size or GFLOPs."
ORDER = "The fastest network on a small image need not be the fastest on a large one."
PICK = "MobileNetV3-small is the one to pick at FP32, and ResNet-18 or Fast-SCNN at FP16 and INT8."
FP16 = "FP16 is 35 to 300 % faster than FP32."
INT8 = "INT8 is 200 to 700 % faster than FP32."
CURVE = "Speed is not linear in image size, so compute time is hard to predict unmeasured."

BLOG = (WORK, ORDER, PICK, FP16, INT8, CURVE)
"""The blog's five findings and, last, its statement on its curves."""

INT8_FP16 = "INT8 is never slower than FP16."
CALIBRATED = "Calibrated INT8 is no slower than INT8 with made-up ranges."
DEPTHWISE = "Leaving depth-wise convolutions out of INT8 costs no time."
FIXED = "On the smallest image, time is mostly a fixed cost and not pixels."
RATE = "A multiply-accumulate takes about as long in every model family."
ACTIVATIONS = "Activations tell compute time better than multiply-accumulates do."
FASTEST = "One network is fastest, or tied with the fastest, at every precision and size."
NEWER = "The backbones of 2021 and later are faster than the blog's at equal accuracy."
FRONTS = "What is best in accuracy and time is also best in accuracy and energy."
POWER = "No network runs at the card's power limit."
ENERGY = "The faster network also takes less energy per image."
PHONE = "A phone puts the networks in the same order."
SAME_TIME = "Another program, build or card of the kind gives the same time."
SAME_ORDER = "Another card puts the networks in the same order."
SAME_FACTOR = "Another card is faster by the same factor for every network."
DOUBT = "No row behind these findings is doubted."

OURS = (
    *(FASTEST, NEWER, FRONTS, INT8_FP16, CALIBRATED, DEPTHWISE, POWER, ENERGY, FIXED, RATE),
    *(ACTIVATIONS, PHONE, SAME_TIME, SAME_ORDER, SAME_FACTOR, DOUBT),
)
"""Claims that the blog did not make."""

GFLOPS_224 = {
    "efficientnet_b0": 0.39,
    "mnasnet1_0": 0.31,
    "mnasnet1_3": 0.53,
    "mobilenet_v3_large": 0.22,
    "mobilenet_v3_small": 0.06,
    "regnet_y_400mf": 0.40,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "vgg11_bn": 7.61,
    "vgg13_bn": 11.31,
    "vgg16_bn": 15.47,
    "shufflenet_v2_x1_5": 0.30,
}
"""The GFLOPs that the blog printed, for 13 of its 16 networks, at 224x224 (they are 10^9
multiply-accumulates). VGG's are the whole network's, though only its features were timed."""

PICKS = {
    "fp32": (("mobilenet_v3_small",),),
    "fp16": (("resnet18",), ("fast_scnn_blog", "fast_scnn")),
    "int8": (("resnet18",), ("fast_scnn_blog", "fast_scnn")),
}
"""The blog's choices per precision; each is the names it may have in a set, the blog's first."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A way to read "x % faster": times as fast, from ``low`` to ``high``."""

    words: str
    low: float
    high: float


READINGS = {
    FP16: (Reading("1.35 to 4 times as fast", 1.35, 4.0),),
    INT8: (
        Reading("2 to 7 times as fast", 2.0, 7.0),
        Reading("3 to 8 times as fast, the words taken literally", 3.0, 8.0),
    ),
}
"""Readings of a range in percent; the one that fits best decides. "35 %" has one that makes
sense, "200~700 %" has two."""


# A finding: a claim, how it was tested, and the result.


ALL = "all"
"""The subset of a headline: every row of the set, or of its part."""


class Answer(Word):
    """The result of a test of a claim; ``CANT_TELL`` where the data support no other."""

    SUPPORTED = "supported"
    PARTLY = "partly"
    REFUTED = "refuted"
    CANT_TELL = "can't tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One test of one claim on one subset of rows.

    ``test`` names the quantity that ``estimate`` is, ``ci_low`` and ``ci_high`` bound it with
    95 % confidence (None where nothing could be computed), ``n`` counts what was tested:
    networks, or cells (one network at one size and precision) where ``test`` says so.
    """

    claim: str
    subset: str
    test: str
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    verdict: Answer
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """The nine fields under their names; a number that is not finite is None."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("estimate", "ci_low", "ci_high"):
            value = values[name]
            values[name] = None if value is None or not math.isfinite(value) else float(value)
        return {**values, "verdict": self.verdict.value}


def decided(low: float | None, high: float | None, limit: float, *, below: bool = False) -> Answer:
    """Whether what ``low`` and ``high`` bound lies above ``limit``, or with ``below`` under it."""
    if low is not None and low > limit:
        return Answer.REFUTED if below else Answer.SUPPORTED
    if high is not None and high < limit:
        return Answer.SUPPORTED if below else Answer.REFUTED
    return Answer.CANT_TELL


KEPT = 0.9
"""ρ from which on the order counts as kept: of sixteen networks two neighbours in three may then
still have changed places, but none has gone from one end to the other."""

UNKEPT = 0.5
"""ρ below which one device explains less than a quarter of the order on the other (ρ² = 0.25)."""

MOVED = 2
"""Places. A network that changes by one has changed with a neighbour, which a tie does too."""


def order_kept(low: float | None, high: float | None) -> Answer:
    """Whether ρ between ``low`` and ``high`` keeps the order of the networks."""
    if low is None or high is None:
        return Answer.CANT_TELL
    if low > KEPT or high < UNKEPT:
        return Answer.SUPPORTED if low > KEPT else Answer.REFUTED
    return Answer.PARTLY if low > 0 else Answer.CANT_TELL


def ordered(claim: str, subset: str, test: str, cell: Dependence, sentence: str) -> Finding:
    """The finding of how far two orders of the networks go together, by their ρ in ``cell``."""
    kept = order_kept(cell.low, cell.high)
    return Finding(claim, subset, test, cell.rho, cell.low, cell.high, cell.n, kept, sentence)


def together(leading: Finding, each: Sequence[Finding], test: str) -> Finding:
    """The headline of the answers ``each``: their verdict where they agree, and the estimate of the
    ``leading`` one."""
    agreed = len({one.verdict for one in each}) == 1
    return replace(
        leading,
        subset=ALL,
        test=test,
        n=sum(one.n for one in each),
        verdict=each[0].verdict if agreed else Answer.PARTLY,
        sentence=" ".join(one.sentence for one in each),
    )


def movers(networks: Sequence[str], here: Array, there: Array, devices: tuple[str, str]) -> str:
    """Which ``networks`` stand at least :data:`MOVED` places elsewhere by their times ``here`` than
    by those ``there``, furthest first; ``devices`` are the two in words: ``on a``, ``on b``."""
    means, places = (
        [pd.Series(ms).rank(method=ties).to_numpy() for ms in (here, there)]
        for ties in ("average", "min")
    )
    away = np.abs(means[0] - means[1])
    moved = [
        f"{networks[k]} {places[0][k]:.0f} and {places[1][k]:.0f}"
        for k in np.argsort(-away, kind="stable")
        if away[k] >= MOVED
    ]
    if not moved:
        return f"no network moves by {MOVED} places or more"
    return f"places {devices[0]} and {devices[1]}: {listed(moved, most=4)}"


def too_few(
    claim: str,
    subset: str,
    test: str,
    networks: int,
    what: str,
    takes: int | str,
    n: int | None = None,
) -> Finding:
    """The finding of a test of fewer ``networks`` than it ``takes``; ``n`` where cells count."""
    reason = f"Not to be told from {plural(networks, 'network')} {what}; it takes {takes}."
    return cant_tell(claim, subset, test, networks if n is None else n, reason)


def cant_tell(claim: str, subset: str, test: str, n: int, reason: str) -> Finding:
    """The finding of a test that could not be done, with the reason."""
    return Finding(claim, subset, test, None, None, None, n, Answer.CANT_TELL, reason)
