"""Entry and exit of Keras 3 models, without Keras 3 being loaded until there is one."""

from __future__ import annotations

import inspect
from typing import Any


def is_keras3(item: Any, name: str | None = None) -> bool:
    """Returns whether an object is of a class of Keras 3, or of a subclass: a model, layer, optimizer, callback…

    Args:
      item: any object.
      name: of the class of Keras 3, such as "Metric"; None for all.

    >>> import keras, tf_keras
    >>> is_keras3(keras.layers.Dense(2)), is_keras3(tf_keras.layers.Dense(2))
    (True, False)
    >>> is_keras3(keras.layers.Dense(2), "Layer"), is_keras3(keras.layers.Dense(2), "Model")
    (True, False)
    """
    return _derives(type(item), name)


def is_keras3_class(item: Any) -> bool:
    """Returns whether an object is itself a class of Keras 3, or a subclass of one."""
    return isinstance(item, type) and _derives(item, None)


def is_keras3_function(item: Any, *modules: str) -> bool:
    """Returns whether an object is a function of one of these modules of Keras 3, such as "losses"."""
    # A class has a module too.
    home = item.__module__ or "" if inspect.isfunction(item) else ""
    return any(home.startswith(f"keras.src.{each}.") for each in modules)


def is_keras3_model(item: Any) -> bool:
    """Returns whether an object is a Keras 3 model of any kind."""
    return is_keras3(item, "Model")


def _derives(kind: type, name: str | None) -> bool:
    bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "keras"]
    return any(name in (None, base.__name__) for base in bases)


def opened(model: Any) -> Any:
    """Returns the tf_keras model of a Keras 3 model, by `from_keras3`; anything else as it is, for later checks.

    Entries of the package call this first.
    """
    return from_keras3(model) if is_keras3_model(model) else model


def from_keras3(model: Any) -> Any:
    """Returns a tf_keras model that computes what a Keras 3 model computes, and shares nothing with it.

    TensorFlow Model Optimization works on tf_keras. Every function of `tfmot_swd` that takes a model calls this by
    itself; call it to look at the tf_keras model, to train it before it is wrapped, or for other tools of tf_keras.

    *Translated* are the layers and operations that both have: they become those of tf_keras, with their names, weights,
    dtype policies and `trainable` flags, so that their channels can be removed. A layer that you have for both becomes
    its counterpart by `register_layer_pair`. *Carried* is what tf_keras lacks, your own layers included: it runs as it
    is inside the tf_keras model, where kernels of Keras's own layers inside it are pruned and its channels stay, and
    needs Keras 3 on TensorFlow; the log names it. On JAX and PyTorch a model must have none. *Refused* are subclassed
    models, models whose class changes how they train, and quantized and LoRA layers.

    The conversion is proven: both models run on the same random batch of two in inference, and every tensor of the
    graph must agree, to 1e-4 of its largest number in float32 and 2e-2 in float16. What the model was compiled with is
    left behind: compile the new one, with objects of either Keras.

    Args:
      model: a built Sequential or Functional Keras 3 model, with models inside it too; it stays as it is.

    Returns:
      A Sequential or Functional `tf_keras.Model`, not compiled, whose inputs and outputs have the same structure.

    Raises:
      ValueError: the model is subclassed or not built, has a layer or operation that can be neither translated nor
        carried, or its conversion computes something else; the message names the layer.

    >>> import keras, tf_keras
    >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="hard_sigmoid", name="out")])
    >>> made = from_keras3(net)
    >>> isinstance(made, tf_keras.Sequential), made.get_layer("out").units
    (True, 2)
    >>> bool(abs(made(keras.ops.ones((1, 4))) - net(keras.ops.ones((1, 4)))).numpy().max() < 1e-6)
    True
    """
    from tfmot_swd.keras3.import_model import import_model

    return import_model(model)


def to_keras3(model: Any) -> Any:
    """Returns a Keras 3 model that computes what a tf_keras model computes, and shares nothing with it.

    `strip_pruning`, `remove_channels` and other functions that were given a Keras 3 model call this by themselves. Call
    it for a tf_keras model of your own that is to go on in Keras 3, on any of its backends.

    *Translated* are the layers and operations that both have, with their names, weights and `trainable` flags; what
    `from_keras3` carried becomes what it was. *Refused* are layers of tf_keras that Keras 3 lacks, your own without a
    counterpart by `register_layer_pair`, and layers that are still wrapped for pruning or quantization-aware: strip the
    model first. The conversion is proven as that of `from_keras3` is. What the model was compiled with is left behind.

    Args:
      model: a built Sequential or Functional tf_keras model, with models inside it too; it stays as it is.

    Returns:
      A Sequential or Functional `keras.Model`, not compiled, whose inputs and outputs have the same structure.

    Raises:
      TypeError: `model` is not a model of tf_keras.
      ValueError: the model is subclassed or not built, has a layer without a counterpart, or its conversion computes
        something else; the message names the layer.

    >>> import keras, tf_keras
    >>> net = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,), name="out")])
    >>> made = to_keras3(net)
    >>> isinstance(made, keras.Sequential), made.get_layer("out").units
    (True, 2)
    """
    from tfmot_swd.keras3.export_model import export_model

    return export_model(model)
