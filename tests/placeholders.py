"""Graphs that only say what they stand for, so that a run needs no export."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchlib.case import Case, GraphForm, ShapeMode
from benchlib.export.build import Graph
from benchlib.measure.exporter import Network
from benchlib.models import registry


class Placeholders:
    """An exporter for runs of the fake trtexec: files that only say what they stand for."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed

    def describe(self, case: Case) -> Network:
        card = registry.card(case.model)
        return Network(family=card.family, task=card.task or None)

    def graph(self, case: Case, form: GraphForm) -> Graph:
        dynamic = case.shape_mode is not ShapeMode.STATIC
        shape = "dynamic" if dynamic else f"{case.resolution} {case.batch}"
        text = f"{case.model} {form} {shape} {self._seed}".encode()
        sha256 = hashlib.sha256(text).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{sha256[:16]}.onnx"
        path.write_bytes(text)
        return Graph(
            path=path,
            sha256=sha256,
            form=form,
            opset=17,
            input_name="input",
            input_shape=(case.batch, 3, case.height, case.width),
            input_dtype="float32",
            output_dtype="float32",
            dynamic=dynamic,
            int8_method=case.int8_method,
            calibration=None,
            weights="random",
            seed=self._seed,
            layers=1,
            fidelity=None,
        )

    def work(self, case: Case, graph: Graph) -> dict[str, int]:
        """Nothing: its files hold no nodes."""
        return {}

    def close(self) -> None:
        """Nothing is held."""
