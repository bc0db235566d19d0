"""Wrapping: a copy of a model whose layers are replaced by wrapped copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfmot_swd.keras2.cloning import clone_with, copy_layer, freeze_alike, give_values
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.layers.prunable import shapes_of_parts
from tfmot_swd.pruning.wrapper import PruningWrapper


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
        if isinstance(made, PruningWrapper):
            made.part_shapes = shapes_of_parts(layer)
        return made

    wrapped = clone_with(model, make)
    for layer, inner in copies:
        freeze_alike(layer, inner)
        give_values(layer, inner)
    _check_still_shared(copies)
    return wrapped


def _check_still_shared(copies: list[tuple[Any, Any]]) -> None:
    """Raises where layers had a weight in common, as by a layer inside of both, and their copies have not."""
    shared: dict[int, tuple[Any, Any]] = {}
    for layer, inner in copies:
        for weight, copied in zip(variables_of(layer), variables_of(inner), strict=True):
            first, same = shared.setdefault(id(weight), (layer, copied))
            if copied is weight:
                raise ValueError(
                    "A copy of this layer has the very weights of the layer itself, so that pruning would change both: "
                    "have its __init__ or build make what is inside of it. "
                    f"Received: {weight.name!r} in {layer.name!r} and its copy"
                )
            if same is not copied:
                raise ValueError(
                    "Layers that have a weight in common cannot be copied one by one, as each copy would have a weight "
                    "that is trained on its own: put the common layer into one of them, or call it as a layer of the "
                    f"model. Received: {weight.name!r} in {first.name!r} and {layer.name!r}"
                )
