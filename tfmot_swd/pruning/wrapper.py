"""What all wrapper layers of this package have in common, and how they are found in a model."""

from __future__ import annotations

import re
import types
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import tensorflow as tf

from tfmot_swd.keras2.compat import (
    Functional,
    PruneLowMagnitude,
    Pruning,
    QuantizeWrapper,
    is_recording,
    is_saving,
    is_tracing_keras_graph,
    keras,
    master_variable,
    variables_of,
)
from tfmot_swd.keras2.validation import check_finite_weights, check_keras_model
from tfmot_swd.layers.prunable import build_parts, make_prunable

# What TFMOT puts before the name of a layer that it wraps: the class.
_PREFIX = re.compile("^prune_(selective_decay|structured_decay|progressive_gradient)_")


class PruningWrapper(PruneLowMagnitude):
    """A TFMOT wrapper that leaves all decisions to what trains the model as a whole.

    What differs from TFMOT's wrapper, each for a defect: the inner layer is called through `__call__`, so its own
    dtype policy holds; nothing is written in inference; master weights are touched in full precision only.

    While a model trains, its wrappers are under a pool, which acts for all of them: once an update, at the wrapper that
    leads.

    Variables of its own, beside those of a subclass: `threshold` (float32), `pruning_step` and `last_iterations`
    (int64), under the names that TFMOT's tools look for.

    Args:
      layer: any Keras layer.
      pruning_schedule: that all wrappers of a model share.
    """

    # What a training step without the callback is told.
    missing_callback: ClassVar[str]

    def __init__(self, layer: Any, pruning_schedule: Any, **kwargs: Any) -> None:
        for tfmot_only in ("block_size", "block_pooling_type"):
            kwargs.pop(tfmot_only, None)
        keeps_name = kwargs.pop("keeps_name", False)
        # What the layers inside a custom layer were built with: one from a file has not been called when it is built.
        self.part_shapes = kwargs.pop("part_shapes", None)
        # The wrapper itself computes nothing: float32 keeps Keras from casting what passes through.
        kwargs["dtype"] = "float32"
        super().__init__(make_prunable(layer), pruning_schedule, **kwargs)
        self.keeps_name = False
        if keeps_name:
            self.keep_name()
        self._autocast = False
        self.supports_masking = layer.supports_masking
        # What trains the model just now; PruningSummaries asks it.
        self.run: Any = None
        self._pool: Any = None
        # State that no file holds.
        self.unsaved = types.SimpleNamespace()
        # Whether the model that it stands in calls it, or a model around it, with training=False for good.
        self._pinned = False
        self._in_training_call = False
        self._traced_in: Any = None

    def keep_name(self) -> None:
        """Takes the layer's own name: Keras calls outputs, their losses and metrics by the layers that make them."""
        self._name, self.keeps_name = self.layer.name, True

    def _build_layer(self, input_shape: Any) -> None:
        keras.layers.Wrapper.build(self, input_shape)
        build_parts(self.layer, input_shape, self.part_shapes)

    def _add_clock(self) -> None:
        self.threshold = self._add_state("threshold", [])
        self.pruning_step = self._add_state("pruning_step", [], tf.int64)
        self.last_iterations = self._add_state("last_iterations", [], tf.int64, keras.initializers.Constant(-1))

    # Tracked, these lists would have a checkpoint save master weights beside the layer's own view of them.
    @tf.__internal__.tracking.no_automatic_dependency_tracking
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

    def follow(self, schedule: Any) -> None:
        """Has the wrapper follow another schedule, before any training step is traced."""
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

    def call(self, inputs: Any, *args: Any, training: Any = None, **kwargs: Any) -> Any:
        if training is None:
            training = keras.backend.learning_phase()
        self._before_call(training)
        if "mask" in kwargs and not self.layer._expects_mask_arg:
            kwargs.pop("mask")
        return self._call_layer(inputs, *args, **kwargs)

    def _call_layer(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return self.layer(inputs, *args, **kwargs)

    # Nothing in it needs AutoGraph, whose conversion would take longer than the tracing.
    @tf.autograph.experimental.do_not_convert
    def _before_call(self, training: Any) -> None:
        """Has `_advance` run in training calls, once for the whole model, before any forward."""
        if is_saving() or is_tracing_keras_graph():
            return
        if isinstance(training, tf.Tensor) and not tf.executing_eagerly():
            self._in_training_call = True
            tf.cond(tf.cast(training, tf.bool), self._advance, lambda: tf.constant(False))
            return
        if self._pinned and is_recording():
            # As in Keras's recipe for fine-tuning, base(x, training=False): batch norm stays as it is, weights train.
            training = True
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        # A step that also calls the model for inference, as in self-distillation, is a training step still.
        same_step = graph is not None and self._traced_in is not None and self._traced_in() is graph
        self._in_training_call = bool(training) or (same_step and self._in_training_call)
        self._traced_in = None if graph is None else weakref.ref(graph)
        if training:
            self._advance()

    def _advance(self) -> tf.Tensor:
        """Called at each training call of the layer; returns a bool scalar."""
        # Called while a training step is traced, or runs eagerly: it knows the pool of now.
        self.unsaved.entered = True
        # A frozen layer belongs to no pool, and is left as it is; so are all where nothing can be pruned for now.
        if self._pool is None and self.run is None and self.takes_part():
            raise ValueError(self.missing_callback)
        if self._pool is not None and self._pool.leader is self:
            self._pool.advance()
        return tf.constant(True)

    def takes_part(self) -> bool:
        """Whether any weight that is pruned is trained as the model is now; frozen ones are left as they are."""
        trained = {id(master_variable(each)) for each in self.layer.trainable_weights}
        return any(id(master_variable(each)) in trained for each in self.prunable_weights)

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
        if self.keeps_name:
            config["keeps_name"] = True
        if self.part_shapes is not None:
            config["part_shapes"] = self.part_shapes
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


class NothingTrainedError(ValueError):
    """Nothing that is wrapped for pruning can be pruned, as the model is frozen where it is."""


def taking_part(wrappers: Sequence[Kind]) -> tuple[Kind, ...]:
    """Returns the wrappers of which a weight is trained as the model is now.

    Raises:
      NothingTrainedError: there is none.
    """
    found = tuple(wrapper for wrapper in wrappers if wrapper.takes_part())
    if not found:
        raise NothingTrainedError(
            "No wrapped layer is trainable, so nothing can be pruned: set layer.trainable = True on some and compile "
            "again, or pass UpdatePruningStep(partial_fit=True) where this is the first phase of a training that "
            f"unfreezes them later. Received: {len(wrappers)} wrapped layers, all frozen."
        )
    return found


def wrapped_graphs(model: Any) -> list[Any]:
    """Returns the graph models of a model, itself or those inside it, that have wrappers of this package."""
    if isinstance(model, keras.Sequential | Functional):
        return [model] if collect_wrappers(model, PruningWrapper) else []
    inside = [each for each in model.layers if isinstance(each, keras.Model)]
    return list({id(graph): graph for each in inside for graph in wrapped_graphs(each)}.values())


def own_weights(model: Any) -> list[Any]:
    """Returns the variables of a model's layers, each once, in full precision; not those of wrappers and metrics."""
    kept: set[int] = set()
    for layer in model.submodules:
        if isinstance(layer, keras.metrics.Metric):
            # A class with a training step of its own holds them, and Keras counts them among its weights.
            kept |= {id(master_variable(each)) for each in layer.weights}
        if isinstance(layer, PruneLowMagnitude):
            inside = {id(master_variable(each)) for each in layer.layer.weights}
            kept |= {id(each) for each in map(master_variable, layer.weights)} - inside
    found = {id(each): each for each in variables_of(model)}
    return [variable for place, variable in found.items() if place not in kept]


def assign(strategy: tf.distribute.Strategy, variable: tf.Variable, value: tf.Tensor) -> None:
    """Assigns a value on all replicas."""
    strategy.extended.update(variable, lambda var, new: var.assign(new), args=(value,))


def check_can_wrap(model: Any) -> None:
    """Raises unless `model` is a built graph model with finite weights, neither wrapped nor quantization-aware.

    Raises:
      TypeError: not a tf_keras model; layers of one, which TFMOT wraps one by one.
      ValueError: otherwise.
    """
    parts = list(model) if isinstance(model, list | tuple) else [model]
    if parts and all(isinstance(each, keras.layers.Layer) and not isinstance(each, keras.Model) for each in parts):
        names = [each.name for each in parts]
        raise TypeError(
            "Layers are pruned together, under one threshold and one clock, so the model as a whole is wrapped: build "
            f"it of plain layers, wrap it, and name the layers to prune, as only={names}. "
            f"Received: {', '.join(f'{each.name} ({type(each).__name__})' for each in parts)}, not a model"
        )
    check_keras_model(model)
    if find_wrapped(model):
        raise ValueError(
            "The model is wrapped for pruning already: strip it first "
            f"(tfmot_swd.strip_pruning). Received: {model.name!r} with wrapped layers"
        )
    aware = [each.name for each in model.submodules if isinstance(each, QuantizeWrapper)]
    if aware:
        raise ValueError(
            "The model is quantization-aware: prune and strip it first, and call tfmot_swd.quantize_aware then. "
            f"Received: {model.name!r} with {len(aware)} quantization wrappers ({', '.join(aware[:5])})"
        )
    check_finite_weights(model)


def find_wrapped(model: Any) -> list[str]:
    """Returns the names of all layers under any TFMOT wrapper, ours or not, at any depth.

    Wrappers that Keras has revived from a SavedModel without their class count too.
    """
    return sorted(each.name for each in model.submodules if isinstance(each, PruneLowMagnitude) or is_revived(each))


def made_anew(wrappers: Sequence[PruningWrapper]) -> str:
    """Returns what to say of wrappers that know no channel: which ones they rank is part of their weights."""
    return (
        "This wrapped model was made anew from its config (clone_model, model_from_json), which does not say which "
        "channels are ranked: wrap the model that was not wrapped, or call set_weights with the weights of the first "
        f"wrapped one. Received: {len(wrappers)} wrapped layers that know no channel"
    )


def plain_name(name: str) -> str:
    """Returns the name that a group of channels had before its layers were wrapped."""
    *path, layer = name.split("/")
    return "/".join([*path, _PREFIX.sub("", layer)])


def is_revived(layer: Any) -> bool:
    """Whether a layer is the lifeless copy of a wrapper of ours that Keras makes without this package."""
    kind = type(layer)
    ours = tuple(each.__name__ for each in _kinds_of(PruningWrapper))
    return kind.__module__.startswith("tf_keras.src.saving") and kind.__name__.endswith(ours)


def _kinds_of(kind: type) -> Iterator[type]:
    subclasses: list[type] = kind.__subclasses__()
    for each in subclasses:
        yield each
        yield from _kinds_of(each)
