import dataclasses

import numpy as np
import pytest

from examples.datasets import ImageData
from research.case import CASES, Training
from research.methods import METHODS
from research.runs import keys, tuning_rate
from research.settings import fine_tuning_of_channels


@pytest.fixture
def training():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, 28, 28, 1), np.uint8), rng.integers(0, 10, 64)
    data = ImageData("noise", images, labels, images[:8], labels[:8], images[:8], labels[:8], 10)
    # In its mixed precision, whose variables are not those that groups of channels name.
    case = dataclasses.replace(CASES["Fc"], network="lenet5", train_limit=64, batch_size=16, trained="")
    return Training(case, data, seed=0, learning_rate=0.01)


@pytest.mark.parametrize("place", [2, 4, 6, 8])
def test_every_method_ends_within_the_budget_of_parameters(training, place):
    candidate = fine_tuning_of_channels("sgd")[place]
    whole = training.build().count_params()

    found = METHODS[candidate.method](training, 0.6, **candidate.setting)

    assert 0.3 * whole < found.model.count_params() <= 0.4 * whole


def test_the_case_of_channels_is_tuned_at_its_own_rate():
    found = list(keys("tuning", CASES["Fc"], None, None, None))

    assert tuning_rate(CASES["Fc"]) == 0.8
    assert [key["method"] for key in found[:10:2]] == ["dense", "channels_once", "channels_once", *["progressive"] * 2]
    assert {key["recipe"]["pruned"] for key in found} == {"channels"}
