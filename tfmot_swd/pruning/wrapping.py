"""Wrapping: a copy of a model whose layers are replaced by wrapped copies."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from absl import logging

from tfmot_swd.keras2.cloning import clone_with, copy_layer, freeze_alike, give_values
from tfmot_swd.keras2.compat import PruningPolicy, variables_of
from tfmot_swd.keras2.graph import layer_behind
from tfmot_swd.keras2.inner_layers import shapes_of_parts
from tfmot_swd.keras3.door import opened
from tfmot_swd.pruning.dense_kernels import warn_of_dense_kernels
from tfmot_swd.pruning.plan import pruning_plan
from tfmot_swd.pruning.wrapped_models import check_can_wrap, mark_origin
from tfmot_swd.pruning.wrapper import PruningWrapper


def wrap_prunable_layers(
    model: Any,
    wrap: Callable[[Any], PruningWrapper],
    *,
    targets: str = "kernels",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    pruning_policy: PruningPolicy | None = None,
) -> Any:
    """Returns a copy of `model` with wrappers around its layers with prunable weights; the others are copied.

    Layers that stay dense are listed in the log; kernel weights of no known kind are named by a `PruningWarning`.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, neither wrapped nor quantization-aware.
      wrap: copy of a layer → wrapped layer.
      targets, skip, only, pruning_policy: the choice of layers, as in `plan_pruning`.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3.
      ValueError: it cannot be wrapped, or has nothing to prune; `skip` or `only` names a layer that does not exist.
    """
    given, model = model, opened(model)
    check_can_wrap(model)
    if pruning_policy is not None:
        pruning_policy.ensure_model_supports_pruning(model)
    plan = pruning_plan(model, targets=targets, skip=skip, only=only, pruning_policy=pruning_policy)
    wanted = plan.layers()
    if not wanted:
        raise ValueError(
            "Nothing in this model can be pruned: no selected layer has weights that a pruning rate counts. "
            f"Received: {plan.summary()}"
        )
    wrapped = wrap_with(model, lambda layer, inner: wrap(inner) if id(layer) in wanted else inner)
    mark_origin(wrapped, given)
    warn_of_dense_kernels(plan)
    if plan.skipped:
        logging.info("tfmot_swd leaves dense: %s", plan.summary())
    return wrapped


def wrap_with(model: Any, wrap: Callable[[Any, Any], Any]) -> Any:
    """Returns a copy of `model` with its weights, each layer replaced by `wrap(layer, copy of it)`.

    Outputs keep their names: a wrapper that makes one takes the name of its layer.
    """
    outputs = {id(layer_behind(tensor)) for tensor in model.outputs}
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
    """Raises where layers share a weight, such as that of a layer inside both, and their copies do not."""
    shared: dict[int, tuple[Any, Any]] = {}
    for layer, inner in copies:
        for weight, copied in zip(variables_of(layer), variables_of(inner), strict=True):
            first, same = shared.setdefault(id(weight), (layer, copied))
            if copied is weight:
                raise ValueError(
                    "A copy of this layer shares weights with the layer itself, so pruning would change both: "
                    "have its __init__ or build create the layers inside it. "
                    f"Received: {weight.name!r} in {layer.name!r} and its copy"
                )
            if same is not copied:
                raise ValueError(
                    "Layers that share a weight cannot be copied one by one, as each copy would train a separate "
                    "weight: put the shared layer into one of them, or call it as a layer of the "
                    f"model. Received: {weight.name!r} in {first.name!r} and {layer.name!r}"
                )
