"""Operations in a graph of one Keras called as operations in a graph of the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import SlicingOpLambda, TFOpLambda
from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras2.graph import function_name, shape_of
from tfmot_swd.keras3.activations import operation_activation
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.compat import operation_class
from tfmot_swd.keras3.operation_table import BY_SYMBOL, OPERATIONS, SAME_OPERATIONS
from tfmot_swd.keras3.parts import NoCounterpart

# (layer of tf_keras, positional arguments to call it with, keyword arguments)
Translated = tuple[Any, list[Any], dict[str, Any]]


def operation_to_keras2(operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Translated:
    """Returns the tf_keras layer for a Keras 3 operation, and what to call it with.

    Args:
      operation: of `keras.ops`.
      args, kwargs: of the call, with symbolic tensors of tf_keras.

    Raises:
      NoCounterpart: there is none.
    """
    kind = type(operation).__name__
    kind = SAME_OPERATIONS.get(kind, kind)
    if operation_class(type(operation).__name__) is not type(operation):
        raise NoCounterpart(f"the operation {type(operation).__name__}")
    if kind in _SPECIAL:
        return _SPECIAL[kind](operation, args, kwargs)
    given = inspect.signature(operation.call).bind(*args, **kwargs).args
    pair, activation = OPERATIONS.get(kind), operation_activation(kind)
    if pair is None and activation is not None:
        _check_defaults(operation, ())
        return keras2.layers.Activation(activation, name=operation.name), list(given), {}
    if pair is None:
        raise NoCounterpart(f"keras.ops.{kind}")
    _check_defaults(operation, pair.attributes)
    settings = {there: _listed(getattr(operation, here)) for here, there in pair.attributes.items()}
    if kind == "Flip":
        if settings["axis"] is None:
            raise NoCounterpart("keras.ops.Flip of all axes")
        settings["axis"] = np.atleast_1d(settings["axis"]).tolist()
    return TFOpLambda(pair.function, name=operation.name), list(given), settings


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_defaults(operation: Any, known: Any) -> None:
    """Raises unless the attributes of an operation that are not in `known` have their defaults."""
    for name, parameter in inspect.signature(type(operation).__init__).parameters.items():
        if name in ("self", "name", *known) or not hasattr(operation, name):
            continue
        if getattr(operation, name) != parameter.default:
            raise NoCounterpart(f"keras.ops.{type(operation).__name__} with {name}={getattr(operation, name)!r}")


def _get_item(operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Translated:
    tensor, key = inspect.signature(operation.call).bind(*args, **kwargs).args
    key = tuple(key) if isinstance(key, list | tuple) else key
    if any(tf.is_tensor(each) or isinstance(each, np.ndarray) for each in tf.nest.flatten(key)):
        raise NoCounterpart("an index that is a tensor")
    return SlicingOpLambda(tf.__operators__.getitem, name=operation.name), [tensor, _recorded_key(key)], {}


def _recorded_key(key: Any) -> Any:
    """Returns an index as tf_keras records it, with slices as dictionaries, which files can hold."""
    if isinstance(key, tuple):
        return tuple(map(_recorded_key, key))
    return {"start": key.start, "stop": key.stop, "step": key.step} if isinstance(key, slice) else key


def _reshape(operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Translated:
    # Keras writes an unknown size as None or -1.
    shape = [-1 if each is None else each for each in operation.newshape]
    if shape.count(-1) > 1:
        raise NoCounterpart(f"keras.ops.Reshape to {operation.newshape}")
    return TFOpLambda(tf.reshape, name=operation.name), [args[0], shape], {}


def _split(operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Translated:
    sections, axis = operation.indices_or_sections, operation.axis
    if not isinstance(sections, int):
        size = shape_of(args[0])[axis]
        if size is None:
            raise NoCounterpart("keras.ops.Split of an axis of unknown size at given places")
        sections = np.diff([0, *np.asarray(sections).tolist(), size]).tolist()
    return TFOpLambda(tf.split, name=operation.name), [args[0], sections], {"axis": axis}


def _pad(operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Translated:
    values = inspect.signature(operation.call).bind(*args, **kwargs).arguments.get("constant_values")
    if values not in (None, 0) or operation.mode not in ("constant", "reflect", "symmetric"):
        raise NoCounterpart(f"keras.ops.Pad with mode={operation.mode!r} and constant_values={values!r}")
    widths = np.broadcast_to(operation.pad_width, (len(shape_of(args[0])), 2)).tolist()
    return TFOpLambda(tf.pad, name=operation.name), [args[0], widths], {"mode": operation.mode.upper()}


def _moved(operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Translated:
    """Axes in another order, which is a transposition."""
    # Each axis is told by its size after the move.
    axes = np.broadcast_to(0, [axis + 2 for axis in range(len(shape_of(args[0])))])
    if type(operation).__name__ == "Swapaxes":
        moved = np.swapaxes(axes, operation.axis1, operation.axis2)
    else:
        moved = np.moveaxis(axes, operation.source, operation.destination)
    return TFOpLambda(tf.transpose, name=operation.name), [args[0]], {"perm": [size - 2 for size in moved.shape]}


_SPECIAL: Mapping[str, Callable[[Any, list[Any], dict[str, Any]], Translated]] = {
    "GetItem": _get_item,
    "Reshape": _reshape,
    "Split": _split,
    "Pad": _pad,
    "Moveaxis": _moved,
    "Swapaxes": _moved,
}


def operation_to_keras3(layer: Any, args: list[Any], kwargs: dict[str, Any], name: str) -> Any:
    """Returns the symbolic Keras 3 output of an operator layer of tf_keras.

    Args:
      layer: a `TFOpLambda`, that of a slice included.
      args, kwargs: of its call, with symbolic tensors of Keras 3.
      name: of the operation.

    Raises:
      NoCounterpart: Keras 3 has no such operation; the message says which.
    """
    if isinstance(layer, SlicingOpLambda):
        tensor, key = [*args, *kwargs.values()][:2]
        return operation_class("GetItem")(name=name)(tensor, _plain_key(key))
    symbol = function_name(layer)
    given = inspect.signature(layer.function).bind(*args, **kwargs).arguments
    given = {key: value for key, value in given.items() if value is not None and key != "name"}
    if symbol == "reshape":
        return operation_class("Reshape")(tuple(int(each) for each in given["shape"]), name=name)(given["tensor"])
    if symbol == "split":
        sizes, axis = given["num_or_size_splits"], given.get("axis", 0)
        places = sizes if isinstance(sizes, int) else np.cumsum(sizes)[:-1].tolist()
        return operation_class("Split")(places, axis=axis, name=name)(given["value"])
    if symbol == "einsum":
        return operation_class("Einsum")(given["equation"], name=name)(*given["inputs"])
    if symbol == "pad":
        widths = tuple(tuple(int(each) for each in pair) for pair in given["paddings"])
        mode = str(given.get("mode", "CONSTANT")).lower()
        return operation_class("Pad")(widths, mode=mode, name=name)(given["tensor"])
    pair = BY_SYMBOL.get(symbol)
    if pair is None:
        raise NoCounterpart(f"tf.{symbol or layer.function.__name__}")
    names = pair.input_names()
    inputs = [given.pop(each) for each in names if each in given]
    settings = {here: _tupled(given.pop(there)) for here, there in pair.attributes.items() if there in given}
    parameters = inspect.signature(layer.function).parameters
    extra = [key for key, value in given.items() if not _equal(value, parameters[key].default)]
    if extra:
        raise NoCounterpart(f"tf.{symbol} with {', '.join(f'{key}={given[key]!r}' for key in extra)}")
    if pair.operation == "Flip" and len(settings["axis"]) == 1:
        # Up to 3.14, Keras takes no tuple here.
        (settings["axis"],) = settings["axis"]
    if "dtype" in settings:
        settings["dtype"] = tf.as_dtype(settings["dtype"]).name
    return operation_class(pair.operation)(**settings, name=name)(*inputs)


def _equal(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, bool | int | float | str) and value == default)


def _tupled(value: Any) -> Any:
    if isinstance(value, np.ndarray | tf.Tensor):
        value = np.asarray(value).tolist()
    return tuple(value) if isinstance(value, list) else value


def _plain_key(key: Any) -> Any:
    """Returns an index as Python writes it; tf_keras keeps slices as dictionaries."""
    if isinstance(key, list | tuple):
        return tuple(_plain_key(each) for each in key)
    return slice(key["start"], key["stop"], key["step"]) if isinstance(key, dict) else key


def fits(made: Any, call: Any) -> bool:
    """Returns whether the outputs of a translated call have the dtypes and shapes that Keras 3 has recorded.

    Keras 3 promotes dtypes, TensorFlow does not: the mean of whole numbers is one in TensorFlow.
    """
    outputs = tf.nest.flatten(made)
    return len(outputs) == len(call.outputs) and all(
        tf.as_dtype(ours.dtype).name == keras3.backend.standardize_dtype(theirs.dtype)
        and tf.TensorShape(ours.shape).is_compatible_with(tf.TensorShape(theirs.shape))
        for ours, theirs in zip(outputs, call.outputs, strict=True)
    )
