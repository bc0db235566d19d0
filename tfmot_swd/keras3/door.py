"""Where Keras 3 models come in and go out, without Keras 3 being loaded until there is one."""

from __future__ import annotations

import inspect
from typing import Any


def is_keras3(item: Any, name: str | None = None) -> bool:
    """Returns whether an object is of a class of Keras 3, or of a subclass: a model, layer, optimizer, callback…

    Args:
      item: any object.
      name: of the class of Keras 3, such as "Metric"; None for all.

    >>> import keras, tf_keras
    >>> is_keras3(keras.layers.Dense(2)), is_keras3(tf_keras.layers.Dense(2))
    (True, False)
    >>> is_keras3(keras.layers.Dense(2), "Layer"), is_keras3(keras.layers.Dense(2), "Model")
    (True, False)
    """
    return _derives(type(item), name)


def is_keras3_class(item: Any) -> bool:
    """Returns whether an object is itself a class of Keras 3, or a subclass of one."""
    return isinstance(item, type) and _derives(item, None)


def is_keras3_function(item: Any, *modules: str) -> bool:
    """Returns whether an object is a function of one of these modules of Keras 3, such as "losses"."""
    # A class has a module too.
    home = item.__module__ or "" if inspect.isfunction(item) else ""
    return any(home.startswith(f"keras.src.{each}.") for each in modules)


def is_keras3_model(item: Any) -> bool:
    """Returns whether an object is a Keras 3 model of any kind."""
    return is_keras3(item, "Model")


def _derives(kind: type, name: str | None) -> bool:
    bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "keras"]
    return any(name in (None, base.__name__) for base in bases)


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
