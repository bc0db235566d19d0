"""Normalization layers, which are barriers where channels share statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import PerElement
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes

layers = keras.layers
SHARED = "its statistics are taken across channels"
APPROXIMATION = "statistics over the channels that are left"


def _axes(axis: int | Sequence[int], rank: int) -> list[int]:
    axes = [axis] if isinstance(axis, int) else list(axis)
    return [each % rank for each in axes]


def batch_normalization(call: LayerCall) -> Labels:
    """Declares gamma, beta, moving mean and variance, `(channels,)` each."""
    layer = call.layer
    axes = _axes(layer.axis, call.operand.rank)
    if len(axes) != 1:
        return call.barrier("batch normalization over several axes has no rule")[0]
    ids = call.channels(call.operand, axes[0])
    for weight in ("gamma", "beta", "moving_mean", "moving_variance"):
        if getattr(layer, weight, None) is not None:
            call.follow(weight, 0, ids)
    return call.output(ids, axes[0])


def layer_normalization(call: LayerCall) -> Labels:
    """Passes channels on that do not lie on the normalized axes; the others only where that may be approximate."""
    axes = _axes(call.layer.axis, call.operand.rank)
    call.whole("gamma", "beta")
    if not set(axes) & set(call.operand.varying):
        return call.same(call.operand)
    if len(axes) > 1 or not call.may_approximate(APPROXIMATION):
        return call.barrier(SHARED)[0]
    ids = call.channels(call.operand, axes[0])
    for weight in ("gamma", "beta"):
        if getattr(call.layer, weight, None) is not None:
            call.follow(weight, 0, ids)
    return call.output(ids, axes[0])


def unit_normalization(call: LayerCall) -> Labels:
    """Passes channels on that do not lie on the normalized axes; the others only where that may be approximate."""
    axes = _axes(call.layer.axis, call.operand.rank)
    if set(axes) & set(call.operand.varying) and not call.may_approximate(APPROXIMATION):
        return call.barrier(SHARED)[0]
    return call.same(call.operand)


def group_normalization(call: LayerCall) -> Labels:
    """Ties the channels of each group, which share statistics: groups are removed as a whole."""
    layer = call.layer
    axis = _axes(layer.axis, call.operand.rank)[0]
    ids = call.channels(call.operand, axis)
    groups = len(ids) if layer.groups == -1 else layer.groups
    parts = ids.reshape(groups, -1)
    call.ties.tie_along(parts, 1)
    for weight in ("gamma", "beta"):
        if getattr(layer, weight, None) is not None:
            call.follow(weight, 0, ids)
    if layer.groups != -1:
        call.reconfigure("groups", lambda config, kept: config.__setitem__("groups", kept.count(parts[:, 0])), ids)
    return call.output(ids, axis)


def feature_normalization(call: LayerCall) -> Labels:
    """Declares the data set statistics of Keras's preprocessing layer, which is a barrier behind the model input."""
    if call.layer.axis and call.operand.varying:
        return call.barrier("normalization by fixed statistics has no rule for channels that can leave")[0]
    call.whole("adapt_mean", "adapt_variance", "count")
    return call.same(call.operand)


def _no_macs(layer: Any, call: CallShapes) -> int:
    """Returns 0: scales and shifts, which may be of rank 2 or more, multiply no matrix."""
    return 0


register_layer(
    layers.BatchNormalization,
    layers.experimental.SyncBatchNormalization,
    channels=batch_normalization,
    macs=_no_macs,
    constants=PerElement(),
)
register_layer(layers.LayerNormalization, channels=layer_normalization, macs=_no_macs)
register_layer(layers.UnitNormalization, channels=unit_normalization)
register_layer(layers.GroupNormalization, channels=group_normalization, macs=_no_macs)
register_layer(layers.Normalization, channels=feature_normalization, macs=_no_macs)
