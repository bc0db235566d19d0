"""A network that comes trained; the file is made here, as the real one comes from a package."""

import numpy as np
import pytest
import tf_keras as keras

from examples.datasets import ImageData
from research import mlperf_tiny
from research.case import CASES
from research.pretrained import CenteredData, mlperf_resnet8

L = keras.layers


@pytest.fixture
def trained(monkeypatch, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, padding="same", kernel_regularizer=keras.regularizers.L2(1.0), name="conv")(inputs)
    outputs = L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "image_classification.h5")
    monkeypatch.setattr(mlperf_tiny, "cache", lambda: tmp_path)
    monkeypatch.setattr(mlperf_tiny, "fetch", lambda directory: None)
    return model


def test_it_answers_centered_images_as_its_authors_network_does(trained):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (16, 8, 8, 3), np.uint8), rng.integers(0, 10, 16)
    data = CenteredData.of(ImageData("noise", images, labels, images, labels, images, labels, 10))

    network = mlperf_resnet8(weight_decay=0.02)

    logits = network(data.to_float(images)).numpy()
    expected = trained((images.astype(np.float32) - 128) / 128).numpy()
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert float(network.get_layer("conv").kernel_regularizer.l2) == pytest.approx(0.01)


def test_cases_that_begin_trained():
    assert {name for name, case in CASES.items() if case.fine_tunes} == {"Fs", "Fa", "Fc", "Rs", "Ra"}
