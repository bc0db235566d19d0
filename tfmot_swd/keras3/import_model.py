"""Conversion of a Keras 3 model to tf_keras."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras2.compat import policy_scope
from tfmot_swd.keras2.graph import calls_of as calls_of2
from tfmot_swd.keras3.carried import CarriedLayer, CarriedOperation, single_input
from tfmot_swd.keras3.compat import (
    Functional,
    automatic_mask,
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
from tfmot_swd.keras3.layer_conversion import changed_weights, layer_to_keras2
from tfmot_swd.keras3.operation_conversion import fits, operation_to_keras2
from tfmot_swd.keras3.parts import NoCounterpart, policy_of
from tfmot_swd.keras3.proof import last_line, prove_equal
from tfmot_swd.keras3.weight_transfer import give_variables, transfer_weights


def import_model(model: Any) -> Any:
    """Returns what `from_keras3` does."""
    if not isinstance(model, keras3.Model):
        raise TypeError(
            "A Keras 3 model is needed; one of tf_keras needs no conversion. "
            f"Received: {type(model).__module__}.{type(model).__name__}"
        )
    _check(model)
    _check_names(model)
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


def _check_names(model: Any) -> None:
    """Raises if a layer has a name that TensorFlow does not take."""
    names = [each.name for each in layers_inside3(model)]
    refused = [each for each in names if not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.>-]*", each)]
    if refused:
        raise ValueError(
            "TensorFlow takes names of letters, digits, '_', '.' and '-' that begin with a letter or digit: "
            f"set the names of these layers to such, as layer.name = 'my_layer'. Received: {refused}"
        )


# What tf_keras and TensorFlow raise where a layer does not take its inputs.
_REFUSALS = (TypeError, ValueError, AttributeError, NotImplementedError, tf.errors.OpError)


class _Importer:
    """One conversion: what has been made of which layer, operation and tensor so far."""

    def __init__(self) -> None:
        self._layers: dict[int, Any] = {}
        self._operations: dict[int, Any] = {}
        self._tensors: dict[int, Any] = {}
        # Identity of a layer → why its counterpart will not do.
        self._refused: dict[int, str] = {}
        # (layer, its counterpart) of all layers of Keras 3 that have weights to give.
        self._made: list[tuple[Any, Any]] = []

    def model(self, model: Any) -> Any:
        """Returns the tf_keras model of a model, or of one inside it."""
        _check(model)
        # The policy of a model decides whether its optimizer scales the loss.
        with policy_scope(policy_of(model)):
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
        if getattr(layer, "optional", False):
            raise NoCounterpart(f"the optional input {layer.name!r}")
        made = keras2.Input(
            batch_shape=tuple(tensor.shape), dtype=tensor.dtype, name=layer.name, sparse=bool(layer.sparse)
        )
        self._tensors[id(tensor)] = made
        return made

    def _stack(self, model: Any) -> Any:
        calls = calls_of(model)
        while True:
            made, refused = self._stacked(model, calls)
            if not refused:
                return made
            # Again from the beginning: tf_keras takes no layer out of a stack.
            self._refused |= refused
            layers = {id(call.operation) for call in calls if not isinstance(call.operation, keras3.Model)}
            self._layers = {key: each for key, each in self._layers.items() if key not in layers}
            self._made = [(layer, made) for layer, made in self._made if id(layer) not in layers]

    def _stacked(self, model: Any, calls: Sequence[Keras3Call]) -> tuple[Any, dict[int, str]]:
        """Returns the Sequential model, and the layers in it that must be carried, with the reasons."""
        (tensor,) = functional_of(model).inputs
        first = keras2.layers.InputLayer(
            batch_input_shape=tuple(tensor.shape), dtype=tensor.dtype, name=made_by(tensor).name
        )
        made = keras2.Sequential([first], name=model.name)
        refused: dict[int, str] = {}
        for call in calls:
            layer = self._layer(call)
            try:
                made.add(layer)
            except _REFUSALS as error:
                return made, {**refused, id(call.operation): self._reason(layer, error)}
            if self._is_translated(layer) and (reason := _unlike(call, made.outputs)):
                refused[id(call.operation)] = reason
        self._tensors[id(tensor)] = made.inputs[0]
        for before, after in zip(calls, calls_of2(made), strict=True):
            self._tensors.update(zip(map(id, before.outputs), after.outputs, strict=True))
        return made, refused

    def _call(self, call: Keras3Call) -> None:
        def convert(value: Any) -> Any:
            return self._tensors[id(value)] if isinstance(value, keras3.KerasTensor) else tf.constant(value)

        args, kwargs = call.converted(convert)
        if isinstance(call.operation, keras3.layers.Layer):
            outputs = self._apply(call, args, kwargs)
        else:
            outputs = self._operate(call, args, kwargs)
        for before, after in zip(call.outputs, tf.nest.flatten(outputs), strict=True):
            self._tensors[id(before)] = after

    def _apply(self, call: Keras3Call, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Returns the outputs of a layer; one that tf_keras calls otherwise, or refuses to call, is carried."""
        key, is_first = id(call.operation), id(call.operation) not in self._layers
        layer = self._layer(call)
        if not self._is_translated(layer):
            return _called(layer, args, kwargs)
        try:
            outputs = layer(*args, **kwargs)
            reason = _unlike(call, tf.nest.flatten(outputs))
        except _REFUSALS as error:
            outputs, reason = None, self._reason(layer, error)
        if not reason or (not is_first and outputs is not None):
            # What a shared layer does in a later call is left to the proof.
            return outputs
        self._refused[key] = reason
        del self._layers[key]
        self._made = [(each, made) for each, made in self._made if each is not call.operation]
        return _called(self._layer(call), args, kwargs)

    def _is_translated(self, layer: Any) -> bool:
        return not isinstance(layer, CarriedLayer | keras2.Model)

    def _reason(self, layer: Any, error: Exception) -> str:
        """Returns why a layer must be carried, of the error that its call raised."""
        if not self._is_translated(layer):
            raise error
        return f"this call of {type(layer).__name__} ({last_line(error)})"

    def _layer(self, call: Keras3Call) -> Any:
        layer = call.operation
        if id(layer) not in self._layers:
            self._layers[id(layer)] = self._new_layer(layer, call)
        return self._layers[id(layer)]

    def _new_layer(self, layer: Any, call: Keras3Call) -> Any:
        if isinstance(layer, keras3.Sequential | Functional) and not replaces_training(layer):
            return self.model(layer)
        try:
            if id(layer) in self._refused:
                raise NoCounterpart(self._refused[id(layer)])
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


def _called(layer: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Returns the outputs of a nested model or a carried layer."""
    if not isinstance(layer, CarriedLayer):
        return layer(*args, **kwargs)
    inputs, named = single_input(layer.inner, args, kwargs)
    return layer(inputs, **named)


def _unlike(call: Keras3Call, outputs: Sequence[Any]) -> str:
    """Returns what a layer of tf_keras does otherwise with masks and dtypes; "" where it does not.

    The masks that travel with tensors: layers such as Identity pass one on in Keras 3 and not in tf_keras, and a sum
    has one in tf_keras if any of its inputs has.
    """
    unmasked = [automatic_mask(each) is None for each in call.inputs]
    if isinstance(call.operation, keras3.layers.Concatenate) and any(unmasked) and not all(unmasked):
        return "Concatenate of inputs of which only some have a mask"
    for before, after in zip(call.outputs, outputs, strict=True):
        if (automatic_mask(before) is None) != (automatic_mask(after) is None):
            return f"{type(call.operation).__name__} that passes masks on in the same way"
        dtypes = [tf.as_dtype(keras3.backend.standardize_dtype(before.dtype)), tf.as_dtype(after.dtype)]
        if all(each.is_floating for each in dtypes) and dtypes[0] != dtypes[1]:
            return f"{type(call.operation).__name__} that returns {dtypes[0].name}"
    return ""


def _check_takes(layer: Any, kwargs: dict[str, Any]) -> None:
    """Raises NoCounterpart if a layer is called with an argument that its class in tf_keras does not take."""
    parameters = inspect.signature(layer.call).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    unknown = [key for key in kwargs if key not in parameters and key not in ("training", "mask", "initial_state")]
    if unknown:
        raise NoCounterpart(f"a call with {', '.join(unknown)}")


def _carried(layer: Any, call: Keras3Call, reason: NoCounterpart) -> CarriedLayer:
    if changed_weights(layer) or not on_tensorflow():
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
