"""Wrapped models: their wrappers and graphs, and the checks before a model is wrapped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from tfmot_swd.keras2.compat import Functional, PruneLowMagnitude, QuantizeWrapper, keras
from tfmot_swd.keras2.validation import check_finite_weights, check_keras_model
from tfmot_swd.keras3.door import is_keras3, is_keras3_model
from tfmot_swd.pruning.wrapper import PruningWrapper

Kind = TypeVar("Kind", bound=PruningWrapper)

# Said wherever layers have to be unfrozen: a script goes on to unfreeze the base that it had before.
IN_THE_WRAPPED_MODEL = "in the wrapped model (model.get_layer(name); the model that went in is another)"


def collect_wrappers(model: Any, kind: type[Kind]) -> list[Kind]:
    """Returns the wrappers of one kind in a model, nested models included, in call order.

    A shared layer is listed once, where it is called first.
    """
    found: list[Kind] = []
    for layer in model.layers:
        if isinstance(layer, kind):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += collect_wrappers(layer, kind)
    return list(dict.fromkeys(found))


class NothingTrainedError(ValueError):
    """All layers that are wrapped for pruning are frozen, so nothing can be pruned."""


def taking_part(wrappers: Sequence[Kind]) -> tuple[Kind, ...]:
    """Returns the wrappers with a weight that is trained as the model is now.

    Raises:
      NothingTrainedError: there is none.
    """
    found = tuple(wrapper for wrapper in wrappers if wrapper.takes_part())
    if not found:
        raise NothingTrainedError(
            "No wrapped layer is trainable, so nothing can be pruned: set layer.trainable = True on some "
            f"{IN_THE_WRAPPED_MODEL} and compile again, or pass UpdatePruningStep(partial_fit=True) in the first phase "
            f"of a training that unfreezes them later. Received: {len(wrappers)} wrapped layers, all frozen."
        )
    return found


def wrapped_graphs(model: Any) -> list[Any]:
    """Returns the Sequential and Functional models with wrappers: the model itself, or those inside it."""
    if isinstance(model, keras.Sequential | Functional):
        return [model] if collect_wrappers(model, PruningWrapper) else []
    inside = [each for each in model.layers if isinstance(each, keras.Model)]
    return list({id(graph): graph for each in inside for graph in wrapped_graphs(each)}.values())


def assign(strategy: tf.distribute.Strategy, variable: tf.Variable, value: tf.Tensor) -> None:
    """Assigns a value on all replicas."""
    strategy.extended.update(variable, lambda var, new: var.assign(new), args=(value,))


def check_can_wrap(model: Any) -> None:
    """Raises unless `model` is a built Sequential or Functional model with finite weights that was not wrapped before.

    Raises:
      TypeError: not a tf_keras model; or layers, which TFMOT wraps one by one; or layers of Keras 3.
      ValueError: the model is subclassed, not built, wrapped for pruning or quantization-aware, or holds NaN.
    """
    parts = list(model) if isinstance(model, list | tuple) else [model]
    if any(is_keras3(each) for each in parts):
        raise TypeError(
            "TensorFlow Model Optimization wraps layers of tf_keras, so a Keras 3 layer cannot be wrapped by itself: "
            "build the Keras 3 model of plain layers, wrap the model, and name the layers to prune in only=[...]. "
            f"Received: {', '.join(type(each).__name__ for each in parts)}"
        )
    if parts and all(isinstance(each, keras.layers.Layer) and not isinstance(each, keras.Model) for each in parts):
        names = [each.name for each in parts]
        raise TypeError(
            "All layers of a model are pruned together, so wrap the model, not its layers: build it of plain layers, "
            f"wrap it, and name the layers to prune, as only={names}. "
            f"Received: {', '.join(f'{each.name} ({type(each).__name__})' for each in parts)}, not a model"
        )
    check_keras_model(model)
    if find_wrapped(model):
        raise ValueError(
            "The model is already wrapped for pruning: strip it first "
            f"(tfmot_swd.strip_pruning). Received: {model.name!r} with wrapped layers"
        )
    aware = [each.name for each in model.submodules if isinstance(each, QuantizeWrapper)]
    if aware:
        raise ValueError(
            "The model is quantization-aware: prune and strip it first, then call tfmot_swd.quantize_aware. "
            f"Received: {model.name!r} with {len(aware)} quantization wrappers ({', '.join(aware[:5])})"
        )
    check_finite_weights(model)


def check_trains_in_tf_keras(model: Any, callback: Any) -> None:
    """Raises a TypeError if a callback that needs a wrapped model was given to the `fit` of a Keras 3 model."""
    if is_keras3_model(model):
        raise TypeError(
            f"{type(callback).__name__} works in the training of a wrapped model, which is of tf_keras: fit what "
            "prune_selective_decay, prune_progressive_gradient or prune_low_magnitude has returned; a class with your "
            "own train_step around it must subclass tf_keras.Model. "
            f"Received: the Keras 3 model {model.name!r} of class {type(model).__name__}"
        )


def find_wrapped(model: Any) -> list[str]:
    """Returns the names of all pruning wrappers at any depth, TFMOT's own and those of this package.

    Includes wrappers that Keras has revived from a SavedModel without their class.
    """
    return sorted(each.name for each in model.submodules if isinstance(each, PruneLowMagnitude) or is_revived(each))


def mark_origin(pruned: Any, model: Any) -> None:
    """Records in the wrappers of `pruned`, and so in its files, whether a Keras 3 model was wrapped.

    Args:
      pruned: the wrapped model.
      model: the model as the user gave it.
    """
    if is_keras3_model(model):
        for wrapper in collect_wrappers(pruned, PruningWrapper):
            wrapper.from_keras3 = True


def is_from_keras3(model: Any) -> bool:
    """Returns whether a wrapped model was made of Keras 3 models alone."""
    return all(wrapper.from_keras3 for wrapper in collect_wrappers(model, PruningWrapper))


def missing_metadata_message(wrappers: Sequence[PruningWrapper]) -> str:
    """Returns the error message of wrappers without ranked channels, which are part of their weights."""
    return (
        "This wrapped model was built from its config alone (clone_model, model_from_json), which does not say which "
        "channels are ranked: wrap the original model again, or call set_weights with the weights of the wrapped model "
        f"it was built from. Received: {len(wrappers)} wrapped layers that know no channel"
    )


def plain_name(name: str) -> str:
    """Returns the name of a channel group without the prefix that a wrapper adds to the name of its layer."""
    *path, layer = name.split("/")
    # TFMOT prefixes the name of the layer with the class of the wrapper.
    prefixes = [re.sub("(?<!^)(?=[A-Z])", "_", each.__name__).lower() + "_" for each in _kinds_of(PruningWrapper)]
    return "/".join([*path, next((layer.removeprefix(each) for each in prefixes if layer.startswith(each)), layer)])


def is_revived(layer: Any) -> bool:
    """Returns whether Keras has made this layer of a wrapper in a SavedModel that it loaded without this package."""
    kind = type(layer)
    ours = tuple(each.__name__ for each in _kinds_of(PruningWrapper))
    return kind.__module__.startswith("tf_keras.src.saving") and kind.__name__.endswith(ours)


def _kinds_of(kind: type) -> Iterator[type]:
    subclasses: list[type] = kind.__subclasses__()
    for each in subclasses:
        yield each
        yield from _kinds_of(each)
