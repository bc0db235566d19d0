"""Early checks of models and arguments, and the category of all warnings about pruning."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import Functional, keras, variables_of
from tfmot_swd.keras2.pruning_warning import PruningWarning as PruningWarning
from tfmot_swd.keras2.weight_values import is_finite


def check_is_model(model: Any, kind: str = "model") -> None:
    """Raises a TypeError unless `model` is a tf_keras model of any kind; `kind` is what the message asks for.

    Functions that take Keras 3 models have converted them before.
    """
    if isinstance(model, keras.Model):
        return
    kinds = [base.__module__.split(".")[0] for base in type(model).__mro__]
    if "keras" in kinds:
        raise TypeError(
            f"A tf_keras {kind} is needed here, as TensorFlow Model Optimization trains and prunes on tf_keras: pass "
            "what prune_selective_decay, prune_progressive_gradient or prune_low_magnitude has made of the Keras 3 "
            "model, or tfmot_swd.keras3.from_keras3(model). "
            f"Received: a Keras 3 object of class {type(model).__module__}.{type(model).__name__}"
        )
    raise TypeError(f"A tf_keras {kind} is needed. Received: {type(model).__name__}")


def check_keras_model(model: Any) -> None:
    """Raises unless `model` is a built Sequential or Functional tf_keras model.

    Raises:
      TypeError: `model` is not a tf_keras model (a Keras 3 model that was not converted, or no model at all).
      ValueError: the model, or a nested one, is subclassed; the model is not built.
    """
    check_is_model(model, "Sequential or Functional model")
    _check_graph(model)
    check_is_built(model)


def check_is_built(model: Any) -> None:
    """Raises a ValueError unless the weights of a model exist."""
    if not model.built:
        raise ValueError(
            "The model is not built, so its weights do not exist yet: give the first layer an "
            f"input_shape, or call model.build(input_shape). Received: {model.name!r}, not built"
        )


def _check_graph(model: Any) -> None:
    """Raises a ValueError unless the model and all nested models are Sequential or Functional."""
    is_graph = isinstance(model, (keras.Sequential, Functional))
    if not is_graph or not _can_be_cloned(model):
        raise ValueError(
            "Subclassed models cannot be taken apart into layers: build the network as a Sequential or "
            "Functional model, wrap that, and put a class with your own train_step around the wrapped "
            f"one. Received: {model.name!r} of class {type(model).__name__}"
        )
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _check_graph(layer)


def _can_be_cloned(model: Any) -> bool:
    """Returns whether cloning keeps the class: Keras silently turns others into plain models."""
    plain = (keras.Sequential, Functional, keras.Model)
    return type(model) in plain or type(model).__init__ in {kind.__init__ for kind in plain}


def check_finite_weights(model: Any) -> None:
    """Raises a ValueError that names the weights of `model` with NaN or infinity, if there are any."""
    broken = [weight.name for weight in variables_of(model) if weight.dtype.is_floating and not is_finite(weight)]
    if broken:
        raise ValueError(
            "Weights that are NaN or infinite cannot be ranked by magnitude: training has diverged, or "
            f"the file is damaged; load an earlier checkpoint. Received: {', '.join(broken)}"
        )


def whole_number(name: str, value: Any, least: int, unit: str = "") -> int:
    """Returns a count given as an int, a float without a fraction, or a scalar of NumPy or TensorFlow, as an int.

    Args:
      name: of the argument, for the message.
      value: the count.
      least: the smallest count allowed.
      unit: what is counted, for the message.

    Raises:
      ValueError: `value` is anything else, or smaller than `least`.

    >>> whole_number("end_step", 100.0, least=1)
    100
    """
    given = value.numpy() if tf.is_tensor(value) and hasattr(value, "numpy") else value
    given = given.item() if isinstance(given, np.ndarray | np.generic) and given.ndim == 0 else given
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if is_number and float(given).is_integer() and given >= least:
        return int(given)
    unknown = "; a dataset of unknown or infinite size has no cardinality" if is_number and given < 0 else ""
    of = f" of {unit}" if unit else ""
    raise ValueError(f"{name} must be a whole number{of}, {least} or more. Received: {name}={value!r}{unknown}")
