"""Training objects of Keras 3 as those of tf_keras: optimizers, schedules, losses, metrics, callbacks, data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfmot_swd.keras3.callbacks import tf_keras_callback
from tfmot_swd.keras3.datasets import readable
from tfmot_swd.keras3.door import is_keras3, is_keras3_class, is_keras3_function
from tfmot_swd.keras3.inner_objects import full_class_name
from tfmot_swd.keras3.losses import tf_keras_function, tf_keras_loss
from tfmot_swd.keras3.metrics import tf_keras_metric
from tfmot_swd.keras3.optimizers import tf_keras_optimizer
from tfmot_swd.keras3.schedules import tf_keras_schedule

# Classes that users have registered → what makes the tf_keras object.
_OWN: dict[type, Callable[[Any], Any]] = {}


def training_object(item: Any, model: Any = None) -> Any:
    """Returns what a tf_keras model trains with in place of an object of Keras 3.

    `compile`, `fit`, `evaluate` and `predict` of every tf_keras model do this by themselves once `tfmot_swd` is
    imported. Call it in a custom training loop or `train_step`, where tf_keras sees nothing of the object: a Keras 3
    optimizer cannot apply gradients to the variables of the model.

    *Translated* are the optimizers, schedules, losses and metrics that both have: by class and config, so that they
    compute the same, in the arithmetic of tf_keras; a `PruningWarning` names the few differences. An optimizer gives
    the same tf_keras optimizer each time, and begins without the updates it has made before. *Carried* are callbacks,
    and losses, metrics and schedules that tf_keras lacks, your own included: the object runs inside one of tf_keras, a
    metric as a copy with nothing counted. All but callbacks then need Keras 3 on TensorFlow. *Refused* are other
    optimizers, unless `register_training_object` says what becomes of them, and callbacks that work on the inside of a
    Keras 3 model. A `PyDataset` becomes a `tf.data.Dataset` of its batches; call its epoch hooks yourself. No proof is
    made, as for models: each class is tested to compute what Keras 3 computes.

    Read results from what the model has, `model.optimizer.learning_rate` and the logs, not from the objects given.

    Args:
      item: an optimizer, learning-rate schedule, loss, metric, callback or `PyDataset` of Keras 3, or a function of
        `keras.losses` or `keras.metrics`. Anything else is returned as it is.
      model: the tf_keras model that is compiled with it, if it is an optimizer.

    Returns:
      The object of tf_keras; `item` itself where it is not of Keras 3.

    Raises:
      TypeError: it is none of these, has no counterpart, or needs Keras 3 on another backend than TensorFlow.
      ValueError: an argument of it has no counterpart, such as gradient_accumulation_steps; several replicas train,
        and a metric must be carried.

    >>> import keras
    >>> optimizer = training_object(keras.optimizers.AdamW(1e-3, weight_decay=0.01))
    >>> type(optimizer).__module__.split(".")[0], optimizer.weight_decay
    ('tf_keras', 0.01)
    """
    if is_keras3_function(item, "losses", "metrics"):
        return tf_keras_function(item)
    if not is_keras3(item):
        return item
    own = next((_OWN[kind] for kind in type(item).__mro__ if kind in _OWN), None)
    return _translated(item, model, None if own is None else lambda given: _checked(own(given), given))


def _translated(item: Any, model: Any, own: Callable[[Any], Any] | None) -> Any:
    import keras

    if isinstance(item, keras.optimizers.Optimizer):
        return tf_keras_optimizer(item, model, own)
    if own is not None:
        return own(item)
    for kind, make in (
        (keras.optimizers.schedules.LearningRateSchedule, tf_keras_schedule),
        (keras.losses.Loss, tf_keras_loss),
        (keras.metrics.Metric, tf_keras_metric),
        ((keras.callbacks.Callback, keras.callbacks.CallbackList), tf_keras_callback),
        (keras.utils.PyDataset, readable),
    ):
        if isinstance(item, kind):
            return make(item)
    raise TypeError(
        "Of Keras 3 a tf_keras model trains with optimizers, learning-rate schedules, losses, metrics, callbacks and "
        "PyDatasets; a model or layer goes through tfmot_swd.keras3.from_keras3 first. "
        f"Received: {full_class_name(item)}"
    )


def _checked(made: Any, item: Any) -> Any:
    if made is None or is_keras3(made):
        raise TypeError(
            "The function given to register_training_object must return an object of tf_keras. "
            f"Received: {made!r} for {full_class_name(item)}"
        )
    return made


def register_training_object(kind: type, make: Callable[[Any], Any]) -> None:
    """Registers what a tf_keras model trains with in place of objects of a class written for Keras 3.

    For an optimizer of your own that you have for both, say, or a stock one that tf_keras lacks; and for a loss, metric
    or callback that would be carried, where Keras 3 does not run on TensorFlow. It holds for this process, for objects
    of subclasses too, and counts before the package's own choice; that of the nearest class counts. The result is not
    compared with the object: test that both compute the same.

    Args:
      kind: a class of Keras 3, or a subclass of one.
      make: object of it → object of tf_keras; for an optimizer a new one at each call.

    Raises:
      TypeError: `kind` is not such a class, or `make` not a function. Where a model is compiled: `make` returns None or
        an object of Keras 3.

    >>> import keras, tf_keras
    >>> class SignSGD(keras.optimizers.SGD):
    ...     pass
    >>> register_training_object(SignSGD, lambda given: tf_keras.optimizers.Lion(float(given.learning_rate)))
    >>> type(training_object(SignSGD(0.1))).__name__
    'Lion'
    """
    if not is_keras3_class(kind):
        raise TypeError(f"register_training_object takes a class of Keras 3, or a subclass of one. Received: {kind!r}")
    if not callable(make):
        raise TypeError(f"make must be a function of an object of {kind.__name__}. Received: {make!r}")
    _OWN[kind] = make
