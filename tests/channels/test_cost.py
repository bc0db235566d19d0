"""Costs counted from what stays equal those of the smaller model that is built."""

import numpy as np
import pytest
import tf_keras as keras

from examples.networks import NETWORKS
from tfmot_swd import channel_groups, plan_removal, profile, prune_progressive_gradient
from tfmot_swd.channels.cost import ChannelCosts, CostTerms
from tfmot_swd.progressive import ProgressiveRate

L = keras.layers


def grouped() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(12, 3, padding="same", name="first")(inputs)
    x = L.Conv2D(12, 3, groups=3, padding="same", name="grouped")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = L.SeparableConv2D(10, 3, name="separable")(x)
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))


def split_and_concatenated() -> keras.Model:
    inputs = keras.Input((6,))
    x = L.Dense(8, name="first")(inputs)
    left, right = L.Lambda(lambda each: each)(x), L.Dense(5, name="second")(x[:, :4])
    both = L.Concatenate()([x, right, x])
    return keras.Model(inputs, [L.Dense(2)(both), L.Dense(1)(left)])


def recurrent() -> keras.Model:
    inputs = keras.Input((5, 4))
    x = L.LSTM(6, return_sequences=True, name="lstm")(inputs)
    x = L.MultiHeadAttention(3, 4, name="attention")(x, x)
    return keras.Model(inputs, L.Dense(2)(L.GRU(7, name="gru")(x)))


NETS = {
    "resnet20": lambda: NETWORKS["resnet20"]((32, 32, 3), 10, width=8),
    "vgg8": lambda: NETWORKS["vgg8"]((32, 32, 3), 10),
    "lenet5": lambda: NETWORKS["lenet5"]((28, 28, 1), 10),
    "mobilenet": lambda: NETWORKS["mobilenet_v1"]((64, 64, 3), 10, alpha=0.25),
    "grouped": grouped,
    "split": split_and_concatenated,
    "recurrent": recurrent,
    "wrapped": lambda: prune_progressive_gradient(grouped(), ProgressiveRate(0.5, 2)),
}


@pytest.mark.parametrize("net", NETS)
def test_costs_are_those_of_the_smaller_model(net):
    model = NETS[net]()
    groups = channel_groups(model)
    costs = ChannelCosts(groups)
    rng = np.random.default_rng(0)
    for share in (1.0, 0.6, 0.3):
        keep = {name: (rng.permutation(group.size) < max(share * group.size, 1)) for name, group in groups.items()}
        plan = plan_removal(model, keep, groups=groups, check=False)
        try:
            found = profile(plan.apply())
        except ValueError:
            continue
        stays = plan.stays
        assert costs.parameters(stays) == found.parameters
        if net != "recurrent":
            assert costs.macs(stays) == found.macs
        else:
            # Products of queries and keys count as in the whole model.
            assert found.macs <= costs.macs(stays) <= profile(model).macs


def test_terms_of_the_same_axes_are_one_and_scale_as_a_line():
    terms = CostTerms.of([(2.0, [1, 2]), (3.0, [2, 1]), (7.0, [])])
    sizes = np.array([1.0, 4.0, 5.0])
    assert len(terms.coefficients) == 2
    assert terms.count(sizes) == 5 * 20 + 7
    assert terms.scaled(0.5, 11.0).count(sizes) == 0.5 * 107 + 11
