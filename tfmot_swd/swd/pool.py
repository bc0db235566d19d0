"""What trains by a selective decay as one: the wrappers of a model under one clock, one target, one cut.

A pool works once for each optimizer update, in graph, at the first wrapped layer that the forward pass reaches: so it
holds for `model.fit`, for custom loops, for several steps in one call and under `tf.distribute`. It owns no variables:
its state lives in its wrappers and is saved with them.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

import tensorflow as tf

from tfmot_swd.keras2 import optimizers
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.pruning.skipped_updates import SkippedUpdates
from tfmot_swd.pruning.wrapper import assign, collect_wrappers, taking_part
from tfmot_swd.swd.decay_wrapper import DecayWrapper
from tfmot_swd.swd.removed_weights import RemovedWeights, RemovedWeightsNote
from tfmot_swd.swd.strength import DecayStrength

Wrapper = TypeVar("Wrapper", bound=DecayWrapper)


class DecayPool(abc.ABC, Generic[Wrapper]):
    """Joins the wrappers of a model; `join` puts them under an optimizer when training begins.

    Args:
      wrappers: the model's wrappers in call order; those take part of which a weight is trained, and the first leads.
      strategy: the `tf.distribute.Strategy` under which the model was built.

    Raises:
      NothingTrainedError: no weight of the wrappers is trained as the model is now.
      ValueError: their schedules differ.

    Attributes:
      waits: whether nothing is decayed for now, as the target is out of reach while layers are frozen.
    """

    waits = False
    wrapper_class: ClassVar[type[DecayWrapper]]

    def __init__(self, wrappers: Sequence[Wrapper], strategy: tf.distribute.Strategy) -> None:
        self.wrappers = taking_part(wrappers)
        # One that is frozen now may have led before.
        self._clocks = tuple(wrappers)
        schedules = {wrapper.pruning_schedule for wrapper in self.wrappers}
        if len(schedules) > 1:
            raise ValueError(
                "All layers of a model are pruned under one global threshold, so their schedules must "
                f"be equal: wrap them in one call. Received: {schedules}"
            )
        self.strategy = strategy
        self.leader = self.wrappers[0]
        self.schedule: Any = self.leader.pruning_schedule
        self._strength: DecayStrength | None = None
        self._skips: SkippedUpdates | None = None
        self._note: RemovedWeightsNote | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        """Returns the pool of a wrapped model.

        Raises:
          ValueError: the model has no wrapper of this kind.
        """
        return cls(cls._wrappers_of(model), model.distribute_strategy)

    @classmethod
    def _wrappers_of(cls, model: Any) -> list[Wrapper]:
        wrappers: list[Any] = collect_wrappers(model, cls.wrapper_class)
        if not wrappers:
            raise ValueError(
                "The model has no wrapped layers: make it with tfmot_swd.prune_selective_decay first. "
                f"Received: {getattr(model, 'name', model)!r}"
            )
        return wrappers

    def join(self, optimizer: Any) -> None:
        """Links the wrappers to this pool and the optimizer, whose updates are the clock from now on.

        Raises:
          ValueError: the strength multiplies a weight decay and there is none.
        """
        self._strength = DecayStrength.of(self.schedule, optimizer, self.wrappers)
        for wrapper in self.wrappers:
            wrapper.join(self, coupled=self._strength.coupled)
        latest = self._latest()
        with self.strategy.scope():
            self._copy_clock(latest, self.leader)
            if not all(bool(wrapper.cut.numpy()) for wrapper in self.wrappers):
                # Layers that were frozen at an earlier cut have joined: it is made again, over all.
                for wrapper in self.wrappers:
                    wrapper.cut.assign(False)
            # The first forward pass of a fit always begins an update, whatever was saved.
            self.leader.last_iterations.assign(-1)
            self._skips = SkippedUpdates(optimizer, self.leader)
            self._note = self._kept_note()

    def leave(self) -> None:
        """Unlinks the wrappers; a training function that is traced without the callback is an error then."""
        with self.strategy.scope():
            for wrapper in self.wrappers[1:]:
                self._copy_clock(self.leader, wrapper)
        for wrapper in self.wrappers:
            wrapper.join(None)

    @property
    def strength(self) -> DecayStrength:
        """The resolved strength; only a pool that has joined an optimizer has one."""
        if self._strength is None:
            raise RuntimeError(f"{type(self).__name__}.join comes first. Received: a pool without optimizer.")
        return self._strength

    @property
    def step(self) -> int:
        """The number of updates begun since the model was wrapped."""
        clock = self.leader if self._strength is not None else self._latest()
        return int(clock.pruning_step.numpy())

    @property
    def scales(self) -> bool:
        """Whether the optimizer finds the scale of the loss by trying, and skips updates that have overflowed."""
        return self._skips is not None and self._skips.possible

    @property
    def skipped(self) -> int:
        """The number of updates since the wrappers were joined that the optimizer has counted and not made."""
        return 0 if self._skips is None else self._skips.count()

    @property
    def is_cut(self) -> bool:
        """Whether the final cut has been made."""
        return bool(self.leader.cut.numpy())

    @property
    def noted(self) -> RemovedWeights:
        """What the final pruning step found of the weights that it removed; only a pool that has joined notes it."""
        if self._note is None:
            raise RuntimeError(f"{type(self).__name__}.join comes first. Received: a pool without optimizer.")
        return self._note.read()

    @property
    def has_begun(self) -> bool:
        """Whether anything has been targeted, decayed or cut since the model was wrapped."""
        return any(float(each.threshold.numpy()) != 0.0 or bool(each.cut.numpy()) for each in self._clocks)

    def advance(self) -> None:
        """Makes the pool's part of one update; does nothing when called again in the same update."""
        replica = tf.distribute.get_replica_context()
        if replica is None:
            self._advance(self.strategy)
        else:
            replica.merge_call(self._advance)

    def decay(self) -> None:
        """Decays the targeted weights once more, with the strength of where the clock stands."""
        with self.strategy.scope():
            step = self.leader.pruning_step.read_value()
            threshold = self._refresh(self.strategy, step)
            self._decay(self.strategy, self.strength.shrink(step), threshold)

    def settle(self) -> None:
        """Brings the variables to what is pruned now, where a form keeps that apart from what the optimizer did."""

    def finish(self) -> None:
        """Makes the final cut now: what lies below the threshold of the final rate becomes zero."""
        with self.strategy.scope():
            self._cut(self.strategy)

    def apply_masks(self) -> None:
        """Sets to zero again what the optimizer has moved since the cut."""
        with self.strategy.scope():
            self._mask(self.strategy)

    def targets(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Returns (weight, mask that broadcasts to it) of every variable that the cut may set to zero."""
        return [pair for wrapper in self.wrappers for pair in wrapper.masked_weights()]

    def floored(self) -> tuple[str, ...]:
        """Returns the layers that keep weights by a floor alone, where there are floors of weights."""
        return ()

    def foreseen_losses(self) -> list[str]:
        """Returns what to warn with before training, where layers start so small that the rate would empty them."""
        return []

    def losses(self) -> list[str]:
        """Returns what to warn with where the threshold, as it is, takes all weights of a layer."""
        return []

    @abc.abstractmethod
    def decayed(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Returns (weight, bool mask that broadcasts to it: whether it is not targeted now) of what is decayed."""

    def decayed_by_layer(self) -> list[tuple[str, tf.Variable, tf.Tensor]]:
        """Returns (layer, weight, mask) of what `decayed` returns, with the name of the wrapped layer that owns it."""
        names = {id(each): wrapper.layer.name for wrapper in self.wrappers for each in variables_of(wrapper.layer)}
        return [(names[id(weight)], weight, mask) for weight, mask in self.decayed()]

    @abc.abstractmethod
    def penalty(self, wrapper: Wrapper) -> tf.Tensor:
        """Returns the wrapper's part of the coupled penalty, in float32."""

    @abc.abstractmethod
    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        """Returns what `_decay` has to know to tell who is targeted; found anew, or as between two refreshes."""

    @abc.abstractmethod
    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, targeted: tf.Tensor) -> None:
        """Divides what is targeted by 1 + shrink_by."""

    @abc.abstractmethod
    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        """Sets the masks to what is targeted at the final rate."""

    def _kept_note(self) -> RemovedWeightsNote:
        """Returns the note of an earlier training, which a training step that was traced then writes to, or one."""
        decayed = {id(weight): layer for layer, weight, _ in self.decayed_by_layer()}
        layers = tuple(decayed.get(id(weight)) for weight, _ in self.targets())
        kept = vars(self.leader.unsaved)
        if "removed" not in kept or kept["removed"].layers != layers:
            kept["removed"] = RemovedWeightsNote(layers)
        note: RemovedWeightsNote = kept["removed"]
        return note

    def _latest(self) -> DecayWrapper:
        return max(self._clocks, key=lambda wrapper: int(wrapper.pruning_step.numpy()))

    @staticmethod
    def _copy_clock(source: DecayWrapper, target: DecayWrapper) -> None:
        target.pruning_step.assign(source.pruning_step.numpy())
        target.threshold.assign(source.threshold.numpy())

    def _is_active(self, step: tf.Tensor) -> tf.Tensor:
        under_way = (step >= self.schedule.begin_step) & (step < self.schedule.end_step)
        # The cut may have been made before its time, by cut_now.
        return under_way & ~self.leader.cut.read_value()

    def _advance(self, strategy: tf.distribute.Strategy) -> None:
        now = optimizers.iterations(self.strength.optimizer).read_value()
        begun = self.leader.pruning_step.read_value()
        skipped = tf.constant(False) if self._skips is None else self._skips.begin_update(strategy)
        is_new = tf.not_equal(now, self.leader.last_iterations.read_value()) & ~skipped
        # A second call within an update, or after one that was skipped, repeats its step, with a decay that changes
        # nothing.
        step = begun - tf.cast(~is_new, begun.dtype)
        # The cut may have been made before its time, by cut_now.
        over = (step >= self.schedule.end_step) | self.leader.cut.read_value()
        tf.cond(
            over,
            lambda: self._after_end(strategy),
            lambda: self._before_end(strategy, step, is_new),
        )
        assign(strategy, self.leader.pruning_step, step + 1)
        assign(strategy, self.leader.last_iterations, now)

    def _before_end(self, strategy: tf.distribute.Strategy, step: tf.Tensor, is_new: tf.Tensor) -> tf.Tensor:
        if self.waits:
            return tf.constant(False)

        def act() -> tf.Tensor:
            threshold = self._refresh(strategy, step)
            if not self.strength.coupled:
                self._decay(strategy, tf.where(is_new, self.strength.shrink(step), 0.0), threshold)
            return tf.constant(True)

        if self.schedule.begin_step == 0:
            return act()
        return tf.cond(self._is_active(step), act, lambda: tf.constant(False))

    def _after_end(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        return tf.cond(
            self.leader.cut.read_value(),
            lambda: self._mask(strategy),
            lambda: self._cut(strategy),
        )

    def _cut(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        self._choose(strategy)
        if self._note is not None:
            self._note.write(strategy, self.leader.pruning_step.read_value(), self.targets())
        for wrapper in self.wrappers:
            assign(strategy, wrapper.cut, tf.constant(True))
        return self._mask(strategy)

    def _mask(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        def apply(weight: tf.Variable, mask: tf.Tensor) -> Any:
            # A product would turn an infinite weight into NaN.
            return weight.assign(tf.where(mask > 0, weight, tf.zeros_like(weight)))

        for weight, mask in self.targets():
            strategy.extended.update(weight, apply, args=(mask,))
        return tf.constant(True)

    def _step_now(self) -> tf.Tensor:
        """Returns the index of the update that is under way, once the pool has begun it."""
        return self.leader.pruning_step.read_value() - 1
