"""How a case is measured: every choice that is a flag of trtexec and not a point of the matrix."""

from __future__ import annotations

from dataclasses import dataclass

from benchlib.errors import InputError

Shape = tuple[int, int, int]
"""Batch, height and width of one input; the three colour planes are understood."""

VERBOSITIES = ("layer_names_only", "detailed", "none")


@dataclass(frozen=True, slots=True)
class Settings:
    """The measuring and building choices of a run; raises :class:`InputError` on nonsense.

    A run goes on until ``iterations`` queries *and* ``duration_s`` seconds are both done, after
    ``warm_up_ms``. ``avg_runs`` only groups log lines; it changes neither their number nor the
    export. ``tf32`` lets matrix products of FP32 graphs use TF32. ``threads`` is for the CPU
    engine; None leaves the choice to it. ``builder_optimization_level`` and ``workspace_mib``
    are TensorRT's own when None. ``half_io`` asks for FP16 inputs and outputs where the precision
    has FP16. The three shapes bound a dynamic engine and are unused by static ones.
    """

    avg_runs: int = 50
    duration_s: float = 3.0
    warm_up_ms: float = 200
    iterations: int = 10
    cuda_graph: bool = True
    transfers: bool = False
    spin_wait: bool = True
    streams: int = 1
    tf32: bool = True
    builder_optimization_level: int | None = None
    workspace_mib: int | None = None
    # Only a plan built with `detailed` can say which precision each layer got. Its price is a
    # slower enqueue, and with a CUDA graph the enqueue is no part of the GPU time we report.
    profiling_verbosity: str = "detailed"
    half_io: bool = False
    threads: int | None = None
    seed: int = 0
    profile: bool = False
    extra_flags: tuple[str, ...] = ()
    min_shape: Shape | None = None
    opt_shape: Shape | None = None
    max_shape: Shape | None = None

    def __post_init__(self) -> None:
        _at_least("avg_runs", self.avg_runs, 1)
        _at_least("iterations", self.iterations, 0)
        _at_least("duration_s", self.duration_s, 0)
        _at_least("warm_up_ms", self.warm_up_ms, 0)
        _at_least("streams", self.streams, 1)
        _at_least("seed", self.seed, 0)
        if self.iterations == 0 and self.duration_s == 0:
            # trtexec would export nothing and read past the end of its own trace.
            raise InputError("iterations", "and duration_s are both 0; give one of them")
        if self.threads is not None:
            _at_least("threads", self.threads, 1)
        if self.workspace_mib is not None:
            _at_least("workspace_mib", self.workspace_mib, 1)
        level = self.builder_optimization_level
        if level is not None and level not in range(6):
            # trtexec itself takes any number here.
            raise InputError("builder_optimization_level", f"{level} is not in 0 to 5")
        if self.profiling_verbosity not in VERBOSITIES:
            known = ", ".join(VERBOSITIES)
            raise InputError(
                "profiling_verbosity", f"{self.profiling_verbosity!r} is not one of {known}"
            )
        for field in ("min_shape", "opt_shape", "max_shape"):
            shape = getattr(self, field)
            if shape is not None and (len(shape) != 3 or min(shape) < 1):
                raise InputError(field, f"{shape} is not (batch, height, width), each 1 or more")


def _at_least(field: str, value: float, low: int) -> None:
    if not value >= low:
        raise InputError(field, f"{value} is too small; give {low} or more")
