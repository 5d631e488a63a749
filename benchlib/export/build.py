"""One call gives the ONNX file of a network at a precision and a shape."""

from __future__ import annotations

import logging
import operator
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from google.protobuf.message import EncodeError

from benchlib import case
from benchlib.case import GraphForm, Int8Method, Shape
from benchlib.errors import InputError, MachineError, first_line
from benchlib.export import cache, calibration, convert, user_file
from benchlib.export.calibration import Fidelity, Identity, ImageSet
from benchlib.export.torch_onnx import export, opset
from benchlib.models import onnx_file, registry
from benchlib.models.macs import RUNTIME_ERRORS
from benchlib.models.registry import Card

log = logging.getLogger(__name__)

PIXELS = 1024 * 768
"""Per image. Larger graphs get their ranges and errors from a smaller size: at 3840 x 2160 a
ResNet-50 writes 1.8 billion values per image, 7 GB."""

_WARNING, _FATAL = 2, 4  # what ONNX Runtime logs from, by default and at the least

_NAME_LETTERS = 100  # of a graph's name in its file's, which no file system lets exceed 255 bytes

FROM_FILE = "from file"
"""What stands for the weights of a user's own ONNX file."""


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX file and what is known of it.

    ``input_shape`` is (batch, channels, height, width); in a dynamic graph the size it was
    traced at. ``layers`` counts nodes other than constants. ``fidelity`` of an FP32 graph, which
    the others are measured against, has only whether its outputs are numbers; it is None where
    ONNX Runtime does not run the graph. ``measured_at`` is the (height, width) at which ranges
    and fidelity were found, smaller than the input for large images.

    ``int8_products`` counts the convolutions and matrix products in INT8, None for forms without
    it; ``left_out`` names the others and the nodes that stay in FP32 in a form with FP16, each with
    its reason, and ``lost`` the constants with values beyond FP16. ``remarks`` are the sentences
    of it that belong beside a time.
    """

    path: Path
    sha256: str
    form: GraphForm
    opset: int
    input_name: str
    input_shape: tuple[int, int, int, int]
    input_dtype: str
    output_dtype: str
    dynamic: bool
    int8_method: Int8Method | None
    calibration: Identity | None
    weights: str
    seed: int | None
    layers: int
    fidelity: Fidelity | None
    measured_at: tuple[int, int] | None = None
    int8_products: int | None = None
    left_out: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Request:
    """What ``make`` was asked for, as one value."""

    model: str
    form: GraphForm
    shape: Shape
    method: Int8Method | None
    weights: str
    seed: int
    calibration_dir: Path | None
    half_io: bool

    @cached_property
    def card(self) -> Card:
        return registry.card(self.model)

    @cached_property
    def images(self) -> ImageSet:
        """The images that set the ranges."""
        if self.calibration_dir is None:
            return calibration.bundled()
        return calibration.folder(self.calibration_dir)

    @property
    def network(self) -> dict[str, Any]:
        """The network and shape as JSON: what the FP32 graph is made from."""
        if self.card.path is not None:
            origin: dict[str, Any] = {"file": onnx_file.digest(self.card.path)}
        else:
            origin = {"model": self.model, "weights": self.weights, "seed": self.seed}
        return origin | asdict(self.shape)

    @property
    def parameters(self) -> dict[str, Any]:
        """All that the graph is made from, as JSON."""
        return self.network | {
            "form": self.form.value,
            "method": self.method and self.method.value,
            "calibration": asdict(self.images.identity) if self.form.is_int8 else None,
            "half_io": self.half_io,
            "percentile": calibration.PERCENTILE if self.form.is_int8 else None,
        }

    @property
    def name(self) -> str:
        """A readable beginning for the file's name."""
        model = self.model if self.card.path is None else self.card.path.stem
        safe = "".join(
            letter if letter.isascii() and letter.isalnum() else "_" for letter in model
        )[:_NAME_LETTERS]
        return f"{safe}-{self.shape.width}x{self.shape.height}-b{self.shape.batch}-{self.form}"

    @property
    def within_reach(self) -> _Request:
        """This request at a size whose activations a small machine can hold.

        Only our own quantiser and networks take another size for their ranges.
        """
        theirs = self.form is GraphForm.INT8_CPU or self.method is Int8Method.MODELOPT
        if theirs or ":" in self.model:
            return self
        return replace(self, shape=self.shape.within(PIXELS, self.card.divisor))

    def batches(self, images: ImageSet) -> Iterator[calibration.Tensor]:
        return images.batches(self.shape.batch, self.shape.height, self.shape.width)


def make(
    model: str,
    form: str | GraphForm = GraphForm.FP32,
    *,
    height: int,
    width: int,
    batch: int = 1,
    dynamic: bool = False,
    int8_method: str | Int8Method | None = None,
    weights: str = "random",
    seed: int = 0,
    calibration_dir: str | Path | None = None,
    half_io: bool = False,
    cache_dir: str | Path | None = None,
) -> Graph:
    """Return one network as an ONNX file, made now or found in the cache.

    ``model`` is a name of the line-up, ``onnx:PATH`` or ``timm:NAME``; ``form`` is fp32, fp16,
    int8-qdq, int8-qdq-fp16 or int8-cpu; ``height`` and ``width`` are pixels, ``batch`` images.
    ``dynamic`` leaves all three open. ``int8_method`` is qdq, qdq-no-depthwise, modelopt or
    ort-static, by default the first that makes the form; ``calibration_dir`` is a folder of
    images for its ranges instead of the bundled photos. ``weights`` are random or imagenet.
    ``half_io`` makes input and output FP16 instead of FP32. The input tensor of a line-up network
    is called ``input``, its output ``output``; a user's file keeps its names.

    ``.path`` of what is returned is the file (in the cache: copy it to keep it), ``.fidelity`` how
    far its outputs are from FP32's on real images.

    Raises :class:`InputError` for a name that does not exist, and for a size or form that the
    network cannot take.
    """
    height, width, batch = (
        _whole(name, value, 1)
        for name, value in (("height", height), ("width", width), ("batch", batch))
    )
    seed = _whole("seed", seed, 0)
    form = GraphForm.read("form", form)
    method = None if int8_method is None else Int8Method.read("int8_method", int8_method)
    request = _Request(
        model=model,
        form=form,
        shape=Shape(batch, height, width, dynamic),
        method=_method(form, method),
        weights=weights,
        seed=seed,
        calibration_dir=None if calibration_dir is None else Path(calibration_dir),
        half_io=half_io,
    )
    if half_io and not form.has_half:
        raise InputError("half_io", f"a graph in the form {form} has no FP16 input; leave it out")
    store = cache.Cache(cache.root(cache_dir))
    with _errors_in_one_line(request):
        return _full(request, store) if form is GraphForm.FP32 else _converted(request, store)


_LARGEST_SEED = 2**63 - 1
"""What PyTorch's generator takes."""


def _whole(name: str, value: object, least: int) -> int:
    """``value`` as an int, or :class:`InputError`: a batch of none would be written as a graph."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= _LARGEST_SEED:
        raise InputError(
            name, f"{value!r} is no whole number from {least} to {_LARGEST_SEED}; give one"
        )
    return number


@contextmanager
def _errors_in_one_line(request: _Request) -> Iterator[None]:
    """Make an :class:`InputError` of whatever the libraries raise over a network.

    Their classes are many and have no common base. The traceback goes to the log. What is
    nothing of the network, a full disk or too little memory, is left to the caller.
    """
    # What ONNX Runtime complains of on standard error is raised as well.
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        yield
    except (InputError, MachineError, OSError, MemoryError):
        raise
    except Exception as error:
        log.debug("%s as %s", request.model, request.form, exc_info=error)
        shape = request.shape
        cause = f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, EncodeError):
            cause = "it is over 2 GB, the most that one protobuf message takes"
        raise InputError(
            "models",
            f"{request.model} could not be written as {request.form} at "
            f"{shape.width}x{shape.height} ({cause}); "
            f"{_remedy(request)}",
        ) from error
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)


def _remedy(request: _Request) -> str:
    if request.form is not GraphForm.FP32:
        return "take the form fp32, or export the network without what is named here"
    if not request.model.startswith(case.ONNX_PREFIX):
        return "ask for a size and weights that it takes, or for another network"
    return "export it again, at opset 17 if it can be"


def _method(form: GraphForm, asked: Int8Method | None) -> Int8Method | None:
    """The quantiser for ``form``; made-up ranges leave no trace in the graph, so none."""
    known = convert.METHODS.get(form, ())
    if asked is None or (asked is Int8Method.MADE_UP_RANGES and not known):
        return known[0] if known else None
    if asked not in known:
        choice = ", ".join(known) or "nothing, it has no INT8"
        raise InputError("int8_method", f"{asked} does not make the form {form}; it takes {choice}")
    return asked


def _full(request: _Request, store: cache.Cache) -> Graph:
    """The FP32 graph."""
    entry = store.obtain(
        request.name,
        request.network | {"form": GraphForm.FP32.value},
        lambda path: _write_full(request, path) | _own_fidelity(request, path, store),
    )
    return _graph(request, entry)


def _own_fidelity(request: _Request, path: Path, store: cache.Cache) -> dict[str, Any]:
    """Whether the FP32 graph's own outputs are numbers, at a size within reach, image by image."""
    small = request.within_reach
    if ":" not in request.model:
        small = replace(small, shape=replace(small.shape, batch=1))
    if small.shape != request.shape:
        known = _full(small, store)
        return _fidelity_facts(known.fidelity, small, known.remarks)
    held_out = calibration.held_out()
    own = partial(calibration.own, path, request.batches(held_out), images=held_out.count)
    return _judged(request, own)


def _judged(request: _Request, measure: Callable[[], Fidelity]) -> dict[str, Any]:
    """The facts that ``measure`` gives, or a remark where ONNX Runtime does not run the graph."""
    try:
        return _fidelity_facts(measure(), request)
    except RUNTIME_ERRORS as error:
        cause = first_line(error)
        remark = f"ONNX Runtime does not run the graph, so its error is not known ({cause})"
        return _fidelity_facts(None, request, (remark,))


def _fidelity_facts(
    fidelity: Fidelity | None, request: _Request, remarks: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "fidelity": None if fidelity is None else asdict(fidelity),
        "measured_at": [request.shape.height, request.shape.width],
        "remarks": [*(fidelity.remarks if fidelity is not None else ()), *remarks],
    }


def _write_full(request: _Request, path: Path) -> dict[str, Any]:
    request.card.check_shape(request.shape)
    if request.card.path is not None:
        cache.save(user_file.fixed(request.card.path, request.shape), path)
    else:
        # torch takes seconds, and a cached graph needs none
        from benchlib.models import torch_network

        shape = request.shape
        if shape.dynamic and request.card.one_size:
            raise InputError(
                "shape_modes",
                f"{request.model} is made for one input size, so its graph has no open height and "
                "width; take shape_modes=[static]",
            )
        network = torch_network.build(
            request.model, request.weights, request.seed, (shape.height, shape.width)
        )
        export(network, shape, path)
    return _facts(path)


def _converted(request: _Request, store: cache.Cache) -> Graph:
    """The graph in another form, made from the FP32 one."""
    full = _full(_at(request, GraphForm.FP32), store)
    small = request.within_reach
    is_small = small.shape == request.shape

    def write(path: Path) -> dict[str, Any]:
        if request.card.path is not None:
            user_file.check_convertible(request.card.path, full.path, request.form)
        calibration_graph = full if is_small else _full(_at(small, GraphForm.FP32), store)
        outcome = convert.convert(
            full.path,
            path,
            request.form,
            input_name=full.input_name,
            batches=small.batches(request.images) if request.form.is_int8 else (),
            calibration_graph=calibration_graph.path,
            method=request.method,
            half_io=request.half_io,
            beyond=_beyond_half(request, store) if request.form.has_half else (),
        )
        if is_small:
            facts = _judged(request, lambda: _fidelity(request, full, path))
        else:
            known = _converted(small, store)
            facts = _fidelity_facts(known.fidelity, small)
        census = outcome.census
        return {
            **_facts(path),
            **facts,
            "int8_products": census and census.quantised,
            "left_out": outcome.left_out,
            "lost": [str(one) for one in outcome.losses],
            "remarks": [*outcome.remarks, *facts["remarks"]],
        }

    return _graph(request, store.obtain(request.name, request.parameters, write))


def _beyond_half(request: _Request, store: cache.Cache) -> frozenset[str]:
    """The tensors that pass what FP16 holds.

    Sums over all places of an image grow with it. So where a smaller size is within reach, what
    might pass in proportion is looked at in the graph's own, one image at a time.
    """
    # A row in FP16 names no calibration, so its images are always the same.
    images = request.images if request.form.is_int8 else calibration.bundled()

    def seen(shape: Shape, growth: float) -> frozenset[str]:
        sized = replace(_at(request, GraphForm.FP32), shape=shape)
        full = _full(sized, store)
        model = onnx.load(str(full.path))
        return convert.beyond_half(model, full.input_name, sized.batches(images), growth)

    own, small = request.shape, request.within_reach.shape
    beyond = seen(small, own.height * own.width / (small.height * small.width))
    return seen(replace(own, batch=1), 1) if beyond and small != own else beyond


def _fidelity(request: _Request, full: Graph, path: Path) -> Fidelity:
    held_out = calibration.held_out()
    with tempfile.TemporaryDirectory() as folder:
        if request.form.has_half:
            half, path = onnx.load(str(path)), Path(folder, "widened.onnx")
            cache.save(convert.widened(half), path)
        batches = request.batches(held_out)
        return calibration.measure_fidelity(full.path, path, batches, images=held_out.count)


def _at(request: _Request, form: GraphForm) -> _Request:
    return replace(request, form=form, method=None, calibration_dir=None, half_io=False)


def _facts(path: Path) -> dict[str, Any]:
    """What can be read from the file itself."""
    model = onnx.load(str(path), load_external_data=False)
    constants = onnx_file.constant_names(model.graph)
    entry = next(value for value in model.graph.input if value.name not in constants)
    return {
        "opset": opset(model),
        "input_name": entry.name,
        "input_dtype": _dtype(entry),
        "output_dtype": _dtype(model.graph.output[0]),
        "layers": sum(node.op_type != "Constant" for node in model.graph.node),
    }


def _dtype(value: onnx.ValueInfoProto) -> str:
    return onnx_file.dtype_name(value.type.tensor_type.elem_type)


def _graph(request: _Request, entry: cache.Entry) -> Graph:
    is_file = request.card.path is not None
    facts = entry.facts
    agreement = facts.get("fidelity")
    of_file = ("sha256", "opset", "input_name", "input_dtype", "output_dtype", "layers")
    return Graph(
        **{name: facts[name] for name in of_file},
        **{name: tuple(facts.get(name, ())) for name in ("left_out", "lost", "remarks")},
        path=entry.path,
        form=request.form,
        input_shape=request.shape.nchw,
        dynamic=request.shape.dynamic,
        int8_method=request.method,
        calibration=request.images.identity if request.form.is_int8 else None,
        weights=FROM_FILE if is_file else request.weights,
        seed=None if is_file else request.seed,
        fidelity=None if agreement is None else Fidelity.from_json(agreement),
        measured_at=None if agreement is None else tuple(facts["measured_at"]),
        int8_products=facts.get("int8_products"),
    )
