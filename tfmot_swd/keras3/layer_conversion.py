"""Layers of one Keras made as layers of the other, by the table of pairs; weights follow later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras3 import nested_layers  # noqa: F401  its rows
from tfmot_swd.keras3.activations import keras2_activation, keras3_activation
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.compat import layers_inside, on_tensorflow
from tfmot_swd.keras3.layer_table import arguments_of, pair_of_keras2, pair_of_keras3
from tfmot_swd.keras3.parts import NoCounterpart, keras2_part, keras3_part, kind_of, policy_of

# Arguments that choose an implementation, name a random stream, or say what a layer was built for.
_ANY = frozenset(
    {
        "batch_input_shape",
        "force_generator",
        "gptq_unpacked_column_size",
        "implementation",
        "key_shape",
        "quantization_config",
        "query_shape",
        "rng_type",
        "seed",
        # Set afterwards: not every class takes it.
        "trainable",
        "use_cudnn",
        "value_shape",
    }
)


def layer_to_keras2(layer: Any, translate: Callable[..., Any], name: str | None = None) -> Any:
    """Returns the tf_keras layer that computes as a Keras 3 layer, not built.

    Args:
      layer: a layer, no model.
      translate: makes the layers inside it, by (layer, name=).
      name: of the new layer; None for that of the layer.

    Raises:
      NoCounterpart: tf_keras has no such layer; the message says what it lacks.
    """
    pair = pair_of_keras3(type(layer))
    if pair is None:
        raise NoCounterpart(f"the class {type(layer).__name__}")
    changed = changed_weights(layer)
    if changed:
        raise NoCounterpart(changed)
    if pair.to_keras2 is not None:
        return pair.to_keras2(layer, translate)

    def value(key: str, given: Any) -> Any:
        return _value(layer, key, given, keras2_activation, keras2_part, translate)

    arguments = _arguments(layer, pair.keras3, pair.keras2, pair.renamed, pair.neutral, value)
    return pair.keras2(**(arguments if name is None else {**arguments, "name": name}))


def changed_weights(layer: Any) -> str:
    """Returns how a Keras 3 layer, or one inside it, holds other weights than it was made with; "" if it does not."""
    for part in layers_inside(layer):
        if getattr(part, "quantization_mode", None):
            return f"quantized weights ({part.quantization_mode})"
        if getattr(part, "lora_enabled", False):
            return "low-rank adaptation (LoRA)"
    return ""


def layer_to_keras3(layer: Any, translate: Callable[..., Any], name: str | None = None) -> Any:
    """Returns the Keras 3 layer that computes as a tf_keras layer, not built.

    Args:
      layer, translate, name: as in `layer_to_keras2`.

    Raises:
      NoCounterpart: Keras 3 has no such layer; the message says what it lacks.
    """
    pair = pair_of_keras2(type(layer))
    if pair is None:
        raise NoCounterpart(f"the class {type(layer).__module__}.{type(layer).__name__}")
    if pair.to_keras3 is not None:
        return pair.to_keras3(layer, translate)

    def value(key: str, given: Any) -> Any:
        if key == "axis" and isinstance(given, list | tuple):
            # tf_keras keeps [3] where it was given 3.
            return [int(each) for each in given] if len(given) > 1 else int(given[0])
        return _value(layer, key, given, keras3_activation, keras3_part, translate)

    renamed = {there: here for here, there in pair.renamed.items()}
    arguments = _arguments(layer, pair.keras2, pair.keras3, renamed, pair.neutral, value)
    arguments["name"] = (layer.name if name is None else name).replace("/", "_")
    return pair.keras3(**arguments)


def _value(
    layer: Any,
    key: str,
    given: Any,
    activation: Callable[[Any], Any],
    part: Callable[[Any, str], Any],
    translate: Callable[..., Any],
) -> Any:
    """Returns what an entry of a layer's config is for the other Keras.

    Args:
      layer, key, given: the layer, and the entry.
      activation, part: make activation functions, and initializers and the like, of the other Keras.
      translate: makes the layers inside it.
    """
    if key == "dtype":
        return policy_of(layer)
    if key.endswith("activation"):
        return _activation(_held(layer, key), activation, translate)
    home = kind_of(key)
    if home is not None:
        return None if given is None else part(_part(layer, key, given, home), home)
    # A generator of random seeds belongs to Keras 3.
    return None if key == "seed" and isinstance(given, dict) else given


def _arguments(
    layer: Any,
    kind: type,
    other: type,
    renamed: Mapping[str, str],
    neutral: Mapping[str, Sequence[Any]],
    value: Callable[[str, Any], Any],
) -> dict[str, Any]:
    """Returns the arguments for the class `other`, from the config of a layer of class `kind`."""
    takes, defaults, made = arguments_of(other), {"autocast": True, **arguments_of(kind)}, {}
    for key, given in _config(layer).items():
        there = renamed.get(key, key)
        if there in takes:
            made[there] = value(key, given)
        elif key not in _ANY and not _is_neutral(given, defaults.get(key), neutral.get(key)):
            raise NoCounterpart(f"{key}={given!r}")
    return made


def _config(layer: Any) -> dict[str, Any]:
    try:
        return dict(layer.get_config())
    except NotImplementedError as error:
        raise ValueError(
            "Layers are converted by their configs: write get_config for what this one is configured with. "
            f"Received: {layer.name!r}, and {error}"
        ) from error


def _is_neutral(given: Any, default: Any, allowed: Sequence[Any] | None) -> bool:
    return given is None or given == default or (allowed is not None and (not allowed or given in allowed))


def _held(layer: Any, key: str) -> Any:
    """Returns the object that a layer, or the cell inside it, keeps under the name of an argument."""
    held = getattr(layer, key, None)
    return getattr(getattr(layer, "cell", None), key, None) if held is None else held


def _part(layer: Any, key: str, given: Any, home: str) -> Any:
    """Returns the initializer, regularizer or constraint of an argument: the object, or one made of its config."""
    held = _held(layer, key)
    if held is None or isinstance(held, str | dict):
        keras = keras3 if isinstance(layer, keras3.layers.Layer) else keras2
        return getattr(keras, home).get(given)
    return held


def _activation(function: Any, known: Callable[[Any], Any], translate: Callable[..., Any]) -> Any:
    if function is None:
        return None
    if isinstance(function, keras2.layers.Layer | keras3.layers.Layer):
        # Keras 3 builds one with weights late.
        if function.weights or (isinstance(function, keras3.layers.Layer) and not function.built):
            raise NoCounterpart(f"an activation with weights ({type(function).__name__})")
        return translate(function)
    found = known(function)
    if found is not None:
        return found
    package = getattr(function, "__module__", "").partition(".")[0]
    if package in ("keras", "tf_keras") or not on_tensorflow():
        raise NoCounterpart(f"the activation {getattr(function, '__name__', function)!r}")
    # A function of the user's: on the TensorFlow backend both Keras pass it TensorFlow tensors.
    return function
