"""Table of the operations of Keras 3 that TensorFlow has under another name, and the names of their arguments."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.graph import symbol_of


@dataclasses.dataclass(frozen=True)
class OperationPair:
    """An operation of Keras 3 and the TensorFlow function that computes the same.

    Args:
      operation: name of the class in `keras.ops`, as "Mean".
      function: of TensorFlow.
      inputs: how many of the function's arguments, from the first on, are what the operation is called with.
      attributes: attribute of the operation → argument of the function. Other attributes must have their defaults.
    """

    operation: str
    function: Callable[..., Any]
    inputs: int = 1
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def symbol(self) -> str:
        """The name below `tf.` under which tf_keras records the function."""
        return symbol_of(self.function)

    def input_names(self) -> list[str]:
        """Returns the arguments of the function that the operation is called with."""
        return list(inspect.signature(self.function).parameters)[: self.inputs]


_UNARY = {
    "Absolute": tf.abs,
    "Negative": tf.negative,
    "Exp": tf.exp,
    "Expm1": tf.math.expm1,
    "Log": tf.math.log,
    "Log1p": tf.math.log1p,
    "Sqrt": tf.sqrt,
    "Rsqrt": tf.math.rsqrt,
    "Square": tf.square,
    "Reciprocal": tf.math.reciprocal,
    "Sin": tf.sin,
    "Cos": tf.cos,
    "Tanh": tf.tanh,
    "Sigmoid": tf.sigmoid,
    "Relu": tf.nn.relu,
    "Relu6": tf.nn.relu6,
    "Silu": tf.nn.silu,
    "Softplus": tf.nn.softplus,
    "Softsign": tf.nn.softsign,
    "Selu": tf.nn.selu,
    "Elu": tf.nn.elu,
    "LogSigmoid": tf.math.log_sigmoid,
    "Erf": tf.math.erf,
    "Floor": tf.floor,
    "Ceil": tf.math.ceil,
    "Sign": tf.sign,
    "LogicalNot": tf.logical_not,
    "StopGradient": tf.stop_gradient,
}
_BINARY = {
    "Add": tf.add,
    "Subtract": tf.subtract,
    "Multiply": tf.multiply,
    "Divide": tf.divide,
    "Power": tf.pow,
    "Maximum": tf.maximum,
    "Minimum": tf.minimum,
    "Matmul": tf.matmul,
    "Mod": tf.math.floormod,
    "FloorDivide": tf.math.floordiv,
    "Equal": tf.equal,
    "NotEqual": tf.not_equal,
    "Greater": tf.greater,
    "GreaterEqual": tf.greater_equal,
    "Less": tf.less,
    "LessEqual": tf.less_equal,
    "LogicalAnd": tf.logical_and,
    "LogicalOr": tf.logical_or,
}
_REDUCTIONS = {
    "Mean": tf.reduce_mean,
    "Sum": tf.reduce_sum,
    "Max": tf.reduce_max,
    "Min": tf.reduce_min,
    "Prod": tf.reduce_prod,
    "Any": tf.reduce_any,
    "All": tf.reduce_all,
    "Var": tf.math.reduce_variance,
    "Std": tf.math.reduce_std,
    "Logsumexp": tf.reduce_logsumexp,
}
_AXIS = {"axis": "axis"}
OPERATIONS: Mapping[str, OperationPair] = MappingProxyType(
    {
        pair.operation: pair
        for pair in (
            *(OperationPair(name, function) for name, function in _UNARY.items()),
            *(OperationPair(name, function, 2) for name, function in _BINARY.items()),
            *(
                OperationPair(name, function, 1, {**_AXIS, "keepdims": "keepdims"})
                for name, function in _REDUCTIONS.items()
            ),
            OperationPair("Where", tf.where, 3),
            OperationPair("Softmax", tf.nn.softmax, 1, _AXIS),
            OperationPair("LogSoftmax", tf.nn.log_softmax, 1, _AXIS),
            OperationPair("LeakyRelu", tf.nn.leaky_relu, 1, {"negative_slope": "alpha"}),
            OperationPair("Gelu", tf.nn.gelu, 1, {"approximate": "approximate"}),
            OperationPair("Transpose", tf.transpose, 1, {"axes": "perm"}),
            OperationPair("Concatenate", tf.concat, 1, _AXIS),
            OperationPair("Stack", tf.stack, 1, _AXIS),
            OperationPair("ExpandDims", tf.expand_dims, 1, _AXIS),
            OperationPair("Squeeze", tf.squeeze, 1, _AXIS),
            OperationPair("Flip", tf.reverse, 1, _AXIS),
            OperationPair("Tile", tf.tile, 1, {"repeats": "multiples"}),
            OperationPair("BroadcastTo", tf.broadcast_to, 1, {"shape": "shape"}),
            OperationPair("Cast", tf.cast, 1, {"dtype": "dtype"}),
            OperationPair("Clip", tf.clip_by_value, 1, {"x_min": "clip_value_min", "x_max": "clip_value_max"}),
        )
    }
)
# Operations that are others under a second name.
SAME_OPERATIONS = {"TrueDivide": "Divide", "Abs": "Absolute", "Amax": "Max", "Amin": "Min"}
# What Python's operators are recorded as on symbolic tensors of tf_keras.
_OPERATORS = {
    "__operators__.add": "Add",
    "__operators__.eq": "Equal",
    "__operators__.ne": "NotEqual",
    "math.truediv": "Divide",
}
BY_SYMBOL: Mapping[str, OperationPair] = MappingProxyType(
    {pair.symbol: pair for pair in OPERATIONS.values()}
    | {symbol: OPERATIONS[name] for symbol, name in _OPERATORS.items()}
)
