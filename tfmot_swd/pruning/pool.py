"""Pool of a pruning method: all wrappers of a model, acting together once an update, in graph."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

import tensorflow as tf

from tfmot_swd.keras2 import optimizers
from tfmot_swd.keras2.compat import not_recorded
from tfmot_swd.pruning.update_clock import SkippedUpdates
from tfmot_swd.pruning.wrapped_models import assign, collect_wrappers, taking_part
from tfmot_swd.pruning.wrapper import PruningWrapper

Wrapper = TypeVar("Wrapper", bound=PruningWrapper)
Part = TypeVar("Part")


class PruningPool(abc.ABC, Generic[Wrapper]):
    """Base of the pools of pruning methods: the wrappers of a model, joined to the optimizer that is their clock.

    A pool acts once for each optimizer update, in graph, at the first wrapped layer that the forward pass reaches. So
    it works in `model.fit`, in custom loops, with several steps in one call and under `tf.distribute`. It owns no
    variables: its state lives in its wrappers and is saved with them.

    A method derives from it and defines `_act`.

    Args:
      wrappers: the model's wrappers in call order. Those with a trained weight take part; the first of them leads.
      strategy: the `tf.distribute.Strategy` under which the model was built.

    Attributes:
      schedule: the pruning schedule, shared by all wrappers.

    Raises:
      NothingTrainedError: no weight of the wrappers is trained as the model is now.
      ValueError: their schedules differ.
    """

    wrapper_class: ClassVar[type[PruningWrapper]]

    def __init__(self, wrappers: Sequence[Wrapper], strategy: tf.distribute.Strategy) -> None:
        self.wrappers = taking_part(wrappers)
        # A layer that is frozen now may have led before.
        self._clocks = tuple(wrappers)
        self._check_schedules()
        self.strategy = strategy
        self.leader = self.wrappers[0]
        self.schedule: Any = self.leader.pruning_schedule
        self._optimizer: Any = None
        self._skips: SkippedUpdates | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        """Returns the pool of a wrapped model.

        Raises:
          ValueError: the model has no wrapper of this kind.
        """
        return cls(cls._wrappers_of(model), model.distribute_strategy)

    @classmethod
    def _wrappers_of(cls, model: Any) -> list[Any]:
        wrappers: list[Any] = collect_wrappers(model, cls.wrapper_class)
        if not wrappers:
            raise ValueError(
                f"The model has no wrapped layers ({cls.wrapper_class.__name__}): wrap it for pruning first. "
                f"Received: {getattr(model, 'name', model)!r}"
            )
        return wrappers

    def join(self, optimizer: Any) -> None:
        """Links the wrappers to this pool and to the optimizer, whose updates are counted from now on."""
        self._optimizer = optimizer
        for wrapper in self.wrappers:
            wrapper.join(self)
        latest = self._latest()
        with self.strategy.scope():
            self._copy_clock(latest, self.leader)
            # The first forward pass of a fit always begins an update, whatever was saved.
            self.leader.last_iterations.assign(-1)
            self._skips = SkippedUpdates(optimizer, self.leader)

    def leave(self) -> None:
        """Unlinks the wrappers; tracing a training function without the callback is an error from then on."""
        with self.strategy.scope():
            for wrapper in self.wrappers[1:]:
                self._copy_clock(self.leader, wrapper)
        for wrapper in self.wrappers:
            wrapper.join(None)

    @property
    def optimizer(self) -> Any:
        """The optimizer whose updates are counted."""
        return self._joined(self._optimizer)

    @property
    def _skipped_updates(self) -> SkippedUpdates:
        return self._joined(self._skips)

    def _joined(self, part: Part | None) -> Part:
        """Returns a part that a pool has from `join` on."""
        if part is None:
            raise RuntimeError(f"{type(self).__name__}.join comes first. Received: a pool without optimizer.")
        return part

    @property
    def step(self) -> int:
        """Number of updates begun since the model was wrapped."""
        clock = self.leader if self._optimizer is not None else self._latest()
        return int(clock.pruning_step.numpy())

    @property
    def scales(self) -> bool:
        """Whether the optimizer has a dynamic loss scale, and so skips updates whose gradients overflow."""
        return self._skips is not None and self._skips.possible

    @property
    def skipped(self) -> int:
        """Number of updates since the wrappers were joined that the optimizer has counted and skipped."""
        return 0 if self._skips is None else self._skips.count()

    def advance(self) -> None:
        """Makes the pool's part of one update, once: calls in the same update after the first change nothing."""
        replica = tf.distribute.get_replica_context()
        # A tape would have each function that is called here keep what its gradient needs.
        with not_recorded():
            if replica is None:
                self._advance(self.strategy)
            else:
                replica.merge_call(self._advance)

    def apply_masks(self) -> None:
        """Sets the masked weights to zero, where the optimizer has moved them."""
        with self.strategy.scope():
            self._mask(self.strategy)

    def targets(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Returns (weight, mask that broadcasts to it) of each variable that may be pruned."""
        return [pair for wrapper in self.wrappers for pair in wrapper.masked_weights()]

    def _check_schedules(self) -> None:
        """Raises unless all wrappers have the same schedule; for methods that prune each layer by its own, override."""
        schedules = {id(each): each for each in (wrapper.pruning_schedule for wrapper in self.wrappers)}
        first, *others = schedules.values()
        if any(each.get_config() != first.get_config() or type(each) is not type(first) for each in others):
            raise ValueError(
                "All layers of a model are pruned together, so their schedules must be equal: wrap them in one call. "
                f"Received: {list(schedules.values())}"
            )

    def _advance(self, strategy: tf.distribute.Strategy) -> None:
        now = optimizers.iterations(self.optimizer).read_value()
        begun = self.leader.pruning_step.read_value()
        skipped = self._skipped_updates.begin_update(strategy)
        is_new = tf.not_equal(now, self.leader.last_iterations.read_value()) & ~skipped
        # A second call within an update, or after a skipped one, repeats its step.
        step = begun - tf.cast(~is_new, begun.dtype)
        self._act(strategy, step, is_new)
        assign(strategy, self.leader.pruning_step, step + 1)
        assign(strategy, self.leader.last_iterations, now)

    def _act(self, strategy: tf.distribute.Strategy, step: tf.Tensor, is_new: tf.Tensor) -> None:
        """Prunes before the forward pass of an update, as the method defines it; in graph.

        Args:
          strategy: to assign with (`strategy.extended.update`).
          step: int64 scalar, the index of the update.
          is_new: bool scalar; False where this is called again in the same update.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define _act(strategy, step, is_new). Received: a class without it"
        )

    def _mask(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        def apply(weight: tf.Variable, mask: tf.Tensor) -> Any:
            # TensorFlow would make zeros of the weight's shape in every step, also in a branch that is not taken.
            zero = tf.zeros([], weight.dtype)
            # A product would turn an infinite weight into NaN.
            return weight.assign(tf.where(mask > 0, weight, zero))

        for weight, mask in self.targets():
            strategy.extended.update(weight, apply, args=(mask,))
        return tf.constant(True)

    def _latest(self) -> Any:
        return max(self._clocks, key=lambda wrapper: int(wrapper.pruning_step.numpy()))

    @staticmethod
    def _copy_clock(source: Any, target: Any) -> None:
        target.pruning_step.assign(source.pruning_step.numpy())
        target.threshold.assign(source.threshold.numpy())
