"""End of a pruning: the final pruning step at once, and stripping to a plain Keras model."""

from __future__ import annotations

import warnings
from typing import Any

from tfmot_swd.channels.dead import remove_dead_channels
from tfmot_swd.channels.groups import ChannelGroups, channel_groups
from tfmot_swd.keras2.cloning import clone_with, copy_layer, freeze_alike, give_values
from tfmot_swd.keras2.compat import Functional, PruneLowMagnitude, carry_input_shape, keras
from tfmot_swd.keras2.validation import PruningWarning, check_is_model
from tfmot_swd.keras3.door import to_keras3
from tfmot_swd.pruning.methods import method_of
from tfmot_swd.pruning.schedules import latest_update, set_end
from tfmot_swd.pruning.wrapped_models import collect_wrappers, is_from_keras3, is_revived, wrapped_graphs
from tfmot_swd.pruning.wrapper import PruningWrapper


def strip_pruning(model: Any, *, remove_channels: bool = True, keras2: bool = False) -> Any:
    """Returns a new model without wrappers, its pruned weights exactly zero; `model` is not changed.

    It is of the Keras that the model had before it was wrapped: a Keras 3 model where a Keras 3 model was.

    Use it after the training, before saving, export or `sparsity_report`. Channels without any effect on the output are
    removed, so that tensors shrink; predictions are the same up to the rounding of float32
    (`tfmot_swd.channels.remove_dead_channels`). Channels along which a weight was pruned in blocks (`block_size` of
    `prune_selective_decay`) are kept, as removing one would shift the blocks behind it. Where the removal fails, or
    would change predictions, all channels are kept and a `PruningWarning` says why.

    Args:
      model: a model of `prune_selective_decay` or `prune_progressive_gradient`, trained to the end of its schedule. In
        a subclassed model around such models, as a GAN is, strip each of them.
      remove_channels: False keeps every shape, to count zeros or to compare with the dense model.
      keras2: whether the result is a tf_keras model where a Keras 3 model was wrapped.

    Returns:
      An uncompiled model, of tf_keras or Keras 3.

    Raises:
      TypeError: `model` is not a tf_keras model.
      ValueError: it has no wrapper of this package, or is subclassed; it was loaded without this package (a revived
        SavedModel); or its schedule is not finished, so that it is not pruned yet.

    >>> import tf_keras as keras, tfmot_swd
    >>> net = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    >>> schedule = tfmot_swd.SelectiveDecay(final_sparsity=0.5, end_step=1)
    >>> pruned = tfmot_swd.prune_selective_decay(net, schedule)
    >>> pruned.compile("sgd", "mse")
    >>> history = pruned.fit([[1.0, 2.0]], [[1.0]], verbose=0,
    ...                      callbacks=[tfmot_swd.UpdatePruningStep()])
    >>> [type(layer).__name__ for layer in strip_pruning(pruned).layers]
    ['Dense']
    """
    stripped = _stripped(model, remove_channels)
    if keras2 or not is_from_keras3(model):
        return stripped
    try:
        return to_keras3(stripped)
    except Exception as error:
        error.add_note("The training is not lost: strip_pruning(model, keras2=True) returns the tf_keras model.")
        raise


def _stripped(model: Any, remove_channels: bool) -> Any:
    """Returns the stripped tf_keras model."""
    check_is_model(model)
    _check_strippable(model)
    problem = _unfinished(model)
    if problem:
        raise ValueError(problem)
    copies: list[tuple[Any, Any]] = []
    wrapped: list[tuple[PruningWrapper, Any]] = []

    def make(layer: Any) -> Any:
        is_wrapped = isinstance(layer, PruningWrapper)
        inner = copy_layer(layer.layer if is_wrapped else layer)
        if is_wrapped:
            # Without it a Sequential model that began with a wrapper would come back unbuilt.
            carry_input_shape(layer, inner)
            wrapped.append((layer, inner))
        copies.append((layer, inner))
        return inner

    stripped = clone_with(model, make)
    for layer, inner in copies:
        is_wrapped = isinstance(layer, PruningWrapper)
        original = layer.layer if is_wrapped else layer
        freeze_alike(original, inner)
        # Of one layer at a time.
        give_values(original, inner, layer.final_weights() if is_wrapped else None)
    if not remove_channels:
        return stripped
    try:
        groups = channel_groups(stripped)
        return remove_dead_channels(stripped, skip=_makers_along_held_axes(groups, wrapped), groups=groups)
    except Exception as error:  # A defect in a channel rule must not cost the result of a training.
        warnings.warn(
            "The stripped model keeps all its channels, as those without effect could not be removed: "
            f"{type(error).__name__}: {error}",
            PruningWarning,
            stacklevel=3,
        )
        return stripped


def is_pruned(model: Any) -> bool:
    """Returns whether the schedule of a wrapped model is finished, so that `strip_pruning` accepts it."""
    return _unfinished(model) is None


def prune_now(model: Any) -> None:
    """Makes the final pruning step of a wrapped model at once, at any point of its schedule.

    Use it after a training that ended early, so that `strip_pruning` accepts the model. The accuracy drops unless the
    training has prepared the step. Progressive Gradient Pruning ranks filters by the scores of the running epoch; where
    there are none, as after a fit or in a model from a file, by the L1 norm of their weights.

    Frozen layers stay dense and do not count towards the rate. As the final step of a training, it warns of frozen
    layers, of layers that lose all their weights, and of a budget that is missed.

    Args:
      model: a wrapped tf_keras model, during or after its training.

    Raises:
      TypeError: `model` is not a tf_keras model.
      ValueError: the model is not wrapped for pruning.

    >>> import tf_keras as keras, tfmot_swd
    >>> net = keras.Sequential([keras.layers.Dense(4, input_shape=(8,), use_bias=False)])
    >>> pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=1000))
    >>> prune_now(pruned)
    >>> tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(pruned)).nonzero_prunable_weights
    16
    """
    check_is_model(model)
    method = method_of(model)
    if method is None:
        raise ValueError(
            "The model has no wrapped layers: make it with tfmot_swd.prune_low_magnitude first. "
            f"Received: {getattr(model, 'name', model)!r}"
        )
    # The result does not depend on the number of steps that an epoch would have had.
    set_end(model, steps_per_epoch=latest_update(model) + 1)
    method.run.prune_now(model)


def _unfinished(model: Any) -> str | None:
    """Returns why a wrapped model is not pruned yet; None for a pruned one."""
    (first, *_) = wrappers = collect_wrappers(model, PruningWrapper)
    return type(first).unfinished(wrappers)


def _makers_along_held_axes(groups: ChannelGroups, wrapped: list[tuple[PruningWrapper, Any]]) -> set[str]:
    """Returns the layers that make channels along which a weight cannot be cut, as it is pruned in blocks."""
    held = {(id(weight), axis) for wrapper, inner in wrapped for weight, axis in wrapper.held_axes(inner)}
    return {
        maker.layer
        for group in groups.values()
        if any((member.variable_id, member.axis) in held for member in group.members)
        for maker in group.producers
    }


def _check_strippable(model: Any) -> None:
    foreign = [
        layer.name
        for layer in model.submodules
        if isinstance(layer, PruneLowMagnitude) and not isinstance(layer, PruningWrapper)
    ]
    if foreign:
        raise ValueError(
            "These layers are wrapped by TFMOT's prune_low_magnitude: strip them with "
            f"tfmot.sparsity.keras.strip_pruning. Received: {', '.join(foreign)}"
        )
    revived = [layer.name for layer in model.submodules if is_revived(layer)]
    if revived:
        raise ValueError(
            "This SavedModel was loaded without tfmot_swd, so Keras has replaced its wrappers by generic layers: "
            "import tfmot_swd before keras.models.load_model. "
            f"Received: {', '.join(revived)}"
        )
    if not collect_wrappers(model, PruningWrapper):
        raise ValueError(
            "The model has no pruning wrappers: it is already stripped, or was never wrapped. "
            f"Received: {model.name!r} with {len(model.layers)} layers"
        )
    if not isinstance(model, keras.Sequential | Functional):
        inside = ", ".join(each.name for each in wrapped_graphs(model)) or "single layers"
        raise ValueError(
            "A subclassed model cannot be copied without its wrappers: strip the wrapped models inside it one by one. "
            f"Received: {model.name!r} of class {type(model).__name__}, around {inside}"
        )
