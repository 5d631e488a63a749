"""The proof of a row's precision: its engine's layers, what work is in each, and what time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchlib.case import Precision
from benchlib.engines import layers as engine_layers
from benchlib.engines import profile as engine_profile
from benchlib.engines.layers import BadLayersError, Layer
from benchlib.engines.profile import BadProfileError
from benchlib.sweep.evidence import Evidence

ATTRIBUTED = 0.9
"""Share of the graph's multiply-accumulates that must be found in the layers. Below it names were
lost in fusing, and what is left may be the wrong part."""


@dataclass(frozen=True, slots=True)
class Proof:
    """An engine's layers, as built; empty where the program told none that can be read.

    ``macs`` are multiply-accumulates of one batch, one per layer, None where they are not known;
    ``declared`` are the products of a user's own file by the type it gives them.
    ``work`` is what the graph has of them, 0 where that is not known. ``times`` are mean
    milliseconds by layer name from a profiled run of its own, whose names may hold some that the
    layers do not; empty where there was no such run.
    """

    layers: tuple[Layer, ...] = ()
    macs: tuple[int | None, ...] = ()
    work: int = 0
    times: Mapping[str, float] = field(default_factory=dict)
    declared: Mapping[str, int] = field(default_factory=dict)

    @property
    def of_layers(self) -> dict[str, float] | None:
        """Share (0 to 1) of computing layers by type; None when no type is known."""
        return engine_layers.share(self.layers)

    @property
    def of_macs(self) -> dict[str, float] | None:
        """Share of the multiply-accumulates by type; None when too few were found in the layers."""
        if sum(count or 0 for count in self.macs) < ATTRIBUTED * self.work:
            return None
        return engine_layers.share(self.layers, self.macs)

    @property
    def of_time(self) -> dict[str, float] | None:
        """Share of the profiled time by type, that of moving and converting data apart."""
        return engine_layers.time_share(self.layers, self.times)

    def low_share(self, precision: Precision) -> float | None:
        """Share of computing layers in ``precision`` or less; None when not known."""
        return engine_layers.low(self.of_layers, precision)

    def low_mac_share(self, precision: Precision) -> float | None:
        """Share of multiply-accumulates in ``precision`` or less; None when not known."""
        return engine_layers.low(self.of_macs, precision)

    def below(self, precision: Precision) -> dict[str, dict[str, float]]:
        """Shares by type of what is less than ``precision``: of layers, work and the file's own
        products, each under what it is a share of; without those that have none."""
        products = sum(self.declared.values())
        shares = {
            "computing layers": self.of_layers,
            "multiply-accumulates": self.of_macs,
            "file's products": {word: n / products for word, n in self.declared.items()},
        }
        found = {what: engine_layers.below(share, precision) for what, share in shares.items()}
        if not any(layer.is_quantised for layer in self.layers):
            found["computing layers"].pop("uint8", None)
        return {what: types for what, types in found.items() if types}

    def as_json(self) -> dict[str, Any]:
        """What a row keeps: every layer with its type, work and time, and the shares."""
        return {
            "layer_types": dict(Counter(layer.type for layer in self.layers if layer.type)),
            "shares": {"layers": self.of_layers, "macs": self.of_macs, "time": self.of_time},
            "declared": dict(self.declared),
            "layers": [
                {
                    "name": layer.name,
                    "type": layer.type,
                    "precision": layer.precision if layer.computes else None,
                    "macs": macs,
                    "time_ms": self.times.get(layer.name),
                }
                for layer, macs in zip(self.layers, self.macs, strict=True)
            ],
        }


def of(evidence: Evidence) -> Proof:
    """The proof in ``evidence``; a file that cannot be read proves nothing."""
    layers = _layers(evidence)
    macs = engine_layers.macs(layers, evidence.work)
    return Proof(
        layers, macs, sum(evidence.work.values()), _times(evidence), evidence.network.products
    )


def _layers(evidence: Evidence) -> tuple[Layer, ...]:
    if evidence.layers is None or not evidence.layers.is_file():
        return ()
    try:
        return engine_layers.read(evidence.layers)
    except BadLayersError:
        return ()


def _times(evidence: Evidence) -> dict[str, float]:
    if evidence.profile is None:
        return {}
    try:
        return engine_profile.read(evidence.profile).times()
    except BadProfileError:
        return {}
