"""Layer class → channel rule, looked up through the ancestry of the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.overrides import methods_of, replaced_below, replaced_on_object
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels

ChannelRule = Callable[[LayerCall], "Labels | list[Labels]"]
Rule = TypeVar("Rule", bound=ChannelRule)


_RULES: dict[type, ChannelRule] = {}
# What the classes computed with when their rules were registered.
_METHODS: dict[type, dict[tuple[type, str], Any]] = {}


def register_channel_rule(*classes: type) -> Callable[[Rule], Rule]:
    """Decorator: the function below is the channel rule of these layer classes and of what inherits from them.

    A rule gets a `LayerCall`, says which weights make, follow or read which channels, and returns the labels of the
    outputs. It has a word for every weight: one that no axis of follows channels is named with `call.whole`. A rule
    registered again replaces the first.

    Where a rule fails, where it leaves out a weight, or where the object computes something else than its class does
    (a method replaced on it, say), the layer is a barrier: the channels around it stay, and the reason says why.

    Raises:
      TypeError: something given is no layer class of tf_keras.

    >>> import tf_keras as keras
    >>> class Scale(keras.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.scale = self.add_weight("scale", (input_shape[-1],))
    ...     def call(self, x):
    ...         return x * self.scale
    >>> @register_channel_rule(Scale)
    ... def scale(call):
    ...     call.follow("scale", 0, call.channels(call.input, -1))
    ...     return call.same(call.input)
    """
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, keras.layers.Layer)):
            raise TypeError(f"register_channel_rule takes classes of tf_keras layers. Received: {each!r}")

    def register(rule: Rule) -> Rule:
        for each in classes:
            _RULES[each], _METHODS[each] = rule, methods_of(each)
        return rule

    return register


def find_rule(layer: Any) -> tuple[ChannelRule | None, str]:
    """Returns the rule for a layer and an empty reason; or None, and why none holds for it.

    A subclass that overrides a method of its ancestor, `call` or one that `call` uses (as `convolution_op`), may
    compute something else: it has no rule by inheritance. A property may stand for a weight and counts like a method.
    The same holds for what is replaced on the object itself or a layer inside it, and on a class after its rule was
    registered.
    """
    own = type(layer)
    kind = next((each for each in own.__mro__ if each in _RULES), None)
    if kind is None or replaced_below(kind, own):
        return None, f"no channel rule for {own.__name__}"
    replaced = [f"{name} on the object" for name in replaced_on_object(layer, kind)]
    replaced += [
        f"{name} in {each.__name__}"
        for (each, name), value in _METHODS.get(kind, {}).items()
        if vars(each).get(name) is not value
    ]
    # A copy that takes over what was changed inside of it must be of the same size.
    parts = layer._flatten_layers(include_self=False)
    replaced += [f"{name} on its {type(part).__name__}" for part in parts for name in replaced_on_object(part)]
    if replaced:
        return None, f"no channel rule for {own.__name__} with another {', '.join(replaced)}"
    return _RULES[kind], ""


def rule_of(layer: Any) -> ChannelRule | None:
    """Returns the rule for a layer; None where none holds for it."""
    return find_rule(layer)[0]
