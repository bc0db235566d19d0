"""The decayed weights of a model: one target, one strength and one final pruning step for all of its wrappers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import tensorflow as tf

from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.pruning.pool import PruningPool
from tfmot_swd.pruning.wrapped_models import assign
from tfmot_swd.swd.decay_wrapper import DecayWrapper
from tfmot_swd.swd.removed_weights import RemovedWeights, RemovedWeightsNote
from tfmot_swd.swd.strength import DecayStrength

Wrapper = TypeVar("Wrapper", bound=DecayWrapper)


class DecayPool(PruningPool[Wrapper]):
    """A pool that decays what it targets at each update, and prunes it at the last; see `PruningPool`.

    Attributes:
      waits: whether nothing is decayed for now, as the target is out of reach while layers are frozen.
    """

    waits = False
    wrapper_class: ClassVar[type[DecayWrapper]]

    def __init__(self, wrappers: Sequence[Wrapper], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        self._strength: DecayStrength | None = None
        self._note: RemovedWeightsNote | None = None

    def join(self, optimizer: Any) -> None:
        """Links the wrappers to this pool and the optimizer, whose updates are the clock from now on.

        Raises:
          ValueError: the strength multiplies a weight decay and there is none.
        """
        self._strength = DecayStrength.of(self.schedule, optimizer, self.wrappers)
        super().join(optimizer)
        with self.strategy.scope():
            if not all(bool(wrapper.cut.numpy()) for wrapper in self.wrappers):
                # Layers that were frozen at an earlier cut have joined: it is made again, over all.
                for wrapper in self.wrappers:
                    wrapper.cut.assign(False)
            self._note = self._kept_note()

    @property
    def strength(self) -> DecayStrength:
        """The resolved strength; only a pool that has joined an optimizer has one."""
        if self._strength is None:
            raise RuntimeError(f"{type(self).__name__}.join comes first. Received: a pool without optimizer.")
        return self._strength

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

    def _is_active(self, step: tf.Tensor) -> tf.Tensor:
        under_way = (step >= self.schedule.begin_step) & (step < self.schedule.end_step)
        # The cut may have been made before its time, by prune_now.
        return under_way & ~self.leader.cut.read_value()

    def _act(self, strategy: tf.distribute.Strategy, step: tf.Tensor, is_new: tf.Tensor) -> None:
        # The cut may have been made before its time, by prune_now.
        over = (step >= self.schedule.end_step) | self.leader.cut.read_value()
        # In a second call within an update the decay changes nothing.
        tf.cond(
            over,
            lambda: self._after_end(strategy),
            lambda: self._before_end(strategy, step, is_new),
        )

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

    def _step_now(self) -> tf.Tensor:
        """Returns the index of the update that is under way, once the pool has begun it."""
        return self.leader.pruning_step.read_value() - 1
