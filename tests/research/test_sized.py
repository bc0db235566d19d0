import numpy as np
import pytest

from examples.networks import resnet20, vgg8
from research.sized import of_sizes
from tfmot_swd.channels import channel_groups, remove_channels


def sizes_of(model):
    return [int(each.shape[-1]) for each in model.weights if len(each.shape) > 1]


@pytest.mark.parametrize("build", [vgg8, resnet20])
def test_sizes_of_a_smaller_net_come_back(build):
    model = build((32, 32, 3), 10)
    rng = np.random.default_rng(0)
    keep = {name: rng.permutation(group.size) < group.size // 3 for name, group in channel_groups(model).items()}
    smaller = remove_channels(model, keep)
    again = of_sizes(model, sizes_of(smaller))
    assert sizes_of(again) == sizes_of(smaller) != sizes_of(model)


def test_sizes_that_do_not_belong_together_are_refused():
    model = vgg8((32, 32, 3), 10)
    with pytest.raises(ValueError, match="A size for each of 7 matrices.*Received: 1"):
        of_sizes(model, [3])
    with pytest.raises(ValueError, match="No removal"):
        of_sizes(model, [*sizes_of(model)[:-1], 9])
