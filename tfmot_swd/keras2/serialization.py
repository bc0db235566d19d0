"""Registered objects inside configs: criteria in the configs of wrappers, costs in those of budgets."""

from __future__ import annotations

import inspect
import json
from typing import Any

from tfmot_swd.keras2.compat import keras


def as_entry(part: Any) -> dict[str, Any]:
    """Returns the entry of an object in another object's config: the registered name of its class, and its config.

    Plain dictionaries come back unchanged from JSON, `.keras` and HDF5 files; `from_entry` makes the object of them.

    Args:
      part: an object with `get_config`, of a class registered with `keras.utils.register_keras_serializable`.

    >>> @keras.utils.register_keras_serializable("docs")
    ... class Scale:
    ...     def __init__(self, factor):
    ...         self.factor = factor
    ...     def get_config(self):
    ...         return {"factor": self.factor}
    ...     @classmethod
    ...     def from_config(cls, config):
    ...         return cls(**config)
    >>> as_entry(Scale(2))
    {'class_name': 'docs>Scale', 'config': {'factor': 2}}
    >>> from_entry(as_entry(Scale(2))).factor
    2
    """
    return {"class_name": keras.utils.get_registered_name(type(part)), "config": part.get_config()}


def from_entry(entry: Any) -> Any:
    """Returns the object of an entry made by `as_entry`.

    Args:
      entry: a dictionary with "class_name" and "config".

    Raises:
      ValueError, TypeError: the class is not registered in this process: import the module that registers it.
    """
    return keras.utils.deserialize_keras_object(entry)


def copied_by_config(part: Any) -> tuple[Any, str]:
    """Returns a copy of an object of a user's class by its config, and ""; or None, and why there is none.

    A config without an argument of the class makes another object without a word, so such a one is refused.

    Args:
      part: an object with `get_config`, of tf_keras or Keras 3.

    >>> class Within(keras.metrics.Mean):
    ...     def __init__(self, tolerance=0.1, **options):
    ...         super().__init__(**options)
    >>> copied_by_config(Within(0.5))
    (None, 'no tolerance in its config')
    """
    given = inspect.signature(type(part).__init__).parameters.values()
    named = {each.name for each in list(given)[1:] if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    try:
        missing = sorted(named - part.get_config().keys())
        if missing:
            return None, f"no {', '.join(missing)} in its config"
        return type(part).from_config(part.get_config()), ""
    except Exception as error:  # Whatever the code of the user's raises.
        return None, f"{type(error).__name__}: {error}"


def config_key(item: Any) -> str:
    """Returns the config of an object as text, by which objects of one class are the same.

    As text, since tuples in a config come back from JSON as lists.
    """
    return json.dumps(item.get_config(), sort_keys=True, default=repr)


def check_registered(part: Any, name: str, why: str) -> None:
    """Raises a ValueError unless the class of `part` is registered with Keras.

    Checked early, as a model that holds the object would be saved and fail to load.

    Args:
      part: the object.
      name: its kind in the message, such as "criterion".
      why: the reason in the message: what is made from its config.
    """
    kind = type(part)
    if keras.utils.get_registered_object(keras.utils.get_registered_name(kind)) is not kind:
        raise ValueError(
            f"The class of a {name} must be registered, as {why}: decorate it with "
            f"@keras.utils.register_keras_serializable(package). Received: {kind.__name__}"
        )
