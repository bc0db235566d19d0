"""Keras 3 models in and out: conversion to tf_keras, on which TFMOT works, and back."""

from tfmot_swd.keras3.door import from_keras3, to_keras3

__all__ = ["from_keras3", "to_keras3"]
