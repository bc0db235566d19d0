"""The final pruning step of a wrapped model at once, wherever its schedule stands."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.validation import check_is_model
from tfmot_swd.pruning.methods import method_of
from tfmot_swd.pruning.schedule_end import latest_update, set_end


def prune_now(model: Any) -> None:
    """Prunes a wrapped model to its final rate at once, wherever its schedule stands; `strip_pruning` works then.

    For a training that ended early. The accuracy drops unless the training had time to prepare it. With Progressive
    Gradient Pruning filters are ranked by what the running epoch has shown so far; where that is nothing, as after a
    fit or in a model from a file, by the L1 norm of their weights.

    Layers that are frozen are left whole, and count neither as pruned nor as to be pruned. It warns of those, of layers
    that lose all their weights, and of a budget that is missed, as the final pruning step of a training does.

    Args:
      model: a wrapped tf_keras model, in the middle of its training or after it.

    Raises:
      TypeError: `model` is no tf_keras model.
      ValueError: the model is not wrapped for pruning.

    >>> import tf_keras as keras, tfmot_swd
    >>> net = keras.Sequential([keras.layers.Dense(4, input_shape=(8,), use_bias=False)])
    >>> pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=1000))
    >>> prune_now(pruned)
    >>> tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(pruned)).pool_kept
    16
    """
    check_is_model(model)
    method = method_of(model)
    if method is None:
        raise ValueError(
            "The model has no wrapped layers: make it with tfmot_swd.prune_low_magnitude first. "
            f"Received: {getattr(model, 'name', model)!r}"
        )
    # How many steps an epoch would have had makes no difference to the end.
    set_end(model, steps_per_epoch=latest_update(model) + 1)
    method.run.prune_now(model)
