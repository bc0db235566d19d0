"""Keras wrapper layers, and models inside other layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import Functional, QuantizeLayer, keras, master_variable
from tfmot_swd.keras2.graph import GraphCall, input_layers, propagate, shape_of
from tfmot_swd.keras2.overrides import check_is_its_graph, replaced_on_object
from tfmot_swd.layers.call import LayerCall, labelled_arguments, pin_what_is_no_operand
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.macs import count_macs, macs_by_weight, macs_of_model
from tfmot_swd.layers.own_calls import rule_or_own_call
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.layers.record import Kept, NoRule
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes, SampleWalk, Shape


def time_distributed(call: LayerCall) -> Labels | list[Labels]:
    """Applies the rule of the inner layer, or those of the layers of an inner model, at each step, without axis 1."""
    inside = call.layer.layer
    if len(call.inputs) != 1 or 1 in call.operand.varying:
        return call.barrier(f"no channel rule for {type(inside).__name__} at each step")
    step = Labels(np.take(call.operand.ids, 0, 1), (call.operand.shape[0], *call.operand.shape[2:]))
    shapes = [(shape[0], *shape[2:]) for shape in call.output_shapes]
    inner = call.inner("layer", [step], shapes)
    inner.arguments = {"inputs": step}
    if isinstance(inside, keras.Model):
        found: Labels | list[Labels] = model_inside(inner)
    else:
        try:
            found = rule_or_own_call(inside)(inner)
        except NoRule as error:
            return call.barrier(f"{error} at each step")
    return [
        Labels(np.expand_dims(labels.ids, 1), shape)
        for labels, shape in zip([found] if isinstance(found, Labels) else found, call.output_shapes, strict=True)
    ]


def model_inside(call: LayerCall) -> list[Labels]:
    """Applies the rules of the layers of a model that another layer holds, as parts of that layer.

    Raises:
      NoRule: the model is not its graph, a layer in it has no rule, or a number of channels stands in one of its calls.
    """
    model = call.layer
    reason = f"no channel rule for {type(model).__name__} at each step"
    try:
        check_is_its_graph(model)
    except ValueError as error:
        raise NoRule(reason) from error
    if replaced_on_object(model) or len(model.inputs) != len(call.inputs):
        raise NoRule(reason)
    places = {id(layer): place for place, layer in enumerate(model.layers)}
    # The config of a Sequential model lists its input layer too.
    hidden = len(model.get_config()["layers"]) - len(model.layers)
    inputs = [Labels(labels.ids, shape_of(tensor)) for labels, tensor in zip(call.inputs, model.inputs, strict=True)]

    def visit(made: GraphCall, known: dict[int, Labels]) -> list[Labels]:
        layer, place = made.layer, places[id(made.layer)]
        path = f"{call.record.path}/{layer.name}"
        if any(tensor.shape.rank is None for tensor in (*made.inputs, *made.outputs)):
            raise NoRule(f"a tensor of unknown rank in {layer.name} has no rule at each step")
        if any(id(tensor) not in known for tensor in (*made.operands(), *made.inputs)):
            raise NoRule(f"a constant in {layer.name} has no rule at each step")
        pin_what_is_no_operand(made, known, call.ties, path)
        given = [known[id(tensor)] for tensor in made.operands()]
        shapes = [shape_of(tensor) for tensor in made.outputs]
        inner = call.inner(f"layers.{place}", given, shapes, ("layers", place + hidden))
        if isinstance(layer, keras.Model):
            return model_inside(inner)
        if call.record.places.setdefault(id(layer), inner.prefix) != inner.prefix:
            raise NoRule(f"{layer.name} stands at two places in the models at each step")
        inner.arguments = labelled_arguments(made, known)
        before = len(call.products)
        try:
            returned = rule_or_own_call(layer)(inner)
        except NoRule as error:
            raise NoRule(f"{error} at each step") from error
        for product in call.products[before:]:
            # Its factors are no tensors of the model around.
            call.ties.pin(product.sums, f"{path}: sums over channels of two tensors")
        del call.products[before:]
        if inner.argument_edits:
            raise NoRule(f"{layer.name} is called with a number for each channel at each step")
        return [returned] if isinstance(returned, Labels) else list(returned)

    outputs = propagate(model, inputs, visit)
    given = {layer.name: labels for layer, labels in zip(input_layers(model), inputs, strict=True)}

    def resize(config: dict[str, Any], kept: Kept) -> None:
        for entry in config["layers"]:
            if "batch_input_shape" in entry["config"]:
                # The first layer of a Sequential model keeps the shape too.
                labels = given.get(entry["config"]["name"], inputs[0])
                entry["config"]["batch_input_shape"] = kept.shape(labels)

    call.reconfigure("layers", resize)
    return outputs


def spectral_normalization(call: LayerCall) -> Labels | list[Labels]:
    """Applies the rule of the inner layer, whose kernel is normalized by its largest singular value in training.

    Its estimate of the singular vector has an entry for each index of the kernel's last axis. The smaller kernel, whose
    largest singular value is another, has the larger one's values until it is trained.
    """
    inner = call.inner("layer", call.inputs, call.output_shapes)
    inner.arguments = {"inputs": call.operand}
    found = rule_or_own_call(call.layer.layer)(inner)
    kernel = master_variable(call.layer.kernel)
    last = [
        cut.ids
        for cut in call.record.cuts.values()
        if cut.variable_id == id(kernel) and cut.axis == kernel.shape.rank - 1
    ]
    call.whole("vector_u")
    for ids in last:
        call.follow("vector_u", 1, ids)
    return found


def _step_weights(layer: Any) -> list[Any]:
    return counted_weights(layer.layer)


def _step_shapes(call: CallShapes) -> CallShapes:
    """Returns the shapes of the inner layer, which gets all steps as one batch."""

    def merge(shape: Shape) -> Shape:
        return (shape[0] * shape[1], *shape[2:])

    return CallShapes(tuple(map(merge, call.inputs)), tuple(map(merge, call.outputs)))


def _step_macs(layer: Any, call: CallShapes) -> int | None:
    return count_macs(layer.layer, _step_shapes(call))


def _step_macs_by_weight(layer: Any, call: CallShapes) -> list[tuple[Any, float]]:
    inside, shapes = layer.layer, _step_shapes(call)
    if not isinstance(inside, Functional):
        return macs_by_weight(inside, shapes)[0]
    each = [pair for made in SampleWalk(inside).calls for pair in macs_by_weight(made.layer, made.call)[0]]
    return [(weight, shapes.inputs[0][0] * macs) for weight, macs in each]


def _wrapped_macs(layer: Any, call: CallShapes) -> int | None:
    return count_macs(layer.layer, call)


def _model_macs(model: Any, call: CallShapes) -> int | None:
    """Returns the MACs of a model inside another layer, such as TimeDistributed; nested models are counted by layer."""
    each = macs_of_model(model)
    return None if each is None else call.inputs[0][0] * each


def _no_macs(layer: Any, call: CallShapes) -> int:
    """Returns 0: rounding an input to its range multiplies no matrix."""
    return 0


register_layer(keras.layers.Wrapper, macs=_wrapped_macs)
register_layer(
    keras.layers.TimeDistributed,
    prunable=_step_weights,
    channels=time_distributed,
    macs=_step_macs,
    macs_by_weight=_step_macs_by_weight,
)
register_layer(keras.layers.SpectralNormalization, channels=spectral_normalization)
register_layer(Functional, macs=_model_macs)
register_layer(QuantizeLayer, macs=_no_macs)
