"""Keras 3 networks, and every entry of the package that takes one."""

import keras as keras3
import numpy as np
import tensorflow_model_optimization as tfmot

from tfmot_swd import (
    Budget,
    ProgressiveRate,
    SelectiveDecay,
    StructuredDecay,
    device_report,
    plan_channels,
    plan_pruning,
    profile,
    prune_low_magnitude,
    prune_progressive_gradient,
    prune_selective_decay,
    sparsity_report,
)
from tfmot_swd.channels import (
    channel_groups,
    channel_scores,
    plan_dead_removal,
    plan_removal,
    remove_channels,
    remove_dead_channels,
)
from tfmot_swd.costs import find_cost, fit_budget
from tfmot_swd.magnitude import prune_magnitude

L = keras3.layers
X = np.random.default_rng(0).normal(size=(16, 6, 6, 2)).astype("float32")
Y = np.arange(16) % 3
HALF = {"stem": [True, False] * 4}
SCHEDULE = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)


def residual(name="net"):
    """Returns a net of a residual block with a batch norm, and a model inside it."""
    inputs = keras3.Input((6, 6, 2), name="image")
    stem = L.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(stem))
    x = stem + L.Conv2D(8, 3, padding="same", name="conv")(x)
    head = keras3.Sequential(
        [keras3.Input((8,)), L.Dense(6, "relu", name="hidden"), L.Dense(3, name="out")], name="head"
    )
    return keras3.Model(inputs, head(L.GlobalAveragePooling2D(name="pool")(x)), name=name)


def flat():
    """Returns a net without a model inside it."""
    layers = [L.Conv2D(8, 3, name="stem"), L.ReLU(name="relu"), L.Flatten(name="flat"), L.Dense(3, name="out")]
    return keras3.Sequential([keras3.Input((6, 6, 2), name="image"), *layers], name="net")


def state_of(model):
    """Returns all that a user could miss of a Keras 3 model."""
    variables = [*model.variables, *(model.optimizer.variables if model.compiled else ())]
    return (
        model.get_config(),
        model.get_compile_config(),
        [(each.path, each.trainable, each.numpy().tolist()) for each in variables],
        [(layer.name, layer.trainable, layer.losses) for layer in model._flatten_layers()],
    )


def agrees(given_back, model):
    """Returns whether two models, each of either Keras, compute the same."""
    found, wanted = (np.asarray(each(X, training=False)) for each in (given_back, model))
    return np.allclose(found, wanted, rtol=1e-4, atol=1e-5)


WRAPS = {
    "swd": lambda model: prune_selective_decay(model, SelectiveDecay(0.5, end_step=4)),
    "structured": lambda model: prune_selective_decay(model, StructuredDecay(0.5, end_step=4)),
    "pgp": lambda model: prune_progressive_gradient(model, ProgressiveRate(0.5, epochs=1), layers="all"),
    "magnitude": lambda model: prune_magnitude(model, SCHEDULE),
    "drop-in": lambda model: prune_low_magnitude(model, SCHEDULE),
    "drop-in channels": lambda model: prune_low_magnitude(model, StructuredDecay(0.5, end_step=4)),
}
ENTRIES = {
    **WRAPS,
    "plan_pruning": plan_pruning,
    "plan_channels": plan_channels,
    "channel_groups": channel_groups,
    "channel_scores": channel_scores,
    "plan_removal": lambda model: plan_removal(model, HALF),
    "plan_dead_removal": plan_dead_removal,
    "remove_channels": lambda model: remove_channels(model, HALF),
    "remove_dead_channels": remove_dead_channels,
    "fit_budget": lambda model: fit_budget(model, "l1", Budget(macs=0.5)),
    "profile": profile,
    "sparsity_report": sparsity_report,
    "parameters": lambda model: find_cost("parameters").of(model),
    "macs": lambda model: find_cost("macs").of(model),
    "device_report": lambda model: device_report(model, model).layers,
}
