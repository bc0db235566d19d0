"""Takes the pruning wrappers off and gives back a plain Keras model, without the channels that pruning emptied."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tfmot_swd.channels.dead import remove_dead_channels
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.keras2.cloning import clone_with, copy_layer, freeze_alike, give_values
from tfmot_swd.keras2.compat import PruneLowMagnitude, master_variable
from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.keras2.validation import check_is_model
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient
from tfmot_swd.pruning.wrapper import PruningWrapper, collect_wrappers, is_revived
from tfmot_swd.swd.block_magnitudes import Blocks
from tfmot_swd.swd.decay_wrapper import DecayWrapper
from tfmot_swd.swd.wrapper import PruneSelectiveDecay


def strip_pruning(model: Any, *, remove_channels: bool = True) -> Any:
    """Returns a new model without wrappers, its cut weights exactly zero; `model` stays as it is.

    Channels that pruning left without any effect on the output leave too, so that tensors shrink; predictions stay the
    same until the rounding of float32 (`tfmot_swd.remove_dead_channels`). Channels stay along which a weight was pruned
    in blocks (`block_size` of `prune_selective_decay`): behind one that leaves every block would be torn. Where their
    removal fails, or does not leave the predictions as they are, all channels stay and a `PruningWarning` says why.

    Args:
      model: a model of `prune_selective_decay` or `prune_progressive_gradient`, trained to the end of its schedule.
      remove_channels: False keeps every shape, as to count zeros or to compare with the dense model.

    Raises:
      TypeError: `model` is no tf_keras model.
      ValueError: it has no wrapper of this package; it was loaded without this package (a revived SavedModel); or its
        schedule is not finished, so that it is not pruned yet.

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
    check_is_model(model)
    _check_strippable(model)
    if collect_wrappers(model, DecayWrapper):
        _check_cut(model)
    else:
        _check_finished(model)
    copies: list[tuple[Any, Any, list[np.ndarray]]] = []
    in_blocks: list[tuple[Any, Blocks]] = []

    def make(layer: Any) -> Any:
        wrapped = isinstance(layer, PruningWrapper)
        inner = copy_layer(layer.layer if wrapped else layer)
        # Without it a Sequential model that began with a wrapper would come back unbuilt.
        if wrapped and hasattr(layer, "_batch_input_shape"):
            inner._batch_input_shape = layer._batch_input_shape
        if isinstance(layer, PruneSelectiveDecay):
            in_blocks.append((inner, layer.blocks))
        weights = _masked_weights(layer) if wrapped else layer.get_weights()
        copies.append((layer.layer if wrapped else layer, inner, weights))
        return inner

    stripped = clone_with(model, make)
    for layer, inner, weights in copies:
        freeze_alike(layer, inner)
        give_values(layer, inner, weights)
    if not remove_channels:
        return stripped
    try:
        return remove_dead_channels(stripped, protect=_along_blocks(stripped, in_blocks))
    except Exception as error:  # Hours of training must end in a model, whatever a channel rule does.
        warnings.warn(
            "The stripped model keeps all its channels, as those without effect could not be removed: "
            f"{type(error).__name__}: {error}",
            PruningWarning,
            stacklevel=2,
        )
        return stripped


def is_pruned(model: Any) -> bool:
    """Returns whether the schedule of a wrapped model is finished, so that `strip_pruning` takes it."""
    decayed = collect_wrappers(model, DecayWrapper)
    if decayed:
        return not _misses_cut(decayed)
    done, epochs = _epochs_done(model)
    return done >= epochs


def _along_blocks(model: Any, in_blocks: list[tuple[Any, Blocks]]) -> set[str]:
    """Returns the layers that make channels along which a weight is in blocks of more than one."""
    tied = {
        (id(master_variable(weight)), len(weight.shape) - 2 + axis)
        for layer, blocks in in_blocks
        for weight in counted_weights(layer)
        for axis, side in enumerate(blocks.size)
        if side > 1 and blocks.tie(weight.shape)
    }
    groups = channel_groups(model).values() if tied else ()
    return {
        maker.layer
        for group in groups
        if any((member.variable_id, member.axis) in tied for member in group.members)
        for maker in group.producers
    }


def _masked_weights(wrapper: PruningWrapper) -> list[np.ndarray]:
    """Returns the layer's weights in Keras's order, with what the optimizer moved since the cut set to zero."""
    if not isinstance(wrapper, DecayWrapper):
        return wrapper.layer.get_weights()
    masks = {id(weight): mask.numpy() for weight, mask in wrapper.masked_weights()}
    values = []
    for variable, value in zip(wrapper.layer.weights, wrapper.layer.get_weights(), strict=True):
        mask = masks.get(id(master_variable(variable)))
        values.append(value if mask is None else np.where(mask > 0, value, np.zeros_like(value)))
    return values


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
            "This SavedModel was loaded without tfmot_swd, so its wrappers are lifeless copies: "
            "import tfmot_swd before keras.models.load_model. "
            f"Received: {', '.join(revived)}"
        )
    if not collect_wrappers(model, PruningWrapper):
        raise ValueError(
            "The model has no wrappers of prune_selective_decay or prune_progressive_gradient: it is stripped already. "
            f"Received: {model.name!r} with {len(model.layers)} layers"
        )


def _check_cut(model: Any) -> None:
    wrappers = collect_wrappers(model, DecayWrapper)
    if _misses_cut(wrappers):
        done = max(int(wrapper.pruning_step.numpy()) for wrapper in wrappers)
        schedule, unfrozen = wrappers[0].pruning_schedule, ""
        if any(bool(each.cut.numpy()) for each in wrappers) or (schedule.has_end and done >= schedule.end_step):
            unfrozen = (
                "Where layers have been unfrozen: Keras trains those that were trainable when the model was compiled, "
                "so compile it after setting layer.trainable, and fit then. "
            )
        raise ValueError(
            "The final cut has not been made, so this model is not pruned: train on until end_step, or "
            "call tfmot_swd.cut_now(model) to cut at once. ModelCheckpoint(save_best_only=True), EarlyStopping and its "
            "restore_best_weights=True lead here too: they keep, or bring back, weights from before the cut, where "
            "models are better and not pruned; tfmot_swd.AfterPruning(callback) has them look at pruned models alone. "
            f"{unfrozen}Received: {done} of {schedule.length} made"
        )


def _misses_cut(wrappers: list[DecayWrapper]) -> bool:
    """Whether the final cut is still to be made, of all or of some."""
    uncut = [wrapper for wrapper in wrappers if not bool(wrapper.cut.numpy())]
    # A layer that was frozen when the others were cut is meant to be whole; a model frozen later is not.
    return len(uncut) == len(wrappers) or any(wrapper.takes_part() for wrapper in uncut)


def _check_finished(model: Any) -> None:
    done, epochs = _epochs_done(model)
    if done < epochs:
        raise ValueError(
            "The schedule is not finished, so fewer filters have left than asked: train on, with "
            "callbacks=[tfmot_swd.UpdatePruningStep()] in fit or its on_epoch_end(epoch) called after each epoch of a "
            "custom loop; or call tfmot_swd.cut_now(model) to remove the rest at once. "
            f"Received: {done} of {epochs} epochs finished"
        )


def _epochs_done(model: Any) -> tuple[int, int]:
    """Returns how many epochs of a progressive schedule are finished, and how many it has."""
    wrappers = collect_wrappers(model, PruneProgressiveGradient)
    return max(int(each.pruning_step.numpy()) for each in wrappers), wrappers[0].pruning_schedule.epochs
