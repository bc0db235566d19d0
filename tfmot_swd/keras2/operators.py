"""TensorFlow operators in the graph of a functional model, as Keras records them: x + y, tf.nn.relu, x[:, 1:]."""

from __future__ import annotations

from typing import Any

from tf_keras.src.layers.core.tf_op_layer import SlicingOpLambda, TFOpLambda, get_canonical_name_for_symbol

__all__ = ["SlicingOpLambda", "TFOpLambda", "calls_another_function", "function_name", "operator_name"]


def operator_name(layer: Any) -> str:
    """Returns the name below `tf.` that an operator was recorded under, as "linalg.matmul"; empty for other layers."""
    symbol = layer.symbol if isinstance(layer, TFOpLambda) else None
    return (symbol or "").removeprefix("compat.v1.")


def function_name(layer: Any) -> str:
    """Returns the name below `tf.` of the function that an operator calls, empty where TensorFlow has none for it.

    Asked of the function itself, as that may be another than the layer was made for.
    """
    return (get_canonical_name_for_symbol(layer.function, add_prefix_to_v1_names=True) or "").removeprefix("compat.v1.")


def calls_another_function(layer: Any) -> bool:
    """Whether an operator calls another function than the one that it is made from again."""
    if not isinstance(layer, TFOpLambda) or not layer.symbol:
        return False
    # As TFOpLambda asks for it.
    name = get_canonical_name_for_symbol(layer.function, add_prefix_to_v1_names=True)
    name = name or get_canonical_name_for_symbol(layer.function, api_name="keras", add_prefix_to_v1_names=True)
    return name != layer.symbol
