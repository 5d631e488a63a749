"""What an engine makes of many inputs, asked in one process: starting one takes over a second."""

from __future__ import annotations

from pathlib import Path

from benchlib.engines import cuda_runtime
from benchlib.engines.standin import exports, inputs
from benchlib.engines.standin.log import Log, StandinError
from benchlib.engines.tensorrt_context import Bound, run_once


def answer(bound: Bound, folder: Path, log: Log) -> None:
    """Run each ``*.raw`` of ``folder``, by name, and leave the first output beside it as ``.npy``.

    Each file holds the engine's one input in its own type. Raises :class:`StandinError` for an
    engine of several inputs, a folder without such files, and a file of another length.
    """
    if len(bound.inputs) != 1:
        names = ", ".join(tensor.name for tensor in bound.inputs)
        raise StandinError(f"--answer needs an engine with one input; this one has {names}")
    files = sorted(folder.glob("*.raw"))
    if not files:
        raise StandinError(f"--answer: there is no *.raw file in {folder}")
    (entry,), first, stream = bound.inputs, bound.outputs[0], cuda_runtime.stream()
    for path in files:
        entry.host[...] = inputs.from_file(path, entry.host.dtype, entry.host.shape)
        entry.upload()
        run_once(bound, stream)
        first.download()
        exports.write_array(path.with_suffix(".npy"), first.host)
    log.info(f"Answered {len(files)} inputs of {folder.name}")
