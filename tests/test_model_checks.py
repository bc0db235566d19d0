"""The entry functions check a model once: the check walks over all of its layers."""

import pytest
import tf_keras as keras

from tfmot_swd import (
    ProgressiveRate,
    SelectiveDecay,
    StructuredDecay,
    prune_progressive_gradient,
    prune_selective_decay,
)
from tfmot_swd.keras2 import validation

L = keras.layers


def net() -> keras.Sequential:
    layers = [L.Conv2D(4, 3, input_shape=(8, 8, 1)), L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(2)]
    return keras.Sequential(layers, name="net")


@pytest.mark.parametrize(
    "prune",
    [
        lambda model: prune_selective_decay(model, SelectiveDecay(0.5, end_step=10)),
        lambda model: prune_selective_decay(model, StructuredDecay(0.5, end_step=10)),
        lambda model: prune_progressive_gradient(model, ProgressiveRate(0.5, epochs=10)),
    ],
    ids=["weights", "channels", "progressive"],
)
def test_a_model_is_checked_once(prune, monkeypatch):
    checked = []
    check = validation._check_graph
    monkeypatch.setattr(validation, "_check_graph", lambda model: (checked.append(model.name), check(model)))

    prune(net())

    assert checked == ["net"]
