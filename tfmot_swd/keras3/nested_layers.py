"""Rows of the table for layers that hold other layers, functions or vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import keras as keras2
from tfmot_swd.keras3.compat import keras as keras3
from tfmot_swd.keras3.compat import on_tensorflow
from tfmot_swd.keras3.layer_table import arguments_of, register_layer_pair
from tfmot_swd.keras3.parts import NoCounterpart, policy_of

# (layer, name=) → the layer of the other Keras.
Translate = Callable[..., Any]
_RECURRENT = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")


def _home_of(layer: Any) -> Any:
    """Returns the layers of the Keras that a layer is not of."""
    return keras2.layers if isinstance(layer, keras3.layers.Layer) else keras3.layers


def _common(layer: Any) -> dict[str, Any]:
    return {"name": layer.name.replace("/", "_"), "trainable": layer.trainable, "dtype": policy_of(layer)}


def _time_distributed(layer: Any, translate: Translate) -> Any:
    return _home_of(layer).TimeDistributed(translate(layer.layer), **_common(layer))


def _bidirectional(layer: Any, translate: Translate) -> Any:
    def direction(name: str) -> Any:
        inside = getattr(layer, f"{name}_layer")
        # Both Keras put it before the name again.
        return translate(inside, name=inside.name.removeprefix(f"{name}_"))

    return _home_of(layer).Bidirectional(
        direction("forward"), merge_mode=layer.merge_mode, backward_layer=direction("backward"), **_common(layer)
    )


def _rnn(layer: Any, translate: Translate) -> Any:
    config = layer.get_config()
    _refuse(config, time_major=False)
    settings = {key: config[key] for key in _RECURRENT}
    settings["zero_output_for_mask"] = config.get("zero_output_for_mask", False)
    return _home_of(layer).RNN(translate(layer.cell), **settings, **_common(layer))


def _stacked_cells(layer: Any, translate: Translate) -> Any:
    return _home_of(layer).StackedRNNCells([translate(cell) for cell in layer.cells], **_common(layer))


def _spectral_normalization(layer: Any, translate: Translate) -> Any:
    if isinstance(layer, keras3.layers.Layer):
        raise NoCounterpart("SpectralNormalization, whose files tf_keras cannot load,")
    return _home_of(layer).SpectralNormalization(
        translate(layer.layer), power_iterations=layer.power_iterations, **_common(layer)
    )


def _lambda(layer: Any, translate: Translate) -> Any:
    arguments = {"arguments": layer.arguments or None, **_common(layer)}
    if not on_tensorflow():
        raise NoCounterpart("a Lambda layer, whose function is written for one backend,")
    if isinstance(layer, keras3.layers.Lambda):
        return keras2.layers.Lambda(layer.function, **{**arguments, "arguments": layer.arguments or {}})
    shape = layer.output_shape
    return keras3.layers.Lambda(layer.function, output_shape=tuple(shape[1:]), **arguments)


def _normalization(layer: Any, translate: Translate) -> Any:
    config = layer.get_config()
    kept = {key: config[key] for key in ("axis", "invert")}
    if isinstance(kept["axis"], list | tuple):
        kept["axis"] = tuple(kept["axis"])
    if layer.input_mean is not None:
        kept["mean"], kept["variance"] = np.asarray(layer.input_mean), np.asarray(layer.input_variance)
    return _home_of(layer).Normalization(**kept, **_common(layer))


def _discretization(layer: Any, translate: Translate) -> Any:
    edges = layer.bin_boundaries
    if edges is None:
        raise NoCounterpart("no bin boundaries: adapt the layer first")
    config = layer.get_config()
    return _home_of(layer).Discretization(
        bin_boundaries=np.asarray(edges).tolist(), output_mode=config["output_mode"], **_common(layer)
    )


def _lookup(layer: Any, translate: Translate) -> Any:
    config = layer.get_config()
    _refuse(config, oov_method="floormod", salt=None)
    kind = getattr(_home_of(layer), type(layer).__name__)
    takes = arguments_of(kind)
    given = {key: value for key, value in config.items() if key in takes and key not in ("dtype", "idf_weights")}
    given["vocabulary"] = layer.get_vocabulary(include_special_tokens=False)
    if config.get("output_mode") == "tf_idf":
        raise NoCounterpart("output_mode='tf_idf'")
    return kind(**given)


def _refuse(config: dict[str, Any], **neutral: Any) -> None:
    """Raises unless arguments that the other Keras lacks have the value with which they change nothing."""
    for key, value in neutral.items():
        if config.get(key, value) not in (value, None):
            raise NoCounterpart(f"{key}={config[key]!r}")


for _name, _make in (
    ("TimeDistributed", _time_distributed),
    ("Bidirectional", _bidirectional),
    ("RNN", _rnn),
    ("StackedRNNCells", _stacked_cells),
    ("SpectralNormalization", _spectral_normalization),
    ("Lambda", _lambda),
    ("Normalization", _normalization),
    ("Discretization", _discretization),
    ("StringLookup", _lookup),
    ("IntegerLookup", _lookup),
    ("TextVectorization", _lookup),
):
    register_layer_pair(getattr(keras3.layers, _name), getattr(keras2.layers, _name), to_keras2=_make, to_keras3=_make)
