"""Pool of Selective Weight Decay: one target, one strength and one final pruning step for all wrappers of a model."""

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
    """Base of pools that decay their targets at each update and prune them at the last; see `PruningPool`.

    Attributes:
      waits: whether the decay is suspended, as the target is out of reach while layers are frozen.
    """

    waits = False
    wrapper_class: ClassVar[type[DecayWrapper]]

    def __init__(self, wrappers: Sequence[Wrapper], strategy: tf.distribute.Strategy) -> None:
        super().__init__(wrappers, strategy)
        self._strength: DecayStrength | None = None
        self._note: RemovedWeightsNote | None = None

    def join(self, optimizer: Any) -> None:
        """Links the wrappers to this pool and to the optimizer, whose updates are counted from now on.

        Raises:
          ValueError: the strength multiplies a weight decay and there is none.
        """
        self._strength = DecayStrength.of(self.schedule, optimizer, self.wrappers)
        super().join(optimizer)
        with self.strategy.scope():
            if not all(bool(wrapper.cut.numpy()) for wrapper in self.wrappers):
                # Layers that were frozen at an earlier final step have joined: it is made again over all layers.
                for wrapper in self.wrappers:
                    wrapper.cut.assign(False)
            self._note = self._kept_note()

    @property
    def strength(self) -> DecayStrength:
        """The strength for the optimizer that the pool has joined."""
        return self._joined(self._strength)

    @property
    def is_pruned(self) -> bool:
        """Whether the final pruning step has been made."""
        return bool(self.leader.cut.numpy())

    @property
    def noted(self) -> RemovedWeights:
        """The recorded norms of the weights that the final pruning step has removed, once the pool has joined."""
        return self._joined(self._note).read()

    @property
    def has_begun(self) -> bool:
        """Whether anything has been targeted, decayed or pruned since the model was wrapped."""
        return any(float(each.threshold.numpy()) != 0.0 or bool(each.cut.numpy()) for each in self._clocks)

    def decay(self) -> None:
        """Decays the targeted weights once more, with the strength of the present step."""
        with self.strategy.scope():
            step = self.leader.pruning_step.read_value()
            threshold = self._refresh(self.strategy, step)
            self._decay(self.strategy, self.strength.shrink(step), threshold)

    def settle(self) -> None:
        """Brings the variables to the pruned weights in the forward form; does nothing in others."""

    def finish(self) -> None:
        """Makes the final pruning step: sets the weights below the threshold of the final rate to zero."""
        with self.strategy.scope():
            self._prune(self.strategy)

    def floored(self) -> tuple[str, ...]:
        """Returns the layers that keep weights only because of `minimum_kept`."""
        return ()

    def expected_lost_layers(self) -> list[str]:
        """Returns warnings before training of layers whose weights start so small that the rate would empty them."""
        return []

    def lost_layers(self) -> list[str]:
        """Returns warnings of layers whose weights are all below the present threshold."""
        return []

    @abc.abstractmethod
    def decayed(self) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Returns (weight, bool mask that broadcasts to it, False where it is targeted now) of each decayed weight."""

    def decayed_by_layer(self) -> list[tuple[str, tf.Variable, tf.Tensor]]:
        """Returns (name of the wrapped layer, weight, mask) of each weight that `decayed` returns."""
        names = {id(each): wrapper.layer.name for wrapper in self.wrappers for each in variables_of(wrapper.layer)}
        return [(names[id(weight)], weight, mask) for weight, mask in self.decayed()]

    @abc.abstractmethod
    def penalty(self, wrapper: Wrapper) -> tf.Tensor:
        """Returns the wrapper's part of the coupled penalty, a float32 scalar."""

    @abc.abstractmethod
    def _refresh(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> tf.Tensor:
        """Returns what `_decay` needs to know the targets, computed at a refresh and kept between two of them."""

    @abc.abstractmethod
    def _decay(self, strategy: tf.distribute.Strategy, shrink_by: tf.Tensor, targeted: tf.Tensor) -> None:
        """Divides the targeted weights by 1 + shrink_by."""

    @abc.abstractmethod
    def _choose(self, strategy: tf.distribute.Strategy) -> None:
        """Sets the masks by the targets at the final rate."""

    def _kept_note(self) -> RemovedWeightsNote:
        """Returns the note that a training step of an earlier trace writes to, or a new one."""
        decayed = {id(weight): layer for layer, weight, _ in self.decayed_by_layer()}
        layers = tuple(decayed.get(id(weight)) for weight, _ in self.targets())
        kept = vars(self.leader.unsaved)
        if "removed" not in kept or kept["removed"].layers != layers:
            kept["removed"] = RemovedWeightsNote(layers)
        note: RemovedWeightsNote = kept["removed"]
        return note

    def _is_active(self, step: tf.Tensor) -> tf.Tensor:
        under_way = (step >= self.schedule.begin_step) & (step < self.schedule.end_step)
        # prune_now may have made the final step before end_step.
        return under_way & ~self.leader.cut.read_value()

    def _act(self, strategy: tf.distribute.Strategy, step: tf.Tensor, is_new: tf.Tensor) -> None:
        # prune_now may have made the final step before end_step.
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
            lambda: self._prune(strategy),
        )

    def _prune(self, strategy: tf.distribute.Strategy) -> tf.Tensor:
        self._choose(strategy)
        if self._note is not None:
            self._note.write(strategy, self.leader.pruning_step.read_value(), self.targets())
        for wrapper in self.wrappers:
            assign(strategy, wrapper.cut, tf.constant(True))
        return self._mask(strategy)

    def _step_now(self) -> tf.Tensor:
        """Returns the index of the present update, once the pool has begun it."""
        return self.leader.pruning_step.read_value() - 1
