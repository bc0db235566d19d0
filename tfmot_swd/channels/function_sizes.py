"""Numerical check that a function of the user's follows the number of channels that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.function_graphs import random_stream_kept
from tfmot_swd.layers.labels import Labels, Ties
from tfmot_swd.layers.record import Kept

# In place of an axis of unknown size, and of the batch axis.
_SIZE, _BATCH = 3, 32
# Of all inputs together; for larger ones a few trials of a smaller batch are enough.
_MANY, _FEW = 1 << 18, 4
# Calls on the same numbers until one differs; a dropout of whole samples at a rate of .01 is found by these.
_REPEATS = 50
_TOLERANCE = 1e-5

Walk = Callable[[Ties, list[Labels]], list[Labels]]


def pins_channels(inputs: Any, walk: Walk) -> bool:
    """Returns whether channels of the inputs of a function must stay because of what it does.

    Args:
      inputs: labels of the inputs, in their structure.
      walk: as for `follows_sizes`.
    """
    ties, given = _numbered(tf.nest.flatten(inputs))
    for labels in given:
        if not labels.varying:
            ties.pin(labels.ids, "no channels")
    walk(ties, given)
    classes = ties.resolve()
    return any(classes.is_pinned(labels.ids).any() for labels in given if labels.varying)


def follows_sizes(function: Any, inputs: Any, arguments: Mapping[str, Any], dtype: Any, walk: Walk) -> bool:
    """Returns whether a function computes the same for the channels that are kept, given these alone.

    A number of channels that is written in it, as in `x[..., :32]`, would be that of the larger tensor in the smaller
    model; one that it asks for and computes with, as in `x / x.shape[-1]`, would be another one. The function is called
    on random numbers, with all channels and with some, which must agree. Where it is random in training, the shapes of
    its results must.

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
    rng, in_training = np.random.default_rng(0), bool(arguments.get("training"))
    sizes, trials = _sizes(given, _BATCH), _trials(free, rng)
    if sum(map(math.prod, sizes)) > _MANY:
        sizes, trials = _sizes(given, _SIZE), trials[:_FEW]
    finite = not trials
    for number, gone in enumerate(trials):
        kept = Kept(~np.isin(classes.root, gone))
        # Of a root or a logarithm, only positive numbers tell anything.
        draw = rng.normal if number % 2 else rng.gamma
        tensors = [draw(1.0, size=size) for size in sizes]
        fewer = [_kept(each, labels, kept) for each, labels in zip(tensors, given, strict=True)]

        def called(values: Sequence[np.ndarray]) -> list[np.ndarray]:
            packed = tf.nest.pack_sequence_as(inputs, [tf.constant(each, dtype) for each in values])
            return [np.asarray(each, np.float64) for each in tf.nest.flatten(function(packed, **arguments))]

        try:
            with random_stream_kept():
                whole, smaller = called(tensors), called(fewer)
        except Exception:  # The function needs the channels that it was written for.
            return False
        expected = [_kept(each, labels, kept) for each, labels in zip(whole, outputs, strict=True)]
        if [each.shape for each in expected] != [each.shape for each in smaller]:
            return False
        finite |= all(np.isfinite(each).all() for each in whole)
        if _are_close(expected, smaller):
            continue
        # Of what is random in training, such as a dropout, the shapes are all that can be compared.
        with random_stream_kept():
            if not in_training or all(_are_close(whole, called(tensors)) for _ in range(_REPEATS)):
                return False
    return finite


def _trials(free: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Returns the channels that are gone in each trial, the most telling trials first.

    Without the first channel, or the last, any other place that is counted from there is another channel's. One that is
    left alone shows what is done to a single channel.
    """
    if free.size < 2:
        return []
    half, quarter, some = free.size // 2, max(free.size // 4, 1), rng.permutation(free)[: rng.integers(1, free.size)]
    found = [free[:1], free[:-1], free[-1:], free[1:], some, free[:half], free[half:], free[2:], free[quarter:]]
    return [each for each in found if each.size]


def _sizes(inputs: Sequence[Labels], batch: int) -> list[list[int]]:
    return [[size or (_SIZE if axis else batch) for axis, size in enumerate(labels.shape)] for labels in inputs]


def _are_close(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    return all(np.allclose(*pair, _TOLERANCE, _TOLERANCE, True) for pair in zip(one, other, strict=True))


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
