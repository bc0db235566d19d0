"""Re-estimation of batch-norm statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.validation import check_is_built, check_keras_model
from tfmot_swd.keras3.door import is_keras3_model
from tfmot_swd.keras3.inspection import batch_norms
from tfmot_swd.pruning.wrapped_models import find_wrapped


def reestimate_batch_norm(model: Any, data: Iterable[Any], batches: int = 20) -> int:
    """Replaces the moving means and variances of a model's batch norms by averages over a few batches.

    Use it after a pruning without fine-tuning, such as prune-once, where moving statistics are those of the model
    before it. Selective Weight Decay does not need it, as its final pruning step leaves the outputs unchanged. Trained
    weights do not change; dropout is active, as in training. A Keras 3 model runs in Keras 3, and changes too.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model without pruning wrappers, such as that of
        `strip_pruning`.
      data: batches of inputs, each alone or as (x, y) or (x, y, sample_weight); a `tf.data.Dataset` or any iterable.
      batches: largest number of batches to use.

    Returns:
      The number of batches used.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3, or `data` is an array.
      ValueError: the model is subclassed, not built or still wrapped; there is no data; `batches` is below 1.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.BatchNormalization(input_shape=(1,))])
    >>> reestimate_batch_norm(net, [np.array([[1.0], [3.0]]), np.array([[5.0], [7.0]])])
    2
    >>> net.layers[0].moving_mean.numpy().tolist()
    [4.0]
    """
    norms = _batch_norms(model)
    if isinstance(data, np.ndarray | tf.Tensor):
        raise TypeError(
            "data must be batches: tf.data.Dataset.from_tensor_slices(x).batch(128), or [x]. "
            f"Received: {type(data).__name__}"
        )
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 1:
        raise ValueError(f"batches must be a whole number, 1 or more. Received: {batches!r}")
    before = [(norm, norm.momentum) for norm in norms]
    used = 0
    try:
        for batch in data:
            if used == batches:
                break
            for norm in norms:
                # A running mean: the first batch replaces the old statistics, all batches have equal weight.
                norm.momentum = used / (used + 1)
            model(batch[0] if isinstance(batch, tuple) else batch, training=True)
            used += 1
    finally:
        for norm, momentum in before:
            norm.momentum = momentum
    if not used:
        raise ValueError(
            "Statistics need at least one batch: check that data is not an exhausted iterator. Received: no data"
        )
    return used


def _batch_norms(model: Any) -> list[Any]:
    """Returns the batch norms of a model, at any depth, after the checks of the model."""
    if is_keras3_model(model):
        check_is_built(model)
        return batch_norms(model)
    check_keras_model(model)
    wrapped = find_wrapped(model)
    if wrapped:
        raise ValueError(
            "A forward pass in training mode would count as a step of the wrapped layers: strip the model first "
            f"(tfmot_swd.strip_pruning). Received: wrapped layers {', '.join(wrapped)}"
        )
    return [each for each in model.submodules if isinstance(each, keras.layers.BatchNormalization)]
