"""Makes the smaller model: the same graph of layers of smaller configs, and slices of the weights."""

from __future__ import annotations

import dataclasses
import inspect
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.walk import Trace, bound_arguments, nodes_of, shape_of
from tfmot_swd.keras2.cloning import copy_layer
from tfmot_swd.keras2.compat import keras, master_variable
from tfmot_swd.keras2.object_changes import carry_values, check_weights_fit
from tfmot_swd.layers.call import Kept


@dataclasses.dataclass(frozen=True)
class Slicing:
    """What stays of one variable.

    Args:
      source: the variable of the larger model.
      target: that of the smaller one.
      masks: axis → bool array, true where a slice stays; axes that are not named stay whole.
    """

    source: Any
    target: Any
    masks: dict[int, np.ndarray]

    def of(self, value: np.ndarray) -> np.ndarray:
        """Returns what stays of an array of the source's shape."""
        for axis, mask in self.masks.items():
            value = np.compress(mask, value, axis)
        return value


@dataclasses.dataclass(frozen=True)
class Rebuilt:
    """The smaller model and how its variables come from those of the larger one, in the larger one's order."""

    model: Any
    slicings: tuple[Slicing, ...]


def rebuild(model: Any, trace: Trace, stays: np.ndarray, added_bias: Mapping[int, np.ndarray] | None = None) -> Rebuilt:
    """Returns the model that is left where `stays` (bool, by channel id) says which channels do.

    `added_bias`: identity of a layer → what is added to its bias, of the larger layer's size; a layer without a bias
    gets one.

    Raises:
      ValueError: a layer has a loss that its copy would not have.
      RuntimeError: a layer did not come out in the planned shape, so its channel rule is wrong.
    """
    rebuilder = _Rebuilder(trace, stays, added_bias or {})
    smaller = rebuilder.model(model)
    slicings = rebuilder.slicings()
    for slicing in slicings:
        slicing.target.assign(slicing.of(slicing.source.numpy()))
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
        """Returns the smaller copy of one model; made once, however often it is called."""
        if id(model) in self.layers:
            return self.layers[id(model)]
        smaller = self._sequential(model) if isinstance(model, keras.Sequential) else self._functional(model)
        self.layers[id(model)] = smaller
        if not model.trainable:
            smaller.trainable = False
        return smaller

    def _sequential(self, model: Any) -> Any:
        layers = [self._input(layer) for layer in model._input_layers] + [self._layer(layer) for layer in model.layers]
        smaller = type(model)(layers, name=model.name)
        for before, after in zip(model.layers, smaller.layers, strict=True):
            # A layer may have been called elsewhere too: the call inside this model is the one that counts.
            self._check(after, _output_in(model, before), _output_in(smaller, after))
        return smaller

    def _functional(self, model: Any) -> Any:
        tensors: dict[int, Any] = {}
        nodes = []
        for layer in model._input_layers:
            tensors[id(layer.output)] = self._input(layer).output
        for node in nodes_of(model):
            if not node.is_input:
                nodes.append(self._call(node, tensors))
        inputs = tf.nest.map_structure(lambda each: tensors[id(each)], model._nested_inputs)
        outputs = tf.nest.map_structure(lambda each: tensors[id(each)], model._nested_outputs)
        smaller = type(model)(inputs=inputs, outputs=outputs, name=model.name)
        # Layers that no output follows from: what add_loss and add_metric have put in.
        inside = {id(layer) for layer in smaller.layers}
        place = {layer.name: number for number, layer in enumerate(model.layers)}
        aside = sorted(
            (node for node in nodes if id(node.layer) not in inside), key=lambda node: place[node.layer.name]
        )
        if aside:
            smaller._insert_layers(list(dict.fromkeys(node.layer for node in aside)), relevant_nodes=aside)
        return smaller

    def _input(self, layer: Any) -> Any:
        config = layer.get_config()
        labels = self.trace.labels[id(layer.output)]
        config["batch_input_shape"] = self.kept.shape(labels) if labels.rank else config["batch_input_shape"]
        self.layers[id(layer)] = made = keras.layers.InputLayer.from_config(config)
        return made

    def _call(self, node: Any, tensors: dict[int, Any]) -> Any:
        """Makes the smaller twin of one call and returns its node."""
        layer = self._layer(node.layer)
        args, kwargs = self._arguments(node, tensors)
        outputs = layer(*args, **kwargs)
        for before, after in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(outputs), strict=True):
            self._check(layer, before, after)
            tensors[id(before)] = after
        return layer._inbound_nodes[-1]

    def _arguments(self, node: Any, tensors: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def replaced(structure: Any) -> Any:
            return tf.nest.map_structure(lambda each: tensors.get(id(each), each), structure)

        edits = self.trace.argument_edits.get(id(node))
        if not edits:
            return tuple(replaced(node.call_args)), replaced(node.call_kwargs)
        bound = bound_arguments(node)
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
                if id(layer) in self.added_bias:
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
        """Returns how each variable of the smaller layers comes from the larger one."""
        masks: dict[int, dict[int, np.ndarray]] = {}
        for cut in self.trace.cuts:
            masks.setdefault(cut.variable_id, {})[cut.axis] = self.kept.mask(cut.ids)
        found = []
        for layer, smaller in self._pairs:
            if len(getattr(smaller, "_callable_losses", ())) < len(getattr(layer, "_callable_losses", ())):
                raise ValueError(
                    "A function given to add_loss from outside a layer holds the larger layer and cannot follow: use a "
                    f"regularizer, or call add_loss in the layer's call or build. Received: layer {layer.name!r}"
                )
            # A bias that was made for constants comes last, and from nothing.
            made = id(layer) in self.added_bias and not layer.use_bias
            if layer.built and not self.trace.records[id(layer)].cuts:
                for before, after in zip(layer._flatten_layers(), smaller._flatten_layers(), strict=False):
                    carry_values(before, after, copy_layer)
                check_weights_fit(layer, smaller)
            # The order of weights depends on it.
            for before, after in zip(layer._flatten_layers(), smaller._flatten_layers(), strict=True):
                after.trainable = before.trainable
            for source, target in zip(layer.weights, smaller.weights[: -1 if made else None], strict=True):
                source, target = master_variable(source), master_variable(target)
                # Keras counts the vocabulary of a lookup as a weight.
                if isinstance(source, tf.Variable):
                    found.append(Slicing(source, target, masks.get(id(source), {})))
        return tuple(found)

    def add_biases(self) -> None:
        """Gives the smaller layers what their biases take over."""
        for layer, smaller in self._pairs:
            added = self.added_bias.get(id(layer))
            if added is not None:
                kept = self.kept.mask(self.trace.records[id(layer)].cuts[("kernel", len(layer.kernel.shape) - 1)].ids)
                before = smaller.bias.numpy() if layer.use_bias else 0.0
                smaller.bias.assign(before + added[kept].astype(smaller.bias.dtype.as_numpy_dtype))

    def copy_other_state(self) -> None:
        """Copies what layers keep beside variables, by the hooks that they have for files: statistics, vocabularies."""
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
    """Puts zeros in place of initializers that hold a value for each weight, as of pretrained embeddings.

    A smaller weight cannot begin with a table of another shape; it gets its part of the larger one's values anyway.
    """
    for key, entry in config.items() if isinstance(config, dict) else ():
        for inner in entry if isinstance(entry, list) else [entry]:
            _forget_tables(inner)
        if key.endswith("initializer"):
            value = entry.get("config", {}).get("value") if isinstance(entry, dict) else getattr(entry, "value", None)
            if isinstance(value, dict | list | tuple | np.ndarray):
                config[key] = "zeros"


def _output_in(model: Any, layer: Any) -> Any:
    """Returns what a layer gives inside a Sequential model."""
    return next(node.outputs for node in nodes_of(model) if node.layer is layer)
