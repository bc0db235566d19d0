"""What is read of Keras 3 models without converting them: whether they can be, their batch norms and their metrics."""

from __future__ import annotations

from typing import Any

# What `fit` and `evaluate` of Keras call, and users replace in classes of their own.
_TRAINING = ("train_step", "test_step", "compute_loss", "compute_metrics")


def check_can_convert(model: Any) -> None:
    """Raises a ValueError unless a Keras 3 model is a built Sequential or Functional one.

    >>> import keras
    >>> check_can_convert(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    """
    import keras
    from keras.src.models import Functional

    kind = next((each for each in (keras.Sequential, Functional) if isinstance(model, each)), None)
    if kind is None or type(model).call is not kind.call:
        raise ValueError(
            "Subclassed models cannot be taken apart into layers: build the network as a Sequential model, or as a "
            "Functional one with keras.Model(inputs, outputs), and pass that. "
            f"Received: the Keras 3 model {model.name!r} of class {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            "The model is not built, so its weights do not exist yet: begin it with keras.Input(shape), or call "
            f"model.build(input_shape). Received: the Keras 3 model {model.name!r}, not built"
        )


def own_training(model: Any) -> list[str]:
    """Returns the methods with which the class of a Keras 3 model trains in its own way, such as "train_step".

    A conversion is of no class of the user's, so it does not have them.

    >>> import keras
    >>> class Gan(keras.Model):
    ...     def train_step(self, data): ...
    >>> own_training(Gan())
    ['train_step']
    """
    import keras

    return [name for name in _TRAINING if getattr(type(model), name) is not getattr(keras.Model, name)]


def batch_norms(model: Any) -> list[Any]:
    """Returns the batch norms at any depth of a Keras 3 model, inside custom layers too.

    >>> import keras
    >>> [each.name for each in batch_norms(keras.Sequential([keras.layers.BatchNormalization(name="norm")]))]
    ['norm']
    """
    import keras

    return [each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)]


def compiled_metrics(model: Any) -> list[Any]:
    """Returns the metrics of `compile` of a Keras 3 model; Keras makes them in the first `fit` or `evaluate`.

    >>> import keras
    >>> net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> net.compile("sgd", "mse", metrics=["mae"])
    >>> losses = net.evaluate([[1.0, 2.0, 3.0]], [[1.0, 2.0]], verbose=0)
    >>> [metric.name for metric in compiled_metrics(net)]
    ['mae']
    """
    from keras.src.trainers.compile_utils import CompileMetrics

    return [metric for each in model.metrics if isinstance(each, CompileMetrics) for metric in each.metrics]
