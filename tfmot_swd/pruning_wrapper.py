"""What all wrapper layers of this package have in common, and how they are found in a model."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, TypeVar

import tensorflow as tf

from tfmot_swd._compat import Functional, PruneLowMagnitude, Pruning, is_saving, is_tracing_keras_graph, keras
from tfmot_swd.prunable import build_parts, make_prunable


class PruningWrapper(PruneLowMagnitude):
    """A TFMOT wrapper that leaves all decisions to what trains the model as a whole.

    What differs from TFMOT's wrapper, each for a defect: the inner layer is called through `__call__`, so its own
    dtype policy holds; nothing is written in inference; master weights are touched in full precision only.

    Variables of its own, beside those of a subclass: `threshold` (float32), `pruning_step` and `last_iterations`
    (int64), under the names that TFMOT's tools look for.

    Args:
      layer: any Keras layer.
      pruning_schedule: that all wrappers of a model share.
    """

    def __init__(self, layer: Any, pruning_schedule: Any, **kwargs: Any) -> None:
        for tfmot_only in ("block_size", "block_pooling_type"):
            kwargs.pop(tfmot_only, None)
        # The wrapper itself computes nothing: float32 keeps Keras from casting what passes through.
        kwargs["dtype"] = "float32"
        super().__init__(make_prunable(layer), pruning_schedule, **kwargs)
        self._autocast = False
        self.supports_masking = layer.supports_masking
        # What trains the model just now; PruningSummaries asks it.
        self.run: Any = None
        self._in_training_call = False
        self._traced_in: Any = None

    def _build_layer(self, input_shape: Any) -> None:
        keras.layers.Wrapper.build(self, input_shape)
        build_parts(self.layer, input_shape)

    def _add_clock(self) -> None:
        self.threshold = self._add_scalar("threshold", tf.float32, 0.0)
        self.pruning_step = self._add_scalar("pruning_step", tf.int64, 0)
        self.last_iterations = self._add_scalar("last_iterations", tf.int64, -1)

    def _set_pruning_vars(self, weights: Sequence[Any], masks: Sequence[Any]) -> None:
        """Sets the names and shapes that TFMOT's own tools (its callback, PruningSummaries) look for."""
        self.prunable_weights = list(weights)
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

    def call(self, inputs: Any, *args: Any, training: Any = None, **kwargs: Any) -> Any:
        if training is None:
            training = keras.backend.learning_phase()
        self._before_call(training)
        if "mask" in kwargs and not self.layer._expects_mask_arg:
            kwargs.pop("mask")
        return self._call_layer(inputs, *args, **kwargs)

    def _call_layer(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return self.layer(inputs, *args, **kwargs)

    def _before_call(self, training: Any) -> None:
        """Has `_advance` run in training calls, once for the whole model, before any forward."""
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
        """Called at each training call of the layer; returns a bool scalar."""
        raise NotImplementedError

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
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        config = dict(config)
        config.pop("name", None)
        for part in cls._parts_of_config():
            config[part] = keras.utils.deserialize_keras_object(config[part], custom_objects=custom_objects)
        layer = keras.layers.deserialize(config.pop("layer"), custom_objects=custom_objects)
        return cls(layer, **config)

    @classmethod
    def _parts_of_config(cls) -> tuple[str, ...]:
        """Returns the entries of the config that are serialized objects."""
        return ("pruning_schedule",)


Kind = TypeVar("Kind", bound=PruningWrapper)


def collect_wrappers(model: Any, kind: type[Kind]) -> list[Kind]:
    """Returns the wrappers of one kind in a model, nested models included, in call order.

    A layer that is shared stands once, where it is called first.
    """
    found: list[Kind] = []
    for layer in model.layers:
        if isinstance(layer, kind):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += collect_wrappers(layer, kind)
    return list(dict.fromkeys(found))


def wrapped_graphs(model: Any) -> list[Any]:
    """Returns the graph models of a model, itself or those inside it, that have wrappers of this package."""
    if isinstance(model, keras.Sequential | Functional):
        return [model] if collect_wrappers(model, PruningWrapper) else []
    inside = [each for each in model.layers if isinstance(each, keras.Model)]
    return list({id(graph): graph for each in inside for graph in wrapped_graphs(each)}.values())


def find_wrapped(model: Any) -> list[str]:
    """Returns the names of all layers under any TFMOT wrapper, ours or not, at any depth.

    Wrappers that Keras has revived from a SavedModel without their class count too.
    """
    return sorted(each.name for each in model.submodules if isinstance(each, PruneLowMagnitude) or is_revived(each))


def is_revived(layer: Any) -> bool:
    """Whether a layer is the lifeless copy of a wrapper of ours that Keras makes without this package."""
    kind = type(layer)
    ours = tuple(each.__name__ for each in PruningWrapper.__subclasses__())
    return kind.__module__.startswith("tf_keras.src.saving") and kind.__name__.endswith(ours)
