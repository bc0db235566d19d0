"""Copies of Keras models, layer by layer, that share no variable with the original."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import carry_policy, keras
from tfmot_swd.keras2.graph import calls_of, has_graph, operator_name
from tfmot_swd.keras2.object_changes import carry_changes, carry_values, check_weights_fit, is_changed
from tfmot_swd.keras2.overrides import replaced_on_object

# Entries of configs that say for which input shapes a layer was built.
_BUILT_FOR = ("build_config", "part_shapes")
# How the entries of configs end that may be objects of the user's.
_KINDS = ("activation", "regularizer", "constraint", "initializer")


def copy_layer(layer: Any, edit: Callable[[dict[str, Any]], None] | None = None) -> Any:
    """Returns a new layer of the same class and config, with freshly initialized weights.

    Changes on the object that its config does not record, such as a method assigned to it, are carried over
    (`object_changes`). The copy gets the very activation, regularizer, constraint and initializer objects of the layer,
    and layers inside it those of their counterparts: neither these nor the classes of inner layers need be registered.

    Args:
      layer: any Keras layer, wrappers included.
      edit: function that modifies the config in place before the copy is made from it.
    """
    with keras.utils.custom_object_scope(_named_inside(layer)):
        config = _Config.of(layer.get_config())
        _hand_over(layer, config)
        if edit is not None:
            edit(config)
        made = type(layer).from_config(config)
    if layer.built and is_changed(layer):
        carry_changes(layer, made, copy_layer)
    return made


def give_values(layer: Any, copy: Any, values: Sequence[Any] | None = None) -> None:
    """Copies the values of a layer to a built copy of it: its weights, and variables and tensors in its attributes.

    Args:
      layer: the original.
      copy: what `copy_layer` returned, built.
      values: arrays or tensors in the order of `layer.weights`, to set in place of the values of the weights.

    Raises:
      ValueError: the shapes of the weights differ, as they do not follow from the config.
    """
    if layer.built:
        for part, twin in zip(layer._flatten_layers(), copy._flatten_layers(), strict=False):
            carry_values(part, twin, copy_layer)
    check_weights_fit(layer, copy)
    if not all(isinstance(each, tf.Variable) for each in (*layer.weights, *copy.weights)):
        # Keras counts the vocabulary of a lookup as a weight.
        copy.set_weights(layer.get_weights() if values is None else values)
        return
    given = (each.read_value() for each in layer.weights) if values is None else values
    for target, value in zip(copy.weights, given, strict=True):
        # Two variables share their values until one of them changes: no copy is made, as set_weights makes two.
        target.assign(value)


def freeze_alike(layer: Any, copied: Any) -> None:
    """Freezes the layers inside a copy that are frozen inside the layer itself.

    The config of a custom layer does not record which these are, and the order of its weights depends on it.
    """
    for part, twin in zip(layer._flatten_layers(), copied._flatten_layers(), strict=False):
        if twin.trainable != part.trainable:
            twin.trainable = part.trainable


def clone_with(model: Any, make: Callable[[Any], Any]) -> Any:
    """Returns a copy of `model` with every layer replaced by `make(layer)`, inside nested models too.

    Each copied model has the dtype policy of its original, whatever policy is in force now. A shared layer stays one
    layer: `make` is called once for it.

    Args:
      model: a Sequential or Functional model; it is unchanged.
      make: layer → the layer in its place.

    Raises:
      ValueError: a model's `call` was replaced on the object, so a copy would compute something else; Keras cannot copy
        a layer that is called on a constant.
    """
    made: dict[int, Any] = {}

    def replace(layer: Any) -> Any:
        if id(layer) not in made:
            made[id(layer)] = clone(layer) if isinstance(layer, keras.Model) else make(layer)
        return made[id(layer)]

    def clone(part: Any) -> Any:
        if "call" in replaced_on_object(part):
            raise ValueError(
                "A copy of a model runs its graph of layers, and this one's call was replaced on the object: write "
                f"what it does as layers of a Functional model. Received: {part.name!r}"
            )
        try:
            copied = keras.models.clone_model(part, clone_function=replace)
        except Exception as error:  # Keras writes the constant as nested lists; what comes of these is up to the layer.
            held = _called_on_constants(part)
            summed = [call.layer.name for call in calls_of(part) if operator_name(call.layer) == "einsum"]
            if summed and not held:
                raise ValueError(
                    "Keras cannot copy a model in which tf.einsum is an operator, nor load it from a file: use "
                    "layers.Dot or tf.matmul, or call it in a Lambda layer, as in Lambda(lambda two: "
                    f'tf.einsum("btc,bsc->bts", *two)). Received: {", ".join(summed)}'
                ) from error
            if not held:
                raise
            raise ValueError(
                "Keras cannot copy a model with a layer that is called on a constant: make the constant in a layer of "
                f"yours, or use an operator, as tf.concat. Received: {', '.join(held)}, {type(error).__name__}: {error}"
            ) from error
        carry_policy(part, copied)
        if not part.trainable:
            # Setting it to True would unfreeze every layer inside.
            copied.trainable = False
        return copied

    return clone(model)


def _called_on_constants(model: Any) -> list[str]:
    """Returns the names of the layers of a model that have arrays or tensors of values among their inputs."""
    calls = calls_of(model) if has_graph(model) else ()
    given = {call.layer.name: tf.nest.flatten((call.args, call.kwargs)) for call in calls}
    return [name for name, args in given.items() if any(isinstance(each, tf.Tensor | np.ndarray) for each in args)]


class _Config(dict[str, Any]):
    """A config whose entries can be changed, and whose objects stay the same in the deep copies that Keras makes."""

    @classmethod
    def of(cls, config: Any) -> Any:
        """Returns a deep copy of a config, without the entries that have inner layers built."""
        if isinstance(config, dict):
            # Keras would build a layer inside at once, for the input shape of its twin, which edits may change.
            return cls((key, cls.of(value)) for key, value in config.items() if key not in _BUILT_FOR)
        return [cls.of(each) for each in config] if isinstance(config, list) else config

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.of(self)


def _hand_over(layer: Any, config: dict[str, Any]) -> None:
    """Replaces the configs of objects in the config of a layer by the objects themselves, for layers inside it too."""
    if isinstance(layer, keras.layers.Lambda):
        # A config holds the name or the bytecode of a function, not the function.
        config.update(function=layer.function, function_type="raw")
        if layer.mask is not None:
            config.update(mask=layer.mask, mask_type="raw")
    for key, entry in config.items():
        # Attention keeps its own in private.
        held = getattr(layer, key, getattr(layer, f"_{key}", None))
        parts = held if isinstance(held, list | tuple) else [held]
        layers = {part.name: part for part in parts if isinstance(part, keras.layers.Layer)}
        for inner in entry if isinstance(entry, list) else [entry]:
            if layers and _is_object(inner) and inner["config"].get("name") in layers:
                _hand_over(layers[inner["config"]["name"]], inner["config"])
        # An activation that is a layer has weights of its own.
        if key.endswith(_KINDS) and callable(held) and not layers and _stands_for(entry, held):
            config[key] = held


def _stands_for(entry: Any, held: Any) -> bool:
    """Returns whether the entry of an object in a config may not deserialize to the same object."""
    if isinstance(entry, str):
        # Keras would find its own function by a name that means one of the user's.
        package = getattr(held, "__module__", "").partition(".")[0]
        return package not in ("keras", "tf_keras", "tensorflow") and hasattr(keras.activations, entry)
    # Keras marks an initializer of its own that was used and warns when it is again; a config makes another one.
    # Of a lambda as activation, configs have the code alone.
    fresh = _is_object(entry) and not getattr(held, "_used", False)
    return fresh or (isinstance(entry, dict) and entry.keys() == {"value"})


def _is_object(entry: Any) -> bool:
    """Returns whether an entry of a config stands for an object."""
    return isinstance(entry, dict) and "class_name" in entry and "config" in entry


def _named_inside(layer: Any) -> dict[str, Any]:
    """Returns the functions and classes inside a layer by their names in configs, where the name is unambiguous."""
    named: dict[str, set[Any]] = {}
    for part in layer._flatten_layers():
        named.setdefault(type(part).__name__, set()).add(type(part))
        # What a carried Keras 3 layer holds is no layer of tf_keras.
        for name, each in getattr(part, "custom_objects", dict)().items():
            named.setdefault(name, set()).add(each)
        for key, value in vars(part).items():
            if isinstance(value, types.FunctionType) or hasattr(value, "python_function"):
                named.setdefault(value.__name__, set()).add(value)
            elif key.endswith(_KINDS) and value is not None:
                named.setdefault(type(value).__name__, set()).add(type(value))
    return {name: found.pop() for name, found in named.items() if len(found) == 1}
