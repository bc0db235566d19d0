"""Keras 2 chosen for TensorFlow and TFMOT, and the private modules of TFMOT, TensorFlow and tf_keras's engine.

TFMOT keeps `PruneLowMagnitude` and its policies private, and tf_keras its call context; the version ranges in setup.cfg
are narrow for their sake. This is the only module that imports `tensorflow_model_optimization.python` and
`tensorflow.python`. `operators` beside it imports from `tf_keras.src` too, and so do the command line, for its list of
what files may name; the exporter imports the schema of TFLite files. Attributes of layers, models and nodes with an
underscore before them are used in this package, and in the wrappers and methods. A new version of TensorFlow, tf_keras
or TFMOT is to be tested with all of those.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# TFMOT and plain tf.keras choose Keras 2 or 3 when they are first touched: choose before that.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def _import_tfmot() -> None:
    """Imports TFMOT without the whole of Keras 3, and matplotlib with it, behind it.

    Its registry tries `keras.engine`, which no Keras 3 has: the package would be loaded only to fail.
    """
    hide = "keras" not in sys.modules
    if hide:
        sys.modules["keras"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("tensorflow_model_optimization")
    finally:
        if hide:
            del sys.modules["keras"]


_import_tfmot()

import tensorflow as tf
import tf_keras as keras
from tensorflow.python.eager import record
from tensorflow.python.framework import ops
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
    QuantizeLayer,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
    QuantizeWrapper,
)
from tensorflow_model_optimization.python.core.sparsity.keras.prunable_layer import (
    PrunableLayer,
)
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import (
    PruneRegistry,
)
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_callbacks import (
    UpdatePruningStep,
)
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import (
    Pruning,
)
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_policy import (
    PruningPolicy,
)
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_schedule import (
    ConstantSparsity,
    PolynomialDecay,
    PruningSchedule,
)
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import (
    PruneLowMagnitude,
)
from tf_keras.src.applications.convnext import LayerScale, StochasticDepth
from tf_keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from tf_keras.src.engine import base_layer_utils
from tf_keras.src.engine.base_layer import AddLoss, AddMetric
from tf_keras.src.engine.functional import Functional
from tf_keras.src.layers.core.tf_op_layer import SlicingOpLambda, TFOpLambda
from tf_keras.src.layers.core.tf_op_layer import get_canonical_name_for_symbol as canonical_name
from tf_keras.src.mixed_precision.autocast_variable import (
    AutoCastVariable,
)

__all__ = [
    "AddLoss",
    "AddMetric",
    "AutoCastVariable",
    "ConstantSparsity",
    "CustomScaleLayer",
    "Functional",
    "LayerScale",
    "PolynomialDecay",
    "PrunableLayer",
    "PruneLowMagnitude",
    "Pruning",
    "PruningPolicy",
    "PruningSchedule",
    "QuantizeLayer",
    "QuantizeWrapper",
    "SlicingOpLambda",
    "StochasticDepth",
    "TFOpLambda",
    "UpdatePruningStep",
    "canonical_name",
    "forget_gradients",
    "has_backward_config",
    "is_recording",
    "is_saving",
    "is_tracing_keras_graph",
    "keras",
    "layer_being_called",
    "make_prunable_as_tfmot",
    "master_variable",
    "tfmot_mask",
    "variables_of",
]


def master_variable(variable: tf.Variable) -> tf.Variable:
    """Returns the float32 variable behind a mixed-precision one, or the variable itself."""
    return variable._variable if isinstance(variable, AutoCastVariable) else variable


def variables_of(layer: Any) -> list[tf.Variable]:
    """Returns the weights of a layer or model, in full precision.

    Keras counts the vocabulary of a lookup (`StringLookup`, `TextVectorization`) too, which is no variable.
    """
    return [each for each in map(master_variable, layer.weights) if isinstance(each, tf.Variable)]


def make_prunable_as_tfmot(layer: Any) -> None:
    """Gives a layer that TFMOT's registry knows the method that says which weights TFMOT prunes of it."""
    if not hasattr(layer, "get_prunable_weights") and PruneRegistry.supports(layer):
        PruneRegistry.make_prunable(layer)


def tfmot_mask(
    weight: Any, sparsity: Any, block_size: tuple[int, int], pooling: str, m_by_n: tuple[int, int] | None
) -> tf.Tensor:
    """Returns the mask that TFMOT prunes one weight with, by its own arithmetic: ones and zeros of its dtype.

    Args:
      weight: tensor or variable; of rank 2 where it is pruned in blocks.
      sparsity: float scalar, share of the weight that becomes zero; not looked at for an m by n pattern.
      block_size, pooling: of the blocks.
      m_by_n: (zeros, of consecutive weights), or None.
    """
    pruning = Pruning(
        training_step_fn=lambda: 0,
        pruning_vars=[],
        pruning_schedule=lambda step: (True, sparsity),
        block_size=block_size,
        block_pooling_type=pooling,
        sparsity_m_by_n=m_by_n,
    )
    return pruning._maybe_update_block_mask(weight)[1]


def forget_gradients(variables: Iterable[tf.Variable]) -> None:
    """Has TensorFlow forget the custom gradients of graphs that these variables are in; to be used on dead ones.

    Each `tf.custom_gradient` that is traced, one or more in any training step of Keras, is registered for good. It
    holds the graph that it was traced in, and so the memory of the variables there, which would never be freed.
    """
    parts = [part for variable in variables for part in getattr(variable, "values", (variable,))]
    handles = {id(part.handle) for part in parts}
    registry = ops.gradient_registry
    for name in [each for each in registry.list() if each.startswith("CustomGradient")]:
        graphs = {id(graph): graph for graph in _graphs_behind(registry.lookup(name))}
        if any(id(given) in handles for graph in graphs.values() for given, _ in graph.captures):
            del registry._registry[name]


def _graphs_behind(function: Callable[..., Any], deep: int = 3) -> Iterator[Any]:
    """Yields the graphs of functions that a registered gradient holds tensors of, and those around them."""
    for cell in function.__closure__ or ():
        value = None
        # A name that is not bound has an empty cell.
        with contextlib.suppress(ValueError):
            value = cell.cell_contents
        for each in value if isinstance(value, list | tuple) else (value,):
            graph: Any = getattr(each, "graph", None) if isinstance(each, tf.Tensor) else None
            while hasattr(graph, "captures"):
                yield graph
                graph = graph.outer_graph
            if deep and hasattr(each, "__closure__"):
                yield from _graphs_behind(each, deep - 1)


def expects_mask(layer: Any) -> bool:
    """Whether the `call` of a layer takes a mask."""
    return bool(layer._expects_mask_arg)


def carry_input_shape(source: Any, target: Any) -> None:
    """Gives a layer the input shape that another was made with, by which a Sequential model is built."""
    if hasattr(source, "_batch_input_shape"):
        target._batch_input_shape = source._batch_input_shape


def follows_train_batches(callback: Any) -> bool:
    """Whether a callback does anything before or after a training batch."""
    return bool(callback._implements_train_batch_hooks())


def set_training_state(model: Any, state: Any) -> None:
    """Sets what Keras's `fit` asks for the epoch to begin with; None for nothing."""
    model._training_state = state


def weights_of_own(layer: Any) -> list[Any]:
    """Returns the weights that a layer holds itself, those of layers inside left out."""
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def constrain(variable: Any, constraint: Any) -> None:
    """Sets the constraint of a variable that was made without it."""
    variable._constraint = constraint


def replace_quantizers(wrapper: Any, replace: Callable[[Any], Any]) -> None:
    """Replaces the quantizers of activations and outputs of a TFMOT `QuantizeWrapper`."""
    for activation in wrapper._quantize_activations:
        activation.quantizer = replace(activation.quantizer)
    wrapper._output_quantizers = [replace(each) for each in wrapper._output_quantizers]


def is_saving() -> bool:
    """Whether Keras is tracing layers to write a SavedModel, not to train them."""
    return bool(base_layer_utils.call_context().saving)


def layer_being_called() -> Any:
    """Returns the Keras layer whose `call` is running; None outside any."""
    return base_layer_utils.call_context().layer


def is_recording() -> bool:
    """Whether a gradient tape is watching what is computed now."""
    return bool(record.could_possibly_record())


def is_tracing_keras_graph() -> bool:
    """Whether a layer is being called on symbolic inputs, to build a model rather than to run it."""
    return not tf.executing_eagerly() and not base_layer_utils.is_in_tf_function()


def has_backward_config(layer: Any) -> bool:
    """Whether a Bidirectional layer was given its backward layer, and did not make it of the forward layer's config."""
    return hasattr(layer, "_backward_layer_config")
