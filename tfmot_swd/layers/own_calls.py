"""Calls of custom layers without a channel rule, followed through the operations in their `call` method."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.cloning import copy_layer
from tfmot_swd.keras2.compat import keras, variables_of
from tfmot_swd.keras2.function_graphs import names_and_seeds_kept
from tfmot_swd.keras2.graph import asks_training, gets_mask, layers_inside
from tfmot_swd.keras2.object_changes import first_other_attribute, own_attributes, reads_noted
from tfmot_swd.keras2.overrides import is_of_users, replaced_on_object
from tfmot_swd.keras2.symbolic_calls import build_for, initial_noise
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.record import NoRule
from tfmot_swd.layers.registry import ChannelRule, find_rule

# What asks in the graph of a model whether it trains, and not by an argument.
_PHASES = frozenset({"learning_phase", "in_train_phase", "in_test_phase"})


def rule_or_own_call(layer: Any) -> ChannelRule:
    """Returns the channel rule of a layer, or one that follows its `call`."""
    rule, reason = find_rule(layer)
    if rule is not None:
        return rule

    def own(call: LayerCall) -> list[Labels]:
        return own_call(call, reason)

    return own


def own_call(call: LayerCall, reason: str) -> list[Labels]:
    """Passes channels through the operations of a custom layer whose weights act on each channel alone.

    The layer is copied from its config, for the number of channels that it has and for one more: an axis of a weight
    that grows with them has a slice for each. Then its `call` is a function of its inputs and of these weights, and is
    followed as the function of a Lambda layer is, numerical check with fewer channels included, for which the copy is
    made anew. The layer itself is not called.

    Args:
      call: of a layer without a rule.
      reason: why it has none, which the `NoRule` says.

    Raises:
      NoRule: the layer does something else, such as reading channels through a matrix.
    """
    try:
        return _followed(call)
    except Exception as error:  # Anything may be in a user's class.
        raise NoRule(reason) from error


def _followed(call: LayerCall) -> list[Labels]:
    layer = call.layer
    given, arguments = _given(call)
    varying = [labels for labels in tf.nest.flatten(given) if labels.varying]
    if not varying or any(len(labels.varying) > 1 for labels in varying):
        raise NoRule("it gets no tensor with channels on one axis")
    if gets_mask(layer, call.record.layer):
        raise NoRule("it takes a mask")
    function = OwnCall(layer)
    specs = [tf.nest.map_structure(lambda each, more=more: _spec(each, layer, more), given) for more in (0, 1)]
    weights = {name: _labels(call, name, axis, varying) for name, axis in function.axes(*specs).items()}
    structure = {"inputs": given, "weights": weights}
    found = [call.through(function, structure, {**arguments, **each}, wholly=True) for each in function.phases(call)]
    for one, two in zip(found[0], found[-1], strict=True):
        call.ties.tie(one.ids, two.ids)
    return found[0]


def _labels(call: LayerCall, name: str, axis: int | None, varying: list[Labels]) -> Labels:
    """Declares a weight with a slice for each channel along an axis, if there is one, and returns its labels."""
    shape = tuple(getattr(call.layer, name).shape)
    if axis is None:
        call.whole(name)
        pinned = call.ties.new_pinned(f"{call.record.path}: weight {name} has no slice for each channel")
        # A number is given as a vector, as a graph has no input without axes.
        return Labels(pinned.reshape((1,) * max(len(shape), 1)), shape or (1,))
    ids = next((ids for each in varying if (ids := each.along(each.varying[0])).size == shape[axis]), None)
    if ids is None:
        raise NoRule(f"weight {name} has another size than its inputs have channels")
    call.follow(name, axis, ids)
    return Labels.on_axis(ids, axis, shape)


class OwnCall:
    """The `call` method of a layer, as a function of its inputs and its weights.

    Args:
      layer: of which copies are called.

    Raises:
      NoRule: its config does not say what it computes.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        # The first of them has the size of the layer.
        self._copies: dict[str, Any] = {}
        self.__name__ = "call"
        _check(layer)
        self._names = _names(layer)
        self.key = _key(layer)

    def axes(self, specs: Any, larger: Any) -> dict[str, int | None]:
        """Returns the axis of each weight that has a slice for each channel; None where it has none.

        Args:
          specs: of the inputs.
          larger: the same with one more channel each.
        """
        found: dict[str, int | None] = {}
        whole, more = self._copy(specs), self._copy(larger)
        for name in self._names:
            before, after = (tuple(getattr(each, name).shape) for each in (whole, more))
            if before != tuple(getattr(self._layer, name).shape):
                raise NoRule(f"weight {name} has another shape than its config says")
            grown = [axis for axis, (one, two) in enumerate(zip(before, after, strict=True)) if one != two]
            if len(grown) > 1 or any(after[axis] != before[axis] + 1 for axis in grown):
                raise NoRule(f"weight {name} has not one slice for each channel")
            found[name] = grown[0] if grown else None
        return found

    def phases(self, call: LayerCall) -> list[dict[str, bool]]:
        """Returns the arguments that differ between training and inference, where the layer asks."""
        if not asks_training(self._layer):
            return [{}]
        given = call.arguments.get("training")
        return [{"training": each} for each in ([False, True] if given is None else [bool(given)])]

    def __call__(self, given: Mapping[str, Any], **arguments: Any) -> Any:
        inputs, weights = given["inputs"], given["weights"]
        copy = self._copy(
            tf.nest.map_structure(lambda each: tf.TensorSpec((None, *each.shape[1:]), each.dtype), inputs)
        )
        values = {}
        for name, value in weights.items():
            shape = tuple(getattr(copy, name).shape)
            values[name] = value if shape else tf.reshape(value, ())
            if tuple(values[name].shape) != shape:
                raise ValueError(f"weight {name} has shape {shape}. Received: {value.shape}")
        read: set[str] = set()
        with _values(copy, values), reads_noted(copy, read):
            found = copy.call(inputs, **arguments)
        # Copies of another size may have other attributes.
        if copy is next(iter(self._copies.values())):
            other = first_other_attribute(self._layer, copy, sorted(read))
            if other:
                raise NoRule(f"its attribute {other} is not what its config makes")
        return found

    def _copy(self, specs: Any) -> Any:
        """Returns a copy of the layer, built for such inputs, in whose weights there is nothing but noise."""
        key = str(specs)
        if key not in self._copies:
            with names_and_seeds_kept(), initial_noise():
                self._copies[key] = copy = copy_layer(self._layer)
                build_for(copy, specs)
        return self._copies[key]


def _given(call: LayerCall) -> tuple[Any, dict[str, Any]]:
    """Returns the labels of the inputs of a call, in their structure, and its other arguments."""
    arguments = {name: value for name, value in call.arguments.items() if value is not None and name != "training"}
    first = next(iter(call.arguments), "")
    given = arguments.pop(first, None)
    structures = (given, list(arguments.values()))
    inside, aside = ([isinstance(each, Labels) for each in tf.nest.flatten(each)] for each in structures)
    if not inside or not all(inside) or any(aside):
        raise NoRule("its first argument is not all that it gets")
    return given, arguments


def _check(layer: Any) -> None:
    kind = type(layer)
    if not is_of_users(kind.__module__):
        raise NoRule("it is no custom layer")
    if any(variables_of(part) for part in layers_inside(layer, itself=False)):
        raise NoRule("there are layers with weights inside")
    if kind.compute_mask is not keras.layers.Layer.compute_mask:
        raise NoRule("it makes a mask of its own")
    if replaced_on_object(layer) or layer.dynamic or layer.stateful:
        raise NoRule("its call is not all that it does")
    if not asks_training(layer) and _PHASES & set(inspect.unwrap(kind.call).__code__.co_names):
        raise NoRule("it asks Keras whether it trains")


def _names(layer: Any) -> list[str]:
    """Returns the attributes that hold the weights of a layer, one for each."""
    own = variables_of(layer)
    found = {name: value for name, value in vars(layer).items() if isinstance(value, tf.Variable)}
    first = {id(value): name for name, value in reversed(found.items())}
    if len(first) != len(own) or not all(value.dtype.is_floating for value in found.values()):
        raise NoRule("not all of its weights are attributes that hold floats")
    return list(reversed(first.values()))


def _key(layer: Any) -> str:
    """Returns a text that two layers share which compute the same; "" where what they hold is no plain data."""
    try:
        held = json.dumps([{**layer.get_config(), "name": ""}, own_attributes(layer)], sort_keys=True, default=_config)
    except (TypeError, ValueError):
        return ""
    kind = type(layer)
    return f"{kind.__module__}.{kind.__qualname__} {id(kind)} {layer.compute_dtype} {held}"


def _config(held: Any) -> list[Any]:
    """Returns what stands for an object of Keras, such as an initializer, in a text."""
    if not type(held).__module__.startswith("tf_keras.") or isinstance(held, keras.layers.Layer):
        raise TypeError(f"no plain data. Received: {held!r}")
    return [type(held).__name__, held.get_config() if hasattr(held, "get_config") else None]


@contextlib.contextmanager
def _values(layer: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Has the weights of a layer be these values in the block."""
    held = vars(layer)
    before = dict(held)
    for name, value in values.items():
        for each in [each for each, other in before.items() if other is before[name]]:
            # Not by setattr, which tracks what it is given.
            held[each] = value
    try:
        yield
    finally:
        held.clear()
        held.update(before)


def _spec(labels: Labels, layer: Any, more: int) -> tf.TensorSpec:
    """Returns the specification of a tensor with so many channels more."""
    axes = enumerate((None, *labels.shape[1:]))
    sizes = [size + more if axis in labels.varying and size else size for axis, size in axes]
    return tf.TensorSpec(sizes, layer.compute_dtype)
