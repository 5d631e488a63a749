"""The network as an ONNX graph at a precision.

The room can be called: ``benchlib.export("resnet18", "fp16", height=480, width=640)`` is
:func:`benchlib.export.build.make`. Python puts a subpackage into its package under its own name, so
a function of that name would be gone as soon as anything in here is imported.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *names: str, **options: Any) -> Any:
        """See :func:`benchlib.export.build.make`."""
        from benchlib.export import build

        return build.make(*names, **options)


sys.modules[__name__].__class__ = _Callable
