"""How far a graph's outputs are from the FP32 graph's, on real images, and whether they are
numbers at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OutputFidelity:
    """One output's agreement with FP32's.

    ``not_finite`` counts its values that are NaN or infinite, ``fp32_not_finite`` those of
    FP32's. ``relative_l2`` and ``cosine`` are as in :class:`Fidelity` and None for integers and
    truth values, which have ``disagreement`` instead: the share of values that are not equal.
    ``note`` says why there is no figure.
    """

    name: str
    relative_l2: float | None = None
    cosine: float | None = None
    disagreement: float | None = None
    not_finite: int = 0
    fp32_not_finite: int = 0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Agreement with FP32 over ``images`` images, and all ``outputs``.

    ``relative_l2`` is the norm of the difference over the norm of FP32's output, ``cosine``
    that between the outputs, both over all images at once and of the output that is worst,
    None when no output can be compared: because it holds a NaN or an infinity (``finite`` is
    false then, for whichever output), because FP32's is zero everywhere, or because there are
    integers only. ``fp32_finite`` is whether FP32's own outputs are free of both; of an FP32
    graph nothing else is known. With random weights the figures speak of the arithmetic, not of
    accuracy. Rows of old have the first four fields only.
    """

    relative_l2: float | None
    cosine: float | None
    finite: bool
    images: int
    fp32_finite: bool = True
    outputs: tuple[OutputFidelity, ...] = ()

    @property
    def worst(self) -> OutputFidelity | None:
        """The output with the greatest relative L2; None when none has one."""
        known = [one for one in self.outputs if one.relative_l2 is not None]
        return max(known, key=lambda one: one.relative_l2 or 0.0, default=None)

    @property
    def least_agreeing(self) -> OutputFidelity | None:
        """The output of whole numbers of which the largest share differs; None without one."""
        known = [one for one in self.outputs if one.disagreement is not None]
        return max(known, key=lambda one: one.disagreement or 0.0, default=None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each output that holds no numbers or could not be compared."""
        found = []
        for one in self.outputs:
            if one.not_finite or one.fp32_not_finite:
                found.append(
                    f"output {one.name} holds {one.not_finite} values that are NaN or infinite, "
                    f"FP32's {one.fp32_not_finite}"
                )
            if one.note is not None:
                found.append(f"output {one.name} cannot be compared with FP32: {one.note}")
        return tuple(found)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Fidelity:
        """What :func:`dataclasses.asdict` made, with the outputs' types."""
        outputs = tuple(OutputFidelity(**one) for one in document.get("outputs", ()))
        return cls(**{**document, "outputs": outputs})


def session(path: Path, *, optimised: bool) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU.

    FP16 scales need ``optimised`` false: ONNX Runtime then computes node by node, whereas its
    optimiser multiplies FP16 scales into biases of its own and loses their digits.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it complains of is raised as well
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(opened: onnxruntime.InferenceSession, batch: Array) -> Array:
    """First output for ``batch``, as float32; the batch is cast to what the graph reads."""
    return np.asarray(_outputs(opened, batch)[0], dtype=np.float32)


def measure(
    reference: Path, path: Path, batches: Iterable[Array], *, images: int, optimised: bool
) -> Fidelity:
    """Compare ``path`` with the FP32 graph ``reference`` on ``batches``, in all outputs.

    ``optimised`` speaks of ``path``; see :func:`session`. ``images`` counts distinct images.
    """
    exact = session(reference, optimised=True)
    coarse = session(path, optimised=optimised)
    tallies = [_Tally(entry.name) for entry in exact.get_outputs()]
    for batch in batches:
        pairs = zip(tallies, _outputs(exact, batch), _outputs(coarse, batch), strict=True)
        for tally, wanted, given in pairs:
            tally.add(wanted, given)
    return _summary(tallies, images)


def own(reference: Path, batches: Iterable[Array], *, images: int) -> Fidelity:
    """Whether the outputs of the FP32 graph ``reference`` are numbers on ``batches``."""
    opened = session(reference, optimised=True)
    names = [entry.name for entry in opened.get_outputs()]
    counts = dict.fromkeys(names, 0)
    for batch in batches:
        for name, value in zip(names, _outputs(opened, batch), strict=True):
            counts[name] += _not_finite(value)
    finite = not any(counts.values())
    outputs = tuple(
        OutputFidelity(name, not_finite=count, fp32_not_finite=count)
        for name, count in counts.items()
    )
    return Fidelity(None, None, finite, images, fp32_finite=finite, outputs=outputs)


def agreement(pairs: Iterable[tuple[Array, Array]], images: int) -> Fidelity:
    """The figures of :class:`Fidelity` for pairs of (FP32 output, output), one pair held."""
    tally = _Tally("output")
    for exact, coarse in pairs:
        tally.add(exact, coarse)
    return _summary([tally], images)


def _summary(tallies: Sequence[_Tally], images: int) -> Fidelity:
    outputs = tuple(tally.result() for tally in tallies)
    found = Fidelity(
        relative_l2=None,
        cosine=None,
        finite=not any(one.not_finite for one in outputs),
        images=images,
        fp32_finite=not any(one.fp32_not_finite for one in outputs),
        outputs=outputs,
    )
    worst = found.worst
    if worst is None:
        return found
    return replace(found, relative_l2=worst.relative_l2, cosine=worst.cosine)


def _outputs(opened: onnxruntime.InferenceSession, batch: Array) -> list[Any]:
    (entry,) = opened.get_inputs()
    feed = batch.astype(np.float16) if entry.type == "tensor(float16)" else batch
    return opened.run(None, {entry.name: feed})


def _not_finite(value: Any) -> int:
    """How many numbers of an output are NaN or infinite; those of a sequence are not looked at."""
    if not _is_float(value):
        return 0
    return int(np.count_nonzero(~np.isfinite(value)))


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)


@dataclass(slots=True)
class _Tally:
    """What is summed up of one output, batch after batch."""

    name: str
    sums: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("difference", "wanted", "given", "product"), 0.0)
    )
    unequal: int = 0
    size: int = 0
    whole: bool = False
    not_finite: int = 0
    fp32_not_finite: int = 0
    note: str | None = None

    def add(self, wanted: Any, given: Any) -> None:
        self.not_finite += _not_finite(given)
        self.fp32_not_finite += _not_finite(wanted)
        if not (isinstance(wanted, np.ndarray) and isinstance(given, np.ndarray)):
            self.note = "it is no tensor"
        elif wanted.shape != given.shape:
            self.note = f"its shape depends on the data, {_shape(wanted)} and {_shape(given)}"
        elif _is_float(wanted) and _is_float(given):
            self.size += wanted.size
            self._add_floats(wanted, given)
        elif wanted.dtype == given.dtype:
            self.whole = True
            self.size += wanted.size
            self.unequal += int(np.count_nonzero(wanted != given))
        else:
            self.note = f"its type is {given.dtype}, FP32's is {wanted.dtype}"

    def _add_floats(self, wanted: NDArray, given: NDArray) -> None:
        left, right = (side.ravel().astype(np.float64) for side in (wanted, given))
        with np.errstate(invalid="ignore", over="ignore"):
            self.sums["difference"] += float(np.sum((left - right) ** 2))
            self.sums["wanted"] += float(left @ left)
            self.sums["given"] += float(right @ right)
            self.sums["product"] += float(left @ right)

    def result(self) -> OutputFidelity:
        found = OutputFidelity(
            self.name, not_finite=self.not_finite, fp32_not_finite=self.fp32_not_finite
        )
        if self.note is not None:
            return replace(found, note=self.note)
        if not self.size:
            return replace(found, note="it holds no elements")
        if self.whole:
            return replace(found, disagreement=self.unequal / self.size)
        if self.not_finite or self.fp32_not_finite:
            return found  # counted and judged; a distance from NaN is none
        difference, wanted, given, product = self.sums.values()
        if wanted == 0 and difference > 0:
            return replace(found, note="FP32's is zero everywhere")
        cosine = product / math.sqrt(wanted * given) if wanted and given else None
        error = math.sqrt(difference / wanted) if wanted else 0.0
        return replace(found, relative_l2=error, cosine=cosine)


def _shape(value: NDArray) -> str:
    return "x".join(map(str, value.shape)) or "scalar"
