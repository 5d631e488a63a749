"""Small rewrites of an ONNX graph that leave its meaning as it is."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Make ``nodes``, which may stand in ``graph`` now, the nodes of ``graph``."""
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove initialisers that nothing reads."""
    used = {name for node in graph.node for name in node.input}
    used |= {value.name for value in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]


def lift_constants(graph: onnx.GraphProto) -> None:
    """Make initialisers of Constant nodes and of Identity on initialisers.

    The exporter merges equal weights behind Identity, and a weight behind a node would be
    passed over by the quantiser.
    """
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    aliases: dict[str, str] = {}
    kept = []
    for node in graph.node:
        _redirect(node, aliases)
        inner = not outputs.intersection(node.output)
        value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if inner and node.op_type == "Identity" and node.input[0] in constants:
            aliases[node.output[0]] = node.input[0]
        elif inner and node.op_type == "Constant" and value is not None:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            constants.add(tensor.name)
        else:
            kept.append(node)
    replace_nodes(graph, kept)


def merge_casts(graph: onnx.GraphProto) -> None:
    """Cast a tensor once to a type, not once for every reader."""
    outputs = {value.name for value in graph.output}
    first: dict[tuple[str, int], str] = {}
    aliases: dict[str, str] = {}
    kept = []
    for node in graph.node:
        _redirect(node, aliases)
        if node.op_type == "Cast" and node.output[0] not in outputs:
            kind = next(entry.i for entry in node.attribute if entry.name == "to")
            written = first.setdefault((node.input[0], kind), node.output[0])
            if written != node.output[0]:
                aliases[node.output[0]] = written
                continue
        kept.append(node)
    replace_nodes(graph, kept)


def _redirect(node: onnx.NodeProto, aliases: dict[str, str]) -> None:
    for slot, name in enumerate(node.input):
        node.input[slot] = aliases.get(name, name)
