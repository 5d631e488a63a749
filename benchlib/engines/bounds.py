"""The input shapes an engine is built for: one, three, or the blog's two."""

from __future__ import annotations

from benchlib.case import Case, ShapeMode
from benchlib.engines import flags
from benchlib.engines.settings import Settings, Shape
from benchlib.errors import InputError

_PLANES = 3

# What the blog built every engine for: 480p to 4K, and no optimum.
BLOG_MIN = (480, 640)
BLOG_MAX = (2144, 3840)


def optimisation_profile(
    case: Case, settings: Settings, input_name: str, dynamic: bool
) -> dict[str, str]:
    """The shape flags of ``case`` by name; none for a static graph, which refuses them all.

    ``dynamic`` says whether the graph's input has unknown dimensions. ``--shapes`` is what the
    timing runs at and is not stored in the plan; the others bound the plan. Raises
    :class:`InputError` for bounds that are missing or do not hold the case.
    """
    shape: Shape = (case.batch, case.height, case.width)
    if case.shape_mode is ShapeMode.STATIC:
        bounds = {"--minShapes": shape, "--optShapes": shape, "--maxShapes": shape}
        if not dynamic:
            return {}
    elif not dynamic:
        raise InputError("shape_mode", f"{case.shape_mode} needs a graph with dynamic dimensions")
    elif case.shape_mode is ShapeMode.BLOG:
        # No optimum, on purpose: trtexec then tunes for the maximum, as it did for the blog.
        bounds = {
            "--minShapes": settings.min_shape or (case.batch, *BLOG_MIN),
            "--maxShapes": settings.max_shape or (case.batch, *BLOG_MAX),
        }
    else:
        bounds = {
            "--minShapes": _needed("min_shape", settings.min_shape),
            "--optShapes": _needed("opt_shape", settings.opt_shape),
            "--maxShapes": _needed("max_shape", settings.max_shape),
        }
    low, high = bounds["--minShapes"], bounds["--maxShapes"]
    between = [bounds.get("--optShapes", high), shape]
    for inner in between:
        if not all(a <= b <= c for a, b, c in zip(low, inner, high, strict=True)):
            raise InputError("max_shape", f"{inner} (B, H, W) is not within {low} and {high}")
    return {
        name: flags.shapes_text({input_name: (size[0], _PLANES, *size[1:])})
        for name, size in {**bounds, "--shapes": shape}.items()
    }


def _needed(field_name: str, shape: Shape | None) -> Shape:
    if shape is None:
        raise InputError(field_name, "is needed with shape_mode=dynamic; give batch, height, width")
    return shape
