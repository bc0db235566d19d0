"""What a pruning method needs to know of an optimizer: its clock, learning rate, momentum and decay.

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
    """An optimizer of a model, and where the model holds it.

    Args:
      owner: the model.
      attribute: of the model: "optimizer", or one that a class with a training step of its own has added.
      place: which of the optimizers there, where the attribute is a list or a dictionary.
      optimizer: the optimizer.
    """

    owner: Any
    attribute: str
    place: int
    optimizer: Any

    def successor(self) -> Any:
        """Returns the optimizer that is in this place now."""
        return _optimizers_of(self.owner, self.attribute)[self.place]

    def __str__(self) -> str:
        return f"model.{self.attribute} ({type(self.optimizer).__name__})"


def held_optimizers(*models: Any) -> list[HeldOptimizer]:
    """Returns the optimizers that these models hold, each once: that of `model.optimizer` first.

    Training steps with several optimizers, as of generative adversarial networks, keep them in attributes of the model.
    """
    found: dict[int, HeldOptimizer] = {}
    for model in models:
        for attribute in ("optimizer", *(name for name in vars(model) if not name.startswith("_self_"))):
            for place, optimizer in enumerate(_optimizers_of(model, attribute)):
                found.setdefault(id(optimizer), HeldOptimizer(model, attribute, place, optimizer))
    return list(found.values())


def main_optimizer(model: Any) -> Any:
    """Returns `model.optimizer`, the first one where there are several; None without any."""
    return next(iter(_optimizers_of(model, "optimizer")), None)


def _optimizers_of(model: Any, attribute: str) -> list[Any]:
    """Returns the optimizers in one attribute of a model; whatever is in `model.optimizer` is one."""
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
    """Returns the int64 variable that counts the updates made."""
    return unwrap(optimizer).iterations


def learning_rate_source(optimizer: Any) -> Any:
    """Returns what the optimizer takes its learning rate from: a schedule, a variable or a float."""
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        return inner._get_hyper("learning_rate")
    return inner._learning_rate


def learning_rate(optimizer: Any) -> tf.Tensor:
    """Returns the learning rate of the next update, a float32 scalar; in graph, follows its variable."""
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        return inner._decayed_lr(tf.float32)
    source = learning_rate_source(inner)
    if isinstance(source, Schedule):
        source = source(inner.iterations)
    return tf.cast(source, tf.float32)


def learning_rates(optimizer: Any, steps: np.ndarray) -> np.ndarray:
    """Returns the learning rate at each update of `steps`, as far as the optimizer itself decides it.

    A schedule is asked at a few hundred of them, with straight lines in between. What a callback such as
    ReduceLROnPlateau will do cannot be foreseen.
    """
    source = learning_rate_source(optimizer)
    if not isinstance(source, Schedule):
        return np.full(len(steps), float(source.numpy() if hasattr(source, "numpy") else source))
    asked = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 256)).astype(int))
    answers = np.array([float(source(int(step))) for step in steps[asked]])
    return np.interp(np.arange(len(steps)), asked, answers)


def is_sgd(optimizer: Any) -> bool:
    """Whether the optimizer is stochastic gradient descent, with or without momentum."""
    kinds = (keras.optimizers.SGD, keras.optimizers.legacy.SGD)
    return isinstance(unwrap(optimizer), kinds)


def is_linear(optimizer: Any) -> bool:
    """Whether updates are linear in the gradient, so that a penalty in the loss keeps its strength.

    Adam and its relatives divide by the gradient's size, and clipping bounds it: both cancel the penalty.
    """
    inner = unwrap(optimizer)
    clips = (getattr(inner, name, None) is not None for name in ("clipnorm", "clipvalue", "global_clipnorm"))
    return is_sgd(inner) and not any(clips)


def is_nesterov(optimizer: Any) -> bool:
    """Whether the optimizer is SGD with Nesterov's momentum."""
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
    """Has the optimizer make its slots for these variables now, where it has none yet."""
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        inner._create_all_weights(variables)
    elif getattr(inner, "_index_dict", None) is None:
        inner.build(variables)


def built_on(optimizer: Any, variables: list[Any]) -> list[int] | None:
    """Returns which of these variables the optimizer has slots for, in its own order; None where it has no order."""
    inner = unwrap(optimizer)
    index = getattr(inner, "_index_dict", None)
    if index is None or isinstance(inner, keras.optimizers.legacy.Optimizer):
        return None
    keys = [inner._var_key(each) for each in variables]
    return sorted((place for place, key in enumerate(keys) if key in index), key=lambda place: index[keys[place]])


def trains(optimizer: Any, variables: list[Any]) -> bool | None:
    """Returns whether the optimizer was built for any of these variables; None where it does not tell."""
    places = built_on(optimizer, variables)
    return None if places is None else bool(places)


def slot_start(optimizer: Any, slot: Any) -> float:
    """Returns what a slot holds before the first update: 0, but for the accumulators of Adagrad and Ftrl."""
    parts, inner = slot.name.split(":")[0].split("/"), unwrap(optimizer)
    # Legacy optimizers name a slot at the end, after the variable.
    if "accumulator" not in (*parts[:2], parts[-1]):
        return 0.0
    return float(getattr(inner, "initial_accumulator_value", getattr(inner, "_initial_accumulator_value", 0.0)))


def loss_scale(optimizer: Any) -> tf.Tensor:
    """Returns what a LossScaleOptimizer multiplies the loss by, float32; 1 for others."""
    scale = getattr(optimizer, "loss_scale", None)
    return tf.constant(1.0) if scale is None else tf.cast(scale, tf.float32)
