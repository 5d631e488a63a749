"""The network as an ONNX graph at a precision.

The room can be called: ``benchlib.export("resnet18", "fp16", height=480, width=640)``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchlib.export.build import Graph


class _Room(ModuleType):
    """A module that can be called.

    Python puts a subpackage into its package under its own name when it is imported, so a function
    ``benchlib.export`` would be gone as soon as anything in here is.
    """

    def __call__(
        self,
        model: str,
        form: str = "fp32",
        *,
        height: int,
        width: int,
        batch: int = 1,
        dynamic: bool = False,
        int8_method: str | None = None,
        weights: str = "random",
        seed: int = 0,
        calibration_dir: str | Path | None = None,
    ) -> Graph:
        """Write one network as an ONNX file, or find it in the cache.

        ``model`` is a name of the line-up, ``onnx:PATH`` or ``timm:NAME``; ``form`` is fp32, fp16,
        int8-qdq, int8-qdq-fp16 or int8-cpu; ``height`` and ``width`` are pixels, ``batch`` images.
        ``dynamic`` leaves all three open. ``int8_method`` is qdq, qdq-no-depthwise, modelopt or
        ort-static, by default the first that makes the form; ``calibration_dir`` is a folder of
        images for its ranges instead of the bundled photos. ``weights`` are random or imagenet.

        ``.path`` of what is returned is the file (in the cache: copy it to keep it),
        ``.fidelity`` how far its outputs are from FP32's on real images.

        Raises :class:`~benchlib.errors.InputError` for a name that does not exist, and for a size
        or form that the network cannot take.
        """
        from benchlib.case import Int8Method
        from benchlib.export import build
        from benchlib.export.form import GraphForm

        method = None if int8_method is None else Int8Method.read("int8_method", int8_method)
        return build.make(
            model,
            GraphForm.read("form", form),
            height=height,
            width=width,
            batch=batch,
            dynamic=dynamic,
            int8_method=method,
            weights=weights,
            seed=seed,
            calibration_dir=calibration_dir,
        )


sys.modules[__name__].__class__ = _Room
