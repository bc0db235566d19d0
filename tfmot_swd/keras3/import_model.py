"""Conversion of a Keras 3 model to tf_keras."""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow as tf
from absl import logging

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras2.compat import policy_scope
from tfmot_swd.keras2.graph import calls_of as calls_of2
from tfmot_swd.keras3.carried import CarriedLayer, CarriedOperation, single_input
from tfmot_swd.keras3.compat import (
    Functional,
    functional_of,
    input_structure,
    made_by,
    on_tensorflow,
    output_structure,
    replaces_training,
)
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.compat import layers_inside as layers_inside3
from tfmot_swd.keras3.graph import Keras3Call, calls_of
from tfmot_swd.keras3.layer_conversion import layer_to_keras2
from tfmot_swd.keras3.operation_conversion import fits, operation_to_keras2
from tfmot_swd.keras3.parts import NoCounterpart, keras2_policy
from tfmot_swd.keras3.proof import prove_equal
from tfmot_swd.keras3.weight_transfer import give_variables, transfer_weights


def import_model(model: Any) -> Any:
    """Returns what `from_keras3` does."""
    _check(model)
    importer = _Importer()
    try:
        made = importer.model(model)
    except NoCounterpart as reason:
        raise _not_carried(model.name, str(reason)) from reason
    importer.give_weights()
    prove_equal(model, made, importer.pairs_of(model))
    return made


def _check(model: Any) -> None:
    """Raises unless a model, and all models inside it, are built Sequential or Functional models of Keras."""
    if not isinstance(model, keras3.Sequential | Functional):
        raise ValueError(
            "Subclassed models cannot be taken apart into layers: build the network as a Sequential or Functional "
            f"model. Received: {model.name!r} of class {type(model).__name__}"
        )
    if functional_of(model) is None:
        raise ValueError(
            "The model is not built, so its weights do not exist yet: begin with keras.Input(shape), or call "
            f"model.build(input_shape). Received: {model.name!r}, not built"
        )
    changed = replaces_training(model)
    if changed:
        raise ValueError(
            "A model whose class changes how it computes or trains would lose that in the conversion: convert the "
            "plain Functional model, and put a tf_keras class with your own train_step around the wrapped one. "
            f"Received: {model.name!r} of class {type(model).__name__} with its own {', '.join(changed)}"
        )


class _Importer:
    """One conversion: what has been made of which layer, operation and tensor so far."""

    def __init__(self) -> None:
        self._layers: dict[int, Any] = {}
        self._operations: dict[int, Any] = {}
        self._tensors: dict[int, Any] = {}
        # (layer, its counterpart) of all layers of Keras 3 that have weights to give.
        self._made: list[tuple[Any, Any]] = []

    def model(self, model: Any) -> Any:
        """Returns the tf_keras model of a model, or of one inside it."""
        _check(model)
        # The policy of a model decides whether its optimizer scales the loss.
        with policy_scope(keras2_policy(model)):
            made = self._stack(model) if isinstance(model, keras3.Sequential) else self._graph(model)
        if not model.trainable:
            made.trainable = False
        return made

    def _graph(self, model: Any) -> Any:
        inputs = keras3.tree.map_structure(self._input, input_structure(model))
        for call in calls_of(model):
            self._call(call)
        outputs = keras3.tree.map_structure(lambda tensor: self._tensors[id(tensor)], output_structure(model))
        return keras2.Model(inputs, outputs, name=model.name)

    def _input(self, tensor: Any) -> Any:
        layer = made_by(tensor)
        made = keras2.Input(
            batch_shape=tuple(tensor.shape), dtype=tensor.dtype, name=layer.name, sparse=bool(layer.sparse)
        )
        self._tensors[id(tensor)] = made
        return made

    def _stack(self, model: Any) -> Any:
        calls = calls_of(model)
        (tensor,) = functional_of(model).inputs
        first = keras2.layers.InputLayer(
            batch_input_shape=tuple(tensor.shape), dtype=tensor.dtype, name=made_by(tensor).name
        )
        made = keras2.Sequential([first, *map(self._layer, calls)], name=model.name)
        self._tensors[id(tensor)] = made.inputs[0]
        for before, after in zip(calls, calls_of2(made), strict=True):
            self._tensors.update(zip(map(id, before.outputs), after.outputs, strict=True))
        return made

    def _call(self, call: Keras3Call) -> None:
        def convert(value: Any) -> Any:
            return self._tensors[id(value)] if isinstance(value, keras3.KerasTensor) else tf.constant(value)

        args, kwargs = call.converted(convert)
        if isinstance(call.operation, keras3.layers.Layer):
            layer = self._layer(call)
            if isinstance(layer, CarriedLayer):
                inputs, kwargs = single_input(layer.inner, args, kwargs)
                args = [inputs]
            outputs = layer(*args, **kwargs)
        else:
            outputs = self._operate(call, args, kwargs)
        for before, after in zip(call.outputs, tf.nest.flatten(outputs), strict=True):
            self._tensors[id(before)] = after

    def _layer(self, call: Keras3Call) -> Any:
        layer = call.operation
        if id(layer) not in self._layers:
            self._layers[id(layer)] = self._new_layer(layer, call)
        return self._layers[id(layer)]

    def _new_layer(self, layer: Any, call: Keras3Call) -> Any:
        if isinstance(layer, keras3.Sequential | Functional) and not replaces_training(layer):
            return self.model(layer)
        try:
            made = self._translated(layer)
            _check_takes(made, call.kwargs)
        except NoCounterpart as reason:
            made = _carried(layer, call, reason)
        self._made.append((layer, made))
        return made

    def _translated(self, layer: Any, name: str | None = None) -> Any:
        """Returns the tf_keras layer of a layer, or of one inside it."""
        if isinstance(layer, keras3.Sequential | Functional):
            return self.model(layer)
        made = layer_to_keras2(layer, self._translated, name)
        if not layer.trainable:
            made.trainable = False
        return made

    def _operate(self, call: Keras3Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
        operation = call.operation
        try:
            made, given, settings = operation_to_keras2(operation, args, kwargs)
            self._operations.setdefault(id(operation), made)
            outputs = self._operations[id(operation)](*given, **settings)
            if fits(outputs, call):
                return outputs
            reason = f"keras.ops.{type(operation).__name__} of these dtypes"
        except (NoCounterpart, TypeError, ValueError, tf.errors.OpError) as error:
            # TensorFlow refuses what Keras 3 promotes, a whole number plus a float for example.
            reason = str(error).splitlines()[0]
        if not on_tensorflow():
            raise _not_carried(operation.name, reason)
        if not isinstance(self._operations.get(id(operation)), CarriedOperation):
            self._operations[id(operation)] = CarriedOperation(_copied(operation, reason))
        inputs, named = single_input(operation, args, kwargs)
        return self._operations[id(operation)](inputs, **named)

    def give_weights(self) -> None:
        """Copies the weights of all layers."""
        for layer, made in self._made:
            if isinstance(made, CarriedLayer):
                give_variables(layer, made.inner)
                continue
            try:
                transfer_weights(layer, made)
            except NoCounterpart as reason:
                raise ValueError(
                    f"The weights of a layer do not fit tf_keras's layer of its kind: {reason}. Tell how to convert it "
                    f"by tfmot_swd.keras3.register_layer_pair. Received: {layer.name!r} of class {type(layer).__name__}"
                ) from reason

    def pairs_of(self, model: Any) -> list[tuple[str, Any, Any]]:
        """Returns (name, symbolic output, its counterpart) of all calls in a model, those in nested models left out."""
        return [
            (call.operation.name, tensor, self._tensors[id(tensor)])
            for call in calls_of(model)
            for tensor in call.outputs
        ]


def _check_takes(layer: Any, kwargs: dict[str, Any]) -> None:
    """Raises NoCounterpart if a layer is called with an argument that its class in tf_keras does not take."""
    parameters = inspect.signature(layer.call).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    unknown = [key for key in kwargs if key not in parameters and key not in ("training", "mask", "initial_state")]
    if unknown:
        raise NoCounterpart(f"a call with {', '.join(unknown)}")


def _carried(layer: Any, call: Keras3Call, reason: NoCounterpart) -> CarriedLayer:
    for part in layers_inside3(layer):
        if getattr(part, "quantization_mode", None) or getattr(part, "lora_enabled", False):
            raise _not_carried(layer.name, str(reason)) from reason
    if not on_tensorflow():
        raise _not_carried(layer.name, str(reason)) from reason
    copied = _copied(layer, reason)
    logging.info("tfmot_swd carries %r as it is: tf_keras has no counterpart of %s", layer.name, reason)
    return CarriedLayer(copied, [list(call.args), call.kwargs], name=layer.name)


def _copied(item: Any, reason: Any) -> Any:
    """Returns a copy of a layer or operation that shares nothing with it."""
    try:
        return type(item).from_config(item.get_config())
    except Exception as error:
        raise ValueError(
            f"tf_keras has no counterpart of {reason}, and a copy of it cannot be made: write get_config, and "
            "from_config where the arguments are objects. "
            f"Received: {item.name!r} of class {type(item).__name__}, {type(error).__name__}: {error}"
        ) from error


def _not_carried(name: str, reason: str) -> ValueError:
    return ValueError(
        f"tf_keras has no counterpart of {reason}. On the TensorFlow backend, layers and operations without one are "
        "carried as they are; quantized and LoRA layers are not: convert the model before, or merge them. Where it is "
        "a layer of yours, tell how to convert it by tfmot_swd.keras3.register_layer_pair, or set "
        f"KERAS_BACKEND=tensorflow. Received: {name!r} on the {keras3.backend.backend()} backend"
    )
