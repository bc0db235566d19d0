"""Gradients of TensorFlow's functions: one that goes with its graph, and those that the registry would keep.

TensorFlow registers each traced `tf.custom_gradient` for the life of the process, and with it the graph and its
variables, so that a process that trains or shrinks many models grows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import ops, record


def forget_gradients(variables: Iterable[tf.Variable]) -> None:
    """Unregisters the custom gradients of graphs that captured these variables, which must be out of use.

    TensorFlow registers each traced `tf.custom_gradient` for the life of the process; a Keras training step traces at
    least one. The registered function holds its graph, so the memory of captured variables would never be freed.
    """
    parts = [part for variable in variables for part in getattr(variable, "values", (variable,))]
    handles = {id(part.handle) for part in parts}
    _forget_where(lambda graph: any(id(given) in handles for given, _ in graph.captures))


def forget_gradients_of_training(model: Any) -> None:
    """Unregisters the custom gradients in the traces of a model's training step, which nothing differentiates.

    Keras's optimizers register one in each trace: of the sum over the replicas, for second derivatives. For it the
    graphs of all models that were ever trained would stay in memory.
    """
    function: Any = getattr(model, "train_function", None)
    if hasattr(function, "_list_all_concrete_functions"):
        graphs = {id(trace.graph) for trace in function._list_all_concrete_functions()}
        _forget_where(lambda graph: id(graph) in graphs)


def _forget_where(is_meant: Callable[[Any], bool]) -> None:
    registry = ops.gradient_registry
    for name in [each for each in registry.list() if each.startswith("CustomGradient")]:
        graphs = {id(graph): graph for graph in _graphs_behind(registry.lookup(name))}
        if any(map(is_meant, graphs.values())):
            del registry._registry[name]


def identity_with_gradient(value: tf.Tensor, backward: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Returns `value`; a backward pass through it calls `backward` with the gradient, and goes on with what it returns.

    As `tf.custom_gradient`, which registers each gradient that is traced for the life of the process, and with it the
    graph and its variables. Here the operation holds the function, so that both go with the graph; and tracing it takes
    a third of the time.

    >>> import tensorflow as tf
    >>> x = tf.Variable(3.0)
    >>> with tf.GradientTape() as tape:
    ...     y = identity_with_gradient(x.read_value(), lambda gradient: -gradient) ** 2
    >>> float(tape.gradient(y, x))
    -6.0
    """
    with record.stop_recording():
        same = tf.identity(value)
    # Asked for by tapes.
    record.record_operation("identity_with_gradient", [same], [value], lambda gradient: [backward(gradient)])
    if not tf.executing_eagerly():
        # Asked for where a traced function is differentiated as a whole.
        same.op._gradient_function = lambda operation, gradient: backward(gradient)
    return same


def _graphs_behind(function: Callable[..., Any], deep: int = 3) -> Iterator[Any]:
    """Yields the graphs of the tensors in the closure of a registered gradient, and their outer graphs."""
    for cell in function.__closure__ or ():
        value = None
        # A name that is not bound has an empty cell.
        with contextlib.suppress(ValueError):
            value = cell.cell_contents
        for each in value if isinstance(value, list | tuple) else (value,):
            graph: Any = getattr(each, "graph", None) if isinstance(each, tf.Tensor) else None
            while hasattr(graph, "captures"):
                yield graph
                graph = graph.outer_graph
            if deep and hasattr(each, "__closure__"):
                yield from _graphs_behind(each, deep - 1)
