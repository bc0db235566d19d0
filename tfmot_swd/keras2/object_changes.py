"""Changes on layer objects that their configs do not record, carried over to copies.

A config does not record a method assigned to the object, a variable set on it, or a computed kernel: without them a
copy would compute something else.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras, master_variable
from tfmot_swd.keras2.function_graphs import names_and_seeds_kept
from tfmot_swd.keras2.graph import calls_another_function
from tfmot_swd.keras2.overrides import replaced_on_object

Copy = Callable[[Any], Any]
_PLAIN = (bool, int, float, complex, str, bytes, np.generic, np.ndarray, tf.DType, tf.TensorShape)


def is_changed(layer: Any) -> bool:
    """Returns whether a method was replaced on a layer object or one inside it, or the function of an operator was."""
    return any(replaced_on_object(part) or calls_another_function(part) for part in layer._flatten_layers())


def carry_changes(layer: Any, copy: Any, copied: Copy) -> None:
    """Applies the changes on the object `layer` to `copy`, which is built first where possible.

    Functions that hold the layer, its parts or its variables are rebound to those of the copy. What the class itself
    sets on its objects, for example in `build`, is on the copy already.

    Args:
      layer: a built layer.
      copy: one of the same config.
      copied: returns a copy of a layer inside.
    """
    shape = getattr(layer, "_build_input_shape", None)
    if not copy.built and shape is not None:
        with tf.name_scope(copy._name_scope()):
            copy.build(shape)
        copy.built = True
    carry_values(layer, copy, copied)
    twins = _twins(layer, copy)
    for part in layer._flatten_layers():
        twin = twins.get(id(part))
        if twin is None:
            continue
        if calls_another_function(part):
            twin.function = part.function
        for name, value in replaced_on_object(part).items():
            if not _is_same_code(value, vars(twin).get(name)):
                setattr(twin, name, _rebound(value, twins, {}))


def carry_values(layer: Any, copy: Any, copied: Copy) -> None:
    """Sets on `copy` the variables, layers and computed tensors that only `layer` has as attributes."""
    weights = {id(weight) for weight in layer.weights}
    for name, value in list(vars(layer).items()):
        held = vars(copy).get(name)
        if id(value) in weights and held is None:
            fresh = tf.Variable(master_variable(value), trainable=value.trainable, name=name)
            setattr(copy, name, fresh)
        elif isinstance(value, keras.layers.Layer) and held is None and not name.startswith("_"):
            setattr(copy, name, copied(value))
        elif isinstance(value, tf.Tensor) and hasattr(value, "numpy") and (held is None or hasattr(held, "shape")):
            setattr(copy, name, value)


def own_attributes(layer: Any) -> dict[str, Any]:
    """Returns what a layer holds beside its weights and what Keras sets on every layer, by name."""
    return {name: value for name, value in vars(layer).items() if _is_own(name) and not isinstance(value, tf.Variable)}


def first_other_attribute(layer: Any, copy: Any, names: Iterable[str]) -> str:
    """Returns the first of these names by which a layer holds something else than a copy of its config; "" if none is.

    Weights are left out. Objects of other classes than those of Keras and TensorFlow count as different.
    """
    held, made = own_attributes(layer), vars(copy)
    return next((name for name in names if name in held and not _is_alike(held[name], made.get(name), set())), "")


@contextlib.contextmanager
def reads_noted(item: Any, names: set[str]) -> Iterator[None]:
    """Adds to `names` those of the attributes of an object that are read in the block."""
    kind = type(item)

    class Noting(kind):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            names.add(name)
            return super().__getattribute__(name)

    # Not by Keras's own way of setting, which tracks what it is given.
    object.__setattr__(item, "__class__", Noting)
    try:
        yield
    finally:
        object.__setattr__(item, "__class__", kind)


def _is_own(name: str) -> bool:
    """Returns whether an attribute of a layer is set by its class, and not by Keras or TensorFlow on all of them."""
    return name not in _of_every_layer() and not name.startswith("_self_")


@functools.cache
def _of_every_layer() -> frozenset[str]:
    """Returns the names of the attributes that Keras sets on a layer that has been called."""
    with names_and_seeds_kept():
        layer = keras.layers.Layer()
        layer(keras.Input((1,)))
    return frozenset(vars(layer))


def _is_alike(one: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
    """Returns whether two attributes have the same effect, as far as can be told."""
    if one is other or (id(one), id(other)) in seen:
        return True
    seen.add((id(one), id(other)))
    if isinstance(one, tf.Variable):
        return isinstance(other, tf.Variable)
    if isinstance(one, dict):
        same = isinstance(other, dict) and one.keys() == other.keys()
        return same and all(_is_alike(one[key], other[key], seen) for key in one)
    if isinstance(one, list | tuple):
        same = isinstance(other, list | tuple) and len(one) == len(other)
        return same and all(_is_alike(a, b, seen) for a, b in zip(one, other, strict=True))
    if isinstance(one, (*_PLAIN, tf.Tensor)):
        return type(one) is type(other) and bool(np.array_equal(one, other))
    if isinstance(one, types.FunctionType | types.MethodType):
        return _is_same_function(one, other, seen)
    if isinstance(one, keras.layers.Layer):
        return type(one) is type(other) and _is_alike(one.get_config(), other.get_config(), seen)
    # Initializers, regularizers, generators of random numbers, specifications of inputs.
    return type(one) is type(other) and type(one).__module__.startswith(("tf_keras.", "tensorflow."))


def _is_same_function(one: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
    functions = [getattr(each, "__func__", each) for each in (one, other)]
    if not all(isinstance(each, types.FunctionType) for each in functions) or not _is_same_code(*functions):
        return False
    kept = [([cell.cell_contents for cell in each.__closure__ or ()], each.__defaults__) for each in functions]
    return _is_alike(kept[0], kept[1], seen)


def outside_losses(layer: Any) -> list[Any]:
    """Returns the functions passed to `add_loss` from outside a layer; they close over objects that a copy lacks."""
    return list(getattr(layer, "_callable_losses", ()))


def check_weights_fit(layer: Any, copy: Any) -> None:
    """Raises a ValueError unless a copy has weights of the same shapes as the layer."""
    # Keras counts the vocabulary of a lookup as a weight, which has no shape.
    shapes = [[tuple(getattr(weight, "shape", ())) for weight in each.weights] for each in (layer, copy)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "A copy of a layer is made from its config, and this one has other weights than its config says: create "
            "all of them in build, from what get_config returns. "
            f"Received: layer {layer.name!r} with weights {shapes[0]}, a copy with {shapes[1]}"
        )


def _twins(layer: Any, copy: Any) -> dict[int, Any]:
    """Returns the counterparts on the copy of a layer, its parts and its variables, by identity."""
    found: dict[int, Any] = {}
    parts = [list(each._flatten_layers()) for each in (layer, copy)]
    for part, twin in zip(*parts, strict=False):
        found[id(part)] = twin
        for name, value in vars(part).items():
            if isinstance(value, tf.Variable) and isinstance(vars(twin).get(name), tf.Variable):
                found[id(value)] = vars(twin)[name]
                found.setdefault(id(master_variable(value)), master_variable(vars(twin)[name]))
    return found


def _is_same_code(one: Any, other: Any) -> bool:
    """Returns whether two functions have the same code, as functions that a class sets on each of its objects."""
    codes = [getattr(getattr(each, "__func__", each), "__code__", each) for each in (one, other)]
    return other is not None and codes[0] == codes[1]


def _rebound(value: Any, twins: dict[int, Any], done: dict[int, Any]) -> Any:
    """Returns a function that holds the counterparts of what `value` holds; anything but a function as is."""
    if id(value) in twins:
        return twins[id(value)]
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, types.MethodType):
        return types.MethodType(_rebound(value.__func__, twins, done), _rebound(value.__self__, twins, done))
    if isinstance(value, functools.partial):
        args = [_rebound(each, twins, done) for each in value.args]
        kwargs = {name: _rebound(each, twins, done) for name, each in value.keywords.items()}
        return functools.partial(_rebound(value.func, twins, done), *args, **kwargs)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_rebound(each, twins, done) for each in value)
    return _rebound_function(value, twins, done) if isinstance(value, types.FunctionType) else value


def _rebound_function(function: Any, twins: dict[int, Any], done: dict[int, Any]) -> Any:
    # A function may hold itself.
    done[id(function)] = function
    cells = []
    for cell in function.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:
            cells.append(cell)
            continue
        bound = _rebound(held, twins, done)
        cells.append(cell if bound is held else types.CellType(bound))
    names = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    outer = {name: bound for name, held in names.items() if (bound := _rebound(held, twins, done)) is not held}
    defaults = _rebound(function.__defaults__, twins, done)
    unchanged = all(one is other for one, other in zip(cells, function.__closure__ or (), strict=True))
    same_defaults = all(one is other for one, other in zip(defaults or (), function.__defaults__ or (), strict=True))
    if unchanged and same_defaults and not outer:
        return function
    scope = {**function.__globals__, **outer} if outer else function.__globals__
    made = types.FunctionType(function.__code__, scope, function.__name__, defaults, tuple(cells) or None)
    made.__kwdefaults__, made.__qualname__ = function.__kwdefaults__, function.__qualname__
    made.__dict__.update(function.__dict__)
    done[id(function)] = made
    return made
