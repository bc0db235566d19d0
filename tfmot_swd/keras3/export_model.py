"""Conversion of a tf_keras model to Keras 3."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import PruneLowMagnitude, QuantizeWrapper, TFOpLambda
from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras2.graph import GraphCall, calls_of, input_layers, layers_inside, packed_inputs, packed_outputs
from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.keras3.carried import CarriedLayer, CarriedOperation, call_arguments
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.graph import calls_of as calls_of3
from tfmot_swd.keras3.layer_conversion import layer_to_keras3
from tfmot_swd.keras3.operation_conversion import operation_to_keras3
from tfmot_swd.keras3.parts import NoCounterpart, policy_of
from tfmot_swd.keras3.proof import prove_equal
from tfmot_swd.keras3.weight_transfer import give_variables, transfer_weights

# Layers that take their states behind their input, which Keras 3 has passed by name.
_WITH_STATES = (keras2.layers.RNN, keras2.layers.Bidirectional)


def export_model(model: Any) -> Any:
    """Returns what `to_keras3` does."""
    if isinstance(model, keras3.Model):
        raise TypeError(
            "A tf_keras model is needed; this one is of Keras 3 already. "
            f"Received: a Keras 3 model of class {type(model).__module__}.{type(model).__name__}"
        )
    check_keras_model(model)
    _check_plain(model)
    exporter = _Exporter()
    made = exporter.model(model)
    exporter.give_weights()
    prove_equal(made, model, exporter.pairs_of(model))
    return made


def _check_plain(model: Any) -> None:
    wrapped = [each.name for each in layers_inside(model) if isinstance(each, PruneLowMagnitude)]
    if wrapped:
        raise ValueError(
            "The model is wrapped for pruning: call tfmot_swd.strip_pruning first, which returns a Keras 3 model where "
            f"one went in. Received: {model.name!r} with {len(wrapped)} wrapped layers ({', '.join(wrapped[:5])})"
        )
    aware = [each.name for each in layers_inside(model) if isinstance(each, QuantizeWrapper)]
    if aware:
        raise ValueError(
            "The model is quantization-aware, which Keras 3 has no layers for: write its file by "
            f"tfmot_swd.export_tflite. Received: {model.name!r} with {len(aware)} quantization wrappers"
        )


class _Exporter:
    """One conversion: what has been made of which layer and tensor so far."""

    def __init__(self) -> None:
        self._layers: dict[int, Any] = {}
        self._tensors: dict[int, Any] = {}
        self._made: list[tuple[Any, Any]] = []

    def model(self, model: Any) -> Any:
        """Returns the Keras 3 model of a model, or of one inside it."""
        # The policy of a model decides whether its optimizer scales the loss.
        before = keras3.config.dtype_policy()
        keras3.config.set_dtype_policy(policy_of(model))
        try:
            made = self._stack(model) if isinstance(model, keras2.Sequential) else self._graph(model)
        finally:
            keras3.config.set_dtype_policy(before)
        if not model.trainable:
            made.trainable = False
        return made

    def _graph(self, model: Any) -> Any:
        inputs = [self._input(layer).output for layer in input_layers(model)]
        self._tensors.update(zip(map(id, model.inputs), inputs, strict=True))
        for call in calls_of(model):
            self._call(call)
        outputs = [self._tensors[id(tensor)] for tensor in model.outputs]
        return keras3.Model(
            _plain(packed_inputs(model, inputs)), _plain(packed_outputs(model, outputs)), name=_name(model)
        )

    def _input(self, layer: Any) -> Any:
        config = layer.get_config()
        return keras3.layers.InputLayer(
            batch_shape=tuple(config["batch_input_shape"]),
            dtype=config["dtype"],
            sparse=bool(config.get("sparse", False)),
            name=_name(layer),
        )

    def _stack(self, model: Any) -> Any:
        made = keras3.Sequential(
            [self._input(input_layers(model)[0]), *map(self._layer, model.layers)], name=_name(model)
        )
        self._tensors[id(model.inputs[0])] = made.inputs[0]
        for before, after in zip(calls_of(model), calls_of3(made), strict=True):
            self._tensors.update(zip(map(id, before.outputs), after.outputs, strict=True))
        return made

    def _call(self, call: GraphCall) -> None:
        def swap(structure: Any) -> Any:
            return tf.nest.map_structure(lambda value: self._tensors.get(id(value), value), structure)

        args, kwargs = _plain(swap(list(call.args))), _plain(swap(call.kwargs))
        layer = call.layer
        if isinstance(layer, TFOpLambda):
            try:
                outputs = operation_to_keras3(layer, args, kwargs, _name(layer))
            except NoCounterpart as reason:
                raise _refused(layer, reason) from reason
        elif isinstance(layer, CarriedLayer | CarriedOperation):
            args = call_arguments(layer.inner, args)
            outputs = self._layer(layer)(*args, **{key: value for key, value in kwargs.items() if value is not None})
        else:
            kwargs = {key: value for key, value in kwargs.items() if value is not None}
            if isinstance(layer, _WITH_STATES) and isinstance(args[0], list | tuple):
                kwargs["initial_state"] = list(args[0][1:])
                args[0] = args[0][0]
            outputs = self._layer(layer)(*args, **kwargs)
        for before, after in zip(call.outputs, keras3.tree.flatten(outputs), strict=True):
            self._tensors[id(before)] = after

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self._layers:
            made = self._translated(layer)
            self._layers[id(layer)] = made
            if not isinstance(layer, keras2.Model | CarriedOperation):
                self._made.append((layer, made))
        return self._layers[id(layer)]

    def _translated(self, layer: Any, name: str | None = None) -> Any:
        """Returns the Keras 3 layer of a layer, or of one inside it."""
        if isinstance(layer, keras2.Sequential) or (isinstance(layer, keras2.Model) and layer.inputs):
            return self.model(layer)
        if isinstance(layer, CarriedLayer | CarriedOperation):
            made = type(layer.inner).from_config(layer.inner.get_config())
            made.name = _name(layer)
            return made
        try:
            made = layer_to_keras3(layer, self._translated, name)
        except NoCounterpart as reason:
            raise _refused(layer, reason) from reason
        if not layer.trainable:
            made.trainable = False
        return made

    def give_weights(self) -> None:
        """Copies the weights of all layers."""
        for layer, made in self._made:
            if isinstance(layer, CarriedLayer):
                give_variables(layer.inner, made)
                continue
            try:
                transfer_weights(layer, made)
            except NoCounterpart as reason:
                raise _refused(layer, reason) from reason

    def pairs_of(self, model: Any) -> list[tuple[str, Any, Any]]:
        """Returns (name, Keras 3 output, output) of all calls in a model, those in nested models left out."""
        return [
            (call.layer.name, self._tensors[id(tensor)], tensor) for call in calls_of(model) for tensor in call.outputs
        ]


def _name(layer: Any) -> str:
    # Keras 3 takes no slash.
    return str(layer.name).replace("/", "_")


def _plain(structure: Any) -> Any:
    """Returns a structure of arguments with the lists and dictionaries that Keras tracks made plain ones."""
    if isinstance(structure, dict):
        return {key: _plain(value) for key, value in structure.items()}
    if isinstance(structure, list):
        return [_plain(value) for value in structure]
    return tuple(map(_plain, structure)) if type(structure) is tuple else structure


def _refused(layer: Any, reason: NoCounterpart) -> ValueError:
    return ValueError(
        f"Keras 3 has no counterpart of {reason}: tell how to convert it by tfmot_swd.keras3.register_layer_pair, or "
        f"go on with the tf_keras model. Received: {layer.name!r} of class {type(layer).__name__}"
    )
