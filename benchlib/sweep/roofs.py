"""The measured roofs of a device: asked for once per set, in a process of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchlib.case import Engine
from benchlib.engines.program import Program
from benchlib.sweep import process
from benchlib.sweep.process import ProgramMissingError

MODULE = "benchlib.sweep.roofmeter"

TIME_LIMIT_S = 180.0
"""Ten times what a two-core CPU takes, and a GPU takes less."""


class Roofs(BaseModel):
    """What plain matrix products and a plain copy reach, as environment.json holds it.

    Rates are 10^12 operations per second, a multiply-accumulate being two; the copy is 10^9 bytes
    per second, read and written ones counted. None is what the device or its library cannot do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    fp32_tflops: float | None = Field(None, gt=0)
    tf32_tflops: float | None = Field(None, gt=0)
    fp16_tflops: float | None = Field(None, gt=0)
    bf16_tflops: float | None = Field(None, gt=0)
    int8_tops: float | None = Field(None, gt=0)
    memory_gb_s: float | None = Field(None, gt=0)
    how: str


def measure(
    program: Program, threads: int | None, work: Path, say: Callable[[str], None]
) -> Roofs | None:
    """The roofs of the device that ``program`` runs on; None, with the reason said, without them.

    ``threads`` are a CPU's, None for the program's own choice. ``work`` takes the files. The
    device must be idle. A set without roofs is whole all the same, so nothing is raised.
    """
    if program.engine is Engine.FAKE:
        return None
    out, log = work / "roofs.json", work / "roofs.log"
    for left in (out, log):
        left.unlink(missing_ok=True)
    argv = [sys.executable, "-m", MODULE, f"--device={program.device}", f"--out={out}"]
    if threads is not None:
        argv.append(f"--threads={threads}")
    say("measuring the device's roofs: matrix products and a copy, about ten seconds")
    try:
        ended = process.run(argv, log=log, time_limit_s=TIME_LIMIT_S)
        if ended.code == 0 and not ended.timed_out:
            return Roofs.model_validate_json(out.read_text(encoding="utf-8"))
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        reason = last[0] if last and not ended.timed_out else ended.words
    except OSError as error:
        reason = f"{error.strerror}; the meter left no file that can be read"
    except (ProgramMissingError, ValidationError) as error:
        reason = " ".join(str(error).split())
    say(f"no roofs of the device are known: {reason}")
    return None
