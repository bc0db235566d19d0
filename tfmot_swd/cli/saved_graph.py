"""Operations in the graphs of a SavedModel that do more than compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

from tfmot_swd.cli.allowed_operations import AT_LOAD, OF_SAVERS, OPERATIONS

# Functions of a resource that TensorFlow runs when it loads one.
_RUN_AT_LOAD = frozenset({"_create_resource", "_initialize", "_destroy_resource"})


def in_graph(path: Path) -> Iterator[str]:
    """Yields the operations in a `saved_model.pb` that are not allowed, in words."""
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in saved.meta_graphs:
        functions = {each.signature.name: each.node_def for each in meta.graph_def.library.function}
        # A function of the file can be an operation, and is looked at for itself; no operation begins like this.
        own = frozenset(name for name in functions if name.startswith("__"))
        yield from _not_in(meta.graph_def.node, OPERATIONS | OF_SAVERS | own, "graph operation")
        called = _saver_functions(meta)
        savers = _reached(called, functions)
        # What anything else can reach is not the saver's alone.
        others = _reached({*functions} - savers | set(meta.object_graph_def.concrete_functions), functions)
        for name, nodes in functions.items():
            allowed = OPERATIONS if name in others else OPERATIONS | OF_SAVERS
            yield from _not_in(nodes, allowed | own, "graph operation")
        for name in _reached(_load_functions(meta.object_graph_def), functions):
            yield from _not_in(functions[name], AT_LOAD | own, "at load the graph operation")
        for asset in meta.asset_file_def:
            if Path(asset.filename).name != asset.filename:
                yield f"asset {asset.filename!r}"


def _not_in(nodes: Iterable[Any], allowed: frozenset[str], words: str) -> Iterator[str]:
    return (f"{words} {node.op}" for node in nodes if node.op not in allowed)


def _saver_functions(meta: Any) -> set[str]:
    """Returns the functions that the nodes call which save and restore variables."""
    saver = meta.saver_def
    nodes = {each.partition(":")[0] for each in (saver.save_tensor_name, saver.restore_op_name)}
    return {name for node in meta.graph_def.node if node.name in nodes for name in _called(node)}


def _load_functions(graph: Any) -> set[str]:
    numbers = {child.node_id for node in graph.nodes for child in node.children if child.local_name in _RUN_AT_LOAD}
    nodes = [graph.nodes[number] for number in numbers if 0 <= number < len(graph.nodes)]
    named = {name for node in nodes for name in node.function.concrete_functions}
    return named | {node.bare_concrete_function.concrete_function_name for node in nodes}


def _reached(names: set[str], functions: dict[str, Any]) -> set[str]:
    """Returns these functions and all that they call."""
    reached: set[str] = set()
    waiting = [name for name in names if name in functions]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [each for node in functions[name] for each in _called(node) if each in functions]
    return reached


def _called(node: Any) -> Iterator[str]:
    yield node.op
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (each.name for each in attribute.list.func)
