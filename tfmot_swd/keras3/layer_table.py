"""Table of the layer classes that Keras 3 and tf_keras both have, and what their arguments are called in each."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfmot_swd.keras2 import compat as compat2
from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras3 import compat as compat3
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.layers.registry import said_of

# (layer, translate) → the layer of the other Keras, not built; `translate` does the same for a layer inside.
Make = Callable[[Any, Callable[..., Any]], Any]


@dataclasses.dataclass(frozen=True)
class LayerPair:
    """A layer class of Keras 3 and the class of tf_keras that computes the same.

    Arguments that both classes take are carried over. An argument that the other class does not take must have its
    default, or a value listed in `neutral`; otherwise a layer of Keras 3 is carried whole, and one of tf_keras refused.

    Args:
      keras3: the class of Keras 3.
      keras2: the class of tf_keras.
      renamed: argument of Keras 3 → its name in tf_keras.
      neutral: argument that one of them does not take → values with which it changes nothing; empty for any value.
      to_keras2: makes the tf_keras layer instead, from (layer, translate).
      to_keras3: makes the Keras 3 layer instead, from (layer, translate).
    """

    keras3: type
    keras2: type
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    neutral: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    to_keras2: Make | None = None
    to_keras3: Make | None = None


_PAIRS: list[LayerPair] = []


def register_layer_pair(
    keras3_class: type,
    keras2_class: type,
    *,
    renamed: Mapping[str, str] | None = None,
    neutral: Mapping[str, Sequence[Any]] | None = None,
    to_keras2: Make | None = None,
    to_keras3: Make | None = None,
) -> None:
    """Registers a Keras 3 layer class and the tf_keras class that computes the same, for both directions.

    Needed for a custom layer whose channels shall be removed, or that shall convert under JAX or torch: without it, the
    layer is carried as it is. Weights are paired by name where names tell them apart, else by order, with their shapes
    checked; a later registration of the same class replaces the earlier one. Conversion still compares the models.

    Args:
      keras3_class, keras2_class, renamed, neutral, to_keras2, to_keras3: as in `LayerPair`.

    Raises:
      TypeError: a class is not a layer class of its Keras.

    >>> import keras, tf_keras
    >>> class Doubled3(keras.layers.Layer):
    ...     def call(self, x):
    ...         return 2.0 * x
    >>> class Doubled2(tf_keras.layers.Layer):
    ...     def call(self, x):
    ...         return 2.0 * x
    >>> register_layer_pair(Doubled3, Doubled2)
    >>> pair_of_keras3(Doubled3).keras2.__name__
    'Doubled2'
    """
    for each, home, name in ((keras3_class, keras3, "keras3_class"), (keras2_class, keras2, "keras2_class")):
        if not (isinstance(each, type) and issubclass(each, home.layers.Layer)):
            raise TypeError(f"{name} must be a layer class of {home.__name__}. Received: {each!r}")
    pair = LayerPair(keras3_class, keras2_class, renamed or {}, neutral or {}, to_keras2, to_keras3)
    _PAIRS[:] = [each for each in _PAIRS if keras3_class is not each.keras3 and keras2_class is not each.keras2]
    _PAIRS.append(pair)


def pair_of_keras3(kind: type) -> LayerPair | None:
    """Returns the row of a class of Keras 3, not of its subclasses; None where there is none."""
    return next((each for each in _PAIRS if each.keras3 is kind), None)


def pair_of_keras2(kind: type) -> LayerPair | None:
    """Returns the row of a class of tf_keras, not of its subclasses; None where there is none."""
    return next((each for each in _PAIRS if each.keras2 is kind), None)


def prunable_names(kind: type) -> tuple[str, ...]:
    """Returns the attributes with the prunable weights of a class of Keras 3, by the family of its tf_keras class.

    >>> import keras
    >>> prunable_names(keras.layers.EinsumDense)
    ('kernel', 'bias')
    """
    if issubclass(kind, keras3.layers.LSTMCell | keras3.layers.GRUCell | keras3.layers.SimpleRNNCell):
        return ("kernel", "recurrent_kernel")
    pair = next((pair for each in kind.__mro__ if (pair := pair_of_keras3(each)) is not None), None)
    names = None if pair is None else said_of(pair.keras2, "prunable")[1]
    return () if names is None or callable(names) else tuple(names)


def arguments_of(kind: type) -> dict[str, Any]:
    """Returns the arguments that a layer class takes, those of its ancestors included, and their defaults."""
    found: dict[str, Any] = {}
    for each in kind.__mro__:
        if each in (keras2.layers.Layer, keras3.layers.Layer):
            found = {"name": None, "trainable": True, "dtype": None, **found}
            break
        if "__init__" in vars(each):
            parameters = inspect.signature(vars(each)["__init__"]).parameters
            for name, parameter in parameters.items():
                if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and name != "self":
                    found.setdefault(name, parameter.default)
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
                # It passes on no others.
                break
    if issubclass(kind, keras2.layers.RNN):
        # tf_keras takes it without naming it.
        found["zero_output_for_mask"] = False
    return found


# Layers with the same name, arguments and computation in both.
_SAME = """
    Dense Activation Masking Flatten Reshape Permute RepeatVector EinsumDense Identity
    Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose
    DepthwiseConv1D DepthwiseConv2D
    MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D
    BatchNormalization GroupNormalization UnitNormalization Rescaling
    Add Subtract Multiply Average Maximum Minimum Concatenate Dot
    ReLU PReLU ELU Softmax Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D
    GaussianDropout GaussianNoise AlphaDropout ActivityRegularization
    LSTM GRU SimpleRNN LSTMCell GRUCell SimpleRNNCell ConvLSTM1D ConvLSTM2D ConvLSTM3D
    Attention AdditiveAttention Embedding CategoryEncoding Hashing HashedCrossing
"""
for _name in _SAME.split():
    register_layer_pair(getattr(keras3.layers, _name), getattr(keras2.layers, _name))
register_layer_pair(
    keras3.layers.LayerNormalization, keras2.layers.LayerNormalization, neutral={"rms_scaling": (False,)}
)
# tf_keras's have the arguments of a kernel that they do not make.
_UNUSED = {f"kernel_{each}": () for each in ("initializer", "regularizer", "constraint")}
for _name in ("SeparableConv1D", "SeparableConv2D"):
    register_layer_pair(getattr(keras3.layers, _name), getattr(keras2.layers, _name), neutral=_UNUSED)
for _name in ("LayerScale", "StochasticDepth", "CustomScaleLayer"):
    register_layer_pair(getattr(compat3, _name), getattr(compat2, _name))
register_layer_pair(keras3.layers.LeakyReLU, keras2.layers.LeakyReLU, renamed={"negative_slope": "alpha"})
# Flash attention is another algorithm for the same numbers.
register_layer_pair(keras3.layers.MultiHeadAttention, keras2.layers.MultiHeadAttention, neutral={"flash_attention": ()})
_LAST = {"data_format": (None, "channels_last")}
register_layer_pair(keras3.layers.ZeroPadding1D, keras2.layers.ZeroPadding1D, neutral=_LAST)
register_layer_pair(keras3.layers.CenterCrop, keras2.layers.CenterCrop, neutral=_LAST)
register_layer_pair(
    keras3.layers.Resizing,
    keras2.layers.Resizing,
    # Padding is off unless pad_to_aspect_ratio says otherwise.
    neutral={**_LAST, "fill_mode": (), "fill_value": ()},
)
