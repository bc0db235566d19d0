"""What `compile` leaves on a model, brought up to date when its layers or optimizers are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def carry_trainable_state(model: Any, twins: Mapping[int, Any]) -> None:
    """Hands on what `trainable` was when the model was compiled, which counts until it is compiled again.

    Args:
      model: a model, compiled or not.
      twins: identity of a layer → the layer in its place.
    """
    for layer, trainable in list(model._compiled_trainable_state.items()):
        if id(layer) in twins:
            model._compiled_trainable_state[twins[id(layer)]] = trainable


def edit_compile_config(model: Any, edit: Callable[[Any], Any]) -> None:
    """Replaces each argument of `compile` that a file of the model would hold by what `edit` makes of it."""
    config = getattr(model, "_compile_config", None)
    if config is not None:
        for name, given in config.config.items():
            config.config[name] = edit(given)


def renew_tuner(model: Any) -> None:
    """Tells the tuner of `steps_per_execution="auto"` of the model's present optimizer."""
    if getattr(model, "_steps_per_execution_tuner", None) is not None:
        model._steps_per_execution_tuner.optimizer = model.optimizer


def renew_functions(model: Any) -> None:
    """Has the functions that Keras has traced of a model traced again, at the next step of each kind."""
    for kind in ("train", "test", "predict"):
        if getattr(model, f"{kind}_function") is not None:
            setattr(model, f"{kind}_function", None)
            setattr(model, f"{kind}_function", getattr(model, f"make_{kind}_function")())
