"""Layer class → channel rule, looked up through the ancestry of the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tfmot_swd._compat import keras
from tfmot_swd.channels.call import LayerCall
from tfmot_swd.channels.labels import Labels

ChannelRule = Callable[[LayerCall], "Labels | list[Labels]"]
Rule = TypeVar("Rule", bound=ChannelRule)

_RULES: dict[type, ChannelRule] = {}


def register_channel_rule(*classes: type) -> Callable[[Rule], Rule]:
    """Decorator: the function below is the channel rule of these layer classes and of what inherits from them.

    A rule gets a `LayerCall`, says which weights make, follow or read which channels, and returns the labels of the
    outputs. A rule registered again replaces the first.

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
            _RULES[each] = rule
        return rule

    return register


# What a subclass may define and still compute what its ancestor does.
_HARMLESS = frozenset({"build", "get_config", "from_config", "compute_output_shape"})


def rule_of(layer: Any) -> ChannelRule | None:
    """Returns the rule for a layer; None where neither its class nor an ancestor of it has one.

    A subclass that overrides a method of its ancestor, `call` or one that `call` uses (as `convolution_op`), may
    compute something else: it has no rule by inheritance. A property may stand for a weight and counts like a method.
    """
    overridden: set[str] = set()
    for kind in type(layer).__mro__:
        if kind in _RULES:
            return None if any(hasattr(kind, name) for name in overridden) else _RULES[kind]
        for name, value in vars(kind).items():
            if isinstance(value, property):
                return None
            if name == "__call__" or (not name.startswith("__") and callable(value)):
                overridden.add(name)
        overridden -= _HARMLESS
    return None
