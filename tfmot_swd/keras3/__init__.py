"""Keras 3 models in and out: conversion to tf_keras, on which TFMOT works, and back."""

from typing import TYPE_CHECKING, Any

from tfmot_swd.keras3.door import from_keras3, to_keras3

if TYPE_CHECKING:
    from tfmot_swd.keras3.layer_table import register_layer_pair

__all__ = ["from_keras3", "register_layer_pair", "to_keras3"]


def __getattr__(name: str) -> Any:
    # Keras 3 is loaded when it is needed.
    if name == "register_layer_pair":
        from tfmot_swd.keras3 import layer_table

        return layer_table.register_layer_pair
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
