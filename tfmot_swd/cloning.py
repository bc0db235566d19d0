"""Copies of Keras models, layer by layer, that share no variable with the original."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfmot_swd._compat import keras
from tfmot_swd.pruning_wrapper import PruningWrapper


def copy_layer(layer: Any) -> Any:
    """Returns a new layer of the same config; its weights are still its own initial ones."""
    return type(layer).from_config(layer.get_config())


def wrap_with(model: Any, wrap: Callable[[Any, Any], Any]) -> Any:
    """Returns a copy of `model` with its weights, every layer replaced by `wrap(layer, copy of it)`.

    Outputs keep their names: a wrapper that makes one takes the name of its layer.
    """
    outputs = {id(tensor._keras_history.layer) for tensor in model.outputs}
    copies: list[tuple[Any, Any]] = []

    def make(layer: Any) -> Any:
        copies.append((layer, copy_layer(layer)))
        made = wrap(*copies[-1])
        if id(layer) in outputs and isinstance(made, PruningWrapper):
            made.keep_name()
        return made

    wrapped = clone_with(model, make)
    for layer, inner in copies:
        inner.set_weights(layer.get_weights())
    return wrapped


def clone_with(model: Any, make: Callable[[Any], Any]) -> Any:
    """Returns a copy of `model` with every layer replaced by `make(layer)`, nested models followed.

    A layer used in several places, nested models included, stays one layer: it is made once.
    """
    made: dict[int, Any] = {}

    def replace(layer: Any) -> Any:
        if id(layer) not in made:
            made[id(layer)] = clone(layer) if isinstance(layer, keras.Model) else make(layer)
        return made[id(layer)]

    def clone(part: Any) -> Any:
        copied = keras.models.clone_model(part, clone_function=replace)
        if not part.trainable:
            # Setting it to True would unfreeze every layer inside.
            copied.trainable = False
        return copied

    return clone(model)
