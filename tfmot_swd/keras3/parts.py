"""Initializers, regularizers, constraints and dtype policies of layers, both ways.

Those of Keras are made anew by class and config. An object of the user's is carried: an object of the other Keras that
holds it and calls it.
"""

from __future__ import annotations

import inspect
from typing import Any

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.compat import on_tensorflow
from tfmot_swd.keras3.inner_objects import entry_of, from_entry


class NoCounterpart(ValueError):
    """A layer, argument or operation of one Keras that the other has not; the message says which."""


# How the names of arguments end → the module of both packages that their objects are of.
KINDS = {"initializer": "initializers", "regularizer": "regularizers", "constraint": "constraints"}
_POLICIES = frozenset(
    {"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"}
    # Of layers that encode and look up.
    | {"bool", "int8", "uint8", "int16", "int32", "int64", "string"}
)


def kind_of(argument: str) -> str | None:
    """Returns the module of the objects that an argument of a layer takes, as "initializers"; None for other arguments.

    >>> kind_of("kernel_regularizer"), kind_of("filters")
    ('regularizers', None)
    """
    return next((home for end, home in KINDS.items() if argument.endswith(end)), None)


class _Carried:
    """Base of the tf_keras objects that hold an object of Keras 3 and call it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {"inner": entry_of(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(from_entry(config["inner"]))


@keras2.utils.register_keras_serializable("tfmot_swd")
class CarriedInitializer(_Carried, keras2.initializers.Initializer):
    """A Keras 3 initializer of the user's, in tf_keras."""

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        return self.inner(tuple(shape), dtype)


@keras2.utils.register_keras_serializable("tfmot_swd")
class CarriedRegularizer(_Carried, keras2.regularizers.Regularizer):
    """A Keras 3 regularizer of the user's, in tf_keras."""


@keras2.utils.register_keras_serializable("tfmot_swd")
class CarriedConstraint(_Carried, keras2.constraints.Constraint):
    """A Keras 3 constraint of the user's, in tf_keras."""


_CARRIED = {
    "initializers": CarriedInitializer,
    "regularizers": CarriedRegularizer,
    "constraints": CarriedConstraint,
}


def keras2_part(part: Any, home: str) -> Any:
    """Returns the tf_keras object of a Keras 3 initializer, regularizer or constraint.

    Args:
      part: the object, or None.
      home: "initializers", "regularizers" or "constraints".

    Raises:
      NoCounterpart: an object of the user's, and Keras 3 does not compute with TensorFlow.
    """
    if part is None:
        return None
    made = _same_class(part, getattr(keras3, home), getattr(keras2, home))
    if made is not None:
        return made
    if not on_tensorflow():
        raise NoCounterpart(f"{type(part).__name__}, which is not of Keras, on the {keras3.backend.backend()} backend")
    try:
        part.get_config()
    except NotImplementedError as error:
        raise ValueError(
            "tf_keras saves and copies what a layer is configured with: write get_config for this class. "
            f"Received: {type(part).__name__} without it"
        ) from error
    return _CARRIED[home](part)


def keras3_part(part: Any, home: str) -> Any:
    """Returns the Keras 3 object of a tf_keras initializer, regularizer or constraint.

    Args:
      part: the object, or None.
      home: "initializers", "regularizers" or "constraints".

    Raises:
      NoCounterpart: an object of the user's.
    """
    if part is None:
        return None
    if isinstance(part, _Carried):
        return part.inner
    made = _same_class(part, getattr(keras2, home), getattr(keras3, home))
    if made is None:
        raise NoCounterpart(f"{type(part).__name__}, which is not of Keras")
    return made


def _same_class(part: Any, home: Any, other: Any) -> Any:
    """Returns an object of the class of the same name in `other`; None where there is none that says the same."""
    name = type(part).__name__
    names = {name, name.removesuffix("Initializer"), name.removesuffix("V2")}
    if not any(getattr(home, each, None) is type(part) for each in names):
        return None
    kind = next((getattr(other, each) for each in sorted(names) if isinstance(getattr(other, each, None), type)), None)
    if kind is None:
        return None
    takes = inspect.signature(kind.__init__).parameters
    config = part.get_config()
    # A generator that others may share has no counterpart; a seed that is not given has: none.
    given = {key: None if isinstance(value, dict) else value for key, value in config.items()}
    if any(value is not None for key, value in given.items() if key not in takes):
        return None
    return kind(**{key: value for key, value in given.items() if key in takes})


def policy_of(layer: Any) -> str:
    """Returns the name of the dtype policy of a layer or model, by which the other Keras knows it too.

    Raises:
      NoCounterpart: a policy of quantized weights.
    """
    name = str(layer.dtype_policy.name)
    if name not in _POLICIES:
        raise NoCounterpart(f"the dtype policy {name!r}")
    return name
