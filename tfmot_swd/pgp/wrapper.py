"""Wrapper of layers whose filters Progressive Gradient Pruning ranks."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import is_saving, is_tracing_keras_graph, keras
from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.keras2.optimizers import loss_scale
from tfmot_swd.keras2.serialization import as_entry
from tfmot_swd.pgp.gradient_hooks import gradient_hook, weight_gradient_hook
from tfmot_swd.pgp.schedule import ProgressiveRate
from tfmot_swd.pgp.settings import ProgressiveSettings
from tfmot_swd.pruning.wrapper import ChannelState, KeptFilters, PruningWrapper


@dataclasses.dataclass(frozen=True)
class ScoredWeight:
    """One weight whose filters are ranked, with the state of its scores.

    Args:
      path: of the weight in the wrapped layer, dots for parts.
      axis: of the filters.
      origin: int32 `(filters,)`, index of each filter before any pruning.
      initial: int32 `(filters,)`, for each filter the number that this weight had in its group before any pruning; 0
        for filters of groups that are not pruned.
      leads: bool `(filters,)`, whether the filter decides for its channel with the "leader" reduction.
      mask: float32 `(filters,)`, 0 for filters that were soft-pruned after the last epoch.
      total: float32 `(filters,)`, sum over the updates of this epoch.
      update: contribution of the present update; None for a criterion without gradients.
      start: the weight at the start of the epoch; None for a criterion that does not compare.
    """

    path: str
    axis: int
    origin: tf.Variable
    initial: tf.Variable
    leads: tf.Variable
    mask: tf.Variable
    total: tf.Variable
    update: tf.Variable | None
    start: tf.Variable | None

    def states(self) -> list[tf.Variable]:
        """Returns the variables of this state: those of the weight's shape, and vectors over its filters."""
        found = (self.origin, self.initial, self.leads, self.mask, self.total, self.update, self.start)
        return [each for each in found if each is not None]


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneProgressiveGradient(PruningWrapper):
    """Wraps a layer and scores its filters; a `ScorePool` decides for all wrappers of a model.

    Models are wrapped by `prune_progressive_gradient`. In a training step the wrapper adds the contribution of the
    criterion to the scores in the backward pass, and changes neither outputs nor gradients.

    Variables: those of `ScoredWeight` for each weight, `pruning_step` (int64, epochs finished), `last_iterations`
    (int64), `updates_since` (int64, updates since the last epoch of `updates_per_epoch`) and `threshold` (float32, the
    largest score that was pruned last).

    Args:
      layer: any Keras layer whose filters are ranked.
      pruning_schedule: a `ProgressiveRate`.
      settings: the `ProgressiveSettings`; like the schedule, shared by all wrappers of a model.
      ranked_weights: (path, axis) of each weight.

    Raises:
      ValueError: the criterion observes outputs, and the layer has several weights.
    """

    counts_updates = False
    missing_callback = (
        "This model is wrapped for Progressive Gradient Pruning and trains only with its callback: pass "
        "callbacks=[tfmot_swd.UpdatePruningStep()] to model.fit, or call its set_model and on_train_begin before a "
        "custom training loop, and its on_epoch_end(epoch) after each epoch. Received: a training step without it."
    )

    def __init__(
        self,
        layer: Any,
        pruning_schedule: ProgressiveRate,
        settings: ProgressiveSettings,
        ranked_weights: Sequence[Sequence[Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, pruning_schedule, **kwargs)
        if settings.criterion.watches == "output" and len(ranked_weights) > 1:
            raise ValueError(
                "The outputs of a layer with several weights do not tell the importance of each: choose a criterion of "
                f"weights, or leave the layer out with skip. Received: {type(settings.criterion).__name__} for layer "
                f"{layer.name!r}"
            )
        self.settings = settings
        self.ranked_weights = [tuple(each) for each in ranked_weights]
        self.scored: list[ScoredWeight] = []

    def build(self, input_shape: Any = None) -> None:
        self._build_layer(input_shape)
        self._add_clock()
        self.updates_since = self._add_state("updates_since", [], tf.int64)
        self.scored = [self._scored(index, *row) for index, row in enumerate(self.ranked_weights)]
        weights = [weight_at(self.layer, each.path) for each in self.scored]
        self._set_pruning_vars(weights, [each.mask for each in self.scored])

    def _scored(self, index: int, path: str, axis: int) -> ScoredWeight:
        criterion, shape = self.settings.criterion, weight_at(self.layer, path).shape
        vector, suffix = shape[axis : axis + 1], "" if index == 0 else f"_{index}"
        update = start = None
        if criterion.watches:
            update = self._add_state(f"update{suffix}", shape if criterion.full else vector, per_replica=True)
        if criterion.compares:
            start = self._add_state(f"start{suffix}", shape)
        return ScoredWeight(
            path,
            axis,
            origin=self._add_state(
                f"origin{suffix}", vector, tf.int32, keras.initializers.Constant(list(range(vector[0])))
            ),
            initial=self._add_state(f"initial{suffix}", vector, tf.int32),
            leads=self._add_state(f"leads{suffix}", vector, tf.bool),
            mask=self._add_state(f"mask{suffix}", vector, initializer="ones"),
            total=self._add_state(f"total{suffix}", vector),
            update=update,
            start=start,
        )

    def mark_ranked(self, path: str, filters: np.ndarray, leads: np.ndarray) -> None:
        """Marks filters of a scored weight as ranked.

        Args:
          path: of the weight in the wrapped layer.
          filters: indices of all its filters in one group.
          leads: bool `(len(filters),)`, whether each decides for its channel with the "leader" reduction.
        """
        scored = next(each for each in self.scored if each.path == path)
        for variable, value in ((scored.initial, len(filters)), (scored.leads, leads)):
            values = variable.numpy()
            values[filters] = value
            variable.assign(values)

    @classmethod
    def unfinished(cls, wrappers: Sequence[Self]) -> str | None:
        done, epochs = max(int(each.pruning_step.numpy()) for each in wrappers), wrappers[0].pruning_schedule.epochs
        if done >= epochs:
            return None
        return (
            "The schedule is not finished, so fewer filters were removed than requested: train on, with "
            "callbacks=[tfmot_swd.UpdatePruningStep()] in fit or its on_epoch_end(epoch) called after each epoch of a "
            "custom loop; or call tfmot_swd.prune_now(model) to remove the rest at once. "
            f"Received: {done} of {epochs} epochs finished"
        )

    def masked_weights(self) -> list[tuple[Any, tf.Tensor]]:
        # Soft-pruned filters are zeros in the weights themselves.
        return []

    def channel_states(self) -> list[ChannelState]:
        found = []
        for scored in self.scored:
            weight = weight_at(self.layer, scored.path)
            for state in scored.states():
                is_vector = len(state.shape) == 1 and len(weight.shape) > 1
                found.append(ChannelState(weight, state, scored.axis if is_vector else None))
        return found

    def kept_filters(self) -> list[KeptFilters]:
        return [
            KeptFilters(weight_at(self.layer, each.path), each.origin.numpy().tolist(), each.initial.numpy().tolist())
            for each in self.scored
        ]

    def method_config(self) -> dict[str, Any]:
        return super().method_config() | {"settings": keras.utils.serialize_keras_object(self.settings)}

    def _call_layer(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        with self._weight_hooks():
            outputs = self.layer(inputs, *args, **kwargs)
        return self._with_output_hook(outputs)

    # AutoGraph would take longer than the tracing. The layer itself may need it, so its call is above.
    @tf.autograph.experimental.do_not_convert
    @contextlib.contextmanager
    def _weight_hooks(self) -> Iterator[None]:
        """Has the layer compute with hooked weights within the block, where its weights are to be scored."""
        with contextlib.ExitStack() as stack:
            for scored in self.scored if self._watches_now("weight") else ():
                weight = weight_at(self.layer, scored.path)
                hook = functools.partial(self._add, scored, weight, scored.axis)
                stack.enter_context(weight_gradient_hook(self.layer, scored.path, hook))
            yield

    @tf.autograph.experimental.do_not_convert
    def _with_output_hook(self, outputs: Any) -> Any:
        if not self._watches_now("output"):
            return outputs
        (scored,) = self.scored
        return gradient_hook(outputs, functools.partial(self._add, scored, outputs, _channel_axis(self.layer, outputs)))

    def _watches_now(self, what: str) -> bool:
        criterion = self.settings.criterion
        if self._pool is None or self._pool.is_done or criterion.watches != what or is_saving():
            return False
        if is_tracing_keras_graph():
            return False
        return self._pool.in_extra_pass if criterion.extra_pass else self._in_training_call

    def _add(self, scored: ScoredWeight, value: Any, axis: int, gradient: tf.Tensor) -> Any:
        """Adds the contribution of one backward pass, inside which it runs; returns the operation."""
        pool = self._pool
        if pool is None or scored.update is None:
            return None
        gradient = tf.cast(gradient, tf.float32) / loss_scale(pool.optimizer)
        value = tf.cast(tf.convert_to_tensor(value), tf.float32)
        added = self.settings.criterion.contribution(value, gradient, axis)
        if pool.in_extra_pass and pool.scales:
            # As the optimizer skips a training step that overflows.
            added = tf.where(tf.reduce_all(tf.math.is_finite(added)), added, tf.zeros_like(added))
        return scored.update.assign_add(added, read_value=False)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "settings": as_entry(self.settings),
            "ranked_weights": [list(each) for each in self.ranked_weights],
        }

    @classmethod
    def _parts_of_config(cls) -> tuple[str, ...]:
        return ("pruning_schedule", "settings")


def _channel_axis(layer: Any, outputs: tf.Tensor) -> int:
    first = getattr(layer, "data_format", None) == "channels_first"
    return outputs.shape.rank - 1 - layer.rank if first else outputs.shape.rank - 1
