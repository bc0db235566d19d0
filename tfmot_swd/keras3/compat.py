"""Access to Keras 3: its private names, and the classes that conversion asks for.

No other module of the package touches private names of Keras 3. Test a new version of Keras against all of these.
"""

from __future__ import annotations

from typing import Any

import keras
from keras.src import ops
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.models.functional import Functional
from keras.src.ops.operation import Operation
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

__all__ = [
    "CustomScaleLayer",
    "Functional",
    "LayerScale",
    "Operation",
    "PyDatasetAdapter",
    "StochasticDepth",
    "automatic_mask",
    "better_when",
    "calls_by_depth",
    "compiled_with",
    "does_nothing",
    "forget_losses",
    "function_arguments",
    "function_of",
    "functional_of",
    "input_structure",
    "keras",
    "layers_inside",
    "learning_rate_source",
    "made_by",
    "made_trainable",
    "on_tensorflow",
    "operation_class",
    "output_structure",
    "profiled_batches",
    "replaces_training",
    "value_of",
    "without_weight_decay",
]


def on_tensorflow() -> bool:
    """Returns whether Keras 3 computes with TensorFlow in this process."""
    return bool(keras.backend.backend() == "tensorflow")


def functional_of(model: Any) -> Any:
    """Returns the graph of a Sequential or Functional model; None for a Sequential model that is not built."""
    return model._functional if isinstance(model, keras.Sequential) else model


def calls_by_depth(model: Any) -> list[Any]:
    """Returns Keras's records of the calls in a model's graph in topological order, without those of input layers."""
    by_depth = functional_of(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def input_structure(model: Any) -> Any:
    """Returns the symbolic inputs of a model in the structure that it is called with."""
    return functional_of(model)._inputs_struct


def output_structure(model: Any) -> Any:
    """Returns the symbolic outputs of a model in the structure that it returns."""
    return functional_of(model)._outputs_struct


def made_by(tensor: Any) -> Any:
    """Returns the layer or operation that made a symbolic tensor."""
    return tensor._keras_history.operation


def automatic_mask(tensor: Any) -> Any:
    """Returns the mask that Keras computed along with a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def forget_losses(model: Any) -> None:
    """Discards the losses that layers collected in the latest call of a model."""
    model._clear_losses()


def made_trainable(layer: Any) -> list[Any]:
    """Returns the variables of a layer that are trained when nothing in it is frozen."""
    return [variable for part in layers_inside(layer) for variable in part._trainable_variables]


def value_of(variable: Any) -> Any:
    """Returns the TensorFlow variable inside a Keras 3 variable; it exists on the TensorFlow backend alone."""
    return variable.value


def layers_inside(layer: Any) -> list[Any]:
    """Returns a layer and the layers inside it, at any depth."""
    return list(layer._flatten_layers())


_TRAINING = ("call", "train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")


def replaces_training(model: Any) -> list[str]:
    """Returns the names of the methods by which a subclass changes how a model computes or trains."""
    plain = (keras.Model, keras.Sequential, Functional)
    return [
        name for name in _TRAINING if all(getattr(type(model), name) is not getattr(kind, name, None) for kind in plain)
    ]


def operation_class(name: str) -> Any:
    """Returns the class of an operation of `keras.ops` by its name, as "Mean"; None where there is none."""
    homes = (ops.numpy, ops.nn, ops.math, ops.core, ops.linalg)
    return next((getattr(home, name) for home in homes if hasattr(home, name)), None)


def learning_rate_source(optimizer: Any) -> Any:
    """Returns what an optimizer takes its learning rate from: a variable, a schedule or a function."""
    return optimizer._learning_rate


def without_weight_decay(optimizer: Any) -> tuple[bool, str | None]:
    """Returns what has no weight decay in an optimizer: whether it names variables, and a pattern of names or None."""
    # Both are missing until `exclude_from_weight_decay` is called.
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    return bool(getattr(optimizer, "_exclude_from_weight_decay", None)), None if pattern is None else pattern.pattern


def function_of(wrapper: Any) -> Any:
    """Returns the function whose mean a `MeanMetricWrapper` is."""
    return wrapper._fn


def function_arguments(wrapper: Any) -> dict[str, Any]:
    """Returns the arguments with which a stock loss or a `MeanMetricWrapper` calls its function."""
    return dict(wrapper._fn_kwargs)


def better_when(metric: Any) -> str | None:
    """Returns "up" or "down" where a metric says in which direction it gets better; else None."""
    return getattr(metric, "_direction", None)


def compiled_with(model: Any) -> dict[str, Any]:
    """Returns the loss, its weights and the metrics that a model was compiled with, as they were given."""
    losses, metrics = model._compile_loss, model._compile_metrics
    return {
        "loss": getattr(losses, "_user_loss", None),
        "loss_weights": getattr(losses, "_user_loss_weights", None),
        "metrics": getattr(metrics, "_user_metrics", None),
        "weighted_metrics": getattr(metrics, "_user_weighted_metrics", None),
    }


def does_nothing(hook: Any) -> bool:
    """Returns whether a method of a callback is the empty one of the base class."""
    return bool(getattr(hook, "_is_default", False))


def profiled_batches(board: Any) -> tuple[int, int]:
    """Returns the first and the last batch that a `TensorBoard` callback profiles, both 0 for none."""
    return board._start_batch, board._stop_batch
