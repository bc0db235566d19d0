"""The Keras model to export: checks, a float32 copy, and its concrete function."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras, policy_scope
from tfmot_swd.keras2.graph import has_graph, layer_behind, output_index
from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.pruning.wrapped_models import find_wrapped
from tfmot_swd.tflite.samples import Array, chunks

_NOT_FLOAT32 = frozenset({"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"})


def batch_size(model: keras.Model) -> int | None:
    """Returns the fixed batch of a model, or None where any will do."""
    # A Sequential without an Input layer remembers the batch it saw first, which nobody asked for.
    if not getattr(model, "_has_explicit_input_shape", True):
        return None
    return next((tensor.shape[0] for tensor in model.inputs if tensor.shape[0]), None)


def serving_function(model: keras.Model, batch: int | None) -> Any:
    """Returns the model in inference as a concrete function of a fixed (or open) batch.

    Inputs are positional, in the order of `model.inputs`, and named as `model.input_names`;
    the outputs are a dict with the keys `model.output_names`.
    """
    signature = [
        tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]

    @tf.function(autograph=False, input_signature=signature)
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(tf.nest.pack_sequence_as(model.input, list(inputs)), training=False)
        return dict(zip(model.output_names, tf.nest.flatten(outputs), strict=True))

    return serve.get_concrete_function()


def output_layers(model: keras.Model) -> dict[str, list[str]]:
    """Returns the names of the layers that make each output, by its name in the signature.

    Those are not the same: an output that is there twice is called `head` and `head_1`, and those of a nested model
    are called as that model. There the layer inside follows, at any depth.

    Args:
        model: functional or sequential, built.

    Example:
        >>> x = keras.Input((4,))
        >>> inner = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, name="head")], name="inner")
        >>> output_layers(keras.Model(x, inner(x)))
        {'inner': ['inner', 'head']}
    """
    return {name: _makers(tensor) for name, tensor in zip(model.output_names, model.outputs, strict=True)}


def _makers(tensor: Any) -> list[str]:
    layer = layer_behind(tensor)
    if not has_graph(layer):
        return [layer.name]
    return [layer.name, *_makers(layer.outputs[output_index(tensor)])]


def keras_outputs(model: keras.Model, inputs: tuple[Array, ...], chunk: int = 64) -> dict[str, Array]:
    """Runs the model in inference and returns each output, whole, by its name."""
    fixed = batch_size(model)
    function = serving_function(model, fixed)
    dtypes = [tensor.dtype for tensor in model.inputs]
    parts = []
    for arrays, real in chunks(inputs, fixed or min(chunk, len(inputs[0]))):
        tensors = [tf.cast(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
        parts.append({key: out.numpy()[:real] for key, out in function(*tensors).items()})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def float32_copy(model: keras.Model) -> keras.Model:
    """Returns the model itself if it computes in float32, or else a copy that does.

    A model under a mixed policy keeps float32 weights and computes in half precision, which
    TFLite has no operators for. The copy has the same names and weights and float32 throughout.
    """
    layers = [each for each in model.submodules if isinstance(each, keras.layers.Layer)]
    if not any(layer.compute_dtype in _NOT_FLOAT32 for layer in layers):
        return model
    own = {type(each).__name__: type(each) for each in layers}
    own = {name: each for name, each in own.items() if each.__module__.split(".")[0] != "tf_keras"}
    kind = keras.Sequential if isinstance(model, keras.Sequential) else keras.Model
    # Layers that do not write down their dtype take the policy in force.
    with policy_scope("float32"), keras.utils.custom_object_scope(own):
        copied = kind.from_config(_in_float32(model.get_config()))
    copied.set_weights(model.get_weights())
    return copied


def _in_float32(config: Any) -> Any:
    """Copies a nested config with every floating-point `dtype` entry set to float32."""
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and _policy(value) in _NOT_FLOAT32
            else _in_float32(value)
            for key, value in config.items()
        }  # fmt: skip
    if isinstance(config, list | tuple):
        return type(config)(_in_float32(each) for each in config)
    return config


def _policy(value: Any) -> str | None:
    """Names the policy of a `dtype` entry: a string, a dtype, or a serialized Policy."""
    if isinstance(value, dict):
        return _policy(value.get("config", {}).get("name"))
    name: str | None = getattr(value, "name", value)
    return name


def has_loop(function: Any) -> bool:
    """Returns whether a while loop is left for TFLite to run.

    An LSTM layer without a mask is one fused TFLite operator, whatever its graph looks like.
    """
    graph = function.graph.as_graph_def()
    library = {each.signature.name: each for each in graph.library.function}
    waiting = [graph.node]
    while waiting:
        for node in waiting.pop():
            if node.op in ("While", "StatelessWhile"):
                return True
            for attribute in node.attr.values():
                called = library.pop(attribute.func.name, None)
                if called is not None and not _is_fused(called):
                    waiting.append(called.node_def)
    return False


def _is_fused(function: Any) -> bool:
    masked = any(each.type == tf.bool.as_datatype_enum for each in function.signature.input_arg)
    return not masked and function.attr["api_implements"].s.startswith(b"lstm_")


def check_exportable(model: Any) -> None:
    """Checks that a model is built, with known inputs and without pruning wrappers.

    A wrapped model does convert, but to a file about 4 times slower, or to one that does not load.

    Raises:
        TypeError: not a tf_keras model.
        ValueError: a model that is subclassed, not built, takes strings, or is still wrapped, at any depth.
    """
    check_keras_model(model)
    if not model.inputs:
        raise ValueError(
            "The inputs of the model are not known: give it an Input layer, or call it on data first. "
            f"Received: {model.name!r} without inputs"
        )
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        if tensor.dtype.name == "string":
            raise ValueError(
                "Files take no strings: export the model from the numbers on, as "
                "keras.Model(model.get_layer(name).output, model.output) does, and look words up in the program that "
                "uses it, as StringLookup does. "
                f"Received: input {name!r} of dtype string"
            )
    wrapped = find_wrapped(model)
    if wrapped:
        shown = ", ".join(wrapped[:5]) + (", ..." if len(wrapped) > 5 else "")
        raise ValueError(
            "The model still has its pruning wrappers: call tfmot_swd.strip_pruning(model) first and "
            f"export what it returns. Received: {len(wrapped)} wrapped layers ({shown})"
        )
