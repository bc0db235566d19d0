"""Collective operations of a traced function: what the workers of a training communicate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

# CollectiveReduceV2 and V3, CollectiveGatherV2, CollectiveBcastSendV2, NcclAllReduce, CrossReplicaSum and the like.
PREFIXES = ("Collective", "Nccl", "CrossReplica", "XlaAllReduce")


@dataclasses.dataclass(frozen=True, order=True)
class Collective:
    """One collective operation of a graph.

    Attributes:
      kind: of the operation, such as "CollectiveReduceV2".
      dtype: of the tensor that is communicated.
      elements: of that tensor; -1 where its shape is known at run time only.
      conditional: whether it stands in a branch or a loop, so that a step may run it or not.
    """

    kind: str
    dtype: str
    elements: int
    conditional: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of the tensor, as each worker holds it."""
        return self.elements * int(tf.as_dtype(self.dtype).size)


def collectives_of(function: Any) -> list[Collective]:
    """Returns the collective operations of a concrete function and of all functions that it calls, sorted.

    A function that is called twice counts twice, one that nothing calls does not count.
    """
    return sorted(_walk(function.graph, False))


def _walk(graph: Any, conditional: bool) -> Iterator[Collective]:
    for operation in graph.get_operations():
        if operation.type.startswith(PREFIXES):
            # The first input is the tensor; those of a communicator and of keys follow.
            tensor = next(each for each in (*operation.inputs, *operation.outputs) if each.dtype != tf.resource)
            elements = tensor.shape.num_elements()
            yield Collective(operation.type, tensor.dtype.name, -1 if elements is None else elements, conditional)
        optional = conditional or operation.type not in ("PartitionedCall", "StatefulPartitionedCall")
        for body in called_graphs(graph, operation):
            yield from _walk(body, optional)


def called_graphs(graph: Any, operation: Any) -> Iterator[Any]:
    """Yields the graphs of the functions among an operation's attributes, such as a call's or a branch's."""
    for value in operation.node_def.attr.values():
        functions = [value.func] if value.WhichOneof("value") == "func" else value.list.func
        yield from (graph._get_function(each.name).graph for each in functions)
