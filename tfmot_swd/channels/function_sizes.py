"""Numerical check that a function of the user's follows the number of channels that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.layers.labels import Labels, Ties
from tfmot_swd.layers.record import Kept

_TRIALS = 3
# In place of an axis of unknown size, the batch axis among them.
_SIZE = 3
# Of all inputs together; for larger ones one trial is enough.
_MANY = 1 << 18
_TOLERANCE = 1e-5

Walk = Callable[[Ties, list[Labels]], list[Labels]]


def follows_sizes(function: Any, inputs: Any, arguments: Mapping[str, Any], dtype: Any, walk: Walk) -> bool:
    """Returns whether a function computes the same for the channels that are kept, given these alone.

    A number of channels that is written in it, as in `x[..., :32]`, would be that of the larger tensor in the smaller
    model; one that it asks for and computes with, as in `x / x.shape[-1]`, would be another one. The function is called
    on random numbers, with all channels and with some, which must agree.

    Args:
      function: of a tensor or a structure of tensors.
      inputs: labels of these, in the structure.
      arguments: its other arguments by name.
      dtype: of its inputs.
      walk: (ties, labels of the flattened inputs) → labels of the flattened results.
    """
    ties, given = _numbered(tf.nest.flatten(inputs))
    outputs = walk(ties, given)
    classes = ties.resolve()
    free = np.array([each for each in np.unique(classes.root) if each not in classes.pinned], np.int64)
    rng = np.random.default_rng(0)
    sizes = [[size or _SIZE for size in labels.shape] for labels in given]
    trials = 1 if sum(map(math.prod, sizes)) > _MANY else _TRIALS
    for _ in range(trials if free.size > 1 else 0):
        gone = rng.permutation(free)[: rng.integers(1, free.size)]
        kept = Kept(~np.isin(classes.root, gone))
        tensors = [rng.normal(size=size) for size in sizes]
        try:
            whole, smaller = (
                tf.nest.flatten(function(tf.nest.pack_sequence_as(inputs, values), **arguments))
                for values in (
                    [tf.constant(each, dtype) for each in tensors],
                    [
                        tf.constant(_kept(each, labels, kept), dtype)
                        for each, labels in zip(tensors, given, strict=True)
                    ],
                )
            )
        except Exception:  # The function needs the channels that it was written for.
            return False
        for one, labels, other in zip(whole, outputs, smaller, strict=True):
            expected, found = _kept(np.asarray(one, np.float64), labels, kept), np.asarray(other, np.float64)
            if expected.shape != found.shape or not np.allclose(expected, found, _TOLERANCE, _TOLERANCE):
                return False
    return True


def _numbered(inputs: Sequence[Labels]) -> tuple[Ties, list[Labels]]:
    """Returns the same labels with ids of other ties, of which none is pinned or tied yet."""
    ties, known = Ties(), np.unique(np.concatenate([labels.ids.reshape(-1) for labels in inputs]))
    ids = ties.new(known.size)
    return ties, [Labels(ids[np.searchsorted(known, labels.ids)], labels.shape) for labels in inputs]


def _kept(value: np.ndarray, labels: Labels, kept: Kept) -> np.ndarray:
    """Returns the part of a tensor that is kept."""
    for axis in labels.varying:
        others = tuple(each for each in range(labels.rank) if each != axis)
        value = np.compress(kept.mask(labels.ids).any(axis=others), value, axis)
    return value
