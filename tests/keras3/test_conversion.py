"""Every small network, to tf_keras and back, with the files of both."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.keras3.nets import NETS, data_for, randomize
from tfmot_swd.keras3 import from_keras3, to_keras3
from tfmot_swd.keras3.carried import CarriedLayer, CarriedOperation

# Layers and operations that are carried; all others are translated.
CARRIED = {
    "grouped_query_attention": ["GroupedQueryAttention"],
    "root_mean_square": ["RMSNormalization"],
    "operators_without_counterpart": ["Einsum", "Take", "Norm"],
    "whole_numbers": ["Mean", "Multiply"],
    "augmented": ["RandomFlip", "RandomRotation", "RandomZoom"],
    "custom": ["Scale"],
}


def outputs(model, data):
    return [np.asarray(each) for each in tf.nest.flatten(model(data, training=False))]


@pytest.mark.parametrize("name", NETS)
def test_there_and_back_and_from_files(name, tmp_path):
    model = NETS[name]()
    randomize(model)
    data = data_for(model)
    wanted = outputs(model, data)
    weights = [np.asarray(each) for each in model.weights]
    trainable = [each.name for each in model.layers if not each.trainable]

    there = from_keras3(model)
    back = to_keras3(there)

    carried = [each for each in there.layers if isinstance(each, CarriedLayer | CarriedOperation)]
    assert [type(each.inner).__name__ for each in carried] == CARRIED.get(name, [])
    there.save(tmp_path / "there.keras")
    back.save(tmp_path / "back.keras")
    for other, tolerance in (
        (there, 1e-5),
        (back, 1e-6),
        (tf_keras.models.load_model(tmp_path / "there.keras"), 1e-5),
        (keras.models.load_model(tmp_path / "back.keras"), 1e-6),
    ):
        for ours, theirs in zip(wanted, outputs(other, data), strict=True):
            np.testing.assert_allclose(theirs, ours, atol=tolerance * np.abs(ours).max())
    assert isinstance(there, tf_keras.Model)
    assert isinstance(back, keras.Model)
    # An activation that TensorFlow has no operator for comes back as a layer.
    names = [each.name for each in model.layers]
    assert [each.name for each in back.layers if each.name in names] == names
    assert [each.name for each in back.layers if not each.trainable] == trainable
    assert len(there.trainable_weights) == len(model.trainable_weights)
    # The user's model is as it was, and shares nothing.
    for before, after in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(before, np.asarray(after))
    if there.trainable_weights:
        there.trainable_weights[0].assign_add(tf.ones_like(there.trainable_weights[0]))
        np.testing.assert_array_equal(np.asarray(model.weights[0]), weights[0])
