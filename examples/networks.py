"""Small image classifiers as functional Keras models.

Every builder has the signature `build(input_shape, num_classes, weight_decay=0.0, **options)` and
returns a `keras.Model` whose output is **logits**, float32 `(batch, num_classes)`: compile with
`SparseCategoricalCrossentropy(from_logits=True)`.

`weight_decay` is meant as PyTorch means it, the factor of `w` in the gradient. Keras writes the
same decay as `L2(weight_decay / 2)`, since `L2(x)` adds `x * sum(w ** 2)` to the loss. It acts on
the kernels of convolutions and dense layers, not on biases or batch normalization.

Kernels start as PyTorch's do, uniform over +-1/sqrt(fan_in), where a docstring names no other start: Selective
Weight Decay and every other method with one threshold for the whole net compare weights across layers, and under
Keras's Glorot start a wide dense layer has far larger weights, for its inputs, than the convolutions before it.

```python
model = NETWORKS["fashion_net"]((28, 28, 1), 10, weight_decay=5e-4)
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tf_keras as keras

InputShape = tuple[int, int, int]
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


def fashion_net(input_shape: InputShape, num_classes: int, weight_decay: float = 0.0) -> keras.Model:
    """Two 3x3 convolutions (32 and 64 maps, batch-normalized) and two dense layers.

    At 28x28x1 with 10 classes its four kernels hold 421,408 weights, 401,408 of them in the first
    dense layer, which makes it a good subject for sparsity and a poor one for saving MACs.
    """
    decay = _decay(weight_decay)
    inputs = x = keras.Input(input_shape, name="image")
    for index, filters in enumerate((32, 64), start=1):
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=_pytorch_uniform(),
            kernel_regularizer=decay,
            name=f"conv{index}",
        )(x)
        x = keras.layers.BatchNormalization(**_BATCH_NORM, name=f"bn{index}")(x)
        x = keras.layers.ReLU(name=f"relu{index}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = _dense(128, decay, "dense", "relu")(x)
    outputs = _dense(num_classes, decay, "logits")(x)
    return keras.Model(inputs, outputs, name="fashion_net")


def lenet5(
    input_shape: InputShape, num_classes: int, weight_decay: float = 0.0, *, convolutional: bool = False
) -> keras.Model:
    """LeNet-5's layer sizes (LeCun 1998) with ReLU and max pooling: 61,706 parameters.

    The count is that of a 28x28x1 input, padded to 32x32 by the first convolution, and 10 classes.
    `convolutional` makes the first dense layer the 5x5 convolution that it was in 1998, which has as
    many weights.
    """
    decay = _decay(weight_decay)
    inputs = x = keras.Input(input_shape, name="image")
    for index, (filters, padding) in enumerate(((6, "same"), (16, "valid")), start=1):
        x = keras.layers.Conv2D(
            filters,
            5,
            padding=padding,
            activation="relu",
            kernel_initializer=_pytorch_uniform(),
            kernel_regularizer=decay,
            name=f"conv{index}",
        )(x)
        x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    if convolutional:
        x = keras.layers.Conv2D(
            120, 5, activation="relu", kernel_initializer=_pytorch_uniform(), kernel_regularizer=decay, name="conv3"
        )(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for index, units in enumerate((120, 84), start=1):
        if index > 1 or not convolutional:
            x = _dense(units, decay, f"dense{index}", "relu")(x)
    outputs = _dense(num_classes, decay, "logits")(x)
    return keras.Model(inputs, outputs, name="lenet5")


def resnet8(input_shape: InputShape, num_classes: int, weight_decay: float = 0.0) -> keras.Model:
    """The residual network of the MLPerf Tiny suite: three blocks of 16, 32 and 64 maps.

    Kernels start as Keras's "he_normal", as in the suite. Its convolutions keep their biases and its
    1x1 shortcuts have no batch normalization, so that at 32x32x3 with 10 classes it has the suite's
    78,666 parameters (moving averages counted).
    """
    decay = _decay(weight_decay)

    def conv(x: Any, filters: int, size: int, strides: int, name: str) -> Any:
        return keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=decay,
            name=name,
        )(x)

    def conv_bn(x: Any, filters: int, strides: int, name: str) -> Any:
        x = conv(x, filters, 3, strides, f"{name}_conv")
        return keras.layers.BatchNormalization(name=f"{name}_bn")(x)

    inputs = keras.Input(input_shape, name="image")
    x = keras.layers.ReLU(name="stem_relu")(conv_bn(inputs, 16, 1, "stem"))
    for index, (filters, strides) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        name = f"block{index}"
        y = keras.layers.ReLU(name=f"{name}_a_relu")(conv_bn(x, filters, strides, f"{name}_a"))
        y = conv_bn(y, filters, 1, f"{name}_b")
        if strides != 1:
            x = conv(x, filters, 1, strides, f"{name}_shortcut_conv")
        x = keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([x, y]))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = keras.layers.Dense(num_classes, kernel_regularizer=decay, name="logits")(x)
    return keras.Model(inputs, outputs, name="resnet8")


def resnet9(input_shape: InputShape, num_classes: int, weight_decay: float = 0.0, *, width: int = 16) -> keras.Model:
    """A ResNet-9 for short trainings on small images: convolutions of 1, 2, 4 and 8 times `width` maps.

    Two residual blocks, batch normalization throughout, global max pooling. At 32x32x3 with 10 classes and width 16
    its kernels hold 411,824 weights, and a forward pass takes 24 million MACs.
    """
    decay = _decay(weight_decay)

    def conv(x: Any, filters: int, name: str, pool: bool = False) -> Any:
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=_pytorch_uniform(),
            kernel_regularizer=decay,
            name=f"{name}_conv",
        )(x)
        x = keras.layers.BatchNormalization(**_BATCH_NORM, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        return keras.layers.MaxPooling2D(name=f"{name}_pool")(x) if pool else x

    def residual(x: Any, filters: int, name: str) -> Any:
        y = conv(conv(x, filters, f"{name}_a"), filters, f"{name}_b")
        return keras.layers.Add(name=f"{name}_add")([x, y])

    inputs = keras.Input(input_shape, name="image")
    x = conv(inputs, width, "stem")
    x = residual(conv(x, 2 * width, "stage1", pool=True), 2 * width, "block1")
    x = conv(x, 4 * width, "stage2", pool=True)
    x = residual(conv(x, 8 * width, "stage3", pool=True), 8 * width, "block2")
    x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    outputs = _dense(num_classes, decay, "logits")(x)
    return keras.Model(inputs, outputs, name="resnet9")


def resnet20(
    input_shape: InputShape,
    num_classes: int,
    weight_decay: float = 0.0,
    *,
    width: int = 16,
    post_add_bn: bool = True,
) -> keras.Model:
    """ResNet-20 for small images (He 2016), as the selective weight decay paper trains it: see `_small_resnet`.

    Trainable parameters at 32x32x3 and 10 classes: 273,146 with `post_add_bn`, 272,474 without (width
    16); 4,330,442 with it at width 64.
    """
    return _small_resnet(3, input_shape, num_classes, weight_decay, width, post_add_bn, "resnet20")


def resnet56(
    input_shape: InputShape,
    num_classes: int,
    weight_decay: float = 0.0,
    *,
    width: int = 16,
    post_add_bn: bool = False,
) -> keras.Model:
    """ResNet-56 for small images (He 2016): see `_small_resnet`; 855,770 trainable parameters."""
    return _small_resnet(9, input_shape, num_classes, weight_decay, width, post_add_bn, "resnet56")


def _small_resnet(
    blocks: int,
    input_shape: InputShape,
    num_classes: int,
    weight_decay: float,
    width: int,
    post_add_bn: bool,
    name: str,
) -> keras.Model:
    """Three stages of so many blocks with `width`, `2 * width` and `4 * width` maps; projection shortcuts.

    Stride-2 convolutions are padded alike on all sides, where Keras's "same" is lopsided.

    Args:
        blocks: of each stage; the network has 6 * blocks + 2 layers.
        input_shape: `(height, width, channels)`.
        num_classes: width of the logits.
        weight_decay: see the module's docstring.
        width: maps of the stem and of the first stage.
        post_add_bn: normalize after each addition too, as the selective weight decay paper's code does.
        name: of the model.
    """
    decay = _decay(weight_decay)

    def conv(x: Any, filters: int, size: int, strides: int, padding: str, name: str) -> Any:
        return keras.layers.Conv2D(
            filters,
            size,
            strides,
            padding,
            use_bias=False,
            kernel_initializer=_pytorch_uniform(),
            kernel_regularizer=decay,
            name=name,
        )(x)

    def bn(x: Any, name: str) -> Any:
        return keras.layers.BatchNormalization(**_BATCH_NORM, name=name)(x)

    def conv_bn(x: Any, filters: int, strides: int, name: str) -> Any:
        padding = "same"
        if strides != 1:
            x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
            padding = "valid"
        return bn(conv(x, filters, 3, strides, padding, f"{name}_conv"), f"{name}_bn")

    def block(x: Any, filters: int, strides: int, name: str) -> Any:
        y = keras.layers.ReLU(name=f"{name}_a_relu")(conv_bn(x, filters, strides, f"{name}_a"))
        y = conv_bn(y, filters, 1, f"{name}_b")
        if strides != 1:
            x = conv(x, filters, 1, strides, "valid", f"{name}_shortcut_conv")
            x = bn(x, f"{name}_shortcut_bn")
        x = keras.layers.Add(name=f"{name}_add")([x, y])
        if post_add_bn:
            x = bn(x, f"{name}_add_bn")
        return keras.layers.ReLU(name=f"{name}_relu")(x)

    inputs = keras.Input(input_shape, name="image")
    x = keras.layers.ReLU(name="stem_relu")(conv_bn(inputs, width, 1, "stem"))
    for stage in (1, 2, 3):
        for index in range(1, blocks + 1):
            strides = 2 if stage > 1 and index == 1 else 1
            x = block(x, width * 2 ** (stage - 1), strides, f"stage{stage}_block{index}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = _dense(num_classes, decay, "logits")(x)
    return keras.Model(inputs, outputs, name=name)


def vgg8(input_shape: InputShape, num_classes: int, weight_decay: float = 0.0, *, width: int = 32) -> keras.Model:
    """A small network in the manner of VGG: pairs of 3x3 convolutions of 32, 64 and 128 maps, batch-normalized.

    With another `width` these are 1, 2 and 4 times as many maps as it says.

    Pooled globally, so that nearly all of it is convolution: 289,194 trainable parameters at 32x32x3 with 10 classes.
    """
    widths = (width, width, 0, 2 * width, 2 * width, 0, 4 * width, 4 * width)
    return _vgg(widths, input_shape, num_classes, weight_decay, "vgg8")


def vgg19(input_shape: InputShape, num_classes: int, weight_decay: float = 0.0) -> keras.Model:
    """VGG-19 with batch normalization for 32x32 images: sixteen convolutions and one dense layer, 20.04 million."""
    widths = (64, 64, 0, 128, 128, 0, *(256,) * 4, 0, *(512,) * 4, 0, *(512,) * 4)
    return _vgg(widths, input_shape, num_classes, weight_decay, "vgg19")


def _vgg(
    widths: tuple[int, ...], input_shape: InputShape, num_classes: int, weight_decay: float, name: str
) -> keras.Model:
    """3x3 convolutions of these widths, 0 for a pooling that halves; then global pooling and the classifier."""
    decay = _decay(weight_decay)
    inputs = x = keras.Input(input_shape, name="image")
    for index, filters in enumerate(widths, start=1):
        if not filters:
            x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
            continue
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=decay,
            name=f"conv{index}",
        )(x)
        x = keras.layers.BatchNormalization(**_BATCH_NORM, name=f"bn{index}")(x)
        x = keras.layers.ReLU(name=f"relu{index}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, _dense(num_classes, decay, "logits")(x), name=name)


def mobilenet_v1(
    input_shape: InputShape, num_classes: int, weight_decay: float = 0.0, *, alpha: float = 0.25
) -> keras.Model:
    """Keras's own MobileNet (Howard 2017), untrained and with Keras's start, with `alpha` times the usual channels.

    Raises ValueError (from Keras) for inputs smaller than 32x32.
    """
    model = keras.applications.MobileNet(
        input_shape,
        alpha=alpha,
        weights=None,
        classes=num_classes,
        classifier_activation=None,
    )
    decay = _decay(weight_decay)
    if decay is None:
        return model

    # `keras.applications` takes no regularizer and a layer reads its own when it is built, so the
    # layers are made anew.
    def with_decay(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        kernel = "depthwise" if isinstance(layer, keras.layers.DepthwiseConv2D) else "kernel"
        if f"{kernel}_regularizer" in config:
            config[f"{kernel}_regularizer"] = decay
        return type(layer).from_config(config)

    return keras.models.clone_model(model, clone_function=with_decay)


def _decay(weight_decay: float) -> keras.regularizers.Regularizer | None:
    if weight_decay < 0:
        raise ValueError(f"`weight_decay` must be zero or more. Received: {weight_decay}")
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


def _dense(units: int, decay: Any, name: str, activation: str | None = None) -> keras.layers.Layer:
    return keras.layers.Dense(
        units, activation, kernel_initializer=_pytorch_uniform(), kernel_regularizer=decay, name=name
    )


def _pytorch_uniform() -> keras.initializers.Initializer:
    """Uniform over +-1/sqrt(fan_in); a fresh object each, as Keras warns when one is reused."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "fashion_net": fashion_net,
    "lenet5": lenet5,
    "resnet8": resnet8,
    "resnet9": resnet9,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "vgg8": vgg8,
    "vgg19": vgg19,
    "mobilenet_v1": mobilenet_v1,
}
