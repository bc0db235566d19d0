"""Every method trains on real images under one recipe, and ends at the rate asked for."""

import dataclasses

import numpy as np
import pytest

from examples.datasets import ImageData, load_images
from examples.filter_methods import FILTER_TABLE, schedule_of
from examples.networks import NETWORKS
from examples.references import gradual, once
from examples.training import METHODS, ImageJob, Recipe, TrainedClassifier, train
from tfmot_swd import sparsity_report

RATE = 0.9
RECIPE = Recipe(epochs=2, batch_size=128)
# Each kind of score, schedule and reset: by gradients of the updates, by zeroed filters under a clipped gradient, at
# once. A pass of its own is in test_domain_methods.py.
FILTERS = ("rpgp", "psfp_clipped", "l1_once", "small_dense")
CHANNELS = ("structured", "slimming", "narrow_dense")
# Each way to train: one schedule of ours, one of TFMOT's by layer and by model, and one that sets the weights back.
WEIGHTS = ("swd", "tfmot", "global_gradual", "lr_rewinding")


@pytest.fixture(scope="module")
def data() -> ImageData:
    found = load_images("fashion_mnist", validation=500, train_limit=1280)
    return dataclasses.replace(found, test_x=found.test_x[:500], test_y=found.test_y[:500])


def build(data: ImageData):
    return NETWORKS["lenet5"](data.input_shape, data.num_classes, weight_decay=5e-4)


@pytest.fixture(scope="module")
def swd(data: ImageData) -> TrainedClassifier:
    return train("swd", lambda: build(data), data, RECIPE, RATE)


@pytest.mark.parametrize("method", WEIGHTS)
def test_a_method_ends_at_its_rate(method, data, request):
    run = request.getfixturevalue("swd") if method == "swd" else train(method, lambda: build(data), data, RECIPE, RATE)
    report = sparsity_report(run.model)

    expected = report.prunable_weights - int(RATE * report.prunable_weights)
    # TFMOT prunes tensor by tensor, kernels only.
    assert report.nonzero_prunable_weights == pytest.approx(expected, rel=0.05 if method == "tfmot" else 0)
    assert len(run.history["val_accuracy"]) == 2
    assert (run.final_step is not None) == method.startswith("swd")
    if method == "swd":
        assert run.final_step.before["accuracy"] == pytest.approx(run.final_step.after["accuracy"], abs=0.001)
        assert run.validation_accuracy == pytest.approx(run.final_step.after["accuracy"], abs=1e-6)
        assert len(run.statuses) > 0


@pytest.mark.parametrize("method", FILTERS)
def test_a_method_that_removes_filters_ends_with_fewer(method, data):
    run = train(method, lambda: build(data), data, RECIPE, 0.5)
    schedule = schedule_of(FILTER_TABLE.get(method, FILTER_TABLE["rpgp"]), 0.5, 2)
    expected = [int(np.ceil(filters * schedule.share_left(schedule.epochs))) for filters in (6, 16)]
    assert [run.model.get_layer(name).filters for name in ("conv1", "conv2")] == expected
    assert [status.done for status in run.filters][-1:] == [True] * (method != "small_dense")
    assert np.isfinite(run.validation_accuracy)


# The published method warns that ten updates are too few for it.
@pytest.mark.filterwarnings("ignore:Pruning at end_step will change the outputs")
@pytest.mark.parametrize("method", CHANNELS)
def test_a_method_with_a_budget_ends_within_it(method, data):
    run = train(method, lambda: build(data), data, RECIPE, 0.6)
    limit = int(0.4 * build(data).count_params())
    # Rates of whole layers can come a channel of each short.
    assert 0.9 * limit < run.model.count_params() <= limit
    assert [status.is_pruned for status in run.channels][-1:] == [True] * method.startswith("structured")
    assert np.isfinite(run.validation_accuracy)


class Made(Exception):
    """A training would begin now."""


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {*WEIGHTS, *FILTERS, *CHANNELS}))
def test_settings_of_the_other_methods_make_a_training(method, data, monkeypatch):
    """They differ in arguments alone, whose effects are tested where these are defined."""

    def begin(job, model, *args, **options):
        assert model.count_params() > 0
        raise Made

    monkeypatch.setattr(ImageJob, "fit", begin)
    with pytest.raises(Made):
        train(method, lambda: build(data), data, RECIPE, 0.5)


def test_one_seed_is_one_run(swd, data):
    again = train("swd", lambda: build(data), data, RECIPE, RATE)
    for first, second in zip(swd.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_unknown_method_is_named(data):
    with pytest.raises(ValueError, match=r"method must be one of dense, swd.*Received: 'magic'"):
        train("magic", lambda: build(data), data, Recipe(epochs=1))


def test_the_rates_of_the_references():
    climbing = gradual(0.8, end_step=10)
    assert [climbing(0), climbing(5), climbing(10), climbing(11)] == [0.0, pytest.approx(0.7), 0.8, None]
    single = once(0.8, at_step=3)
    assert [single(2), single(3), single(4)] == [None, 0.8, None]
