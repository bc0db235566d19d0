"""Construction of the smaller model: the same layer graph with smaller configs and sliced weights."""

from __future__ import annotations

import dataclasses
import inspect
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.walk import Trace
from tfmot_swd.keras2.cloning import copy_layer
from tfmot_swd.keras2.compat import carry_policy, keras, master_variable
from tfmot_swd.keras2.graph import (
    GraphCall,
    calls_of,
    input_layers,
    insert_calls,
    last_call,
    layers_inside,
    packed_inputs,
    packed_outputs,
    propagate,
    shape_of,
)
from tfmot_swd.keras2.layer_weights import has_bias
from tfmot_swd.keras2.object_changes import carry_values, check_weights_fit, outside_losses
from tfmot_swd.keras2.optimizer_state import Slicing
from tfmot_swd.keras2.symbolic_calls import call_symbolically
from tfmot_swd.layers.record import PRODUCE, Kept


@dataclasses.dataclass(frozen=True)
class Rebuilt:
    """The smaller model.

    Args:
      model: the model.
      slicings: kept slices of its variables, in the order of those of the larger model.
    """

    model: Any
    slicings: tuple[Slicing, ...]


def rebuild(model: Any, trace: Trace, stays: np.ndarray, added_bias: Mapping[int, np.ndarray] | None = None) -> Rebuilt:
    """Returns the model without the removed channels.

    Args:
      model: a Sequential or Functional model; it is unchanged.
      trace: `trace_channels(model)`.
      stays: bool by channel id, true where a channel is kept.
      added_bias: identity of a layer → what is added to its bias, of the larger layer's size; a layer without a bias
        gets one.

    Raises:
      ValueError: a layer has a loss that its copy would lack.
      RuntimeError: a layer does not have the planned output shape, so its channel rule is wrong.
    """
    rebuilder = _Rebuilder(trace, stays, added_bias or {})
    smaller = rebuilder.model(model)
    slicings = rebuilder.slicings()
    for slicing in slicings:
        slicing.target.assign(slicing.kept())
    rebuilder.add_biases()
    rebuilder.copy_other_state()
    return Rebuilt(smaller, slicings)


class _Rebuilder:
    def __init__(self, trace: Trace, stays: np.ndarray, added_bias: Mapping[int, np.ndarray]) -> None:
        self.trace = trace
        self.kept = Kept(stays)
        self.added_bias = added_bias
        self.layers: dict[int, Any] = {}
        self._pairs: list[tuple[Any, Any]] = []

    def model(self, model: Any) -> Any:
        """Returns the smaller copy of one model, which is made once."""
        if id(model) in self.layers:
            return self.layers[id(model)]
        smaller = self._sequential(model) if isinstance(model, keras.Sequential) else self._functional(model)
        self.layers[id(model)] = smaller
        carry_policy(model, smaller)
        if not model.trainable:
            smaller.trainable = False
        return smaller

    def _sequential(self, model: Any) -> Any:
        layers = [self._input(layer) for layer in input_layers(model)] + [self._layer(layer) for layer in model.layers]
        smaller = type(model)(layers, name=model.name)
        for before, after in zip(model.layers, smaller.layers, strict=True):
            # A layer may have been called elsewhere too: the call inside this model is the one that counts.
            self._check(after, _output_in(model, before), _output_in(smaller, after))
        return smaller

    def _functional(self, model: Any) -> Any:
        calls: list[GraphCall] = []

        def visit(call: GraphCall, tensors: dict[int, Any]) -> list[Any]:
            calls.append(self._call(call, tensors))
            return calls[-1].outputs

        inputs = [self._input(layer).output for layer in input_layers(model)]
        outputs = propagate(model, inputs, visit)
        smaller = type(model)(
            inputs=packed_inputs(model, inputs), outputs=packed_outputs(model, outputs), name=model.name
        )
        # Layers that no output follows from: what add_loss and add_metric have put in.
        inside = {id(layer) for layer in smaller.layers}
        place = {layer.name: number for number, layer in enumerate(model.layers)}
        aside = sorted(
            (call for call in calls if id(call.layer) not in inside), key=lambda call: place[call.layer.name]
        )
        if aside:
            insert_calls(smaller, list(dict.fromkeys(call.layer for call in aside)), aside)
        return smaller

    def _input(self, layer: Any) -> Any:
        config = layer.get_config()
        labels = self.trace.labels[id(layer.output)]
        config["batch_input_shape"] = self.kept.shape(labels) if labels.rank else config["batch_input_shape"]
        self.layers[id(layer)] = made = keras.layers.InputLayer.from_config(config)
        return made

    def _call(self, call: GraphCall, tensors: dict[int, Any]) -> GraphCall:
        """Makes the counterpart of one call in the smaller model."""
        layer = self._layer(call.layer)
        args, kwargs = self._arguments(call, tensors)
        planned = [self.kept.shape(self.trace.labels[id(each)]) for each in call.outputs]
        call_symbolically(layer, args, kwargs, call.outputs, planned)
        made = last_call(layer)
        for before, after in zip(call.outputs, made.outputs, strict=True):
            self._check(layer, before, after)
        return made

    def _arguments(self, call: GraphCall, tensors: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def replaced(structure: Any) -> Any:
            return tf.nest.map_structure(lambda each: tensors.get(id(each), each), structure)

        edits = self.trace.argument_edits.get(call.key)
        if not edits:
            return tuple(replaced(list(call.args))), replaced(call.kwargs)
        bound = call.bind()
        arguments = dict(bound.arguments)
        for edit in edits:
            edit(arguments, self.kept)
        changed = inspect.BoundArguments(bound.signature, arguments)
        return tuple(replaced(list(changed.args))), replaced(changed.kwargs)

    def _layer(self, layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return self.model(layer)
        if id(layer) not in self.layers:
            edits = self.trace.records[id(layer)].edits.values()

            def shrink(config: dict[str, Any]) -> None:
                for edit in edits:
                    edit(config, self.kept)
                if id(layer) in self.added_bias and not has_bias(layer):
                    config["use_bias"] = True
                if edits:
                    _forget_tables(config)

            self.layers[id(layer)] = smaller = copy_layer(layer, shrink)
            self._pairs.append((layer, smaller))
        return self.layers[id(layer)]

    def _check(self, layer: Any, before: Any, after: Any) -> None:
        labels = self.trace.labels[id(before)]
        planned = self.kept.shape(labels)
        made = shape_of(after)
        if any(a is not None and b is not None and a != b for a, b in zip(planned, made, strict=False)):
            raise RuntimeError(
                f"The channel rule of {type(layer).__name__} does not describe what the layer does: it planned an "
                f"output of shape {planned}. Received: {made} from layer {layer.name!r}"
            )

    def slicings(self) -> tuple[Slicing, ...]:
        """Returns the kept slices of each variable of the smaller layers."""
        masks: dict[int, dict[int, np.ndarray]] = {}
        for cut in self.trace.cuts:
            masks.setdefault(cut.variable_id, {})[cut.axis] = self.kept.mask(cut.ids)
        records = self.trace.records.values()
        scales = {variable: scale(self.kept) for record in records for variable, scale in record.scales.items()}
        found = []
        for layer, smaller in self._pairs:
            if len(outside_losses(smaller)) < len(outside_losses(layer)):
                raise ValueError(
                    "A function given to add_loss from outside a layer holds the larger layer and cannot follow: use a "
                    f"regularizer, or call add_loss in the layer's call or build. Received: layer {layer.name!r}"
                )
            # A bias that was made for constants comes last, and from nothing.
            made = id(layer) in self.added_bias and not has_bias(layer)
            if layer.built and not self.trace.records[id(layer)].cuts:
                for before, after in zip(layers_inside(layer), layers_inside(smaller), strict=False):
                    carry_values(before, after, copy_layer)
                check_weights_fit(layer, smaller)
            # The order of weights depends on it.
            for before, after in zip(layers_inside(layer), layers_inside(smaller), strict=True):
                after.trainable = before.trainable
            for source, target in zip(layer.weights, smaller.weights[: -1 if made else None], strict=True):
                source, target = master_variable(source), master_variable(target)
                # Keras counts the vocabulary of a lookup as a weight.
                if isinstance(source, tf.Variable):
                    found.append(Slicing(source, target, masks.get(id(source), {}), scales.get(id(source), 1.0)))
        return tuple(found)

    def add_biases(self) -> None:
        """Adds the folded constants to the biases of the smaller layers."""
        for layer, smaller in self._pairs:
            added = self.added_bias.get(id(layer))
            if added is not None:
                cuts = self.trace.records[id(layer)].cuts.values()
                made = next(cut for cut in cuts if cut.role == PRODUCE and cut.weight != "bias")
                kept = self.kept.mask(made.ids)
                # A bias made for constants still has the values of its initializer.
                before = smaller.bias.numpy() if has_bias(layer) else 0.0
                smaller.bias.assign(before + added[kept].astype(smaller.bias.dtype.as_numpy_dtype))

    def copy_other_state(self) -> None:
        """Copies state other than variables, such as vocabularies, by the hooks that layers have for saving it."""
        for layer, smaller in self._pairs:
            if type(layer).load_own_variables is not keras.layers.Layer.load_own_variables:
                store: dict[str, Any] = {}
                layer.save_own_variables(store)
                smaller.load_own_variables(store)
            elif hasattr(layer, "finalize_state"):
                smaller.finalize_state()
            if hasattr(layer, "load_assets"):
                with tempfile.TemporaryDirectory() as folder:
                    layer.save_assets(folder)
                    smaller.load_assets(folder)


def _forget_tables(config: Any) -> None:
    """Replaces initializers that hold a value for each weight, such as pretrained embeddings, by zeros.

    Their shape does not fit a smaller weight, which gets its slices of the larger weight's values anyway.
    """
    for key, entry in config.items() if isinstance(config, dict) else ():
        for inner in entry if isinstance(entry, list) else [entry]:
            _forget_tables(inner)
        if key.endswith("initializer"):
            value = entry.get("config", {}).get("value") if isinstance(entry, dict) else getattr(entry, "value", None)
            if isinstance(value, dict | list | tuple | np.ndarray):
                config[key] = "zeros"


def _output_in(model: Any, layer: Any) -> Any:
    """Returns the output of a layer inside a Sequential model."""
    return next(call.node.outputs for call in calls_of(model) if call.layer is layer)
