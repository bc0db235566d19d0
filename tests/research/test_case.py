import dataclasses

import numpy as np
import pytest
import tf_keras as keras

from examples.datasets import ImageData
from research import case as case_module
from research.case import CASES, Training, WarmUpAndFall


def test_the_learning_rate_climbs_and_falls():
    schedule = WarmUpAndFall(1.0, steps=100, warm_up=0.2)

    rates = [float(schedule(step)) for step in (0, 9, 19, 20, 60, 100)]

    np.testing.assert_allclose(rates, [0.05, 0.5, 1.0, 1.0, 0.5, 0.0], atol=1e-6)


def test_the_learning_rate_restarts_and_falls_again():
    schedule = WarmUpAndFall(1.0, steps=100, warm_up=0.2, restart=(50, 0.5))

    rates = [float(schedule(step)) for step in (9, 30, 50, 75, 100)]

    np.testing.assert_allclose(rates, [1.0, 0.5, 0.5, 0.25, 0.0], atol=1e-6)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, 28, 28, 1), np.uint8), rng.integers(0, 10, 64)
    return ImageData("noise", images, labels, images[:8], labels[:8], images[:8], labels[:8], 10)


@pytest.fixture(autouse=True)
def _leave_no_policy():
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize(("case", "bound"), [("Cg", np.sqrt(6 / (9 + 9 * 32))), ("Cp", 1 / 3)])
def test_kernels_start_as_the_case_says(case, bound, data):
    case = dataclasses.replace(CASES[case], train_limit=64, epochs=1, batch_size=32)

    model = Training(case, data, seed=0, learning_rate=0.1).build()

    kernel = np.abs(model.get_layer("conv1").kernel.numpy())
    assert 0.9 * bound < kernel.max() <= bound
    assert model.output.dtype == "float32"


def test_a_seed_gives_the_same_start_and_batches(data):
    case = dataclasses.replace(CASES["Cg"], train_limit=64, epochs=1, batch_size=32, augment=True)
    firsts = []
    for seed in (0, 0, 1):
        training = Training(case, data, seed, 0.1)
        model = training.build()
        images, labels = next(iter(training.stream))
        firsts.append((model.get_weights()[0], images.numpy(), labels.numpy()))

    for same, other, third in zip(*firsts, strict=True):
        np.testing.assert_array_equal(same, other)
        assert not np.array_equal(same, third)


def test_a_case_begins_with_the_weights_of_another_ones_training(data, monkeypatch, tmp_path):
    short = {"train_limit": 64, "epochs": 1, "batch_size": 32}
    monkeypatch.setattr(case_module, "TRAINED", tmp_path)
    monkeypatch.setitem(CASES, "Cg", dataclasses.replace(CASES["Cg"], **short))
    training = Training(dataclasses.replace(CASES["Fa"], **short), data, seed=0, learning_rate=1e-3)

    model = training.build()

    source = Training(CASES["Cg"], data, 0, case_module.TRAINED_RATE)
    dense = source.build()
    source.fit(dense)
    for ours, theirs in zip(model.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    training.compile(model)
    assert type(model.optimizer).__name__ == "Adam"
    # Read from its file the next time.
    monkeypatch.setattr(Training, "fit", None)
    np.testing.assert_array_equal(training.build().get_weights()[0], model.get_weights()[0])


def test_a_recipe_without_later_fields_is_that_of_earlier_runs():
    assert not {"trained", "optimizer"} & CASES["A"].recipe().keys()
    assert {"trained": "Cg", "optimizer": "adam"}.items() <= CASES["Fa"].recipe().items()
