"""Early checks of what users pass in, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from tfmot_swd._compat import Functional, keras, variables_of


def check_is_model(model: Any, kind: str = "model") -> None:
    """Raises a TypeError unless `model` is a tf_keras model of any kind; `kind` says what is needed."""
    if isinstance(model, keras.Model):
        return
    kinds = [base.__module__.split(".")[0] for base in type(model).__mro__]
    if "keras" in kinds:
        raise TypeError(
            "This is a Keras 3 model, and TensorFlow Model Optimization works on Keras 2: build it "
            "with `import tf_keras as keras`, or set TF_USE_LEGACY_KERAS=1 before TensorFlow is "
            f"imported. Received: {type(model).__module__}.{type(model).__name__}"
        )
    raise TypeError(f"A tf_keras {kind} is needed. Received: {type(model).__name__}")


def check_keras_model(model: Any) -> None:
    """Raises unless `model` is a built Sequential or Functional tf_keras model.

    Raises:
      TypeError: not a tf_keras model (a Keras 3 model, or no model at all).
      ValueError: a subclassed model, or one that is not built.
    """
    check_is_model(model, "Sequential or Functional model")
    _check_graph(model)
    check_is_built(model)


def check_is_built(model: Any) -> None:
    """Raises a ValueError where the weights of a model do not exist yet."""
    if not model.built:
        raise ValueError(
            "The model is not built, so its weights do not exist yet: give the first layer an "
            f"input_shape, or call model.build(input_shape). Received: {model.name!r}, not built"
        )


def _check_graph(model: Any) -> None:
    """Raises unless the model, and every model inside it, is a graph of layers."""
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
    """Whether cloning keeps the class: Keras turns others into plain models without a word."""
    plain = (keras.Sequential, Functional, keras.Model)
    return type(model) in plain or type(model).__init__ in {kind.__init__ for kind in plain}


def check_skip(skip: Any, known: Collection[str]) -> None:
    """Raises unless `skip` is a list of names of layers that are `known`.

    Raises:
      TypeError: no list, such as the name itself.
      ValueError: it names a layer that does not exist.
    """
    if isinstance(skip, str) or not isinstance(skip, Collection):
        raise TypeError(f"skip must be a list of names of layers, as ['conv']. Received: {skip!r}")
    unknown = sorted({each for each in skip if each not in known}, key=str)
    if unknown:
        raise ValueError(f"skip names layers that the model does not have. Received: {unknown}")


def check_finite_weights(model: Any) -> None:
    """Raises a ValueError that names the weights of `model` that hold NaN or infinity."""
    broken = [
        weight.name
        for weight in variables_of(model)
        if weight.dtype.is_floating and not np.isfinite(np.float32(weight.numpy())).all()
    ]
    if broken:
        raise ValueError(
            "Weights that are NaN or infinite cannot be ranked by magnitude: training has diverged, or "
            f"the file is damaged; load an earlier checkpoint. Received: {', '.join(broken)}"
        )
