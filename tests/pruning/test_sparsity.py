"""Both counts of what is left: of the pool, and of all parameters."""

import json

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tfmot_swd import sparsity_report

L = keras.layers


@pytest.fixture
def model() -> keras.Model:
    net = keras.Sequential(
        [
            L.Conv2D(2, 1, input_shape=(2, 2, 1), name="conv"),
            L.BatchNormalization(name="norm"),
            L.Flatten(),
            L.Dense(1, name="head"),
        ]
    )
    net.get_layer("conv").set_weights([np.array([[[[0.0, 0.5]]]]), np.array([0.0, 1.0])])
    net.get_layer("head").set_weights([np.array([[1.0, 0, 0, 2, 0, 0, 0, -3]]).T, np.array([4.0])])
    return net


def test_both_counts_of_a_small_model(model):
    report = sparsity_report(model)

    # Pool: conv kernel 2 and dense 8 + 1. All: conv bias 2 and batch norm 8 more, its zeros beta and mean.
    assert (report.prunable_weights, report.nonzero_prunable_weights) == (11, 5)
    assert (report.parameters, report.nonzero_parameters) == (21, 6 + 4)
    rows = [
        (row.layer, row.parameters, row.nonzero_parameters, row.prunable_weights, row.nonzero_prunable_weights)
        for row in report.layers
    ]
    assert rows == [("conv", 4, 2, 2, 1), ("norm", 8, 4, 0, 0), ("head", 9, 4, 9, 4)]


def test_a_wrapped_model_is_counted_without_masks_and_clocks(model):
    schedule = tfmot_swd.SelectiveDecay(final_sparsity=0.5, end_step=2)
    wrapped = tfmot_swd.prune_selective_decay(model, schedule)

    first, second = sparsity_report(model), sparsity_report(wrapped)
    assert (first.prunable_weights, first.nonzero_prunable_weights) == (
        second.prunable_weights,
        second.nonzero_prunable_weights,
    )
    assert (first.parameters, first.nonzero_parameters) == (second.parameters, second.nonzero_parameters)


def test_plain_types_for_json(model):
    found = json.loads(json.dumps(sparsity_report(model).to_dict()))

    assert (found["prunable_weights"], found["nonzero_prunable_weights"]) == (11, 5)
    assert found["layers"][0]["layer"] == "conv"


def test_prints_both_counts(model):
    text = " ".join(str(sparsity_report(model)).split())

    assert "5 of 11 prunable weights (45.45%)" in text
    assert "10 of 21 parameters (47.62%)" in text


def test_a_model_without_prunable_weights_has_an_empty_pool():
    report = sparsity_report(keras.Sequential([L.BatchNormalization(input_shape=(2,))]))

    assert (report.prunable_weights, report.nonzero_prunable_weights) == (0, 0)
    assert "0 of 0 prunable weights" in str(report)


def test_a_layer_shared_with_a_nested_model_counts_once():
    shared = L.Dense(3, name="shared")
    inner = keras.Sequential([keras.Input((3,)), shared])
    inputs = keras.Input((3,))

    assert sparsity_report(keras.Model(inputs, shared(inner(inputs)))).parameters == 12
