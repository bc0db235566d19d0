"""Networks that come trained, by name: what a case of the protocol may begin with in place of weights made here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tf_keras as keras

from examples.datasets import ImageData, Pixels
from research import mlperf_tiny


@dataclasses.dataclass(frozen=True)
class CenteredData(ImageData):
    """Images in the range that MLPerf Tiny's ResNet-8 was trained with, (pixel - 128) / 128."""

    @property
    def pixels(self) -> Pixels:
        """What is subtracted and divided by, of pixels in 0 .. 1, by channel."""
        half = np.full(self.train_x.shape[-1], 128 / 255, np.float32)
        return half, half

    @classmethod
    def of(cls, data: ImageData) -> CenteredData:
        """Returns the same images in that range."""
        return cls(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)})


def mlperf_resnet8(weight_decay: float) -> keras.Model:
    """Returns MLPerf Tiny's ResNet-8 with its authors' weights; its output is logits.

    Args:
      weight_decay: factor of w in the gradient of each kernel, in place of the authors'.
    """
    trained = mlperf_tiny.network("image_classification")

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if config.get("activation") == "softmax":
            config["activation"] = "linear"
        if config.get("kernel_regularizer") is not None:
            config["kernel_regularizer"] = keras.regularizers.L2(weight_decay / 2)
        # The policy that is set now; the file's is that of its authors.
        config.pop("dtype", None)
        return type(layer).from_config(config)

    network = keras.models.clone_model(trained, clone_function=copy)
    network.set_weights(trained.get_weights())
    return network


PRETRAINED: dict[str, Callable[[float], keras.Model]] = {"mlperf_resnet8": mlperf_resnet8}
