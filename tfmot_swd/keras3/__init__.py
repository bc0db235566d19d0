"""Keras 3 models in and out: conversion to tf_keras, on which TFMOT works, and back; and what they train with."""

from tfmot_swd.keras3.door import from_keras3, to_keras3
from tfmot_swd.keras3.training import take_keras3_objects
from tfmot_swd.keras3.training_objects import register_training_object, training_object

__all__ = ["from_keras3", "register_training_object", "to_keras3", "training_object"]

take_keras3_objects()
