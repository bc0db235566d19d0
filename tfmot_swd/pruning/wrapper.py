"""Pruning wrapper: base of the wrapper layers of all methods, and the interface by which the package asks them."""

from __future__ import annotations

import dataclasses
import types
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import tensorflow as tf

from tfmot_swd.keras2.compat import (
    PruneLowMagnitude,
    Pruning,
    expects_mask,
    is_recording,
    is_saving,
    is_tracing_keras_graph,
    keras,
    master_variable,
)
from tfmot_swd.keras2.inner_layers import build_parts
from tfmot_swd.layers.prunable import make_prunable


@dataclasses.dataclass(frozen=True)
class ChannelState:
    """A variable of a wrapper that loses the channels that a weight of its layer loses.

    Args:
      weight: of the wrapped layer.
      state: variable of the weight's shape, or a vector along one of its axes.
      axis: axis of the weight that a vector runs along; None for a variable of the weight's shape.
      is_copy: whether it holds values of the weight.
    """

    weight: Any
    state: Any
    axis: int | None = None
    is_copy: bool = False


@dataclasses.dataclass(frozen=True)
class KeptFilters:
    """The remaining filters of a weight in a training that removes some, as its backup records them.

    Args:
      weight: of the wrapped layer.
      origin: index that each filter had before any pruning.
      initial: for each filter the number that this weight had in its group before any pruning; 0 for filters that are
        not ranked.
    """

    weight: Any
    origin: list[int]
    initial: list[int]


class PruningWrapper(PruneLowMagnitude):
    """Base of the wrapper layers: a TFMOT wrapper that keeps state and leaves all decisions to a `PruningPool`.

    While a model trains, its wrappers are under a pool that acts for all of them, once an update, at the first wrapper
    of the forward pass.

    It differs from TFMOT's wrapper in three points, each of which avoids a defect: the inner layer is called through
    `__call__`, so its own dtype policy holds; nothing is written in inference; master weights are changed in full
    precision only.

    Variables, beside those of a subclass: `threshold` (float32), `pruning_step` and `last_iterations` (int64), under
    the names that TFMOT's tools look for.

    Args:
      layer: any Keras layer.
      pruning_schedule: shared by all wrappers of a model.
    """

    # Error message of a training step without the callback.
    missing_callback: ClassVar[str]
    # Whether `pruning_step` counts the updates of all phases of a training; False where it counts epochs of pruning.
    counts_updates: ClassVar[bool] = True

    def __init__(self, layer: Any, pruning_schedule: Any, **kwargs: Any) -> None:
        for tfmot_only in ("block_size", "block_pooling_type"):
            kwargs.pop(tfmot_only, None)
        keeps_name = kwargs.pop("keeps_name", False)
        # Input shapes of the layers inside a custom layer: one from a file is built before it is called.
        self.part_shapes = kwargs.pop("part_shapes", None)
        # Whether a Keras 3 model was wrapped, so that stripping gives one back.
        self.from_keras3 = kwargs.pop("from_keras3", False)
        # The wrapper itself computes nothing; float32 keeps Keras from casting its inputs.
        kwargs["dtype"] = "float32"
        super().__init__(make_prunable(layer), pruning_schedule, **kwargs)
        self.keeps_name = False
        if keeps_name:
            self.keep_name()
        self._autocast = False
        self.supports_masking = layer.supports_masking
        # The run of the present training; PruningSummaries asks it.
        self.run: Any = None
        self._pool: Any = None
        # State that no file holds.
        self.unsaved = types.SimpleNamespace()
        # Whether a model around it always calls it with training=False.
        self.is_pinned = False
        self._in_training_call = False
        self._traced_in: Any = None

    def keep_name(self) -> None:
        """Takes the layer's name: Keras names outputs, their losses and metrics after the layers that make them."""
        self._name, self.keeps_name = self.layer.name, True

    def _build_layer(self, input_shape: Any) -> None:
        keras.layers.Wrapper.build(self, input_shape)
        build_parts(self.layer, input_shape, self.part_shapes)

    def _add_clock(self) -> None:
        self.threshold = self._add_state("threshold", [])
        self.pruning_step = self._add_state("pruning_step", [], tf.int64)
        self.last_iterations = self._add_state("last_iterations", [], tf.int64, keras.initializers.Constant(-1))

    # If these lists were tracked, a checkpoint would save master weights beside the layer's own view of them.
    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _set_pruning_vars(self, weights: Sequence[Any], masks: Sequence[Any]) -> None:
        """Sets the attributes that TFMOT's own tools (its callback, PruningSummaries) look for."""
        self.prunable_weights = list(weights)
        self.pruning_vars = [(weight, mask, self.threshold) for weight, mask in zip(weights, masks, strict=True)]
        self.pruning_obj = Pruning(
            training_step_fn=lambda: self.pruning_step,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=(1, 1),
            block_pooling_type="AVG",
        )

    def join(self, pool: Any) -> None:
        """Puts the wrapper under a pool; None takes it out."""
        self._pool = pool

    def follow(self, schedule: Any) -> None:
        """Replaces the schedule, before any training step is traced."""
        self.pruning_schedule = schedule
        self._set_pruning_vars(self.prunable_weights, [mask for _, mask, _ in self.pruning_vars])

    def _add_state(
        self,
        name: str,
        shape: Any,
        dtype: tf.DType = tf.float32,
        initializer: Any = "zeros",
        per_replica: bool = False,
    ) -> tf.Variable:
        """Adds a variable that is saved with the layer, not trained, and the same on all replicas."""
        # Each replica adds up its own part of a gradient; read from outside they are one sum.
        aggregation = tf.VariableAggregation.SUM if per_replica else tf.VariableAggregation.ONLY_FIRST_REPLICA
        synchronization = tf.VariableSynchronization.ON_READ if per_replica else tf.VariableSynchronization.AUTO
        return self.add_weight(
            name,
            shape=shape,
            dtype=dtype,
            initializer=initializer,
            trainable=False,
            aggregation=aggregation,
            synchronization=synchronization,
        )

    def _add_like(self, name: str, weights: Sequence[Any], initializer: str) -> list[Any]:
        """Adds a variable for each weight, of its shape and dtype, that is saved with the layer and not trained."""
        return [
            self.add_weight(
                name if index == 0 else f"{name}_{index}",
                shape=weight.shape,
                dtype=weight.dtype,
                initializer=initializer,
                trainable=False,
                aggregation=tf.VariableAggregation.MEAN,
            )
            for index, weight in enumerate(weights)
        ]

    def call(self, inputs: Any, *args: Any, training: Any = None, **kwargs: Any) -> Any:
        if training is None:
            training = keras.backend.learning_phase()
        self._before_call(training)
        if "mask" in kwargs and not expects_mask(self.layer):
            kwargs.pop("mask")
        return self._call_layer(inputs, *args, **kwargs)

    def _call_layer(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return self.layer(inputs, *args, **kwargs)

    # Nothing here needs AutoGraph, whose conversion would take longer than the tracing.
    @tf.autograph.experimental.do_not_convert
    def _before_call(self, training: Any) -> None:
        """Runs `_advance` in training calls, before the forward pass of the layer."""
        if is_saving() or is_tracing_keras_graph():
            return
        if isinstance(training, tf.Tensor) and not tf.executing_eagerly():
            self._in_training_call = True
            tf.cond(tf.cast(training, tf.bool), self._advance, lambda: tf.constant(False))
            return
        if self.is_pinned and is_recording():
            # As in Keras's recipe for fine-tuning, base(x, training=False): batch norm is frozen, weights are trained.
            training = True
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        # A step that also calls the model for inference, as in self-distillation, is still a training step.
        same_step = graph is not None and self._traced_in is not None and self._traced_in() is graph
        self._in_training_call = bool(training) or (same_step and self._in_training_call)
        self._traced_in = None if graph is None else weakref.ref(graph)
        if training:
            self._advance()

    def _advance(self) -> tf.Tensor:
        """Called at each training call of the layer; returns a bool scalar."""
        # Called while a training step is traced or runs eagerly, so the step knows the present pool.
        self.unsaved.entered = True
        # A frozen layer belongs to no pool and is not changed; nor is any layer in an IdleRun.
        if self._pool is None and self.run is None and self.takes_part():
            raise ValueError(self.missing_callback)
        if self._pool is not None and self._pool.leader is self:
            self._pool.advance()
        return tf.constant(True)

    def takes_part(self) -> bool:
        """Returns whether any prunable weight is trained as the model is now; a layer without one is not changed."""
        trained = self.trained_ids()
        return any(id(master_variable(each)) in trained for each in self.prunable_weights)

    def trained_ids(self) -> frozenset[int]:
        """Returns the identities of the layer's weights, in full precision, that are trained as the model is now."""
        return frozenset(id(master_variable(each)) for each in self.layer.trainable_weights)

    # The interface of all methods.

    @classmethod
    def unfinished(cls, wrappers: Sequence[Self]) -> str | None:
        """Returns why a model with these wrappers is not pruned yet, a message for the user; None where it is."""
        raise NotImplementedError(
            f"{cls.__name__} must define unfinished(wrappers), the reason why a model is not pruned yet. "
            "Received: a class without it"
        )

    def masked_weights(self) -> list[tuple[Any, tf.Tensor]]:
        """Returns (weight, mask that broadcasts to it) of the weights that this method prunes; zero where it has."""
        return [(weight, mask.read_value()) for weight, mask, _ in self.pruning_vars]

    def final_weights(self) -> list[Any]:
        """Returns the values of the layer's weights for the stripped model, in the order of `layer.weights`.

        Masked weights are zero, also where the optimizer has moved them since.

        Returns:
          Arrays or tensors.
        """
        masks = {id(weight): mask for weight, mask in self.masked_weights()}
        values = []
        for variable in self.layer.weights:
            weight = master_variable(variable)
            if not isinstance(weight, tf.Variable):
                # Keras counts the vocabulary of a lookup as a weight.
                return self.layer.get_weights()
            value, mask = weight.read_value(), masks.get(id(weight))
            values.append(value if mask is None else tf.where(mask > 0, value, tf.zeros([], value.dtype)))
        return values

    def channel_states(self) -> list[ChannelState]:
        """Returns the variables that lose channels with the layer's weights; all others keep their shape."""
        return [ChannelState(weight, mask) for weight, mask, _ in self.pruning_vars]

    def held_axes(self, layer: Any) -> list[tuple[Any, int]]:
        """Returns (weight, axis) of a copy of the wrapped layer along which stripping must not remove channels."""
        return []

    def kept_filters(self) -> list[KeptFilters]:
        """Returns the remaining filters of each weight, for a method that removes some in training."""
        return []

    def method_config(self) -> dict[str, Any]:
        """Returns the settings that must be equal for a training to resume from a backup."""
        config: dict[str, Any] = {"schedule": self.pruning_schedule.get_config()}
        return config

    @property
    def losses(self) -> list[tf.Tensor]:
        # TFMOT's wrapper leaves out losses that are callables.
        return keras.layers.Layer.losses.fget(self)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.layer.compute_mask(inputs, mask)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for tfmot_only in ("block_size", "block_pooling_type"):
            config.pop(tfmot_only)
        if self.keeps_name:
            config["keeps_name"] = True
        if self.part_shapes is not None:
            config["part_shapes"] = self.part_shapes
        if self.from_keras3:
            config["from_keras3"] = True
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        config = dict(config)
        config.pop("name", None)
        for part in cls._parts_of_config():
            config[part] = keras.utils.deserialize_keras_object(config[part], custom_objects=custom_objects)
        inner = config.pop("layer")
        # Keras looks for the plain name alone in h5 files and SavedModels.
        registered = keras.utils.get_registered_object(inner.get("registered_name"))
        known = {} if registered is None else {inner["class_name"]: registered}
        layer = keras.layers.deserialize(inner, custom_objects={**known, **(custom_objects or {})})
        return cls(layer, **config)

    @classmethod
    def _parts_of_config(cls) -> tuple[str, ...]:
        """Returns the entries of the config that are serialized objects."""
        return ("pruning_schedule",)
