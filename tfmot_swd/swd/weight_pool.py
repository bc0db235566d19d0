"""All prunable weights of one model under one global threshold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.layer_weights import elements, kernels_of
from tfmot_swd.pruning.thresholds import bits_to_float, concat_magnitude_bits, magnitude_bits, select_bits_near
from tfmot_swd.pruning.wrapped_models import assign
from tfmot_swd.swd.floors import FloorSelection, floors_of
from tfmot_swd.swd.lost_layers import foreseen_losses, losses
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.wrapper import PruneSelectiveDecay, Target


class WeightPool(DecayPool[PruneSelectiveDecay]):
    """The weights of the wrapped layers, each decayed and cut on its own, or with its block; see `DecayPool`."""

    wrapper_class = PruneSelectiveDecay

    def __init__(self, wrappers: Sequence[PruneSelectiveDecay], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        self._targets = distinct_targets(self.wrappers)
        self.size = elements(self.counted())
        self.kernels = frozenset(id(each) for wrapper in self.wrappers for each in kernels_of(wrapper))
        # Of the wrapped layers; of the whole model once it is known.
        self.all_kernels = sum(elements(kernels_of(wrapper)) for wrapper in self.wrappers)
        self._places = [place for place, each in enumerate(self._targets) if each.counts]
        # The model as a whole was checked when it was wrapped; of the few layers that are trained now a count may ask
        # for more than the rate leaves of them.
        self._selection = kept_floors(self.schedule, self.counted(), self.kernels, capped=True)
        # What each weight is compared with, in the order of `_targets`; the global threshold where there are no floors.
        self._limits: tf.Variable | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        pool = super().of(model)
        pool.all_kernels = elements(kernels_of(model))
        return pool

    def counted(self) -> list[tf.Variable]:
        """Returns the variables that the rate counts."""
        return [each.weight for each in self._counted()]

    def counted_of(self, wrapper: PruneSelectiveDecay) -> list[tf.Variable]:
        """Returns those of one wrapper."""
        return [each.weight for each in self._counted() if each.wrapper is wrapper]

    def targets(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        return [(each.weight, each.mask.read_value()) for each in self._targets]

    def targeted(self) -> np.ndarray:
        """Returns for each weight that the rate counts whether it lies below the threshold, bool (N,)."""
        stays = [mask.numpy() for _, mask in self.decayed()]
        return np.concatenate([~stays[place].ravel() for place in self._places])

    def floored(self) -> tuple[str, ...]:
        """Returns the layers that have a kernel which keeps weights by its floor alone, below the global threshold."""
        limits, threshold = self._limit_bits().numpy(), magnitude_bits(self.leader.threshold).numpy()
        names = [self._targets[place].wrapper.layer.name for place in self._places if limits[place] < threshold]
        return tuple(dict.fromkeys(names))

    def foreseen_losses(self) -> list[str]:
        ranked = [self._magnitudes(each) for each in self._counted()]
        return foreseen_losses(self._kernels(), ranked, self.schedule.final_sparsity)

    def losses(self) -> list[str]:
        return losses(self._kernels(), float(self.leader.threshold.numpy()))

    def _kernels(self) -> list[tuple[str, np.ndarray, int]]:
        """Returns (layer, what its entries are ranked by, the sign aside; how many stay at least) of each kernel."""
        floors = [0] * len(self._places) if self._selection is None else self._selection.floors
        return [
            (each.wrapper.layer.name, self._magnitudes(each), floor)
            for each, floor in zip(self._counted(), floors, strict=True)
            if id(each.weight) in self.kernels
        ]

    def join(self, optimizer: Any) -> None:
        super().join(optimizer)
        if self._selection is None:
            return
        kept = vars(self.leader.unsaved)
        if "limits" not in kept or kept["limits"].shape != [len(self._targets)]:
            with self.strategy.scope():
                kept["limits"] = tf.Variable(self._initial_limits(), trainable=False)
        self._limits = kept["limits"]

    def decayed(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        limits = self._limit_bits()
        return [
            (each.weight, magnitude_bits(self._ranked(each)) >= limits[place])
            for place, each in enumerate(self._targets)
        ]

    def penalty(self, wrapper: PruneSelectiveDecay) -> tf.Tensor:
        """Returns mu · a(step) / 2 · sum of the squared targeted weights of one wrapper, in float32."""
        step = self._step_now()
        active = self._is_active(step)
        limits = self._limit_bits()
        total = tf.zeros([])
        for place, each in enumerate(self._targets):
            if each.wrapper is wrapper:
                value = tf.cast(each.weight, tf.float32)
                below = magnitude_bits(wrapper.ranked(value)) < limits[place]
                total += tf.nn.l2_loss(tf.where(below, value, 0.0))
        return tf.where(active, self.strength.mu * self.schedule.a(step) * total, 0.0)

    def _counted(self) -> list[Target]:
        return [each for each in self._targets if each.counts]

    def _compared(self, target: Target) -> tf.Variable:
        """Returns the variable whose magnitudes decide whether a weight is targeted."""
        return target.weight

    def _ranked(self, target: Target) -> Any:
        """Returns what the entries of a weight are compared by, the sign aside; in graph."""
        return target.wrapper.ranked(self._compared(target).read_value())

    def _magnitudes(self, target: Target) -> np.ndarray:
        """Returns the same as numbers, without the sign."""
        return np.abs(np.asarray(self._ranked(target), np.float32))

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        """Returns the bits that each weight is compared with: computed anew, or as they were between two refreshes."""

        def compute() -> tf.Tensor:
            return self._select(strategy, self.schedule.sparsity(step))

        if self.schedule.frequency == 1:
            return compute()
        return tf.cond(self.schedule.is_due(step), compute, self._limit_bits)

    def _select(self, strategy: tf.distribute.Strategy, sparsity: tf.Tensor) -> tf.Tensor:
        """Sets the thresholds so that int(sparsity · N) weights are below theirs; returns the bits for each weight."""
        threshold, limits = self._selected(sparsity)
        assign(strategy, self.leader.threshold, bits_to_float(threshold))
        self._keep_limits(strategy, limits)
        return limits

    def _selected(self, sparsity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the bits of the global threshold and those that each weight is compared with.

        Without floors, or where none binds, all are sorted(pool)[int(sparsity · N)]; `sparsity` is a float64 scalar.
        """
        selection, count = self._selection, len(self._targets)
        with tf.name_scope("selective_decay_threshold"):
            bits = concat_magnitude_bits(
                [self._ranked(each) for each in self._counted()], aligned=selection is not None
            )
            rank = tf.cast(sparsity * self.size, tf.int32)
            guess = magnitude_bits(self.leader.threshold.read_value())
            if selection is None:
                chosen = select_bits_near(bits, rank, guess)
                limits = tf.fill([count], chosen)
            else:
                was_bound = tf.reduce_any(self._limit_bits() < guess)
                chosen, own = selection.limits(bits, rank, guess, was_bound)
                limits = tf.tensor_scatter_nd_update(tf.fill([count], chosen), np.reshape(self._places, [-1, 1]), own)
        return chosen, limits

    def _keep_limits(self, strategy: tf.distribute.Strategy, limits: tf.Tensor) -> None:
        if self._limits is not None:
            assign(strategy, self._limits, bits_to_float(limits))

    def _limit_bits(self) -> tf.Tensor:
        """Returns the bits that each weight was compared with last, int32, in the order of `_targets`."""
        if self._limits is None:
            return tf.fill([len(self._targets)], magnitude_bits(self.leader.threshold.read_value()))
        return magnitude_bits(self._limits.read_value())

    def _initial_limits(self) -> np.ndarray:
        """Returns the limits that go with the threshold of a file; they are not saved, and follow from the weights."""
        threshold = float(self.leader.threshold.numpy())
        limits = np.full(len(self._targets), threshold, np.float32)
        for place, floor in zip(self._places, self._selection.floors if self._selection else (), strict=True):
            sizes = self._magnitudes(self._targets[place]).ravel()
            if np.count_nonzero(sizes >= threshold) < floor:
                own = np.partition(sizes, sizes.size - floor)[sizes.size - floor]
                limits[place] = max(own, np.nextafter(np.float32(0), np.float32(1)))
        return limits

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, limits: tf.Tensor) -> None:
        factor = 1.0 / (1.0 + shrink_by)

        def shrink(weight: tf.Variable, wrapper: PruneSelectiveDecay, bits: tf.Tensor, factor: tf.Tensor) -> Any:
            value = weight.read_value()
            return weight.assign(_shrunk([value], [wrapper.pooled(value)], bits, factor)[0])

        weights = [(each.wrapper, each.weight) for each in self._targets]
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

        for place, each in enumerate(self._targets):
            strategy.extended.update(each.mask, set_mask, args=(self._compared(each), each.wrapper, limits[place]))


def distinct_targets(wrappers: Sequence[PruneSelectiveDecay]) -> list[Target]:
    """Returns what is trained of these wrappers; a weight that layers have in common belongs to the first of them."""
    found: dict[int, Target] = {}
    for wrapper in wrappers:
        for target in wrapper.trained_targets():
            found.setdefault(id(target.weight), target)
    return list(found.values())


def kept_floors(
    schedule: SelectiveDecay, weights: Sequence[tf.Variable], kernels: Collection[int], capped: bool = False
) -> FloorSelection | None:
    """Returns how many weights each kernel among those that the rate counts keeps at least; None without any floor.

    `kernels` are identities: a layer without one of these answers a constant, one without its bias does not.

    Raises:
      ValueError: `minimum_kept` asks for more than the rate leaves, and is not `capped`.
    """
    sizes = [int(np.prod(weight.shape)) for weight in weights]
    are_kernels = [id(weight) in kernels for weight in weights]
    floors = floors_of(schedule.minimum_kept, schedule.final_sparsity, sizes, are_kernels, capped)
    return FloorSelection(tuple(sizes), tuple(floors)) if any(floors) else None


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
