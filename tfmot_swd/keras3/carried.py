"""Layers and operations of Keras 3 without a counterpart, run inside a tf_keras model."""

from __future__ import annotations

import functools
import inspect
import json
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import constrain
from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.compat import layers_inside, made_trainable, value_of
from tfmot_swd.keras3.inner_objects import entry_of, from_entry
from tfmot_swd.keras3.layer_table import prunable_names

_ATTENTION = (keras3.layers.MultiHeadAttention, keras3.layers.GroupQueryAttention)


@keras2.utils.register_keras_serializable("tfmot_swd")
class CarriedLayer(keras2.layers.Layer):
    """A Keras 3 layer run inside a tf_keras graph, with its weights as weights of this one.

    It trains, keeps its statistics and random states, and adds the losses of the layer. Kernels of Keras's own layers
    inside it are prunable; a class of the user's names its own by `get_prunable_weights`, as TFMOT's `PrunableLayer`
    does. Channels around it stay, as nothing is known of what it computes.

    Args:
      inner: the Keras 3 layer, or its serialized form; not shared with another model.
      example: (args, kwargs) of symbolic Keras 3 tensors that the layer is built for, or their serialized form.
    """

    def __init__(self, inner: Any, example: Any, **kwargs: Any) -> None:
        if isinstance(inner, dict):
            inner = from_entry(inner)
        kwargs.setdefault("name", inner.name)
        kwargs.setdefault("trainable", inner.trainable)
        kwargs["dtype"], kwargs["autocast"] = "float32", False
        super().__init__(**kwargs)
        # A layer whose config has no name would get another in each copy.
        inner.name = self.name
        self.inner = inner
        args, given = _fresh(example)
        # As text: tf_keras would track what is in a list or dictionary.
        self._example = json.dumps(keras3.saving.serialize_keras_object([args, given]))
        # As Keras 3 builds it, layers that are made in its first call too.
        with tf.init_scope():
            inner(*args, **given)
        self.supports_masking = bool(inner.supports_masking)
        self._call_inner = _caller(inner)
        # tf_keras does not see the variables of Keras 3: it gets the TensorFlow variables inside them.
        trained = {id(each) for each in made_trainable(inner)}
        self._trainable_weights = [value_of(each) for each in inner.variables if id(each) in trained]
        self._non_trainable_weights = [value_of(each) for each in inner.variables if id(each) not in trained]
        for variable in made_trainable(inner):
            if variable.regularizer is not None:
                self.add_loss(functools.partial(_penalty, variable))
            if variable.constraint is not None:
                constrain(value_of(variable), variable.constraint)
        self.built = True

    @property
    def trainable(self) -> bool:
        """Whether the layer is trained; the layers inside it are frozen with it, as those of Keras are."""
        return bool(self._trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = value
        if getattr(self, "inner", None) is not None:
            self.inner.trainable = value

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """The weights that are trained, without those of layers inside that are frozen."""
        return [value_of(each) for each in self.inner.trainable_variables] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        """All other weights."""
        trained = {id(each) for each in self.trainable_weights}
        return [each for each in self._trainable_weights + self._non_trainable_weights if id(each) not in trained]

    @property
    def carried_class(self) -> str:
        """The name of the class of the Keras 3 layer or operation."""
        return type(self.inner).__name__

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        kwargs["training"] = keras2.backend.learning_phase() if training is None else training
        outputs = self._call_inner(self.inner, inputs, kwargs)
        # Behind these come the penalties of weights, which count once for a layer that is called twice.
        penalties = sum(each.regularizer is not None for each in self.inner.trainable_variables)
        losses = self.inner.losses
        for loss in losses[: len(losses) - penalties]:
            self.add_loss(loss)
        return outputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.inner.compute_mask(inputs, mask) if self.supports_masking else None

    def custom_objects(self) -> dict[str, Any]:
        """Returns the classes and functions of the user's that the config names, for copies of the layer."""
        found: dict[str, Any] = {}
        for part in layers_inside(self.inner):
            functions = [each for each in vars(part).values() if isinstance(each, types.FunctionType)]
            found |= {keras3.saving.get_registered_name(each): each for each in (type(part), *functions)}
        return {name: each for name, each in found.items() if each.__module__.partition(".")[0] != "keras"}

    def get_prunable_weights(self) -> list[tf.Variable]:
        """Returns the weights that a pruning rate counts."""
        own = getattr(self.inner, "get_prunable_weights", None)
        found = own() if own is not None else _kernels(self.inner)
        return [value_of(each) if isinstance(each, keras3.Variable) else each for each in found]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for fixed in ("dtype", "batch_input_shape"):
            config.pop(fixed, None)
        return {**config, "inner": entry_of(self.inner), "example": json.loads(self._example)}


@keras2.utils.register_keras_serializable("tfmot_swd")
class CarriedOperation(keras2.layers.Layer):
    """A Keras 3 operation run inside a tf_keras graph.

    Args:
      inner: the operation, or its serialized form.
    """

    def __init__(self, inner: Any, **kwargs: Any) -> None:
        if isinstance(inner, dict):
            inner = from_entry(inner)
        kwargs.setdefault("name", inner.name)
        kwargs["autocast"] = False
        super().__init__(**kwargs)
        self.inner = inner
        self._call_inner = _caller(inner)

    @property
    def carried_class(self) -> str:
        """The name of the class of the Keras 3 layer or operation."""
        return type(self.inner).__name__

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        return self._call_inner(self.inner, inputs, kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": entry_of(self.inner)}


def _penalty(variable: Any) -> Any:
    """Returns the regularization loss of a Keras 3 variable; None while it is frozen."""
    return variable.regularizer(variable) if variable.trainable else None


def single_input(inner: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Returns the arguments of a call as tf_keras records them: the first, and all others by name.

    tf_keras loses what a layer is called with in `*args` when it copies or loads a model: operations that take any
    number of tensors get them as one list.

    Args:
      inner: the layer or operation of Keras 3.
      args, kwargs: of its call.
    """
    if _takes_any_number(inner):
        return list(args), dict(kwargs)
    bound = inspect.signature(inner.call).bind(*args, **kwargs)
    (first, *names), given = bound.arguments, dict(bound.arguments)
    named = {name: given[name] for name in names if name != "kwargs"}
    return given[first], {**named, **given.get("kwargs", {})}


def call_arguments(inner: Any, args: Sequence[Any]) -> list[Any]:
    """Returns the positional arguments of a call that `single_input` has packed."""
    return list(args[0]) if _takes_any_number(inner) else list(args)


def _takes_any_number(inner: Any) -> bool:
    parameters = inspect.signature(inner.call).parameters
    return any(each.kind is each.VAR_POSITIONAL for each in parameters.values())


def _caller(inner: Any) -> Callable[..., Any]:
    """Returns how a layer or operation is called; what it does not take, `training` or `mask`, is left out."""
    parameters = inspect.signature(inner.call).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    is_packed = _takes_any_number(inner)

    def call(inner: Any, inputs: Any, kwargs: Mapping[str, Any]) -> Any:
        taken = {
            key: value
            for key, value in kwargs.items()
            if key in parameters or (takes_all and key not in ("training", "mask"))
        }
        return inner(*inputs, **taken) if is_packed else inner(inputs, **taken)

    return call


def _fresh(example: Any) -> tuple[list[Any], dict[str, Any]]:
    """Returns (args, kwargs) with symbolic tensors of their own, which belong to no model."""

    def fresh(value: Any) -> Any:
        is_symbol = isinstance(value, keras3.KerasTensor)
        return keras3.KerasTensor(value.shape, value.dtype) if is_symbol else value

    if not any(isinstance(each, keras3.KerasTensor) for each in keras3.tree.flatten(example)):
        example = keras3.saving.deserialize_keras_object(example)
    args, kwargs = keras3.tree.map_structure(fresh, list(example))
    return list(args), dict(kwargs)


def _kernels(layer: Any) -> list[Any]:
    """Returns the prunable weights of Keras's own layers inside a Keras 3 layer, itself included."""
    found: list[Any] = []
    attention = [part for each in layers_inside(layer) if isinstance(each, _ATTENTION) for part in layers_inside(each)]
    projections = {id(part) for part in attention}
    for part in layers_inside(layer):
        # Of attention the kernels alone, as in tf_keras.
        for name in ("kernel",) if id(part) in projections else prunable_names(type(part)):
            weight = getattr(part, name, None)
            if weight is not None and all(weight is not each for each in found):
                found.append(weight)
    return found
