"""Layer graphs of Keras models: calls in topological order, operators, and replacement of a graph in place."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import TFOpLambda, canonical_name, keras

Value = TypeVar("Value")
Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class GraphCall:
    """One call of one layer in the graph of a model.

    Args:
      node: Keras's record of the call, a `Node`.
    """

    node: Any

    @property
    def key(self) -> int:
        """The identity of the call, the same at each traversal of the graph."""
        return id(self.node)

    @property
    def layer(self) -> Any:
        """The layer, or nested model, that is called."""
        return self.node.layer

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments, symbolic tensors among them."""
        return tuple(self.node.call_args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments, symbolic tensors among them."""
        return dict(self.node.call_kwargs)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors among the arguments, masks and flags too, nested arguments flattened."""
        return list(self.node.keras_inputs)

    @property
    def outputs(self) -> list[Any]:
        """The symbolic tensors that the call returns, flattened."""
        return list(tf.nest.flatten(self.node.outputs))

    def bind(self) -> inspect.BoundArguments:
        """Returns the arguments by name, as the layer's `call` or the operator's function has them."""
        function = self.layer.function if isinstance(self.layer, TFOpLambda) else self.layer.call
        return inspect.signature(function).bind(*self.args, **self.kwargs)

    def operands(self) -> list[Any]:
        """Returns the tensors that the call computes with, in the order of the layer's inputs, constants included.

        A model may be called with a dictionary in another order. A mask and a training flag passed explicitly are left
        out, and so are the constants of operators.
        """
        layer = self.layer
        if isinstance(layer, keras.Model):
            return model_operands(self, layer)
        flags = tf.nest.flatten([self.kwargs.get(name) for name in ("mask", "training")])
        if isinstance(layer, TFOpLambda):
            return [tensor for tensor in self.inputs if not any(tensor is flag for flag in flags)]
        symbolic = {id(tensor) for tensor in self.inputs}
        return [
            each
            for each in tf.nest.flatten((self.node.call_args, self.node.call_kwargs))
            if (id(each) in symbolic or is_constant(each)) and not any(each is flag for flag in flags)
        ]


def model_operands(call: GraphCall, model: Any) -> list[Any]:
    """Returns the tensors that a call passes to `model`, the nested model called or wrapped, in its input order."""
    first, _, _ = model._call_spec.split_out_first_arg(call.node.call_args, call.node.call_kwargs)
    return list(model._flatten_to_reference_inputs(first))


def is_constant(value: Any) -> bool:
    """Returns whether an argument of a call is a concrete tensor, variable or array, not a symbolic tensor."""
    return isinstance(value, tf.Tensor | tf.Variable | np.ndarray | np.generic)


def has_graph(model: Any) -> bool:
    """Returns whether Keras has the layer graph of a model.

    It has none for a Sequential model with layers that cannot be traced.
    """
    return hasattr(model, "_nodes_by_depth")


def calls_of(model: Any, *, as_run: bool = False) -> list[GraphCall]:
    """Returns the calls of a model in topological order, without input layers and without the calls in nested models.

    Args:
      model: a Sequential or Functional model.
      as_run: order calls of equal depth as Keras runs them, which depends on how the model was made; by default they
        follow `model.layers`, the same order for each copy of a model.
    """
    by_depth = model._nodes_by_depth
    place = {id(layer): number for number, layer in enumerate(model.layers)}
    return [
        GraphCall(node)
        for depth in sorted(by_depth, reverse=True)
        for node in (
            by_depth[depth] if as_run else sorted(by_depth[depth], key=lambda node: place.get(id(node.layer), -1))
        )
        if not node.is_input
    ]


def propagate(
    model: Any,
    inputs: Iterable[Value],
    visit: Callable[[GraphCall, dict[int, Value]], Iterable[Value] | None],
    *,
    known: dict[int, Value] | None = None,
    as_run: bool = False,
) -> list[Value]:
    """Propagates one value per symbolic tensor through the graph of a model, and returns those of its outputs.

    All passes over a graph use this function: channel labels, constants, shapes, smaller tensors. A nested model is one
    call, for which `visit` may call `propagate` recursively.

    Args:
      model: a Sequential or Functional model.
      inputs: a value for each of `model.inputs`.
      visit: (call, values of all tensors so far by identity) → one value for each output of the call, or None to skip
        the call.
      known: dictionary in which the values are collected; by default a new one.
      as_run: as for `calls_of`.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="a"), keras.layers.Dense(2, name="b")])
    >>> propagate(net, ["x"], lambda call, values: [f"{call.layer.name}({values[id(call.inputs[0])]})"])
    ['b(a(x))']
    """
    values: dict[int, Value] = {} if known is None else known
    values.update(zip(map(id, model.inputs), inputs, strict=True))
    for call in calls_of(model, as_run=as_run):
        made = visit(call, values)
        if made is not None:
            values.update(zip(map(id, call.outputs), made, strict=True))
    return [values[id(tensor)] for tensor in model.outputs]


def layer_paths(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (path, layer) of all layers, a nested model before its own layers: "backbone", "backbone/conv1"."""
    for layer in model.layers:
        yield prefix + layer.name, layer
        if isinstance(layer, keras.Model):
            yield from layer_paths(layer, f"{prefix}{layer.name}/")


def class_name(layer: Any) -> str:
    """Returns the name of a layer's class as its user knows it: of a carried Keras 3 layer that of the layer itself."""
    return str(getattr(layer, "carried_class", type(layer).__name__))


def layers_inside(layer: Any, *, itself: bool = True, deep: bool = True) -> list[Any]:
    """Returns the layers tracked in the attributes of a layer or model, in Keras's order.

    Args:
      layer: any layer or model.
      itself: start with the layer itself.
      deep: include the layers inside its layers.
    """
    return list(layer._flatten_layers(recursive=deep, include_self=itself))


def shape_of(tensor: Any) -> Shape:
    """Returns the static shape of a tensor or an array; () where the rank is unknown."""
    shape = tf.TensorShape(tensor.shape)
    return () if shape.rank is None else tuple(shape.as_list())


def asks_training(layer: Any) -> bool:
    """Returns whether the call of a layer takes `training`, among its keywords too."""
    return bool(layer._expects_training_arg)


def gets_mask(layer: Any, around: Any) -> bool:
    """Returns whether a layer takes a mask in its call and an input of any call has one, or of a layer around it."""
    tensors = [tensor for each in (layer, around) for node in each._inbound_nodes for tensor in node.keras_inputs]
    return layer._expects_mask_arg and any(getattr(each, "_keras_mask", None) is not None for each in tensors)


def input_layers(model: Any) -> list[Any]:
    """Returns the input layers of a model, one for each of `model.inputs`."""
    return list(model._input_layers)


def layer_behind(tensor: Any) -> Any:
    """Returns the layer whose call made a symbolic tensor."""
    return tensor._keras_history.layer


def output_index(tensor: Any) -> int:
    """Returns which output of the call that made it a symbolic tensor is."""
    return int(tensor._keras_history.tensor_index)


def call_behind(tensor: Any) -> GraphCall:
    """Returns the call that made a symbolic tensor."""
    history = tensor._keras_history
    return GraphCall(history.layer._inbound_nodes[history.node_index])


def inputs_of_calls(layer: Any) -> list[Any]:
    """Returns the symbolic tensors that a layer was called on, of all its calls in any model."""
    return [each for node in layer._inbound_nodes for each in node.keras_inputs]


def packed_inputs(model: Any, values: Sequence[Any]) -> Any:
    """Returns values for `model.inputs` in the structure that the model is called with, such as a dictionary."""
    return tf.nest.pack_sequence_as(model._nested_inputs, list(values))


def packed_outputs(model: Any, values: Sequence[Any]) -> Any:
    """Returns values for `model.outputs` in the structure that the model returns."""
    return tf.nest.pack_sequence_as(model._nested_outputs, list(values))


def last_call(layer: Any) -> GraphCall:
    """Returns the latest symbolic call of a layer."""
    return GraphCall(layer._inbound_nodes[-1])


def insert_calls(model: Any, layers: Collection[Any], calls: Sequence[GraphCall]) -> None:
    """Adds layers that no output depends on, such as those of `add_loss`, and these calls of them to a model."""
    model._insert_layers(list(layers), relevant_nodes=[call.node for call in calls])


def replace_graph(model: Any, other: Any, stays: Callable[[Any], bool]) -> None:
    """Replaces the graph of `model` by that of `other`; `model` stays the same object.

    Args:
      model: a Sequential or Functional model.
      other: one with inputs and outputs of the same structure.
      stays: whether an object tracked by `model` is still tracked beside the new layers.
    """
    outside = [each for each in model._self_tracked_trackables if stays(each)]
    model._init_graph_network(other._nested_inputs, other._nested_outputs)
    inside = {call.key for call in calls_of(model)}
    aside = [call for call in calls_of(other) if call.key not in inside]
    if aside:
        # Layers that add_loss and add_metric have added: no output depends on them.
        insert_calls(model, [each for each in other.layers if each not in model.layers], aside)
    model._self_tracked_trackables.extend(outside)
    if isinstance(model, keras.Sequential):
        # Keras forgets these nodes when the model meets another input shape.
        model._created_nodes = {node for nodes in model._nodes_by_depth.values() for node in nodes}


def argument_names(layer: Any) -> list[str]:
    """Returns the names of the arguments of a layer's `call`, in order."""
    return list(layer._call_spec.arg_names)


def operator_name(layer: Any) -> str:
    """Returns the name below `tf.` under which Keras recorded an operator, as "linalg.matmul"; "" for other layers."""
    symbol = layer.symbol if isinstance(layer, TFOpLambda) else None
    return (symbol or "").removeprefix("compat.v1.")


def function_name(layer: Any) -> str:
    """Returns the public name below `tf.` of the function that an operator calls; "" where it has none.

    Looked up from the function, which may have been replaced since the layer was made.
    """
    return symbol_of(layer.function)


def symbol_of(function: Any) -> str:
    """Returns the public name of a function below `tf.`, as "linalg.matmul"; "" where it has none."""
    return (canonical_name(function, add_prefix_to_v1_names=True) or "").removeprefix("compat.v1.")


def calls_another_function(layer: Any) -> bool:
    """Returns whether an operator calls another function than the one in its config."""
    if not isinstance(layer, TFOpLambda) or not layer.symbol:
        return False
    # As TFOpLambda asks for it.
    name = canonical_name(layer.function, add_prefix_to_v1_names=True)
    name = name or canonical_name(layer.function, api_name="keras", add_prefix_to_v1_names=True)
    return name != layer.symbol


def carry_trainable_state(model: Any, twins: Mapping[int, Any]) -> None:
    """Carries over the `trainable` flags of `compile` time, which Keras uses until the model is compiled again.

    Args:
      model: a model, compiled or not.
      twins: identity of a layer → its replacement.
    """
    for layer, trainable in list(model._compiled_trainable_state.items()):
        if id(layer) in twins:
            model._compiled_trainable_state[twins[id(layer)]] = trainable


def edit_compile_config(model: Any, edit: Callable[[Any], Any]) -> None:
    """Applies `edit` to each argument of `compile` that Keras saves with the model."""
    config = getattr(model, "_compile_config", None)
    if config is not None:
        for name, given in config.config.items():
            config.config[name] = edit(given)


def renew_tuner(model: Any) -> None:
    """Updates the optimizer that the tuner of `steps_per_execution="auto"` uses to the model's current one."""
    if getattr(model, "_steps_per_execution_tuner", None) is not None:
        model._steps_per_execution_tuner.optimizer = model.optimizer


def renew_functions(model: Any) -> None:
    """Discards the traced train, test and predict functions of a model, so that the next step of each retraces."""
    for kind in ("train", "test", "predict"):
        if getattr(model, f"{kind}_function") is not None:
            setattr(model, f"{kind}_function", None)
            setattr(model, f"{kind}_function", getattr(model, f"make_{kind}_function")())
