"""Optimizers of Keras 3 as optimizers of tf_keras."""

from __future__ import annotations

import dataclasses
import re
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from tfmot_swd.keras2.compat import keras as tf_keras
from tfmot_swd.keras2.optimizers import iterations, unwrap
from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.keras3.inner_objects import full_class_name
from tfmot_swd.keras3.schedules import tf_keras_schedule

_WITHOUT_COUNTERPART = (
    "Adam, AdamW, Adamax, Adafactor, Adagrad, Adadelta, Ftrl, Lion, Nadam, RMSprop or SGD, or subclass "
    "tf_keras.optimizers.Optimizer, or say how one is made with tfmot_swd.keras3.register_training_object"
)


@dataclasses.dataclass(frozen=True)
class _Counterpart:
    """What a Keras 3 optimizer has become; `rate` is its learning rate at that time, None for a schedule."""

    optimizer: Any
    rate: float | None


# The last counterpart of each Keras 3 optimizer, as long as both are in use.
_COUNTERPARTS: weakref.WeakKeyDictionary[Any, _Counterpart] = weakref.WeakKeyDictionary()


def tf_keras_optimizer(optimizer: Any, holder: Any = None, make: Callable[[Any], Any] | None = None) -> Any:
    """Returns the tf_keras optimizer of a Keras 3 optimizer, made of its class and config.

    The same one each time, so that the optimizer of a model can be named by the Keras 3 object; a new one where a
    model is compiled and the last one has trained another model. It begins without the updates that the Keras 3
    optimizer has made, whose state belongs to the variables of another model.

    Args:
      optimizer: a `keras.optimizers.Optimizer`.
      holder: the tf_keras model that is compiled with it.
      make: Keras 3 optimizer → tf_keras optimizer, for a class of the user's own; None for the stock ones.

    Returns:
      A `tf_keras.optimizers.Optimizer`, inside a `LossScaleOptimizer` where the Keras 3 one scales the loss.

    Raises:
      TypeError: the class has no counterpart.
      ValueError: one of its arguments has none.
    """
    last = _COUNTERPARTS.get(optimizer)
    made = 0 if last is None else int(iterations(last.optimizer).numpy())
    if last is not None and (not made or holder is None or _holds(holder, last.optimizer)):
        return last.optimizer
    result = (make or translate)(optimizer)
    keep_counterpart(optimizer, result)
    own = _updates(optimizer)
    if own or made:
        warnings.warn(
            "The optimizer has made updates for another model, and begins anew for this one: its state and its number "
            "of updates are left behind, so a learning-rate schedule starts from its beginning. Compile with a new "
            f"optimizer to say so. Received: {full_class_name(optimizer)} with {own or made} updates",
            PruningWarning,
            stacklevel=2,
        )
    return result


def keep_counterpart(optimizer: Any, counterpart: Any) -> None:
    """Notes what a Keras 3 optimizer has become."""
    _COUNTERPARTS[optimizer] = _Counterpart(counterpart, _learning_rate(optimizer))


def check_learning_rate(optimizer: Any) -> None:
    """Warns where the learning rate was set on the Keras 3 optimizer that this tf_keras optimizer was made of.

    Args:
      optimizer: that of a model which is about to train.
    """
    for source, made in list(_COUNTERPARTS.items()):
        now = _learning_rate(source)
        if unwrap(made.optimizer) is unwrap(optimizer) and now != made.rate:
            warnings.warn(
                "The learning rate was changed on the Keras 3 optimizer, and the model trains with its tf_keras "
                "counterpart, which keeps its own: set model.optimizer.learning_rate. "
                f"Received: {full_class_name(source)} with {now}, and {made.rate} when the model was compiled",
                PruningWarning,
                stacklevel=2,
            )
            _COUNTERPARTS[source] = _Counterpart(made.optimizer, now)


def translate(optimizer: Any) -> Any:
    """Returns a new tf_keras optimizer of the class and config of a Keras 3 optimizer; see `tf_keras_optimizer`."""
    import keras

    name = type(optimizer).__name__
    if type(optimizer) is keras.optimizers.LossScaleOptimizer:
        return tf_keras.mixed_precision.LossScaleOptimizer(
            translate(optimizer.inner_optimizer),
            initial_scale=optimizer.initial_scale,
            dynamic_growth_steps=optimizer.dynamic_growth_steps,
        )
    kind = getattr(tf_keras.optimizers, name, None)
    if kind is None or getattr(keras.optimizers, name, None) is not type(optimizer):
        raise TypeError(
            f"This optimizer has no counterpart in tf_keras, which trains the model: choose {_WITHOUT_COUNTERPART}. "
            f"Received: {full_class_name(optimizer)}"
        )
    return _of_config(optimizer, kind)


def _of_config(optimizer: Any, kind: Any) -> Any:
    # First, as it refuses a function, of whose serialization Keras 3 warns.
    rate = _rate_for(optimizer)
    config = {**optimizer.get_config(), "learning_rate": rate}
    accumulated, scale = config.pop("gradient_accumulation_steps", None), config.pop("loss_scale_factor", None)
    if accumulated:
        raise ValueError(
            "tf_keras, which trains the model, accumulates no gradients over batches: leave "
            "gradient_accumulation_steps out and pass a batch_size that many times larger. "
            f"Received: {full_class_name(optimizer)}(gradient_accumulation_steps={accumulated})"
        )
    result = kind.from_config(config)
    names = _excluded_from_weight_decay(optimizer)
    if names:
        result.exclude_from_weight_decay(var_names=names)
    _warn_of_differences(optimizer)
    if scale:
        return tf_keras.mixed_precision.LossScaleOptimizer(result, dynamic=False, initial_scale=scale)
    return result


def _rate_for(optimizer: Any) -> Any:
    """Returns the learning rate of a Keras 3 optimizer for tf_keras: a float or a schedule."""
    from tfmot_swd.keras3.compat import keras, learning_rate_source

    source = learning_rate_source(optimizer)
    if isinstance(source, keras.optimizers.schedules.LearningRateSchedule):
        return tf_keras_schedule(source)
    # A variable can be called too.
    if callable(source) and not isinstance(source, keras.Variable):
        raise ValueError(
            "tf_keras, which trains the model, takes no function as learning rate: subclass "
            "keras.optimizers.schedules.LearningRateSchedule, whose __call__(step) returns it. "
            f"Received: {full_class_name(optimizer)}(learning_rate={source!r})"
        )
    return _learning_rate(optimizer)


def _learning_rate(optimizer: Any) -> float | None:
    """Returns the learning rate of a Keras 3 optimizer; None if it is a schedule or a function."""
    from tfmot_swd.keras3.compat import keras, learning_rate_source

    source = learning_rate_source(getattr(optimizer, "inner_optimizer", optimizer))
    return float(keras.ops.convert_to_numpy(source)) if isinstance(source, keras.Variable) else None


def _updates(optimizer: Any) -> int:
    import keras

    return int(keras.ops.convert_to_numpy(getattr(optimizer, "inner_optimizer", optimizer).iterations))


def _holds(model: Any, optimizer: Any) -> bool:
    held = getattr(model, "optimizer", None)
    return held is not None and unwrap(held) is unwrap(optimizer)


def _excluded_from_weight_decay(optimizer: Any) -> list[str]:
    """Returns the patterns of names that a Keras 3 optimizer was told to leave out of weight decay."""
    from tfmot_swd.keras3.compat import without_weight_decay

    names_variables, pattern = without_weight_decay(optimizer)
    # Keras 3 searches in "bias", tf_keras in "dense/bias:0".
    if names_variables or re.search(r"[\^$]|\\[AbBZ]", pattern or ""):
        raise ValueError(
            "tf_keras, which trains the model, has other variables under longer names, such as 'dense/bias:0': exclude "
            "them from weight decay by parts of their names, optimizer.exclude_from_weight_decay(var_names=['bias']). "
            f"Received: {full_class_name(optimizer)} with {'var_list' if pattern is None else f'var_names {pattern!r}'}"
        )
    return [] if pattern is None else [pattern]


def _warn_of_differences(optimizer: Any) -> None:
    """Warns where the optimizers of both have the same name and do not compute the same."""
    differences = {
        "its Nadam corrects its momentum once for each variable instead of once for each update, so that the first "
        "updates differ; Adam and AdamW are the same": type(optimizer).__name__ == "Nadam",
        "its moving average of the weights (use_ema) begins with the weights before the first update, that of Keras 3 "
        "with those after it": optimizer.use_ema,
    }
    for difference in (each for each, applies in differences.items() if applies):
        warnings.warn(
            f"tf_keras, which trains the model, does not compute quite what Keras 3 does: {difference}. "
            f"Received: {full_class_name(optimizer)}",
            PruningWarning,
            stacklevel=2,
        )
