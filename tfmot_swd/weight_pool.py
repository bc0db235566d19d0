"""All prunable weights of one model under one global threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.decay_pool import DecayPool
from tfmot_swd.floors import FloorSelection, floors_of
from tfmot_swd.lost_layers import foreseen_losses, losses
from tfmot_swd.pruning_wrapper import assign
from tfmot_swd.thresholds import (
    bits_to_float,
    concat_magnitude_bits,
    magnitude_bits,
    select_bits_near,
)
from tfmot_swd.wrappers import PruneSelectiveDecay


class WeightPool(DecayPool[PruneSelectiveDecay]):
    """The weights of the wrapped layers, each decayed and cut on its own, or with its block; see `DecayPool`."""

    wrapper_class = PruneSelectiveDecay

    def __init__(self, wrappers: Sequence[PruneSelectiveDecay], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        self.size = sum(int(np.prod(weight.shape)) for weight in self.counted())
        self._weights = [(wrapper, weight) for wrapper in self.wrappers for weight in wrapper.prunable_weights]
        counted = {id(weight) for weight in self.counted()}
        self._places = [place for place, (_, weight) in enumerate(self._weights) if id(weight) in counted]
        self._selection = kept_floors(self.wrappers)
        # What each weight is compared with, in the order of `_weights`; the global threshold where there are no floors.
        self._limits: tf.Variable | None = None

    def counted(self) -> list[tf.Variable]:
        """Returns the variables that the rate counts."""
        return [weight for _, weight in self._counted()]

    def targeted(self) -> np.ndarray:
        """Returns for each weight that the rate counts whether it lies below the threshold, bool (N,)."""
        stays = [mask.numpy() for _, mask in self.decayed()]
        return np.concatenate([~stays[place].ravel() for place in self._places])

    def floored(self) -> tuple[str, ...]:
        """Returns the layers that have a kernel which keeps weights by its floor alone, below the global threshold."""
        limits, threshold = self._limit_bits().numpy(), magnitude_bits(self.leader.threshold).numpy()
        names = [self._weights[place][0].layer.name for place in self._places if limits[place] < threshold]
        return tuple(dict.fromkeys(names))

    def foreseen_losses(self) -> list[str]:
        ranked = [np.abs(np.asarray(wrapper.ranked(weight.numpy()), np.float32)) for wrapper, weight in self._counted()]
        return foreseen_losses(self._kernels(), ranked, self.schedule.final_sparsity)

    def losses(self) -> list[str]:
        return losses(self._kernels(), float(self.leader.threshold.numpy()))

    def _kernels(self) -> list[tuple[str, np.ndarray, int]]:
        """Returns (layer, what its entries are ranked by, the sign aside; how many stay at least) of each kernel."""
        if self._selection is None:
            floors = dict.fromkeys(self._places, 0)
        else:
            floors = dict(zip(self._places, self._selection.floors, strict=True))
        return [
            (wrapper.layer.name, np.abs(np.asarray(wrapper.ranked(weight.numpy()), np.float32)), floors[place])
            for place, (wrapper, weight) in enumerate(self._weights)
            if place in floors and is_kernel(weight)
        ]

    def join(self, optimizer: Any) -> None:
        super().join(optimizer)
        if self._selection is None:
            return
        kept = vars(self.leader.unsaved)
        if "limits" not in kept or kept["limits"].shape != [len(self._weights)]:
            with self.strategy.scope():
                kept["limits"] = tf.Variable(self._initial_limits(), trainable=False)
        self._limits = kept["limits"]

    def decayed(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        limits = self._limit_bits()
        return [
            (weight, magnitude_bits(wrapper.ranked(weight.read_value())) >= limits[place])
            for place, (wrapper, weight) in enumerate(self._weights)
        ]

    def penalty(self, wrapper: PruneSelectiveDecay) -> tf.Tensor:
        """Returns mu · a(step) / 2 · sum of the squared targeted weights of one wrapper, in float32."""
        step = self._step_now()
        active = self._is_active(step)
        limits = self._limit_bits()
        total = tf.zeros([])
        for place, (owner, weight) in enumerate(self._weights):
            if owner is wrapper:
                value = tf.cast(weight, tf.float32)
                below = magnitude_bits(wrapper.ranked(value)) < limits[place]
                total += tf.nn.l2_loss(tf.where(below, value, 0.0))
        return tf.where(active, self.strength.mu * self.schedule.a(step) * total, 0.0)

    def _counted(self) -> list[tuple[PruneSelectiveDecay, tf.Variable]]:
        return [(wrapper, each) for wrapper in self.wrappers for each in wrapper.prunable_weights[: wrapper.counted]]

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        """Returns the bits that each weight is compared with: computed anew, or as they were between two refreshes."""

        def compute() -> tf.Tensor:
            return self._select(strategy, self.schedule.sparsity(step))

        if self.schedule.frequency == 1:
            return compute()
        return tf.cond(self.schedule.is_due(step), compute, self._limit_bits)

    def _select(self, strategy: tf.distribute.Strategy, sparsity: tf.Tensor) -> tf.Tensor:
        """Sets the thresholds so that int(sparsity · N) weights are below theirs; returns the bits for each weight.

        Without floors, or where none binds, all are sorted(pool)[int(sparsity · N)]; `sparsity` is a float64 scalar.
        """
        selection, count = self._selection, len(self._weights)
        with tf.name_scope("selective_decay_threshold"):
            ranked = [wrapper.ranked(weight.read_value()) for wrapper, weight in self._counted()]
            bits = concat_magnitude_bits(ranked, aligned=selection is not None)
            rank = tf.cast(sparsity * self.size, tf.int32)
            guess = magnitude_bits(self.leader.threshold.read_value())
            if selection is None:
                chosen = select_bits_near(bits, rank, guess)
                limits = tf.fill([count], chosen)
            else:
                was_bound = self._limits is not None and tf.reduce_any(self._limit_bits() < guess)
                chosen, own = selection.limits(bits, rank, guess, was_bound)
                limits = tf.tensor_scatter_nd_update(tf.fill([count], chosen), np.reshape(self._places, [-1, 1]), own)
        assign(strategy, self.leader.threshold, bits_to_float(chosen))
        if self._limits is not None:
            assign(strategy, self._limits, bits_to_float(limits))
        return limits

    def _limit_bits(self) -> tf.Tensor:
        """Returns the bits that each weight was compared with last, int32, in the order of `_weights`."""
        if self._limits is None:
            return tf.fill([len(self._weights)], magnitude_bits(self.leader.threshold.read_value()))
        return magnitude_bits(self._limits.read_value())

    def _initial_limits(self) -> np.ndarray:
        """Returns the limits that go with the threshold of a file; they are not saved, and follow from the weights."""
        threshold = float(self.leader.threshold.numpy())
        limits = np.full(len(self._weights), threshold, np.float32)
        for place, floor in zip(self._places, self._selection.floors if self._selection else (), strict=True):
            wrapper, weight = self._weights[place]
            sizes = np.abs(np.asarray(wrapper.ranked(weight.numpy()), np.float32)).ravel()
            if np.count_nonzero(sizes >= threshold) < floor:
                limits[place] = np.partition(sizes, sizes.size - floor)[sizes.size - floor]
        return limits

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, limits: tf.Tensor) -> None:
        factor = 1.0 / (1.0 + shrink_by)

        def shrink(weight: tf.Variable, wrapper: PruneSelectiveDecay, bits: tf.Tensor, factor: tf.Tensor) -> Any:
            value = weight.read_value()
            return weight.assign(_shrunk([value], [wrapper.pooled(value)], bits, factor)[0])

        weights = self._weights
        if strategy.num_replicas_in_sync == 1:
            values = [weight.read_value() for _, weight in weights]
            pooled = [wrapper.pooled(value) for (wrapper, _), value in zip(weights, values, strict=True)]
            for (_, weight), value in zip(weights, _shrunk(values, pooled, limits, factor), strict=True):
                weight.assign(value)
            return
        for place, (wrapper, weight) in enumerate(weights):
            strategy.extended.update(weight, shrink, args=(wrapper, limits[place : place + 1], factor))

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        limits = self._select(strategy, tf.constant(self.schedule.final_sparsity, tf.float64))

        def set_mask(mask: tf.Variable, weight: tf.Tensor, wrapper: PruneSelectiveDecay, limit: tf.Tensor) -> Any:
            return mask.assign(tf.cast(magnitude_bits(wrapper.ranked(weight)) >= limit, mask.dtype))

        masks = [mask for wrapper in self.wrappers for _, mask, _ in wrapper.pruning_vars]
        for place, ((wrapper, weight), mask) in enumerate(zip(self._weights, masks, strict=True)):
            strategy.extended.update(mask, set_mask, args=(weight, wrapper, limits[place]))


def kept_floors(wrappers: Sequence[PruneSelectiveDecay]) -> FloorSelection | None:
    """Returns how many weights each kernel of these wrappers keeps at least; None where there is no floor.

    Raises:
      ValueError: `minimum_kept` asks for more than the rate leaves.
    """
    schedule = wrappers[0].pruning_schedule
    weights = [weight for wrapper in wrappers for weight in wrapper.prunable_weights[: wrapper.counted]]
    sizes = [int(np.prod(weight.shape)) for weight in weights]
    floors = floors_of(schedule.minimum_kept, schedule.final_sparsity, sizes, list(map(is_kernel, weights)))
    return FloorSelection(tuple(sizes), tuple(floors)) if any(floors) else None


def is_kernel(weight: tf.Variable) -> bool:
    """Whether a layer without this weight answers a constant: it has inputs and outputs, where a bias has outputs."""
    return len(weight.shape) > 1


@tf.function(jit_compile=True)
def _shrunk(
    values: Sequence[tf.Tensor], pooled: Sequence[tf.Tensor | None], limits: tf.Tensor, factor: tf.Tensor
) -> list[tf.Tensor]:
    """Returns w · factor where |w|, or what is pooled of its block, is below its limit, w elsewhere: one pass."""
    shrunk = []
    for place, (value, own) in enumerate(zip(values, pooled, strict=True)):
        wide = tf.cast(value, tf.float32)
        below = magnitude_bits(wide if own is None else own) < limits[place]
        shrunk.append(tf.where(below, tf.cast(wide * factor, value.dtype), value))
    return shrunk
