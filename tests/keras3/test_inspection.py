"""What is read of Keras 3 models as they are."""

import keras as keras3
import numpy as np

from tfmot_swd.keras3.inspection import batch_norms, compiled_metrics

L = keras3.layers


def test_batch_norms_are_found_at_any_depth():
    class Block(L.Layer):
        def __init__(self):
            super().__init__()
            self.parts = [L.BatchNormalization(name="in_list")]

    nested = keras3.Sequential([L.BatchNormalization(name="nested")])
    model = keras3.Sequential([L.BatchNormalization(name="top"), L.LayerNormalization(), nested, Block()])

    assert {each.name for each in batch_norms(model)} == {"top", "nested", "in_list"}


def test_metrics_are_those_of_compile_once_keras_has_made_them():
    model = keras3.Sequential([keras3.Input((3,)), L.Dense(2)])
    assert compiled_metrics(model) == []
    model.compile("sgd", "mse", metrics=["accuracy", keras3.metrics.MeanAbsoluteError(name="error")])
    assert compiled_metrics(model) == []
    model.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=0)

    assert [each.name for each in compiled_metrics(model)] == ["accuracy", "error"]
