"""`compile`, `fit`, `evaluate` and `predict` of tf_keras models, given objects of Keras 3."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras as tf_keras
from tfmot_swd.keras3.datasets import EpochHooks, PyDatasetReader, readable
from tfmot_swd.keras3.door import is_keras3, is_keras3_class
from tfmot_swd.keras3.optimizers import check_learning_rate
from tfmot_swd.keras3.training_objects import training_object

Arguments = dict[str, Any]

# Arguments of `compile` that hold objects → the module with their names.
_COMPILED = {"optimizer": "optimizers", "loss": "losses", "metrics": "metrics", "weighted_metrics": "metrics"}

# What Keras chooses among several functions, once it knows the shape of the output.
_CHOSEN_BY_SHAPE = frozenset({"accuracy", "acc", "crossentropy", "ce"})


def take_keras3_objects() -> None:
    """Has `compile`, `fit`, `evaluate` and `predict` of every tf_keras model take objects of Keras 3.

    `learning_rate` of every tf_keras optimizer can be set to a schedule of Keras 3, too.

    The methods of the class are wrapped, once in a process: so it holds for models that are loaded from files, and for
    a user's subclass around a wrapped model, and what a model saves is of tf_keras. A method of one instance would be
    lost with a copy, and tf_keras offers no other place before it looks at its arguments. Arguments that are not of
    Keras 3 are passed on as they are.
    """
    for name, translate in (("compile", _compile), ("fit", _fit), ("evaluate", _evaluate), ("predict", _predict)):
        method = getattr(tf_keras.Model, name)
        if not hasattr(method, "takes_keras3_objects"):
            setattr(tf_keras.Model, name, _wrapped(method, translate))
    rate: Any = tf_keras.optimizers.Optimizer.learning_rate
    if not hasattr(rate.fset, "takes_keras3_objects"):
        tf_keras.optimizers.Optimizer.learning_rate = rate.setter(_wrapped(rate.fset, _set_rate))


def _wrapped(method: Callable[..., Any], translate: Callable[[Any, Arguments], None]) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(self, *args, **kwargs)
        except TypeError:
            # Says what is wrong with the arguments.
            return method(self, *args, **kwargs)
        translate(self, given.arguments)
        return method(*given.args, **given.kwargs)

    wrapper.takes_keras3_objects = True  # type: ignore[attr-defined]
    return wrapper


def _compile(model: Any, given: Arguments) -> None:
    # Where a strategy trains the model, its variables are made for that.
    with model.distribute_strategy.scope():
        for name, kind in _COMPILED.items():
            if name in given:
                given[name] = _mapped(given[name], functools.partial(_compiled, kind=kind, model=model))
        # Both are arguments of Keras 3 alone.
        if given.get("jit_compile") == "auto":
            del given["jit_compile"]
        scales = given.get("kwargs", {}).pop("auto_scale_loss", True)
        if not scales and model.dtype_policy.name == "mixed_float16":
            given["optimizer"] = _mapped(given.get("optimizer", "rmsprop"), _without_loss_scale)


def _compiled(item: Any, kind: str, model: Any) -> Any:
    """Returns what tf_keras compiles a model with in place of one optimizer, loss or metric."""
    # Keras 3 takes a class too, and makes the object.
    item = item() if is_keras3_class(item) else item
    return training_object(_known(item, kind), model)


def _set_rate(optimizer: Any, given: Arguments) -> None:
    given["learning_rate"] = training_object(given["learning_rate"])


def _fit(model: Any, given: Arguments) -> None:
    trained = _read(given, "x", given.get("shuffle", True), given.get("steps_per_epoch"))
    tested = _read(given, "validation_data", False, given.get("validation_steps"))
    _translate_callbacks(given, EpochHooks(trained, tested) if trained or tested else None)
    check_learning_rate(getattr(model, "optimizer", None))


def _evaluate(model: Any, given: Arguments) -> None:
    tested = _read(given, "x", False, given.get("steps"))
    _translate_callbacks(given, EpochHooks(tested=tested) if tested else None)


def _predict(model: Any, given: Arguments) -> None:
    predicted = _read(given, "x", False, given.get("steps"))
    _translate_callbacks(given, EpochHooks(predicted=predicted) if predicted else None)


def _read(given: Arguments, name: str, shuffle: bool, steps: int | None) -> PyDatasetReader | None:
    """Makes the data readable; returns the reader if it is a `PyDataset` that has the argument of this name."""
    for each in {name, "y", "sample_weight"} & given.keys():
        if not is_keras3(given[each], "PyDataset"):
            given[each] = readable(given[each])
    if not is_keras3(given.get(name), "PyDataset"):
        return None
    reader = PyDatasetReader(given[name], shuffle)
    given[name] = reader.dataset(steps)
    return reader


def _translate_callbacks(given: Arguments, hooks: EpochHooks | None) -> None:
    """Translates the callbacks, and puts the hooks of datasets before them."""
    callbacks = _mapped(given.get("callbacks"), training_object)
    if hooks is not None:
        if isinstance(callbacks, tf_keras.callbacks.CallbackList):
            raise TypeError(
                "A PyDataset is told of its epochs by one more callback: pass the callbacks as a list. "
                "Received: a CallbackList"
            )
        callbacks = [hooks, *tf.nest.flatten(callbacks or [])]
    if callbacks is not given.get("callbacks"):
        given["callbacks"] = callbacks


def _mapped(value: Any, translate: Callable[[Any], Any]) -> Any:
    """Returns a structure with its leaves translated; the structure itself where none changes."""
    if isinstance(value, dict):
        items = {key: _mapped(each, translate) for key, each in value.items()}
        return items if any(items[key] is not each for key, each in value.items()) else value
    if isinstance(value, list | tuple):
        parts = [_mapped(each, translate) for each in value]
        return type(value)(parts) if any(new is not old for new, old in zip(parts, value, strict=True)) else value
    return translate(value)


def _known(item: Any, kind: str) -> Any:
    """Returns the object of Keras 3 that a name stands for, where tf_keras does not know the name.

    Args:
      item: whatever was given.
      kind: "optimizers", "losses" or "metrics".
    """
    keras3 = sys.modules.get("keras")
    if not isinstance(item, str) or keras3 is None or (kind == "metrics" and item.lower() in _CHOSEN_BY_SHAPE):
        return item
    # tf_keras returns the name of a metric that it does not know.
    if not isinstance(_found(tf_keras, kind, item), str):
        return item
    # Where neither knows it, tf_keras says so.
    return _found(keras3, kind, item)


def _found(package: Any, kind: str, name: str) -> Any:
    """Returns what a name stands for in tf_keras or Keras 3; the name itself where it stands for nothing."""
    try:
        return getattr(package, kind).get(name)
    except (KeyError, TypeError, ValueError):
        return name


def _without_loss_scale(optimizer: Any) -> Any:
    """Returns an optimizer for mixed_float16 whose loss is not scaled."""
    optimizer = tf_keras.optimizers.get(optimizer)
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
        return optimizer
    # tf_keras would give it a dynamic scale.
    return tf_keras.mixed_precision.LossScaleOptimizer(optimizer, dynamic=False, initial_scale=1.0)
