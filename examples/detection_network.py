"""A single-shot detector without anchors, as one functional Keras model with an output for each scale and task."""

from __future__ import annotations

import math
from typing import Any

import tf_keras as keras

from examples.networks import InputShape

STRIDES = (8, 16)
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}
# Sigmoid of the class biases at the start (Lin 2017): nearly all places are background.
_PRIOR = 0.01


def class_output(stride: int) -> str:
    """Returns the name of the class logits at a stride."""
    return f"classes_{stride}"


def box_output(stride: int) -> str:
    """Returns the name of the box distances at a stride."""
    return f"boxes_{stride}"


def detector(input_shape: InputShape, num_classes: int, weight_decay: float = 0.0, *, width: int = 16) -> keras.Model:
    """A small detector in the manner of FCOS (Tian 2019): places of feature maps name classes and boxes.

    Seven 3x3 convolutions of `width` to `8 * width` maps (the backbone), a top-down path that adds the coarse scale to
    the fine one (the neck), and at each of the strides 8 and 16 one convolution and two outputs (the heads). All
    convolutions but the outputs are batch-normalized.

    Args:
      input_shape: (height, width, channels), multiples of 16.
      num_classes: without a background.
      weight_decay: as in `examples.networks`.
      width: maps of the first convolution.

    Returns:
      A model from images to a dict: `classes_8`, `classes_16` (height / stride, width / stride, num_classes), logits of
      independent classes; `boxes_8`, `boxes_16` (..., 4), logarithms of the distances from the middle of the place to
      the left, top, right and bottom side of the box, in strides.

    Raises:
      ValueError: height or width is no multiple of 16.
    """
    if input_shape[0] % STRIDES[-1] or input_shape[1] % STRIDES[-1]:
        raise ValueError(f"height and width must be multiples of {STRIDES[-1]}. Received: input_shape={input_shape}")
    decay = keras.regularizers.L2(weight_decay / 2) if weight_decay else None

    def conv(x: Any, filters: int, size: int, strides: int, name: str) -> Any:
        x = keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=decay,
            name=name,
        )(x)
        x = keras.layers.BatchNormalization(**_BATCH_NORM, name=f"{name}_bn")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(x)

    inputs = keras.Input(input_shape, name="image")
    x = conv(inputs, width, 3, 2, "stem")
    x = conv(conv(x, 2 * width, 3, 2, "stage2_a"), 2 * width, 3, 1, "stage2_b")
    fine = conv(conv(x, 4 * width, 3, 2, "stage3_a"), 4 * width, 3, 1, "stage3_b")
    coarse = conv(conv(fine, 8 * width, 3, 2, "stage4_a"), 8 * width, 3, 1, "stage4_b")
    coarse = conv(coarse, 4 * width, 1, 1, "neck_coarse")
    above = keras.layers.UpSampling2D(2, name="neck_up")(coarse)
    fine = keras.layers.Add(name="neck_add")([conv(fine, 4 * width, 1, 1, "neck_fine"), above])
    outputs = {}
    for stride, features in zip(STRIDES, (fine, coarse), strict=True):
        features = conv(features, 4 * width, 3, 1, f"head_{stride}")
        for name, filters, bias in (
            (class_output(stride), num_classes, -math.log((1 - _PRIOR) / _PRIOR)),
            (box_output(stride), 4, 0.0),
        ):
            outputs[name] = keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                bias_initializer=keras.initializers.Constant(bias),
                kernel_regularizer=decay,
                name=name,
            )(features)
    return keras.Model(inputs, outputs, name="detector")
