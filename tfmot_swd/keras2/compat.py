"""TFMOT on Keras 2, and the imports of private modules of TFMOT, TensorFlow and tf_keras.

TFMOT keeps `PruneLowMagnitude` and its policies private, and tf_keras its call context; the version ranges in setup.cfg
are narrow for this reason. No other module imports `tensorflow_model_optimization.python` or `tensorflow.python`; the
command line imports `tf_keras.src` too, for its list of the classes that files may name, and the exporter the schema of
TFLite files. Private attributes of layers, models and nodes are used in this room, and in the wrappers and methods.
Test a new version of TensorFlow, tf_keras or TFMOT against all of these.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

_VARIABLE = "TF_USE_LEGACY_KERAS"
# Where TFMOT looks for Keras, and what it finds there with that variable.
_KERAS_OF_TENSORFLOW = {
    "tensorflow": "tf_keras.api._v2.keras",
    "tensorflow.compat.v1": "tf_keras.api._v1.keras",
    "tensorflow.compat.v2": "tf_keras.api._v2.keras",
}


def _import_tfmot() -> None:
    """Imports TFMOT on Keras 2, and leaves `tf.keras` and the environment as they are.

    TFMOT sets `TF_USE_LEGACY_KERAS` for the process and its children, and by its first look at `tf.keras` decides what
    that is from then on: Keras 2 for everybody, where a program may mean Keras 3. So tf_keras stands there while TFMOT
    is imported. Where the program has imported it before, what that has decided stays.
    """
    with contextlib.ExitStack() as stack:
        for module, name in _KERAS_OF_TENSORFLOW.items():
            names = vars(importlib.import_module(module))
            stack.enter_context(_entry(names, "keras", importlib.import_module(name)))
        stack.enter_context(_entry(os.environ, _VARIABLE, "1"))
        if "keras" not in sys.modules:
            # TFMOT's registry tries to import `keras.engine`, which Keras 3 lacks: the package would be loaded, and
            # matplotlib with it, only to fail.
            stack.enter_context(_entry(sys.modules, "keras", None))
        importlib.import_module("tensorflow_model_optimization")


@contextlib.contextmanager
def _entry(mapping: MutableMapping[str, Any], key: str, value: Any) -> Iterator[None]:
    """Sets an entry for the block; afterwards it is as it was, or absent again."""
    absent = object()
    before = mapping.get(key, absent)
    mapping[key] = value
    try:
        yield
    finally:
        if before is absent:
            mapping.pop(key, None)
        else:
            mapping[key] = before


_import_tfmot()

import tensorflow as tf
import tf_keras as keras
from tensorflow.python.eager import record
from tensorflow.python.eager.context import context as eager_context
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util
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
from tf_keras.src import backend
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
    "backend",
    "canonical_name",
    "carry_policy",
    "eager_context",
    "has_backward_config",
    "is_recording",
    "is_saving",
    "is_tracing_keras_graph",
    "keras",
    "layer_being_called",
    "make_prunable_as_tfmot",
    "master_variable",
    "ops",
    "policy_scope",
    "record",
    "tfmot_mask",
    "variables_of",
]


def master_variable(variable: tf.Variable) -> tf.Variable:
    """Returns the float32 variable behind a mixed-precision one, or the variable itself."""
    return variable._variable if isinstance(variable, AutoCastVariable) else variable


def variables_of(layer: Any) -> list[tf.Variable]:
    """Returns the weights of a layer or model, in full precision.

    `layer.weights` also lists the vocabulary of a lookup layer (`StringLookup`, `TextVectorization`), which is not a
    variable and is left out.
    """
    return [each for each in map(master_variable, layer.weights) if isinstance(each, tf.Variable)]


def make_prunable_as_tfmot(layer: Any) -> None:
    """Adds `get_prunable_weights` to a layer of a class in TFMOT's registry, as TFMOT's own wrapper does."""
    if not hasattr(layer, "get_prunable_weights") and PruneRegistry.supports(layer):
        PruneRegistry.make_prunable(layer)


def tfmot_mask(
    weight: Any, sparsity: Any, block_size: tuple[int, int], pooling: str, m_by_n: tuple[int, int] | None
) -> tf.Tensor:
    """Returns TFMOT's pruning mask of one weight, computed by TFMOT: ones and zeros of the weight's shape and dtype.

    Args:
      weight: tensor or variable; of rank 2 where it is pruned in blocks.
      sparsity: float scalar, share of zeros in [0, 1]; ignored for an m by n pattern.
      block_size: (height, width) of the blocks.
      pooling: "AVG" or "MAX", how |w| is pooled in a block.
      m_by_n: (zeros, number of consecutive weights), or None.
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


def in_xla_context() -> bool:
    """Returns whether the graph that is traced now will be compiled by XLA as a whole."""
    found: bool = control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())
    return found


def expects_mask(layer: Any) -> bool:
    """Whether the `call` of a layer takes a mask."""
    return bool(layer._expects_mask_arg)


@contextlib.contextmanager
def losses_kept(layer: Any) -> Iterator[None]:
    """Gives back the losses that the latest call of a layer has collected, after others in the block."""
    parts = list(layer._flatten_layers())
    before = [list(part._eager_losses) for part in parts]
    try:
        yield
    finally:
        for part, losses in zip(parts, before, strict=True):
            part._eager_losses[:] = losses


def carry_input_shape(source: Any, target: Any) -> None:
    """Gives a layer the input shape that another was made with, by which a Sequential model is built."""
    if hasattr(source, "_batch_input_shape"):
        target._batch_input_shape = source._batch_input_shape


def carry_policy(source: Any, target: Any) -> None:
    """Gives a model the dtype policy of another, by which `compile` decides whether the loss is scaled.

    A new model takes the policy that is in force when it is made, and its config records none.
    """
    target._set_dtype_policy(source.dtype_policy)


@contextlib.contextmanager
def policy_scope(policy: Any) -> Iterator[None]:
    """Has layers and models made in the block take a dtype policy, unless they name one.

    Args:
      policy: the policy, or its name.
    """
    before = keras.mixed_precision.global_policy()
    # Where none was set, the policy follows `set_floatx`, and has to go on doing so.
    follows = before.name == keras.backend.floatx()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(None if follows else before)


def follows_train_batches(callback: Any) -> bool:
    """Whether a callback does anything before or after a training batch."""
    return bool(callback._implements_train_batch_hooks())


def set_training_state(model: Any, state: Any) -> None:
    """Sets what Keras's `fit` asks for the epoch to begin with; None for nothing."""
    model._training_state = state


def retrace_training_step(model: Any) -> None:
    """Has Keras trace the training step of a model again, if it has traced one."""
    if getattr(model, "train_function", None) is not None:
        # Keras returns the one that it has, unless there is none.
        model.train_function = None
        model.train_function = model.make_train_function()


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
    """Returns whether Keras is tracing layers to write a SavedModel."""
    return bool(base_layer_utils.call_context().saving)


def layer_being_called() -> Any:
    """Returns the Keras layer whose `call` is running; None outside any."""
    return base_layer_utils.call_context().layer


def not_recorded() -> Any:
    """Returns a context in which no `tf.GradientTape` records what is computed."""
    return record.stop_recording()


def is_recording() -> bool:
    """Returns whether a gradient tape is recording."""
    return bool(record.could_possibly_record())


def is_tracing_keras_graph() -> bool:
    """Returns whether a layer is being called on symbolic inputs, to build a Functional model."""
    return not tf.executing_eagerly() and not base_layer_utils.is_in_tf_function()


def has_backward_config(layer: Any) -> bool:
    """Returns whether a Bidirectional layer was given a backward layer, instead of making it from the forward layer."""
    return hasattr(layer, "_backward_layer_config")
