"""Layers that call a function: Activation and Lambda."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.function_graphs import NotTraced, graph_of
from tfmot_swd.layers.activations import acts_per_channel, is_elementwise, is_unknown
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import PerElement
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.macs import macs_of_model
from tfmot_swd.layers.merging import tied
from tfmot_swd.layers.record import Kept, NoRule
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes

layers = keras.layers


def activation(call: LayerCall) -> Labels | list[Labels]:
    """Passes the channels through the function, which may move them, as a gate of two halves does."""
    function = call.layer.activation
    if is_unknown(function):
        return call.through(function, call.arguments["inputs"])
    return declared(call, function)


def function_layer(call: LayerCall) -> Labels | list[Labels]:
    """Passes the channels through the function of a Lambda layer."""
    layer, given = call.layer, call.arguments["inputs"]
    if call.arguments.get("mask") is not None or callable(layer.mask):
        return call.barrier("a function with a mask has no rule")
    if not is_unknown(layer.function):
        found: Labels | list[Labels] = declared(call, layer.function)
    elif not all(isinstance(each, Labels) for each in tf.nest.flatten(given)):
        raise NoRule("a function of a constant has no rule")
    elif _has_training_flag(layer):
        # It may compute something else in training; what either ties is tied.
        found, other = (
            call.through(layer.function, given, {**layer.arguments, "training": each}) for each in (False, True)
        )
        for one, two in zip(found, other, strict=True):
            call.ties.tie(one.ids, two.ids)
    else:
        found = call.through(layer.function, given, layer.arguments)

    def infer(config: dict[str, Any], kept: Kept) -> None:
        # TensorFlow finds the shape of the smaller output by itself.
        config.update(output_shape=None, output_shape_type="raw", output_shape_module=None)

    call.reconfigure("output_shape", infer)
    return found


def declared(call: LayerCall, function: Any) -> Labels:
    """Returns the labels of what a function makes whose kind is known (`activations.register_function`)."""
    if is_elementwise(function):
        return tied(call, call.inputs, call.output_shape)
    labels = call.activated(call.operand, function)
    if acts_per_channel(function) and labels.varying:
        return call.output(call.channels(labels, -1), -1)
    return call.same(labels)


def _has_training_flag(layer: Any) -> bool:
    return "training" in inspect.signature(layer.function).parameters


def _constants(layer: Any) -> PerElement:
    return PerElement(function=layer.function if isinstance(layer, layers.Lambda) else layer.activation)


def _is_linear(layer: Any) -> bool:
    return layer.activation is keras.activations.linear


def _lambda_macs(layer: Any, call: CallShapes) -> int | None:
    return _function_macs(layer, call, layer.function, layer.arguments)


def _activation_macs(layer: Any, call: CallShapes) -> int | None:
    return _function_macs(layer, call, layer.activation, {}) if is_unknown(layer.activation) else 0


def _function_macs(layer: Any, call: CallShapes, function: Any, arguments: Mapping[str, Any]) -> int | None:
    """Returns the MACs of the products in a function; None where it cannot be followed."""
    specs = [tf.TensorSpec(shape, layer.compute_dtype) for shape in call.inputs]
    given = call.argument(layer, "inputs")
    try:
        return macs_of_model(graph_of(function, tf.nest.pack_sequence_as(given, specs), arguments))
    except (NotTraced, ValueError):
        return None


register_layer(layers.Activation, channels=activation, macs=_activation_macs, constants=_constants, view=_is_linear)
register_layer(layers.Lambda, channels=function_layer, macs=_lambda_macs, constants=_constants)
