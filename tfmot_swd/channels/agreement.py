"""Numerical check that a smaller model predicts what the larger one does, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.graph import layers_inside, packed_inputs
from tfmot_swd.keras2.weight_values import pieces, view_of
from tfmot_swd.layers.macs import count_macs
from tfmot_swd.layers.sample import SampleWalk

# Multiply-accumulates for one sample above which two predictions are no longer cheap.
_MOST_MACS = 5_000_000_000
_SIDE = 32
_HALF = ("float16", "bfloat16")


def check_agreement(larger: Any, smaller: Any) -> None:
    """Raises a RuntimeError where two models predict differently for two random samples.

    The last check of a removal that must not change predictions: it finds channel rules that are wrong about a layer.
    The largest difference, as a share of the largest output, may be 1e-3 (5e-2 with float16 or bfloat16 layers), or ten
    times what a relative change of 1e-6 of the inputs makes. Skipped for stateful models, inputs that random numbers do
    not fit, more than five billion multiply-accumulates per sample, and inside a tf.function. The state of both models
    is unchanged.

    Args:
      larger: the model before channels were removed.
      smaller: the model after.
    """
    drawn = _drawn_inputs(larger)
    if drawn is None:
        return
    inputs, expected = drawn
    found = _predicted(smaller, inputs)
    if _distance(expected, found) <= _tolerance(larger):
        return
    moved = [each * (1 + 1e-6) if each.dtype.is_floating else each for each in inputs]
    rounding = 10 * _distance(expected, _predicted(larger, moved))
    if not _distance(expected, found) <= max(_tolerance(larger), rounding):
        raise RuntimeError(
            "The model without the channels that have no effect does not predict what the whole one does, so that a "
            "channel rule must be wrong about a layer: remove none, and register the right rule "
            f"(tfmot_swd.register_layer). Received: predictions of {larger.name!r} that differ by "
            f"{_distance(expected, found):.2g} of the largest"
        )


def differences(model: Any, others: Sequence[Callable[[], Any]]) -> list[float] | None:
    """Returns how far the predictions of other models are from those of a model, for two random samples.

    Each is the largest difference as a share of the largest output; None where `check_agreement` would compare nothing.

    Args:
      model: the model to compare with.
      others: each returns a model, in turn, so that one model can be changed in between.
    """
    drawn = _drawn_inputs(model)
    if drawn is None:
        return None
    inputs, expected = drawn
    return [_distance(expected, _predicted(each(), inputs)) for each in others]


def _drawn_inputs(model: Any) -> tuple[list[tf.Tensor], list[np.ndarray]] | None:
    """Returns random inputs and what a model predicts for them; None where that is too dear, or random numbers fail."""
    if not tf.executing_eagerly() or model.stateful or _macs(model) > _MOST_MACS:
        return None
    generator = np.random.default_rng(0)
    try:
        inputs = [_drawn(tensor, generator) for tensor in model.inputs]
        return inputs, _predicted(model, inputs)
    except Exception:  # The model does not take such inputs: there is nothing to compare with.
        return None


def _macs(model: Any) -> int:
    try:
        return sum(count_macs(each.layer, each.call) or 0 for each in SampleWalk(model).calls)
    except ValueError:  # A size is not fixed, and will be small here.
        return 0


def _drawn(tensor: Any, generator: np.random.Generator) -> tf.Tensor:
    batch, *rest = tensor.shape
    shape = [2 if batch is None else batch, *(_SIDE if size is None else size for size in rest)]
    if tensor.dtype.is_floating:
        return tf.constant(generator.normal(size=shape), tensor.dtype)
    return tf.constant(generator.integers(0, 2, shape), tensor.dtype)


def _predicted(model: Any, inputs: list[tf.Tensor]) -> list[np.ndarray]:
    variables = variables_of(model)
    before = [view_of(variable) for variable in variables]
    given = packed_inputs(model, inputs)
    found = [np.asarray(each) for each in tf.nest.flatten(model(given, training=False))]
    for variable, value in zip(variables, before, strict=True):
        # Counters that a layer keeps while it predicts.
        if not _are_equal(variable, value):
            variable.assign(value)
    return found


def _are_equal(variable: Any, value: np.ndarray) -> bool:
    nan = value.dtype.kind == "f"
    return all(np.array_equal(now, then, equal_nan=nan) for now, then in pieces(variable, value))


def _distance(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Returns the largest difference as a share of the largest entry; integer outputs, as of an argmax, are skipped."""
    most = 0.0
    for one, other in zip(expected, found, strict=True):
        if one.shape != other.shape:
            return np.inf
        if not np.issubdtype(one.dtype, np.floating) and one.dtype.name not in _HALF:
            continue
        one, other = one.astype(np.float64), other.astype(np.float64)
        known = np.isfinite(one)
        if not np.array_equal(known, np.isfinite(other)):
            return np.inf
        if known.any():
            scale = max(np.abs(one[known]).max(), np.finfo(np.float32).tiny)
            most = max(most, float(np.abs(one[known] - other[known]).max() / scale))
    return most


def _tolerance(model: Any) -> float:
    return 5e-2 if any(layer.compute_dtype in _HALF for layer in layers_inside(model)) else 1e-3
