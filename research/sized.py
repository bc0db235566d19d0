"""Networks of given sizes, to time what a benchmark has long trained and thrown away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tf_keras as keras

from tfmot_swd.channels import channel_groups, remove_channels


def of_sizes(model: keras.Model, sizes: Sequence[int]) -> keras.Model:
    """Returns a model with as many channels as another one that came of it had.

    Args:
      model: the whole network.
      sizes: last dimension of each weight of two or more dimensions, in the order of `model.weights`.

    Raises:
      ValueError: not a size for each such weight, or sizes that tied channels cannot have together.
    """
    matrices = [each for each in model.weights if len(each.shape) > 1]
    if len(matrices) != len(sizes):
        raise ValueError(f"A size for each of {len(matrices)} matrices is needed. Received: {len(sizes)} sizes")
    wanted = {id(matrix): size for matrix, size in zip(matrices, sizes, strict=True)}
    groups = channel_groups(model)
    counts = {name: wanted[group.producers[0].variable_id] for name, group in groups.items()}
    smaller = remove_channels(model, {name: np.arange(groups[name].size) < counts[name] for name in groups})
    found = [int(each.shape[-1]) for each in smaller.weights if len(each.shape) > 1]
    if found != list(sizes):
        raise ValueError(f"No removal of channels gives these sizes, but {found}. Received: {list(sizes)}")
    return smaller
