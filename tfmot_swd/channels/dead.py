"""Dead channels, which provably do not affect predictions, and their removal."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np

from tfmot_swd.channels.constants import Inputs, constant_inputs
from tfmot_swd.channels.groups import ChannelGroups, groups_of
from tfmot_swd.channels.removal import RemovalPlan, check_nothing_empty, plan_removal
from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.layer_weights import has_bias, weight_at
from tfmot_swd.keras2.weight_values import view_of
from tfmot_swd.layers.constants import Linear, folded, is_unpadded
from tfmot_swd.layers.record import CONSUME, Cut, Product
from tfmot_swd.layers.registry import constants_of


@renamed_arguments(protect="skip")
def remove_dead_channels(
    model: Any,
    *,
    round_to: int = 1,
    minimum: int = 1,
    skip: Collection[str] = (),
    groups: ChannelGroups | None = None,
    keras2: bool = False,
) -> Any:
    """Returns a smaller plain Keras model with the predictions of `model`, which is unchanged.

    Use it after unstructured pruning, which leaves whole filters of zeros; `strip_pruning` calls it. A channel is
    removed if every layer that reads it provably ignores it: the weight slice that reads it is zero, or the channel is
    zero for all inputs, or, in a product of two tensors that sums over it, that of the other factor is. A nonzero
    constant is folded into the bias of the layer that reads it where that is exact (dense layers, unpadded
    convolutions; a missing bias is created), and keeps the channel otherwise. Removal is repeated until no more
    channels are dead.

    Predictions agree up to float32 rounding. Training may differ, as batch normalization then uses batch statistics.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model.
      round_to, minimum, skip, groups: as for `plan_removal`.
      keras2: whether the result for a Keras 3 model is a tf_keras model.

    Returns:
      A tf_keras model for a tf_keras model, a Keras 3 model for a Keras 3 model unless `keras2` is true.

    Raises:
      TypeError, ValueError: as `plan_removal`.
      RuntimeError: predictions for random inputs differ, as a channel rule is wrong about its layer.

    >>> import numpy as np, tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> kernel, bias = net.get_layer("hidden").get_weights()
    >>> net.get_layer("hidden").set_weights([kernel * [1, 0, 1], bias])
    >>> remove_dead_channels(net).get_layer("hidden").units
    2
    """
    plan = plan_dead_removal(model, round_to=round_to, minimum=minimum, skip=skip, groups=groups)
    return plan.apply(keras2=keras2)


@renamed_arguments(protect="skip")
def plan_dead_removal(
    model: Any,
    *,
    round_to: int = 1,
    minimum: int = 1,
    skip: Collection[str] = (),
    groups: ChannelGroups | None = None,
) -> RemovalPlan:
    """Returns the plan that `remove_dead_channels` follows with the same arguments; `apply()` makes the model.

    The graph is traced once, or not at all with `groups=channel_groups(model)` of a tf_keras model.
    """
    groups = groups_of(model, groups)
    if groups.trace.approximate:
        raise ValueError(
            "Removing dead channels leaves predictions as they are, which groups found with approximate=True cannot: "
            "pass channel_groups(model). Received: approximate groups"
        )
    search = _Search(groups)
    stays = search.alive()
    while True:
        keep = {group.name: search.with_one(group.ids, stays) for group in search.groups.values()}
        plan = plan_removal(
            search.groups.model, keep, round_to=round_to, minimum=minimum, skip=skip, groups=search.groups, check=False
        )
        # A channel that is kept after all reads its inputs, which must be kept too.
        stays = search.settled(search.nothing_empty(plan.stays))
        if (stays == plan.stays).all():
            check_nothing_empty(search.groups, stays)
            return dataclasses.replace(plan, added_bias=search.folded(stays), keeps_predictions=True)


class _Search:
    """Fixed-point search for the dead channels of one model."""

    def __init__(self, groups: ChannelGroups) -> None:
        self.groups = groups
        self.trace = groups.trace
        model = groups.model
        self.values = {id(each): view_of(each) for each in variables_of(model)}
        self.inputs: Inputs = constant_inputs(model, self.trace)
        self.cuts: dict[int, list[Cut]] = {}
        for cut in self.trace.cuts:
            self.cuts.setdefault(cut.variable_id, []).append(cut)
        self.readers = [cut for cut in self.trace.cuts if cut.role == CONSUME]
        self.folding = {id(cut) for cut in self.readers if self._folds(cut)}

    def alive(self) -> np.ndarray:
        """Returns the channels that are not dead, bool by channel id."""
        stays = np.ones(len(self.trace.classes.root), bool)
        while True:
            dead = ~self._needed(stays) & stays
            if not dead.any():
                return stays
            stays &= ~dead

    def settled(self, stays: np.ndarray) -> np.ndarray:
        """Returns `stays` with every channel added that a kept channel reads."""
        while True:
            more = stays | self._needed(stays)
            if (more == stays).all():
                return stays
            stays = more

    def with_one(self, ids: np.ndarray, stays: np.ndarray) -> np.ndarray:
        """Returns the keep-mask of a group, with its first channel where no other is kept."""
        mask = stays[ids].copy()
        mask[0] |= not mask.any()
        return mask

    def nothing_empty(self, stays: np.ndarray) -> np.ndarray:
        """Returns `stays` with the first channel added of each tensor that would have none."""
        stays, root = stays.copy(), self.trace.classes.root
        everything = [cut.ids for cut in self.trace.cuts] + [labels.ids for labels in self.trace.tensors()]
        for ids in everything:
            if ids.size and not stays[ids].any():
                stays[root == root[ids.reshape(-1)[0]]] = True
        return stays

    def _needed(self, stays: np.ndarray) -> np.ndarray:
        """Returns the channels that are read or must stay for another reason, bool by channel id."""
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
        for call, products in self.trace.products.items():
            for product in products:
                needed[root[product.sums[~self._vanishes(call, product)]]] = True
        return needed[root]

    def _reads(self, cut: Cut, stays: np.ndarray) -> np.ndarray:
        """Returns for each index of the consuming axis whether its slice has a nonzero weight to a kept channel."""
        value = self.values[cut.variable_id] != 0
        for other in self.cuts[cut.variable_id]:
            if other.axis != cut.axis:
                shape = [1] * value.ndim
                shape[other.axis] = -1
                value &= stays[other.ids].reshape(shape)
        return value.any(axis=tuple(axis for axis in range(value.ndim) if axis != cut.axis))

    def _vanishes(self, call: int, product: Product) -> np.ndarray:
        """Returns for each channel that a product sums over whether a factor is zero there, bool `(sums,)`."""
        # All slices count, also those that read what has left: what is found dead later is removed by another plan.
        zero = np.zeros(len(product.sums), bool)
        for place, axis in product.factors:
            made = self.inputs.get((call, place))
            if made is not None:
                lines = (np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis]) for value in made)
                zero |= np.logical_and.reduce([(line == 0.0).all(axis=0) for line in lines])
        for factor in product.made:
            slices = (np.moveaxis(self.values[variable], axis, 0) for variable, axis in factor)
            zero |= np.logical_and.reduce([(each.reshape(len(each), -1) == 0.0).all(axis=1) for each in slices])
        return zero

    def _settled_input(self, cut: Cut) -> np.ndarray:
        """Returns for each index whether the value read there is zero, or a constant that can be folded into a bias."""
        lines = self.inputs.get((cut.layer_id, cut.weight))
        if lines is None or len(lines[0]) != len(cut.ids):
            return np.zeros(len(cut.ids), bool)
        zero = np.logical_and.reduce([line == 0.0 for line in lines])
        if len(lines) > 1 or id(cut) not in self.folding:
            return zero
        return zero | np.isfinite(lines[0])

    def _folds(self, cut: Cut) -> bool:
        """Returns whether constants can be folded into the bias of the layer that reads them."""
        layer = self.trace.records[cut.layer_id].layer
        rule = constants_of(layer)
        if not isinstance(rule, Linear) or not rule.folds or cut.weight != rule.weight:
            return False
        if not is_unpadded(layer, weight_at(layer, rule.weight)) or getattr(layer, "groups", 1) != 1:
            return False
        return has_bias(layer) or "use_bias" in layer.get_config()

    def folded(self, stays: np.ndarray) -> dict[int, np.ndarray]:
        """Returns layer identity → the removed constants folded into its bias, float64 `(out,)`."""
        found = {}
        for cut in self.readers:
            lines = self.inputs.get((cut.layer_id, cut.weight))
            if lines is None or id(cut) not in self.folding:
                continue
            line = np.where(stays[cut.ids], 0.0, np.nan_to_num(lines[0]))
            if line.any():
                kernel = self.values[cut.variable_id]
                found[cut.layer_id] = folded(line, kernel.reshape(-1, *kernel.shape[-2:]))
        return found
