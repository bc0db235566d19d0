"""Where Keras 3 models come in and go out, without Keras 3 being loaded until there is one."""

from __future__ import annotations

from typing import Any


def is_keras3(item: Any) -> bool:
    """Returns whether an object is of a class of Keras 3, or of a subclass: a model, layer, optimizer, callback…

    >>> import keras, tf_keras
    >>> is_keras3(keras.layers.Dense(2)), is_keras3(tf_keras.layers.Dense(2))
    (True, False)
    """
    return any(base.__module__.partition(".")[0] == "keras" for base in type(item).__mro__)


def is_keras3_model(item: Any) -> bool:
    """Returns whether an object is a Keras 3 model of any kind."""
    if not is_keras3(item):
        return False
    import keras

    return isinstance(item, keras.Model)


def opened(model: Any) -> Any:
    """Returns the tf_keras model of a Keras 3 model, by `from_keras3`; anything else as it is, for later checks.

    Entries of the package call this first.
    """
    return from_keras3(model) if is_keras3_model(model) else model


def from_keras3(model: Any) -> Any:
    """Returns a tf_keras model that computes what a Keras 3 model computes, and shares nothing with it."""
    from tfmot_swd.keras3.import_model import import_model

    return import_model(model)


def to_keras3(model: Any) -> Any:
    """Returns a Keras 3 model that computes what a tf_keras model computes, and shares nothing with it."""
    from tfmot_swd.keras3.export_model import export_model

    return export_model(model)
