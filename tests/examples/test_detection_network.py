import numpy as np
import pytest

from examples.detection_network import detector
from tfmot_swd import profile
from tfmot_swd.channels import channel_groups


def test_outputs_of_each_stride():
    model = detector((32, 48, 1), 10)
    outputs = model(np.zeros((2, 32, 48, 1), np.float32))
    assert {name: tuple(each.shape) for name, each in outputs.items()} == {
        "classes_8": (2, 4, 6, 10),
        "boxes_8": (2, 4, 6, 4),
        "classes_16": (2, 2, 3, 10),
        "boxes_16": (2, 2, 3, 4),
    }


def test_every_convolution_but_the_outputs_can_lose_filters():
    model = detector((32, 32, 1), 10)
    groups = channel_groups(model)
    # The neck's two convolutions are added, hence one group: the seven of the backbone, the neck, two heads.
    assert len(groups) == 10
    assert groups.channels == 16 + 2 * 32 + 2 * 64 + 2 * 128 + 64 + 2 * 64


def test_size_at_96():
    found = profile(detector((96, 96, 1), 10))
    assert 3e7 < found.macs < 5e7


def test_a_size_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        detector((40, 40, 1), 10)
