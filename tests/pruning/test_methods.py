"""The registry of methods: found by name, wrapper and schedule; what is registered twice is refused."""

import dataclasses

import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tfmot_swd.cli.methods import BUILT_IN
from tfmot_swd.pruning import methods as module
from tfmot_swd.pruning.methods import (
    Target,
    method_for,
    method_named,
    method_of,
    register_method,
    registered_methods,
)


def net():
    return keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])


def test_built_in_methods_are_those_of_the_help_of_the_command_line():
    assert {each.name: each.summary for each in registered_methods() if each.name in BUILT_IN} == BUILT_IN


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        (tfmot_swd.SelectiveDecay(0.5, 10), "swd"),
        (tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.5), 10), "structured"),
        (tfmot_swd.ProgressiveRate(0.5, 10), "pgp"),
        (tfmot.sparsity.keras.ConstantSparsity(0.5, 0), "magnitude"),
        (tfmot.sparsity.keras.PolynomialDecay(0.1, 0.5, 0, 10), "magnitude"),
    ],
)
def test_a_schedule_asks_for_its_method(schedule, name):
    assert method_for(schedule) is method_named(name)


def test_a_schedule_that_nobody_knows_is_told_what_there_is():
    with pytest.raises(
        TypeError, match="PruningSchedule, ProgressiveRate, SelectiveDecay, StructuredDecay.* Received: 0.5"
    ):
        method_for(0.5)


def test_a_name_that_nobody_knows_is_told_what_there_is():
    with pytest.raises(ValueError, match="one of magnitude, pgp, swd, structured.* Received: 'magic'"):
        method_named("magic")


def test_a_model_has_the_method_that_it_is_wrapped_for():
    assert method_of(net()) is None
    assert method_of(tfmot_swd.prune_selective_decay(net(), tfmot_swd.SelectiveDecay(0.5, 10))).name == "swd"


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({"name": "swd"}, "swd, PruneSelectiveDecay, SelectiveDecay"),
        ({"name": "other"}, "PruneSelectiveDecay, SelectiveDecay"),
        (
            {"name": "swd", "wrapper": tfmot_swd.swd.PruneStructuredDecay, "schedules": ()},
            "Received: swd, as Selective",
        ),
    ],
)
def test_what_another_method_has_is_refused(changes, received):
    before = dict(module._METHODS)
    with pytest.raises(ValueError, match=received):
        register_method(dataclasses.replace(method_named("swd"), **changes))
    assert before == module._METHODS


def test_only_a_method_is_registered():
    with pytest.raises(TypeError, match="must be a PruningMethod. Received: str"):
        register_method("swd")


def test_a_rate_is_a_budget_of_parameters():
    assert Target(0.75, None, 3, 10).as_budget() == tfmot_swd.Budget(sparsity=0.75)
    assert Target(0.75, None, 3, 10).steps == 30


def test_a_model_is_wrapped_for_one_method():
    wrapped = [
        tfmot_swd.prune_low_magnitude(keras.layers.Dense(2), schedule)
        for schedule in (tfmot_swd.SelectiveDecay(0.5, 10), tfmot.sparsity.keras.ConstantSparsity(0.5, 0))
    ]
    model = keras.Sequential([keras.Input((3,)), *wrapped])
    with pytest.raises(ValueError, match="layers wrapped for Selective Weight Decay and magnitude pruning"):
        method_of(model)
