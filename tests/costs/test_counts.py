"""Costs counted from what stays equal those of the smaller model that is built."""

import numpy as np
import pytest
import tf_keras as keras

from examples.networks import NETWORKS
from tfmot_swd import profile, prune_progressive_gradient
from tfmot_swd.channels import channel_groups, plan_removal
from tfmot_swd.channels.groups import parts_of
from tfmot_swd.costs.cost import find_cost
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.pgp import ProgressiveRate

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
    right = L.Dense(5, name="second")(x[:, :4])
    both = L.Concatenate()([x, right, x])
    return keras.Model(inputs, [L.Dense(2)(both), L.Dense(1)(x[:, 4:])])


def recurrent() -> keras.Model:
    inputs = keras.Input((5, 4))
    x = L.LSTM(6, return_sequences=True, name="lstm")(inputs)
    return keras.Model(inputs, L.Dense(2)(L.GRU(7, name="gru")(x)))


def attention() -> keras.Model:
    inputs, memory = keras.Input((5, 4)), keras.Input((7, 3))
    x = L.Dense(6, name="queries")(inputs)
    x = L.MultiHeadAttention(3, 4, value_dim=5, name="attention")(x, L.Dense(5, name="keys")(memory))
    return keras.Model([inputs, memory], L.Dense(2)(x))


NETS = {
    "resnet20": lambda: NETWORKS["resnet20"]((32, 32, 3), 10, width=8),
    "vgg8": lambda: NETWORKS["vgg8"]((32, 32, 3), 10),
    "lenet5": lambda: NETWORKS["lenet5"]((28, 28, 1), 10),
    "mobilenet": lambda: NETWORKS["mobilenet_v1"]((64, 64, 3), 10, alpha=0.25),
    "grouped": grouped,
    "split": split_and_concatenated,
    "recurrent": recurrent,
    "attention": attention,
    "wrapped": lambda: prune_progressive_gradient(grouped(), ProgressiveRate(0.5, 2)),
}


def counted(costs: ChannelCosts, name: str, stays: np.ndarray) -> float:
    return find_cost(name).terms(costs).count(costs.sizes(stays))


@pytest.mark.parametrize("net", NETS)
def test_costs_are_those_of_the_smaller_model(net):
    model = NETS[net]()
    groups = channel_groups(model)
    costs = ChannelCosts(groups)
    rng = np.random.default_rng(0)
    for share in (1.0, 0.6, 0.3):
        keep = {name: (rng.permutation(group.size) < max(share * group.size, 1)) for name, group in groups.items()}
        for name, parts in parts_of(groups).items():
            for part in parts:
                keep[name][part[0]] = True
        plan = plan_removal(model, keep, groups=groups)
        found = profile(plan.apply())
        assert counted(costs, "parameters", plan.stays) == found.parameters
        assert counted(costs, "macs", plan.stays) == found.macs


def test_parameters_need_no_sizes_of_images():
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(8, 3, name="conv")(inputs)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    groups = channel_groups(model)
    costs = ChannelCosts(groups)
    stays = plan_removal(model, {"conv": np.arange(8) < 3}, groups=groups).stays
    assert counted(costs, "parameters", stays) == 27 * 3 + 3 + 3 * 2 + 2
    with pytest.raises(ValueError, match="can be counted only where"):
        counted(costs, "macs", stays)
