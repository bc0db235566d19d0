"""Pool of Selective Weight Decay of single weights, under one global threshold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.layer_weights import elements, kernels_of
from tfmot_swd.pruning.magnitude_bits import magnitude_bits
from tfmot_swd.pruning.thresholds import needs_static_shapes
from tfmot_swd.pruning.wrapped_models import assign
from tfmot_swd.swd.floors import ThresholdSelection, floors_of
from tfmot_swd.swd.lost_layers import expected_lost_layers, lost_layers
from tfmot_swd.swd.pool import DecayPool
from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.wrapper import PruneSelectiveDecay, Target


class WeightPool(DecayPool[PruneSelectiveDecay]):
    """Decays and prunes the weights of the wrapped layers one by one, or block by block; see `DecayPool`.

    Attributes:
      size: number of prunable weights N, of which the rate is a share.
      kernels: identities of the kernels of the wrapped layers.
      all_kernels: number of kernel weights of the whole model, prunable or not.
    """

    wrapper_class = PruneSelectiveDecay

    def __init__(self, wrappers: Sequence[PruneSelectiveDecay], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        self._targets = distinct_targets(self.wrappers)
        self.size = elements(self.counted())
        self.kernels = frozenset(id(each) for wrapper in self.wrappers for each in kernels_of(wrapper))
        # Those of the wrapped layers, until `of` counts the whole model.
        self.all_kernels = sum(elements(kernels_of(wrapper)) for wrapper in self.wrappers)
        self._places = [place for place, each in enumerate(self._targets) if each.counts]
        # The whole model was checked when it was wrapped; a count may exceed what the rate leaves of the few layers
        # that are trained now.
        self._selection = threshold_selection(self.schedule, self.counted(), self.kernels, capped=True)
        # Threshold of each weight, in the order of `_targets`; None where the global one holds for all.
        self._limits: tf.Variable | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        pool = super().of(model)
        pool.all_kernels = elements(kernels_of(model))
        return pool

    def counted(self) -> list[tf.Variable]:
        """Returns the prunable variables."""
        return [each.weight for each in self._counted()]

    def counted_of(self, wrapper: PruneSelectiveDecay) -> list[tf.Variable]:
        """Returns the prunable variables of one wrapper."""
        return [each.weight for each in self._counted() if each.wrapper is wrapper]

    def targets(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        return [(each.weight, each.mask.read_value()) for each in self._targets]

    def floored(self) -> tuple[str, ...]:
        """Returns the layers with a kernel that keeps weights below the global threshold because of its floor."""
        limits, threshold = self._present_limits().numpy(), self.leader.threshold.numpy()
        names = [self._targets[place].wrapper.layer.name for place in self._places if limits[place] < threshold]
        return tuple(dict.fromkeys(names))

    def expected_lost_layers(self) -> list[str]:
        ranked = [self._ranked(each) for each in self._counted()]
        return expected_lost_layers(self._kernels(), ranked, self.schedule.final_sparsity)

    def lost_layers(self) -> list[str]:
        return lost_layers(self._kernels(), float(self.leader.threshold.numpy()))

    def _kernels(self) -> list[tuple[str, Any, int]]:
        """Returns (layer, values whose magnitudes rank its entries, number of weights kept at least) of each kernel."""
        return [
            (each.wrapper.layer.name, self._ranked(each), floor)
            for each, floor in zip(self._counted(), self._selection.floors, strict=True)
            if id(each.weight) in self.kernels
        ]

    def join(self, optimizer: Any) -> None:
        super().join(optimizer)
        if not self._selection.has_floors:
            return
        kept = vars(self.leader.unsaved)
        targets = tuple(id(each.weight) for each in self._targets)
        with self.strategy.scope():
            if "limits" not in kept or kept["limits"].shape != [len(targets)]:
                kept["limits"] = tf.Variable(self._initial_limits(), trainable=False)
            elif kept["limits_of"] != targets:
                # As many weights, but of other layers, which have been unfrozen since.
                kept["limits"].assign(self._initial_limits())
        kept["limits_of"], self._limits = targets, kept["limits"]

    def decayed(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        limits = self._present_limits()
        return [(each.weight, is_kept(self._ranked(each), limits[place])) for place, each in enumerate(self._targets)]

    def penalty(self, wrapper: PruneSelectiveDecay) -> tf.Tensor:
        """Returns mu · a(step) / 2 · sum of the squared targeted weights of one wrapper, a float32 scalar."""
        step = self._step_now()
        active = self._is_active(step)
        limits = self._present_limits()
        total = tf.zeros([])
        for place, each in enumerate(self._targets):
            if each.wrapper is wrapper:
                value = tf.cast(each.weight, tf.float32)
                total += tf.nn.l2_loss(tf.where(is_kept(wrapper.ranked(value), limits[place]), 0.0, value))
        return tf.where(active, self.strength.mu * self.schedule.a(step) * total, 0.0)

    def _counted(self) -> list[Target]:
        return [each for each in self._targets if each.counts]

    def _compared(self, target: Target) -> tf.Variable:
        """Returns the variable whose magnitudes decide whether a weight is targeted."""
        return target.weight

    def _ranked(self, target: Target) -> Any:
        """Returns the values whose magnitudes rank the entries of a weight; in graph."""
        return target.wrapper.ranked(self._compared(target).read_value())

    def _magnitudes(self, target: Target) -> np.ndarray:
        """Returns the magnitudes that rank the entries of a weight, a float32 array."""
        return np.abs(np.asarray(self._ranked(target), np.float32))

    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        """Returns the threshold of each weight, float32, computed at refreshes and kept between them."""

        def compute() -> tf.Tensor:
            return self._select(strategy, self.schedule.sparsity(step))

        if self.schedule.frequency == 1:
            return compute()
        return tf.cond(self.schedule.is_due(step), compute, self._present_limits)

    def _select(self, strategy: tf.distribute.Strategy, sparsity: tf.Tensor) -> tf.Tensor:
        """Sets the thresholds so that int(sparsity · N) weights are below theirs; returns that of each weight."""
        threshold, limits = self._selected(sparsity)
        assign(strategy, self.leader.threshold, threshold)
        self._keep_limits(strategy, limits)
        return limits

    def _selected(self, sparsity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the global threshold, float32 scalar, and the threshold of each weight, float32 vector.

        Without a binding floor all are sorted(magnitudes)[int(sparsity · N)]; `sparsity` is a float64 scalar.
        """
        selection, count = self._selection, len(self._targets)
        with tf.name_scope("selective_decay_threshold"):
            rank = tf.cast(sparsity * self.size, tf.int32)
            guess = self.leader.threshold.read_value()
            last = tf.gather(self._present_limits(), self._places) if selection.has_floors else None
            threshold, own = selection.limits(
                [self._ranked(each) for each in self._counted()],
                rank,
                guess,
                last,
                static=needs_static_shapes(self._targets[0].weight),
            )
            places = dict(zip(self._places, tf.unstack(own), strict=True))
            limits = tf.stack([places.get(place, threshold) for place in range(count)])
        return threshold, limits

    def _keep_limits(self, strategy: tf.distribute.Strategy, limits: tf.Tensor) -> None:
        if self._limits is not None:
            assign(strategy, self._limits, limits)

    def _present_limits(self) -> tf.Tensor:
        """Returns the last threshold of each weight, float32, in the order of `_targets`."""
        if self._limits is None:
            return tf.stack([self.leader.threshold.read_value()] * len(self._targets))
        return self._limits.read_value()

    def _initial_limits(self) -> np.ndarray:
        """Returns the thresholds of the weights of a loaded model; they are not saved, and follow from the weights."""
        threshold = float(self.leader.threshold.numpy())
        limits = np.full(len(self._targets), threshold, np.float32)
        for place, floor in zip(self._places, self._selection.floors, strict=True):
            sizes = self._magnitudes(self._targets[place]).ravel()
            if np.count_nonzero(sizes >= threshold) < floor:
                own = np.partition(sizes, sizes.size - floor)[sizes.size - floor]
                limits[place] = max(own, np.nextafter(np.float32(0), np.float32(1)))
        return limits

    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, limits: tf.Tensor) -> None:
        factor = 1.0 / (1.0 + shrink_by)
        if not tf.distribute.has_strategy():
            self._shrink_in_place(limits, factor)
            return
        weights = [each.weight for each in self._targets]
        self._update(
            strategy, weights, weights, limits, lambda values, pooled, own: _shrunk(values, pooled, own, factor)
        )

    def _shrink_in_place(self, limits: tf.Tensor, factor: tf.Tensor) -> None:
        """Decays the variables inside of XLA, which writes to those of its own device alone."""
        places: dict[str, list[int]] = {}
        for place, each in enumerate(self._targets):
            places.setdefault(each.weight.device, []).append(place)
        for device, own in places.items():
            targets = [self._targets[place] for place in own]
            with tf.device(device):
                pooled = [each.wrapper.pooled(each.weight.read_value()) for each in targets]
                own_limits = limits if len(places) == 1 else tf.gather(limits, own)
                _shrink([each.weight for each in targets], pooled, own_limits, factor)

    def _update(
        self,
        strategy: tf.distribute.Strategy,
        variables: Sequence[tf.Variable],
        sources: Sequence[tf.Variable],
        limits: tf.Tensor,
        function: Callable[[list[tf.Tensor], list[tf.Tensor | None], tf.Tensor], list[tf.Tensor]],
        write: Callable[[Any, Any, tf.Tensor], Any] = lambda variable, weight, new: variable.assign(new),
    ) -> None:
        """Updates a variable of each target by a function of another one; in graph.

        On one replica the function gets all targets at once, so that XLA fuses them; else one at a time by replica.

        Args:
          strategy: to assign with.
          variables: the variable to update, by target.
          sources: the variable that the function reads, by target.
          limits: float32 vector, the threshold of each target.
          function: (values, pooled magnitudes or None, limits) → new values.
          write: (variable, weight of the target, new value) → the assignment.
        """
        if strategy.num_replicas_in_sync == 1:
            values = [each.read_value() for each in sources]
            pooled = [each.wrapper.pooled(value) for each, value in zip(self._targets, values, strict=True)]
            for variable, each, new in zip(variables, self._targets, function(values, pooled, limits), strict=True):
                write(variable, each.weight, new)
            return

        def on_replica(variable: Any, source: Any, weight: Any, wrapper: PruneSelectiveDecay, limit: tf.Tensor) -> Any:
            value = tf.convert_to_tensor(source)
            (new,) = function([value], [wrapper.pooled(value)], limit)
            return write(variable, weight, new)

        for place, (variable, source, each) in enumerate(zip(variables, sources, self._targets, strict=True)):
            args = (source, each.weight, each.wrapper, limits[place : place + 1])
            strategy.extended.update(variable, on_replica, args=args)

    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        limits = self._select(strategy, tf.constant(self.schedule.final_sparsity, tf.float64))

        def set_mask(mask: tf.Variable, weight: tf.Tensor, wrapper: PruneSelectiveDecay, limit: tf.Tensor) -> Any:
            return mask.assign(tf.cast(is_kept(wrapper.ranked(weight), limit), mask.dtype))

        for place, each in enumerate(self._targets):
            strategy.extended.update(each.mask, set_mask, args=(self._compared(each), each.wrapper, limits[place]))


def distinct_targets(wrappers: Sequence[PruneSelectiveDecay]) -> list[Target]:
    """Returns the trained targets of wrappers; a weight that layers share belongs to the first of them."""
    found: dict[int, Target] = {}
    for wrapper in wrappers:
        for target in wrapper.trained_targets():
            found.setdefault(id(target.weight), target)
    return list(found.values())


def threshold_selection(
    schedule: SelectiveDecay, weights: Sequence[tf.Variable], kernels: Collection[int], capped: bool = False
) -> ThresholdSelection:
    """Returns the selection of a threshold, with the floors of `minimum_kept`.

    Args:
      schedule: gives `minimum_kept` and the final sparsity.
      weights: the prunable variables.
      kernels: identities of kernels, which have a floor: the outputs of a layer without its kernel are constant.
      capped: whether a count that exceeds what the rate leaves is lowered, and not refused.

    Raises:
      ValueError: `minimum_kept` exceeds what the rate leaves, and is not `capped`.
    """
    sizes = [int(np.prod(weight.shape)) for weight in weights]
    are_kernels = [id(weight) in kernels for weight in weights]
    floors = floors_of(schedule.minimum_kept, schedule.final_sparsity, sizes, are_kernels, capped)
    return ThresholdSelection(tuple(sizes), tuple(floors))


def is_kept(values: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Returns where magnitudes are not below a limit, bool; exact for subnormal numbers too."""
    return magnitude_bits(values) >= magnitude_bits(limit)


@tf.function(jit_compile=True, autograph=False)
def _shrink(
    variables: Sequence[tf.Variable], pooled: Sequence[tf.Tensor | None], limits: tf.Tensor, factor: tf.Tensor
) -> None:
    """Sets variables to what `_shrunk` returns; XLA then needs no second copy of them."""
    values = [each.read_value() for each in variables]
    for variable, new in zip(variables, _shrunk(values, pooled, limits, factor), strict=True):
        variable.assign(new)


@tf.function(jit_compile=True)
def _shrunk(
    values: Sequence[tf.Tensor], pooled: Sequence[tf.Tensor | None], limits: tf.Tensor, factor: tf.Tensor
) -> list[tf.Tensor]:
    """Returns w · factor where |w|, or the pooled magnitude of its block, is below its limit, and w elsewhere."""
    shrunk = []
    for place, (value, own) in enumerate(zip(values, pooled, strict=True)):
        wide = tf.cast(value, tf.float32)
        kept = is_kept(wide if own is None else own, limits[place])
        shrunk.append(tf.where(kept, value, tf.cast(wide * factor, value.dtype)))
    return shrunk
