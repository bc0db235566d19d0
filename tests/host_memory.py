"""Which tensors of a traced training step a GPU would keep in the memory of the host, by TensorFlow's own registry.

The registry of kernels, which is part of every wheel, says for each operator and type whether its GPU kernel exists and
which of its tensors it takes from host memory. So this needs no GPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import kernels, op_def_registry

from research.collectives import called_graphs

# What calls functions: their bodies are walked, and their int32 arguments and results are in host memory.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case")
# Bound to no kernel: inputs and outputs of functions, and constants, which are placed where they are used.
_PLACES = ("Placeholder", "Const", "NoOp")


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A tensor that passes the memory of the host.

    Args:
      operator: the type of the operator.
      name: of the operator in its graph.
      tensor: dtype and shape.
      why: of the registry.
    """

    operator: str
    name: str
    tensor: str
    why: str


def crossings(function: Any, least: int) -> list[Crossing]:
    """Returns the tensors of `least` elements or more, or of a size that depends on data, that cross to the host.

    Args:
      function: a concrete function. Functions that XLA compiles are one kernel, whatever is inside.
      least: the number of elements.
    """
    found = []
    for operation in _operations(function.graph, set()):
        kept = None if operation.type in _CALLS else _host_arguments(operation)
        for role, tensor in _tensors(operation):
            if tensor.dtype in (tf.resource, tf.variant) or operation.type in _PLACES:
                continue
            size = tensor.shape.num_elements() if tensor.shape.is_fully_defined() else None
            what = f"{tensor.dtype.name}{tuple(tensor.shape) if tensor.shape.rank is not None else '?'}"
            if size is None and operation.type == "Where":
                found.append(Crossing(operation.type, operation.name, what, "the size is read by the host"))
            if size is None or size < least:
                continue
            if operation.type in _CALLS:
                if tensor.dtype == tf.int32:
                    found.append(Crossing(operation.type, operation.name, what, "int32 argument of a function"))
            elif kept is None:
                found.append(Crossing(operation.type, operation.name, what, "no kernel for GPUs"))
            elif role in kept:
                found.append(Crossing(operation.type, operation.name, what, f"{role} is in host memory"))
    return found


def operators(function: Any) -> set[str]:
    """Returns the types of all operators of a concrete function, those that XLA compiles left out."""
    return {operation.type for operation in _operations(function.graph, set())}


def _operations(graph: Any, seen: set[int]) -> Iterator[Any]:
    seen.add(id(graph))
    for operation in graph.get_operations():
        yield operation
        if not _is_compiled(operation):
            for body in called_graphs(graph, operation):
                if id(body) not in seen:
                    yield from _operations(body, seen)


def _is_compiled(operation: Any) -> bool:
    return "_XlaMustCompile" in operation.node_def.attr and operation.node_def.attr["_XlaMustCompile"].b


def _tensors(operation: Any) -> Iterator[tuple[str, Any]]:
    """Yields (name of the argument, tensor) of all inputs and outputs."""
    definition = op_def_registry.get(operation.type)
    for arguments, tensors in ((definition.input_arg, operation.inputs), (definition.output_arg, operation.outputs)):
        place = 0
        for argument in arguments:
            count = 1
            if argument.number_attr:
                count = operation.get_attr(argument.number_attr)
            elif argument.type_list_attr:
                count = len(operation.get_attr(argument.type_list_attr))
            for tensor in tensors[place : place + count]:
                yield argument.name, tensor
            place += count


def _host_arguments(operation: Any) -> tuple[str, ...] | None:
    """Returns the arguments that the GPU kernel takes from host memory; None without such a kernel."""
    types = {name: each.type for name, each in operation.node_def.attr.items() if each.WhichOneof("value") == "type"}
    found = None
    for kernel in sorted(
        kernels.get_registered_kernels_for_op(operation.type).kernel, key=lambda each: each.device_type
    ):
        fits = all(
            each.name not in types or types[each.name] in each.allowed_values.list.type for each in kernel.constraint
        )
        # A kernel for "DEFAULT" serves all devices without one of their own.
        if kernel.device_type in ("GPU", "DEFAULT") and fits:
            found = tuple(kernel.host_memory_arg)
    return found
