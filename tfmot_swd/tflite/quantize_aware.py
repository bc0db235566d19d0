"""Quantization-aware fine-tuning that preserves the zeros of a pruned model, built on TFMOT's."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow_model_optimization.experimental.combine import Default8BitPrunePreserveQuantizeScheme
from tensorflow_model_optimization.quantization.keras import (
    QuantizeConfig,
    QuantizeWrapper,
    quantize_annotate_layer,
    quantize_apply,
    quantize_scope,
)
from tensorflow_model_optimization.quantization.keras.default_8bit import Default8BitQuantizeScheme
from tensorflow_model_optimization.quantization.keras.quantizers import MovingAverageQuantizer

from tfmot_swd.keras2.compat import constrain, keras, master_variable, policy_scope, replace_quantizers
from tfmot_swd.keras2.validation import check_finite_weights, check_keras_model
from tfmot_swd.keras3.door import opened
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.pruning.wrapped_models import find_wrapped
from tfmot_swd.pruning.wrapping import wrap_with
from tfmot_swd.tflite.serving import float32_copy

layers = keras.layers

# What TFMOT simulates inside a layer, and as a layer of its own; of others it raises while it builds.
_INSIDE = frozenset({"linear", "relu", "swish", "gelu", "softmax", "sigmoid", "tanh"})
_ALONE = _INSIDE | {"relu6"}


def quantize_aware(model: Any) -> Any:
    """Returns a quantization-aware copy of a stripped model, whose zeros stay zero in training.

    Use it where plain `export_tflite(model, path, "int8", ...)` costs accuracy. Compile the result, fit it for a few
    epochs at a learning rate of a tenth or less, and hand it to `export_tflite` as it is: the file has the ranges that
    were trained. Weights that are zero in the kernels of `model` stay zero: biases and depthwise kernels, which TFMOT
    leaves out, train on.

    It is TFMOT's `quantize_apply` with its scheme that preserves pruning. That trains batch norm as it is, behind the
    rounded convolution or dense layer; the converter folds it in. Ranges of activations are running means that begin
    with the first batch. Layers that TFMOT does not know train in float, with a warning, and are quantized by what
    `export_tflite` measures; their zeros are kept too. Layers keep their names.

    Save weights, not the whole model, to continue training later: TFMOT does not save that zeros are kept.
    `quantize_aware(model)` and `load_weights` restore everything. A whole model saved as h5 loads in
    `tfmot.quantization.keras.quantize_scope()`, to be used and exported.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model without wrappers; it stays as it is. One under a
        mixed precision policy gives a model in float32.

    Returns:
      An uncompiled tf_keras model, for a Keras 3 model too: Keras 3 has no layers that TFMOT's could become, and
      `export_tflite` takes it as it is.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3.
      ValueError: the model is subclassed, not built, still wrapped, quantization-aware already, has models inside it,
        or holds NaN; TFMOT knows none of its layers, or cannot take the model apart.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), kernel_initializer="zeros")])
    >>> aware = quantize_aware(net)
    >>> aware.compile("sgd", "mse")
    >>> history = aware.fit([[1.0, 2.0, 3.0]], [[1.0, 1.0]], verbose=0)
    >>> aware.predict([[1.0, 2.0, 3.0]], verbose=0).shape
    (1, 2)
    """
    model = opened(model)
    _check(model)
    model = float32_copy(model)
    known = _Known()
    own = {type(each).__name__: type(each) for each in model.layers if not type(each).__module__.startswith("tf_keras")}
    # Rounding is simulated in float32, whatever policy is in force.
    with keras.utils.custom_object_scope(own), quantize_scope(), policy_scope("float32"):
        annotated = wrap_with(model, known.annotated)
        if not known.simulated:
            raise ValueError(
                "TFMOT's quantization-aware training knows no layer with weights of this model: export it without, by "
                'export_tflite(model, path, "int8", representative_data=...). '
                f"Received: {', '.join(known.left) or 'a model without weights'}"
            )
        try:
            aware = quantize_apply(annotated, _Scheme(known), quantized_layer_name_prefix="")
        except (ValueError, TypeError, RuntimeError) as error:
            raise ValueError(
                "TFMOT could not make this model quantization-aware: export it without, by export_tflite(model, path, "
                f'"int8", representative_data=...). Received: {type(error).__name__}: {error}'
            ) from error
    _begin_ranges_with_data(aware)
    for layer in aware.layers:
        if not isinstance(layer, QuantizeWrapper):
            _keep_zeros(layer)
    if known.left:
        warnings.warn(
            "TFMOT's quantization-aware training does not know these layers, so the model trains with them in float, "
            f"and export_tflite quantizes them by the data that it is given: {', '.join(known.left)}",
            stacklevel=2,
        )
    return aware


@keras.utils.register_keras_serializable("tfmot_swd")
class InFloat(QuantizeConfig):
    """Config for layers that stay in float."""

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
        pass

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {}


class _Known:
    """TFMOT's registry of layers whose zeros it keeps, without the layers that it takes on and then fails at.

    Attributes:
      simulated: names of the layers with weights that are trained with rounding.
      left: names of the layers that stay in float.
    """

    def __init__(self) -> None:
        self._plain = Default8BitQuantizeScheme().get_quantize_registry()
        self._preserving = Default8BitPrunePreserveQuantizeScheme().get_quantize_registry()
        self.simulated: list[str] = []
        self.left: list[str] = []

    def annotated(self, layer: Any, inner: Any) -> Any:
        """Returns a copy `inner` of a layer in TFMOT's annotation, or as it is where TFMOT does not know it."""
        if not self._can_simulate(layer):
            self.left.append(layer.name)
            return inner
        if layer.weights and type(layer) is not layers.BatchNormalization:
            self.simulated.append(layer.name)
        return quantize_annotate_layer(inner)

    def _can_simulate(self, layer: Any) -> bool:
        # What TFMOT's transformations of the graph take on is not in its registry: batch norm behind a convolution or a
        # dense layer, and what they split in two.
        by_graph = (layers.InputLayer, layers.SeparableConv1D, layers.SeparableConv2D)
        return type(layer) in by_graph or self.supports(layer)

    def supports(self, layer: Any) -> bool:
        """Returns whether `get_quantize_config` has a config for the layer; asked by TFMOT too."""
        if type(layer) is layers.BatchNormalization:
            return True
        if not (self._plain.supports(layer) and self._preserving.supports(layer)):
            return False
        name = getattr(getattr(layer, "activation", None), "__name__", "linear")
        return name in (_ALONE if isinstance(layer, layers.Activation) else _INSIDE)

    def get_quantize_config(self, layer: Any) -> Any:
        """Returns TFMOT's config; one that does nothing for a batch norm that its transformations have left."""
        if type(layer) is layers.BatchNormalization:
            self.left.append(layer.name)
            return InFloat()
        return self._preserving.get_quantize_config(layer)

    def keep_zeros(self, layer: Any, config: Any) -> None:
        """Makes a config that TFMOT's transformations chose preserve the zeros of the layer."""
        if hasattr(config, "weight_quantizer") and self._preserving.supports(layer):
            self._preserving.apply_sparsity_preserve_quantize_config(layer, config)


class _Scheme(Default8BitPrunePreserveQuantizeScheme):
    """TFMOT's scheme with our registry, and zeros kept in front of a concatenation, where TFMOT's forgets them."""

    def __init__(self, known: _Known) -> None:
        self._known = known

    def get_quantize_registry(self) -> _Known:
        return self._known

    def get_layout_transformer(self) -> Any:
        return _Transformer(super().get_layout_transformer(), self._known)


@dataclasses.dataclass(frozen=True)
class _Transformer:
    transformer: Any
    known: _Known

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        model, chosen = self.transformer.apply(model, layer_quantize_map)
        for layer in model.layers:
            self.known.keep_zeros(layer, chosen.get(layer.name, {}).get("quantize_config"))
        return model, chosen


class _RangeAverage(MovingAverageQuantizer):
    """A running mean of the ranges of batches that begins with the first one.

    TFMOT's begins with [-6, 6] and keeps .999 of it at each update: after the thousand updates of a short fine-tuning
    a third of that is still there, whatever the activations are.
    """

    _START = (-6.0, 6.0)
    _DECAY = 0.99

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)

    def __call__(self, inputs: tf.Tensor, training: Any, weights: dict[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        if not training:
            return super().__call__(inputs, training, weights, **kwargs)
        variables = (weights["min_var"], weights["max_var"])
        is_fresh = tf.reduce_all([variable == start for variable, start in zip(variables, self._START, strict=True)])
        # Zero is always in, as TFLite wants it.
        batch = (tf.minimum(tf.reduce_min(inputs), 0.0), tf.maximum(tf.reduce_max(inputs), 0.0))
        decay = tf.where(is_fresh, 0.0, self._DECAY)
        low, high = (
            tf.__internal__.train.assign_moving_average(variable, value, decay, zero_debias=False)
            for variable, value in zip(variables, batch, strict=True)
        )
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)


def _begin_ranges_with_data(aware: Any) -> None:
    for wrapper in aware.layers:
        if isinstance(wrapper, QuantizeWrapper):
            replace_quantizers(wrapper, _averaging)


def _averaging(quantizer: Any) -> Any:
    return _RangeAverage() if type(quantizer) is MovingAverageQuantizer else quantizer


def _keep_zeros(layer: Any) -> None:
    """Constrains the zeros in the kernels of a layer: every optimizer sets them to zero again after each update."""
    for weight in map(master_variable, counted_weights(layer)):
        value = weight.numpy()
        if value.ndim > 1 and not value.all():
            for part in getattr(weight, "values", (weight,)):
                constrain(part, _ZeroConstraint(tf.constant(value != 0), part.constraint))


@dataclasses.dataclass(frozen=True)
class _ZeroConstraint:
    mask: tf.Tensor
    other: Callable[[tf.Tensor], tf.Tensor] | None

    def __call__(self, weight: Any) -> tf.Tensor:
        value = tf.convert_to_tensor(weight if self.other is None else self.other(weight))
        return tf.where(self.mask, value, tf.zeros_like(value))


def _check(model: Any) -> None:
    check_keras_model(model)
    wrapped = find_wrapped(model)
    if wrapped:
        raise ValueError(
            "The model still has its pruning wrappers: call tfmot_swd.strip_pruning(model) first and pass what it "
            f"returns. Received: {len(wrapped)} wrapped layers ({', '.join(wrapped[:5])})"
        )
    quantized = [each.name for each in model.submodules if isinstance(each, QuantizeWrapper)]
    if quantized:
        raise ValueError(
            "The model is quantization-aware already: train and export it as it is. "
            f"Received: {len(quantized)} such layers ({', '.join(quantized[:5])})"
        )
    inside = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if inside:
        raise ValueError(
            "TFMOT's quantization-aware training takes no model inside a model: build the network as one graph, with "
            "the layers of the inner model called in their turn, and set its weights from this one. "
            f"Received: {model.name!r} with {', '.join(map(repr, inside))} inside"
        )
    check_finite_weights(model)
