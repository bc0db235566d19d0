"""The TFMOT wrapper of a layer whose weights Selective Weight Decay acts on."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfmot_swd._compat import (
    PruneLowMagnitude,
    Pruning,
    is_saving,
    is_tracing_keras_graph,
    keras,
    master_variable,
)
from tfmot_swd.prunable import build_parts, counted_weights, make_prunable, target_weights
from tfmot_swd.schedules import SelectiveDecay

if TYPE_CHECKING:
    from tfmot_swd.weight_pool import WeightPool

MISSING_CALLBACK = (
    "This model is wrapped for Selective Weight Decay and trains only with its callback: pass "
    "callbacks=[tfmot_swd.UpdatePruningStep()] to model.fit (TFMOT's own UpdatePruningStep does not "
    "do), or call its set_model and on_train_begin before a custom training loop. "
    "Received: a training step without it."
)


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneSelectiveDecay(PruneLowMagnitude):
    """Wraps a layer as `PruneLowMagnitude` does, and leaves every global decision to a `WeightPool`.

    `prune_selective_decay` puts it on; use that. What differs from TFMOT's wrapper, each for a defect:
    the inner layer is called through `__call__`, so its own dtype policy holds; nothing is written in
    inference; master weights are touched in full precision only, and not at all while nothing is
    targeted; masks stay ones until the final cut.

    Variables of its own: a mask for each target (ones until the cut), `threshold` (float32),
    `pruning_step` (int64, updates begun), `last_iterations` (int64) and `cut` (bool).

    Args:
      layer: any Keras layer that `tfmot_swd.prunable` knows, or a `PrunableLayer`.
      pruning_schedule: the `SelectiveDecay` that all wrappers of a model share.
    """

    def __init__(self, layer: Any, pruning_schedule: SelectiveDecay, **kwargs: Any) -> None:
        if not isinstance(pruning_schedule, SelectiveDecay):
            raise TypeError(
                "PruneSelectiveDecay needs a tfmot_swd.SelectiveDecay schedule; other TFMOT schedules "
                "go with tfmot.sparsity.keras.prune_low_magnitude. "
                f"Received: {type(pruning_schedule).__name__}"
            )
        for tfmot_only in ("block_size", "block_pooling_type"):
            kwargs.pop(tfmot_only, None)
        # The wrapper itself computes nothing: float32 keeps Keras from casting what passes through.
        kwargs["dtype"] = "float32"
        super().__init__(make_prunable(layer), pruning_schedule, **kwargs)
        self._autocast = False
        self.supports_masking = layer.supports_masking
        self._pool: WeightPool | None = None
        self._in_training_call = False
        self._traced_in: Any = None
        self.counted = 0

    def build(self, input_shape: Any = None) -> None:
        keras.layers.Wrapper.build(self, input_shape)
        build_parts(self.layer, input_shape)
        weights = [master_variable(weight) for weight in target_weights(self.layer, self.pruning_schedule.targets)]
        self.prunable_weights = weights
        self.counted = len(counted_weights(self.layer))
        masks = [
            self.add_weight(
                "mask" if index == 0 else f"mask_{index}",
                shape=weight.shape,
                dtype=weight.dtype,
                initializer="ones",
                trainable=False,
                aggregation=tf.VariableAggregation.MEAN,
            )
            for index, weight in enumerate(weights)
        ]
        self.threshold = self._add_scalar("threshold", tf.float32, 0.0)
        self.pruning_step = self._add_scalar("pruning_step", tf.int64, 0)
        self.last_iterations = self._add_scalar("last_iterations", tf.int64, -1)
        self.cut = self._add_scalar("cut", tf.bool, False)
        # The names and shapes that TFMOT's own tools (its callback, PruningSummaries) look for.
        self.pruning_vars = [(weight, mask, self.threshold) for weight, mask in zip(weights, masks, strict=True)]
        self.pruning_obj = Pruning(
            training_step_fn=lambda: self.pruning_step,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=(1, 1),
            block_pooling_type="AVG",
        )

    def _add_scalar(self, name: str, dtype: tf.DType, value: Any) -> tf.Variable:
        return self.add_weight(
            name,
            shape=[],
            dtype=dtype,
            initializer=keras.initializers.Constant(value),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def join(self, pool: WeightPool | None, coupled: bool = False) -> None:
        """Puts the wrapper under a pool (None: under none); `coupled` adds its penalty to the loss."""
        self._pool = pool
        if coupled and not self._callable_losses:
            self.add_loss(functools.partial(self._penalty))

    def call(self, inputs: Any, *args: Any, training: Any = None, **kwargs: Any) -> Any:
        if training is None:
            training = keras.backend.learning_phase()
        self._before_call(training)
        if "mask" in kwargs and not self.layer._expects_mask_arg:
            kwargs.pop("mask")
        return self.layer(inputs, *args, **kwargs)

    def _before_call(self, training: Any) -> None:
        """Lets the pool make its step of this update, once for the whole model, before any forward."""
        if is_saving() or is_tracing_keras_graph():
            return
        if isinstance(training, tf.Tensor) and not tf.executing_eagerly():
            self._in_training_call = True
            tf.cond(tf.cast(training, tf.bool), self._advance, lambda: tf.constant(False))
            return
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        # A step that also calls the model for inference, as in self-distillation, is a training step still.
        same_step = graph is not None and self._traced_in is not None and self._traced_in() is graph
        self._in_training_call = bool(training) or (same_step and self._in_training_call)
        self._traced_in = None if graph is None else weakref.ref(graph)
        if training:
            self._advance()

    def _advance(self) -> tf.Tensor:
        # A layer frozen after wrapping belongs to no pool, and is left as it is.
        if self._pool is None and self.trainable:
            raise ValueError(MISSING_CALLBACK)
        if self._pool is not None and self._pool.leader is self:
            self._pool.advance()
        return tf.constant(True)

    def _penalty(self) -> tf.Tensor:
        """This layer's share of the coupled penalty; zero outside training, so val_loss stays clean."""
        if self._pool is None or not self._in_training_call:
            return tf.zeros([])
        if not self._pool.strength.coupled:
            # With penalty="auto" the model may have been recompiled from SGD to Adam since.
            return tf.zeros([])
        return self._pool.penalty(self)

    @property
    def losses(self) -> list[tf.Tensor]:
        # TFMOT's wrapper forgets the losses that are callables.
        return keras.layers.Layer.losses.fget(self)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.layer.compute_mask(inputs, mask)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for tfmot_only in ("block_size", "block_pooling_type"):
            config.pop(tfmot_only)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> PruneSelectiveDecay:
        config = dict(config)
        schedule = keras.utils.deserialize_keras_object(config.pop("pruning_schedule"), custom_objects=custom_objects)
        config.pop("name", None)
        layer = keras.layers.deserialize(config.pop("layer"), custom_objects=custom_objects)
        return cls(layer, schedule, **config)


def collect_wrappers(model: Any) -> list[PruneSelectiveDecay]:
    """Returns the Selective Weight Decay wrappers of a model, nested models included, in call order.

    A layer that is shared stands once, where it is called first.
    """
    found: list[PruneSelectiveDecay] = []
    for layer in model.layers:
        if isinstance(layer, PruneSelectiveDecay):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += collect_wrappers(layer)
    return list(dict.fromkeys(found))


def find_wrapped(model: Any) -> list[str]:
    """Returns the names of all layers under any TFMOT wrapper, ours or not, at any depth.

    Wrappers that Keras has revived from a SavedModel without their class count too.
    """
    return sorted(each.name for each in model.submodules if isinstance(each, PruneLowMagnitude) or is_revived(each))


def is_revived(layer: Any) -> bool:
    """Whether a layer is the lifeless copy of our wrapper that Keras makes without this package."""
    kind = type(layer)
    return kind.__module__.startswith("tf_keras.src.saving") and kind.__name__.endswith(PruneSelectiveDecay.__name__)
