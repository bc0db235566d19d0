"""Registry of layer families, looked up through the ancestry of a layer class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tfmot_swd.io.deprecation import warn_deprecated
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import class_name, layers_inside
from tfmot_swd.keras2.overrides import computes_as, methods_of, replaced_below, replaced_on_object
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import ConstantsRule, Linear, Moves, PerElement
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.sample import CallShapes

ChannelRule = Callable[[LayerCall], "Labels | list[Labels]"]
PrunableWeights = Sequence[str] | Callable[[Any], list[Any]]
MacRule = Callable[[Any, CallShapes], int | None]
MacsByWeight = Callable[[Any, CallShapes], list[tuple[Any, float]]]
Rule = TypeVar("Rule", bound=ChannelRule)


@dataclasses.dataclass(frozen=True)
class LayerFamily:
    """Properties of a layer class for pruning; None where those of the nearest ancestor hold.

    Args:
      prunable: names of the weights that are pruned and count towards the rate, dots for parts; or a function of a
        built layer that returns them.
      whole: names of kernel weights that are left dense on purpose, as those of depthwise convolutions.
      channels: the channel rule, a function of a `LayerCall`.
      macs: (layer, `CallShapes`) → multiply-accumulates of one call on one sample; None where they are unknown.
      macs_by_weight: (layer, `CallShapes`) → list of (weight, MACs per element), for a layer whose weights are not all
        used equally often.
      constants: how constant channels propagate (`tfmot_swd.layers.constants`); or a function of the layer that
        returns it.
      filters: whether the channels that it makes are filters, which structured pruning ranks with
        layers="convolutions".
      view: whether its output shares the memory of its input at inference, as for a reshape or dropout; or a function
        of the layer that returns it.
      methods: methods of the class when its channel rule was registered, to detect later replacements.
    """

    prunable: PrunableWeights | None = None
    whole: Sequence[str] | None = None
    channels: ChannelRule | None = None
    macs: MacRule | None = None
    macs_by_weight: MacsByWeight | None = None
    constants: ConstantsRule | Callable[[Any], ConstantsRule | None] | None = None
    filters: bool | None = None
    view: bool | Callable[[Any], bool] | None = None
    methods: Mapping[tuple[type, str], Any] | None = dataclasses.field(default=None, repr=False)


_FAMILIES: dict[type, LayerFamily] = {}
_SAID = tuple(field.name for field in dataclasses.fields(LayerFamily) if field.name != "methods")


def register_layer(
    *classes: type,
    like: type | None = None,
    prunable: PrunableWeights | None = None,
    whole: Sequence[str] | None = None,
    channels: ChannelRule | None = None,
    macs: MacRule | None = None,
    macs_by_weight: MacsByWeight | None = None,
    constants: ConstantsRule | Callable[[Any], ConstantsRule | None] | None = None,
    filters: bool | None = None,
    view: bool | Callable[[Any], bool] | None = None,
) -> None:
    """Registers layer classes, and their subclasses, for pruning, channel removal and cost counts.

    Needed once for a custom layer: after that `plan_pruning` counts its weights, `channel_groups` and `remove_channels`
    follow its channels, `plan_channels` ranks them, and `profile` and budgets count its multiply-accumulates. `like`
    names a class with the same computation: with `like=keras.layers.Conv2D`, a custom convolution needs the attributes
    `kernel` `(height, width, in / groups, filters)` and `bias` (None without one), an entry "filters" in its config,
    and `data_format`, `groups`, `padding` and `activation` where they differ from the defaults.

    A property given neither here nor by `like` is inherited from the nearest registered ancestor. A later registration
    of the same class replaces the properties it gives. It holds for the classes themselves even where they override
    `call`. A layer of another class, or of a subclass that overrides a method, is followed through the operations of
    its `call` where its weights act on each channel alone; otherwise it is a barrier: the channels around it stay.

    A channel rule gets a `LayerCall`, declares which weights make, follow or read which channels, and returns the
    labels of the outputs. It declares every weight: `call.whole` names those without an axis of channels. Where a rule
    fails or leaves out a weight, or where a method was replaced on the object, the layer is a barrier too, with the
    reason.

    Args:
      classes: layer classes of tf_keras.
      like: a known layer class; its properties hold where the arguments give none.
      prunable, whole, channels, macs, macs_by_weight, constants, filters, view: as in `LayerFamily`.

    Raises:
      TypeError: a class is not a tf_keras layer class, or an argument has the wrong type.
      ValueError: no class or no property is given, or `like` has none.

    >>> import tensorflow as tf, tf_keras as keras
    >>> class ClippedConv2D(keras.layers.Conv2D):
    ...     def call(self, x):
    ...         return super().call(tf.clip_by_value(x, -3.0, 3.0))
    >>> register_layer(ClippedConv2D, like=keras.layers.Conv2D)
    >>> class Mix(keras.layers.Layer):
    ...     def __init__(self, units, **options):
    ...         super().__init__(**options)
    ...         self.units = units
    ...     def build(self, input_shape):
    ...         self.matrix = self.add_weight("matrix", (input_shape[-1], self.units))
    ...     def call(self, x):
    ...         return x @ self.matrix
    ...     def get_config(self):
    ...         return {**super().get_config(), "units": self.units}
    >>> def mix(call):
    ...     units = call.new(call.layer.units)
    ...     call.consume("matrix", 0, call.channels(call.input, -1))
    ...     call.produce("matrix", 1, units)
    ...     call.resize("units", units)
    ...     return call.output(units, -1)
    >>> register_layer(Mix, channels=mix, macs=lambda layer, call: layer.matrix.shape.num_elements())
    """
    given = {
        "prunable": prunable,
        "whole": whole,
        "channels": channels,
        "macs": macs,
        "macs_by_weight": macs_by_weight,
        "constants": constants,
        "filters": filters,
        "view": view,
    }
    _check_classes(classes, "register_layer")
    _check_arguments(like, given)
    if like is not None:
        given = {name: _value_of(like, name) if value is None else value for name, value in given.items()}
    said = {name: value for name, value in given.items() if value is not None}
    if not said:
        received = "no argument but classes" if like is None else f"like={like.__name__}, an unknown class"
        raise ValueError(
            "register_layer needs a property of the classes: give like=, a known class such as "
            f"keras.layers.Conv2D, or at least one of {', '.join(_SAID)}. Received: {received}"
        )
    _register(classes, said)


def _register(classes: Sequence[type], said: Mapping[str, Any]) -> None:
    for each in classes:
        known = _FAMILIES.get(each, LayerFamily())
        methods = methods_of(each) if "channels" in said else known.methods
        _FAMILIES[each] = dataclasses.replace(known, **said, methods=methods)


def _check_classes(classes: Sequence[Any], function: str) -> None:
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, keras.layers.Layer)):
            of_keras3 = any(kind.__module__.startswith("keras.") for kind in getattr(each, "__mro__", ()))
            remedy = (
                " Channels of a layer of Keras 3 are known by its class in tf_keras: write the layer for tf_keras too, "
                f"pass both to tfmot_swd.keras3.register_layer_pair, and the one of tf_keras to {function}."
            )
            raise TypeError(
                f"{function} takes classes of tf_keras layers.{remedy if of_keras3 else ''} Received: {each!r}"
            )
    if not classes:
        raise ValueError(f"{function} takes at least one class of tf_keras layers. Received: none")


def _check_arguments(like: Any, given: Mapping[str, Any]) -> None:
    if like is not None and not (isinstance(like, type) and issubclass(like, keras.layers.Layer)):
        raise TypeError(f"like must be a class of tf_keras layers, as keras.layers.Conv2D. Received: {like!r}")
    for name in ("prunable", "whole"):
        value = given[name]
        is_names = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        if value is not None and not is_names and not (name == "prunable" and callable(value)):
            or_function = ", or a function of a layer" if name == "prunable" else ""
            raise TypeError(
                f"{name} must be a list of names of weights, as ['kernel']{or_function}. Received: {value!r}"
            )
    for name in ("channels", "macs", "macs_by_weight"):
        if given[name] is not None and not callable(given[name]):
            raise TypeError(f"{name} must be a function. Received: {given[name]!r}")
    constants = given["constants"]
    if not (constants is None or isinstance(constants, Linear | Moves | PerElement) or callable(constants)):
        raise TypeError(
            "constants must be a Linear, Moves or PerElement of tfmot_swd.layers.constants, or a function of a layer. "
            f"Received: {constants!r}"
        )
    for name in ("filters", "view"):
        value = given[name]
        if not (value is None or isinstance(value, bool) or (name == "view" and callable(value))):
            raise TypeError(f"{name} must be True or False. Received: {value!r}")


def said_of(kind: type, aspect: str) -> tuple[type | None, Any]:
    """Returns the nearest class in the ancestry of `kind` whose family has a property, and its value.

    (None, None) if there is none.

    Args:
      kind: a layer class.
      aspect: the property, a field of `LayerFamily`.
    """
    for each in kind.__mro__:
        family = _FAMILIES.get(each)
        if family is not None:
            value = getattr(family, aspect)
            if value is not None:
                return each, value
    return None, None


def _value_of(kind: type, aspect: str) -> Any:
    return said_of(kind, aspect)[1]


def find_rule(layer: Any) -> tuple[ChannelRule | None, str]:
    """Returns (channel rule, "") for a layer, or (None, reason) where no rule holds for it.

    A subclass that overrides a method of its ancestor, `call` or one that `call` uses (as `convolution_op`), may
    compute something else and does not inherit the rule. Properties count like methods, as one may stand for a weight.
    The same holds for methods replaced on the object itself or a layer inside it, and on a class after its rule was
    registered.
    """
    own = type(layer)
    kind, rule = said_of(own, "channels")
    if kind is None or replaced_below(kind, own):
        return None, f"no channel rule for {class_name(layer)}"
    replaced = [f"{name} on the object" for name in replaced_on_object(layer, kind)]
    replaced += [
        f"{name} in {each.__name__}"
        for (each, name), value in (_FAMILIES[kind].methods or {}).items()
        if vars(each).get(name) is not value
    ]
    # Changes inside a layer are carried over to copies of the same size only.
    parts = layers_inside(layer, itself=False)
    replaced += [f"{name} on its {type(part).__name__}" for part in parts for name in replaced_on_object(part)]
    if replaced:
        return None, f"no channel rule for {own.__name__} with another {', '.join(replaced)}"
    return rule, ""


def rule_of(layer: Any) -> ChannelRule | None:
    """Returns the channel rule for a layer, or None."""
    return find_rule(layer)[0]


def constants_of(layer: Any) -> ConstantsRule | None:
    """Returns how constants propagate through a layer; None where that is unknown, or methods were overridden."""
    kind, rule = said_of(type(layer), "constants")
    if kind is None or not computes_as(layer, kind):
        return None
    found: ConstantsRule | None = rule(layer) if callable(rule) else rule
    return found


def makes_filters(layer: Any) -> bool:
    """Returns whether the channels that a layer makes are filters, as those of a convolution."""
    return bool(_value_of(type(layer), "filters"))


def is_view(layer: Any) -> bool:
    """Returns whether a layer returns its input unchanged at inference, in the same memory."""
    view = _value_of(type(layer), "view")
    return bool(view(layer) if callable(view) else view)


def register_channel_rule(*classes: type) -> Callable[[Rule], Rule]:
    """Deprecated: the decorator form of `register_layer(*classes, channels=rule)`.

    Raises:
      TypeError: a class is not a tf_keras layer class.
    """
    warn_deprecated("register_channel_rule(MyLayer)(rule)", "register_layer(MyLayer, channels=rule)")
    _check_classes(classes, "register_channel_rule")

    def register(rule: Rule) -> Rule:
        _register(classes, {"channels": rule})
        return rule

    return register
