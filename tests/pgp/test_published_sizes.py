"""Sizes that the published schedule ends with, on whole networks: the epochs are counted, nothing is trained."""

import numpy as np
import pytest
import tf_keras as keras

from examples.networks import lenet5, resnet20, resnet56, vgg19
from tfmot_swd import ProgressiveRate, plan_channels, profile
from tfmot_swd.channels import channel_groups, plan_removal
from tfmot_swd.pgp.ranking import Ranked, select_filters

EPOCHS = 160
NETWORKS = {
    "lenet5": lambda: lenet5((28, 28, 1), 10, convolutional=True),
    "vgg19": lambda: vgg19((32, 32, 3), 10),
    "resnet20": lambda: resnet20((32, 32, 3), 10, post_add_bn=False),
    "resnet56": lambda: resnet56((32, 32, 3), 10),
}
# Parameters and MACs by rate, 0 for the dense network, as they are printed. The rate decides the widths, alike in every
# network, and the network what they cost.
SIZES = {
    "lenet5": {
        0.0: "61706 416520",
        0.3: "34916 281096",
        0.5: "18720 136680",
        0.7: "8801 72564",
        0.9: "2632 27048",
    },
    "vgg19": {
        0.0: "20.04M 398.1M",
        0.9: ".202M 4.30M",
    },
    "resnet20": {
        0.0: "272474 40.8M",
        0.7: "27185 4.08M",
    },
    "resnet56": {
        0.0: "855770 125.7M",
        0.5: "215282 31.5M",
    },
}


def counted(model: keras.Model) -> tuple[int, int]:
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return trained, profile(model).macs


def as_printed(value: int, printed: str) -> str:
    """Writes a number with as many digits as `printed` has."""
    if not printed.endswith("M"):
        return str(value)
    decimals = len(printed.removesuffix("M").partition(".")[2])
    return f"{value / 1e6:.{decimals}f}M".removeprefix("0")


def final_width(initial: int, rate: float) -> int:
    """Counts through all epochs with half of the weak filters removed in each, all of them in the last."""
    schedule, now = ProgressiveRate(rate, EPOCHS), initial
    for epoch in range(1, EPOCHS + 1):
        ranked = Ranked("layer", initial, np.arange(now, dtype=np.float64))
        hard_share = 1.0 if epoch == EPOCHS else 0.5
        now -= len(select_filters([ranked], schedule.share_left(epoch), hard_share)["layer"].hard)
    return now


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_schedule_ends_with_these_sizes(name):
    model = NETWORKS[name]()
    groups, plan = channel_groups(model), plan_channels(model)
    for rate, printed in SIZES[name].items():
        left = model
        if rate:
            keep = {row.group: np.arange(row.channels) < final_width(row.channels, rate) for row in plan.ranked}
            left = plan_removal(model, keep, groups=groups).apply()
        pairs = zip(counted(left), printed.split(), strict=True)
        assert " ".join(as_printed(value, each) for value, each in pairs) == printed
