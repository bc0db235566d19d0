"""Channels that provably contribute nothing, and the model without them: the same predictions, fewer tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np

from tfmot_swd.channels.constants import Inputs, constant_inputs
from tfmot_swd.channels.groups import ChannelGroups, channel_groups, groups_of
from tfmot_swd.channels.removal import RemovalPlan, check_nothing_empty, plan_removal
from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.layer_weights import has_bias, weight_at
from tfmot_swd.layers.constants import Linear, is_unpadded
from tfmot_swd.layers.record import CONSUME, Cut
from tfmot_swd.layers.registry import constants_of


@renamed_arguments(protect="skip")
def remove_dead_channels(
    model: Any,
    *,
    round_to: int = 1,
    minimum: int = 1,
    skip: Collection[str] = (),
    groups: ChannelGroups | None = None,
) -> Any:
    """Returns a smaller ordinary Keras model with the predictions of `model`, which stays as it is.

    A channel goes where each layer that reads it provably sees nothing of it: the slice of weights that reads it is
    zero, or the channel is zero whatever the input. A constant that is not zero is added to the bias of the layer that
    reads it, where that is exact (Dense, unpadded convolution; a bias is made where there is none), and keeps the
    channel otherwise. What falls makes more fall, until nothing changes.

    Arguments and errors are those of `plan_removal`. A RuntimeError says that predictions for random inputs came out
    otherwise, which takes a channel rule that is wrong about its layer.

    The predictions agree until the rounding of float32. In training, batch norm sees batches: a constant may differ.

    >>> import numpy as np, tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> kernel, bias = net.get_layer("hidden").get_weights()
    >>> net.get_layer("hidden").set_weights([kernel * [1, 0, 1], bias])
    >>> remove_dead_channels(net).get_layer("hidden").units
    2
    """
    return plan_dead_removal(model, round_to=round_to, minimum=minimum, skip=skip, groups=groups).apply()


@renamed_arguments(protect="skip")
def plan_dead_removal(
    model: Any,
    *,
    round_to: int = 1,
    minimum: int = 1,
    skip: Collection[str] = (),
    groups: ChannelGroups | None = None,
) -> RemovalPlan:
    """Returns what `remove_dead_channels` with the same arguments would do.

    The graph is traced once, or not at all where `groups`, those of the model, are known already.
    """
    search = _Search(channel_groups(model) if groups is None else groups_of(model, groups))
    stays = search.alive()
    while True:
        keep = {group.name: search.with_one(group.ids, stays) for group in search.groups.values()}
        plan = plan_removal(
            model, keep, round_to=round_to, minimum=minimum, skip=skip, groups=search.groups, check=False
        )
        # A channel that came back reads its inputs again, which must come back in their turn.
        stays = search.settled(search.nothing_empty(plan.stays))
        if (stays == plan.stays).all():
            check_nothing_empty(search.groups, stays)
            return dataclasses.replace(plan, added_bias=search.folded(stays), keeps_predictions=True)


class _Search:
    """The channels of one model and what reads them."""

    def __init__(self, groups: ChannelGroups) -> None:
        self.groups = groups
        self.trace = groups.trace
        model = groups.model
        self.values = {id(each): each.numpy() for each in variables_of(model)}
        self.inputs: Inputs = constant_inputs(model, self.trace)
        self.cuts: dict[int, list[Cut]] = {}
        for cut in self.trace.cuts:
            self.cuts.setdefault(cut.variable_id, []).append(cut)
        self.readers = [cut for cut in self.trace.cuts if cut.role == CONSUME]
        self.folding = {id(cut) for cut in self.readers if self._folds(cut)}

    def alive(self) -> np.ndarray:
        """Returns, by channel id, what stays when all that is dead goes."""
        stays = np.ones(len(self.trace.classes.root), bool)
        while True:
            dead = ~self._needed(stays) & stays
            if not dead.any():
                return stays
            stays &= ~dead

    def settled(self, stays: np.ndarray) -> np.ndarray:
        """Returns `stays` with every channel back that something that stays reads."""
        while True:
            more = stays | self._needed(stays)
            if (more == stays).all():
                return stays
            stays = more

    def with_one(self, ids: np.ndarray, stays: np.ndarray) -> np.ndarray:
        """Returns the keep-mask of a group, its first channel kept where none is."""
        mask = stays[ids].copy()
        mask[0] |= not mask.any()
        return mask

    def nothing_empty(self, stays: np.ndarray) -> np.ndarray:
        """Returns `stays` with the first channel back of each tensor that would have none."""
        stays, root = stays.copy(), self.trace.classes.root
        everything = [cut.ids for cut in self.trace.cuts] + [labels.ids for labels in self.trace.labels.values()]
        for ids in everything:
            if ids.size and not stays[ids].any():
                stays[root == root[ids.reshape(-1)[0]]] = True
        return stays

    def _needed(self, stays: np.ndarray) -> np.ndarray:
        """Returns, by channel id, what is read, or must stay for another reason; by whole classes."""
        root = self.trace.classes.root
        needed = np.zeros(len(root), bool)
        needed[np.fromiter(self.trace.classes.pinned, np.int64, len(self.trace.classes.pinned))] = True
        grouped = np.zeros(len(root), bool)
        for group in self.groups.values():
            grouped[group.ids] = True
        needed |= ~grouped[root]
        for cut in self.readers:
            reads = self._reads(cut, stays) & ~self._settled_input(cut)
            needed[root[cut.ids[reads]]] = True
        return needed[root]

    def _reads(self, cut: Cut, stays: np.ndarray) -> np.ndarray:
        """Returns for each index of the consuming axis whether its slice has a weight towards something that stays."""
        value = self.values[cut.variable_id] != 0
        for other in self.cuts[cut.variable_id]:
            if other.axis != cut.axis:
                shape = [1] * value.ndim
                shape[other.axis] = -1
                value = value & stays[other.ids].reshape(shape)
        return value.any(axis=tuple(axis for axis in range(value.ndim) if axis != cut.axis))

    def _settled_input(self, cut: Cut) -> np.ndarray:
        """Returns for each index whether what is read there is zero, or a constant that a bias can take over."""
        lines = self.inputs.get((cut.layer_id, cut.weight))
        if lines is None or len(lines[0]) != len(cut.ids):
            return np.zeros(len(cut.ids), bool)
        zero = np.logical_and.reduce([line == 0.0 for line in lines])
        if len(lines) > 1 or id(cut) not in self.folding:
            return zero
        return zero | np.isfinite(lines[0])

    def _folds(self, cut: Cut) -> bool:
        """Returns whether the bias of the layer that reads can take a constant over."""
        layer = self.trace.records[cut.layer_id].layer
        rule = constants_of(layer)
        if not isinstance(rule, Linear) or not rule.folds or cut.weight != rule.weight:
            return False
        if not is_unpadded(layer, weight_at(layer, rule.weight)) or getattr(layer, "groups", 1) != 1:
            return False
        return has_bias(layer) or "use_bias" in layer.get_config()

    def folded(self, stays: np.ndarray) -> dict[int, np.ndarray]:
        """Returns layer identity → what its bias takes over from the constants that go, float64."""
        found = {}
        for cut in self.readers:
            lines = self.inputs.get((cut.layer_id, cut.weight))
            if lines is None or id(cut) not in self.folding:
                continue
            line = np.where(stays[cut.ids], 0.0, np.nan_to_num(lines[0]))
            if line.any():
                kernel = self.values[cut.variable_id].astype(np.float64)
                found[cut.layer_id] = line @ kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
        return found
