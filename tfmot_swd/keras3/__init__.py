"""Keras 3 models in and out: conversion to tf_keras, on which TFMOT works, and back; and what they train with."""

import sys
from typing import TYPE_CHECKING, Any

from tfmot_swd.keras3.door import from_keras3, to_keras3
from tfmot_swd.keras3.training import take_keras3_objects
from tfmot_swd.keras3.training_objects import register_training_object, training_object

if TYPE_CHECKING:
    from tfmot_swd.keras3.layer_table import register_layer_pair

__all__ = ["from_keras3", "register_layer_pair", "register_training_object", "to_keras3", "training_object"]

take_keras3_objects()
if "keras" in sys.modules:
    # For files with layers that were carried: TensorFlow has loaded Keras 3 already, unless it was told not to.
    from tfmot_swd.keras3 import activations, carried, parts  # noqa: F401


def __getattr__(name: str) -> Any:
    # Keras 3 is loaded when it is needed.
    if name == "register_layer_pair":
        # With the rows of the package, which would replace a user's if they came later.
        from tfmot_swd.keras3 import layer_table, nested_layers  # noqa: F401

        return layer_table.register_layer_pair
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
