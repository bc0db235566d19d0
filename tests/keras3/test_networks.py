"""The demo's network and those of MLPerf Tiny, built with either Keras: the same channels, the same costs."""

import keras as keras3
import numpy as np
import pytest
import tf_keras

import tfmot_swd
from examples import networks
from tfmot_swd.channels import channel_groups, remove_channels
from tfmot_swd.costs import fit_budget
from tfmot_swd.keras2.graph import layers_inside
from tfmot_swd.keras3 import from_keras3
from tfmot_swd.keras3.carried import CarriedLayer, CarriedOperation


def ds_cnn(keras):
    """Keyword spotting: a convolution over a spectrogram and four depthwise-separable ones."""

    def normalized(x):
        return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))

    inputs = keras.Input((49, 10, 1), name="spectrogram")
    x = normalized(keras.layers.Conv2D(64, (10, 4), strides=2, padding="same", name="stem")(inputs))
    for index in range(4):
        x = normalized(keras.layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{index}")(x))
        x = normalized(keras.layers.Conv2D(64, 1, name=f"pointwise{index}")(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.4)(x))
    return keras.Model(inputs, keras.layers.Dense(12, activation="softmax", name="word")(x))


def autoencoder(keras):
    """Anomaly detection: dense layers around a bottleneck of eight."""
    layers = [keras.Input((640,), name="spectrogram")]
    for index, units in enumerate((128,) * 4 + (8,) + (128,) * 4):
        layers += [keras.layers.Dense(units, name=f"dense{index}"), keras.layers.BatchNormalization()]
        layers += [keras.layers.Activation("relu")]
    return keras.Sequential([*layers, keras.layers.Dense(640, name="restored")])


# The builders of examples/ take the Keras of their module.
BUILDERS = {
    "fashion_net": lambda keras: networks.fashion_net((28, 28, 1), 10, weight_decay=5e-4),
    "image_classification": lambda keras: networks.resnet8((32, 32, 3), 10, weight_decay=5e-4),
    "keyword_spotting": ds_cnn,
    "anomaly_detection": autoencoder,
}


@pytest.fixture
def build(monkeypatch):
    def build(name, keras):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        monkeypatch.setattr(networks, "keras", keras)
        return BUILDERS[name](keras)

    return build


@pytest.mark.parametrize("name", BUILDERS)
def test_a_network_of_keras_3_has_the_channels_and_costs_of_the_tf_keras_one(name, build):
    net, known = build(name, keras3), build(name, tf_keras)
    there = from_keras3(net)
    assert not [each for each in layers_inside(there) if isinstance(each, CarriedLayer | CarriedOperation)]

    groups, expected = channel_groups(there), channel_groups(known)
    assert {key: group.size for key, group in groups.items()} == {key: group.size for key, group in expected.items()}
    whole, same = tfmot_swd.profile(there), tfmot_swd.profile(known)
    assert (whole.macs, whole.parameters) == (same.macs, same.parameters)

    keep = fit_budget(there, "l1", tfmot_swd.Budget(macs=0.5)).keep
    small = remove_channels(net, keep)
    assert isinstance(small, keras3.Model)
    assert tfmot_swd.profile(small).macs <= whole.macs // 2


def test_the_demos_network_of_keras_3_gets_smaller_as_it_trains(build):
    net = build("fashion_net", keras3)
    shape = (8, *net.input_shape[1:])
    x, y = np.random.default_rng(0).random(shape).astype("float32"), np.arange(8)
    pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), end_step=4))
    loss = keras3.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.compile(keras3.optimizers.SGD(0.01, momentum=0.9), loss, metrics=["accuracy"])
    pruned.fit(x, y, batch_size=2, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    small = tfmot_swd.strip_pruning(pruned)
    assert isinstance(small, keras3.Model)
    assert tfmot_swd.profile(small).macs <= tfmot_swd.profile(net).macs // 2
