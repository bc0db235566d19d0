"""Optimizer properties: step counter, learning rate, momentum, weight decay, loss scale, slots.

Covers tf_keras optimizers, the legacy ones, and a LossScaleOptimizer around either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras

Schedule = keras.optimizers.schedules.LearningRateSchedule
KINDS = (keras.optimizers.Optimizer, keras.optimizers.legacy.Optimizer)


@dataclasses.dataclass(frozen=True)
class HeldOptimizer:
    """An optimizer of a model, and the attribute that holds it.

    Args:
      owner: the model.
      attribute: of the model: "optimizer", or one that a class with a custom `train_step` has added.
      place: index among the optimizers of the attribute, which may be a list or a dictionary.
      optimizer: the optimizer.
    """

    owner: Any
    attribute: str
    place: int
    optimizer: Any

    def successor(self) -> Any:
        """Returns the optimizer that the model holds in this place now."""
        return _optimizers_of(self.owner, self.attribute)[self.place]

    def __str__(self) -> str:
        return f"model.{self.attribute} ({type(self.optimizer).__name__})"


def held_optimizers(*models: Any) -> list[HeldOptimizer]:
    """Returns the optimizers that these models hold, each once: that of `model.optimizer` first.

    Models with several optimizers, such as generative adversarial networks, keep them in attributes.
    """
    found: dict[int, HeldOptimizer] = {}
    for model in models:
        for attribute in ("optimizer", *(name for name in vars(model) if not name.startswith("_self_"))):
            for place, optimizer in enumerate(_optimizers_of(model, attribute)):
                found.setdefault(id(optimizer), HeldOptimizer(model, attribute, place, optimizer))
    return list(found.values())


def main_optimizer(model: Any) -> Any:
    """Returns `model.optimizer`, the first one if there are several; None if there is none."""
    return next(iter(_optimizers_of(model, "optimizer")), None)


def _optimizers_of(model: Any, attribute: str) -> list[Any]:
    """Returns the optimizers in one attribute of a model; any object in `model.optimizer` counts as one."""
    kinds = object if attribute == "optimizer" else KINDS
    return [each for each in _leaves(getattr(model, attribute, None)) if each is not None and isinstance(each, kinds)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    else:
        yield value


def unwrap(optimizer: Any) -> Any:
    """Returns the optimizer inside a LossScaleOptimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def iterations(optimizer: Any) -> tf.Variable:
    """Returns the int64 variable that counts the updates."""
    return unwrap(optimizer).iterations


def learning_rate_source(optimizer: Any) -> Any:
    """Returns the source of the learning rate: a schedule, a variable or a float."""
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        return inner._get_hyper("learning_rate")
    return inner._learning_rate


def learning_rate(optimizer: Any) -> tf.Tensor:
    """Returns the learning rate of the next update, a float32 scalar; in a graph it follows its variable."""
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        return inner._decayed_lr(tf.float32)
    source = learning_rate_source(inner)
    if isinstance(source, Schedule):
        source = source(inner.iterations)
    return tf.cast(source, tf.float32)


def learning_rates(optimizer: Any, steps: np.ndarray) -> np.ndarray:
    """Returns the learning rate at each update of `steps`, float64 `(steps,)`, from the optimizer's schedule.

    A schedule is evaluated at up to 256 of them and interpolated linearly in between. Changes by callbacks such as
    ReduceLROnPlateau are not foreseen.
    """
    source = learning_rate_source(optimizer)
    if not isinstance(source, Schedule):
        return np.full(len(steps), float(source.numpy() if hasattr(source, "numpy") else source))
    asked = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 256)).astype(int))
    answers = np.array([float(source(int(step))) for step in steps[asked]])
    return np.interp(np.arange(len(steps)), asked, answers)


def is_sgd(optimizer: Any) -> bool:
    """Returns whether the optimizer is stochastic gradient descent, with or without momentum."""
    kinds = (keras.optimizers.SGD, keras.optimizers.legacy.SGD)
    return isinstance(unwrap(optimizer), kinds)


def is_linear(optimizer: Any) -> bool:
    """Returns whether updates are linear in the gradient, so that a penalty in the loss keeps its strength.

    Adam and its variants divide by the size of the gradient, and clipping bounds it: both cancel the penalty.
    """
    inner = unwrap(optimizer)
    clips = (getattr(inner, name, None) is not None for name in ("clipnorm", "clipvalue", "global_clipnorm"))
    return is_sgd(inner) and not any(clips)


def is_nesterov(optimizer: Any) -> bool:
    """Returns whether the optimizer is SGD with Nesterov's momentum."""
    return is_sgd(optimizer) and bool(unwrap(optimizer).nesterov)


def momentum(optimizer: Any) -> float:
    """Returns the heavy-ball momentum of SGD, 0 for every other optimizer."""
    if not is_sgd(optimizer):
        return 0.0
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        return float(inner._get_hyper("momentum"))
    return float(inner.momentum or 0.0)


def decoupled_weight_decay(optimizer: Any) -> float:
    """Returns the optimizer's own `weight_decay`, 0 where it has none."""
    return float(getattr(unwrap(optimizer), "weight_decay", None) or 0.0)


def build(optimizer: Any, variables: list[Any]) -> None:
    """Creates the slots of an optimizer for these variables, unless it is built already."""
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        inner._create_all_weights(variables)
    elif getattr(inner, "_index_dict", None) is None:
        inner.build(variables)


def built_on(optimizer: Any, variables: list[Any]) -> list[int] | None:
    """Returns the indices of the variables that an optimizer was built on, in its order; None if it has none."""
    inner = unwrap(optimizer)
    index = getattr(inner, "_index_dict", None)
    if index is None or isinstance(inner, keras.optimizers.legacy.Optimizer):
        return None
    keys = [inner._var_key(each) for each in variables]
    return sorted((place for place, key in enumerate(keys) if key in index), key=lambda place: index[keys[place]])


def trains(optimizer: Any, variables: list[Any]) -> bool | None:
    """Returns whether the optimizer was built for any of these variables; None where that is unknown."""
    places = built_on(optimizer, variables)
    return None if places is None else bool(places)


def slot_start(optimizer: Any, slot: Any) -> float:
    """Returns the initial value of a slot: 0, except for the accumulators of Adagrad and Ftrl."""
    parts, inner = slot.name.split(":")[0].split("/"), unwrap(optimizer)
    # Legacy optimizers name a slot at the end, after the variable.
    if "accumulator" not in (*parts[:2], parts[-1]):
        return 0.0
    return float(getattr(inner, "initial_accumulator_value", getattr(inner, "_initial_accumulator_value", 0.0)))


def loss_scale(optimizer: Any) -> tf.Tensor:
    """Returns the loss scale of a LossScaleOptimizer, a float32 scalar; 1 for other optimizers."""
    scale = getattr(optimizer, "loss_scale", None)
    return tf.constant(1.0) if scale is None else tf.cast(scale, tf.float32)
