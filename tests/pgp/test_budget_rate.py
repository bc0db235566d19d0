"""A budget in the place of a rate: the least rate that meets it, and the net that the training ends with."""

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import compiled, fit, network, residual
from tfmot_swd import Budget, ProgressiveRate, prune_progressive_gradient


@pytest.mark.parametrize(
    ("build", "curve", "budget"),
    [
        (network, "exponential", Budget(macs=0.6, parameters=0.5)),
        (network, "once", Budget(macs=0.5)),
        (residual, "geometric", Budget(parameters=0.4)),
    ],
)
def test_training_ends_within_the_budget_and_one_filter_more_would_not(curve, build, budget):
    net = build()
    model = prune_progressive_gradient(net, ProgressiveRate(budget, 2, curve), "l1")
    schedule = model.layers[1].pruning_schedule
    assert isinstance(schedule.final_rate, float)
    fit(compiled(model), 2)
    before, after = tfmot_swd.profile(net), tfmot_swd.profile(tfmot_swd.strip_pruning(model))
    limits = budget.limits({"parameters": before.parameters, "macs": before.macs})
    assert all(getattr(after, cost) <= limit for cost, limit in limits.items())
    looser = ProgressiveRate(schedule.final_rate - 1e-4, 2, curve)
    other = prune_progressive_gradient(build(), looser, "l1")
    fit(compiled(other), 2)
    more = tfmot_swd.profile(tfmot_swd.strip_pruning(other))
    assert any(getattr(more, cost) > limit for cost, limit in limits.items())


def test_what_cannot_be_met_or_told_is_refused():
    with pytest.raises(ValueError, match="cannot be met.*parameters="):
        prune_progressive_gradient(network(), ProgressiveRate(Budget(parameters=5), 2))
    with pytest.raises(ValueError, match="use scope='layer'"):
        prune_progressive_gradient(network(), ProgressiveRate(Budget(macs=0.5), 2), scope="global")
    with pytest.raises(ValueError, match="depends on the model"):
        ProgressiveRate(Budget(macs=0.5), 2).share_left(1)


def test_it_comes_back_from_its_config():
    schedule = ProgressiveRate(Budget(macs=0.5), 3, "geometric")
    assert ProgressiveRate.from_config(schedule.get_config()["config"]) == schedule


def test_it_holds_where_the_best_filters_are_the_dearest():
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6, 6, 2))
        a, b = (keras.layers.Conv2D(6, 3, padding="same", name=name)(inputs) for name in "ab")
        both = keras.layers.Concatenate()([a, b])
        both = keras.layers.Add()([both, keras.layers.Conv2D(12, 3, padding="same", name="c")(inputs)])
        wide = keras.layers.Conv2D(40, 3, name="d")(b)
        pooled = [keras.layers.GlobalAveragePooling2D()(each) for each in (both, wide)]
        net = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Concatenate()(pooled)))
        kernels = net.get_layer("c").kernel
        kernels.assign(kernels * np.repeat([0.01, 10.0], 6))
        return net

    net = build()
    budget = Budget(parameters=0.5)
    model = prune_progressive_gradient(net, ProgressiveRate(budget, 1), "l1", reduction="sum")
    fit(compiled(model), 1)
    small = tfmot_swd.strip_pruning(model)
    assert small.get_layer("b").filters > small.get_layer("a").filters
    assert small.count_params() <= budget.limits({"parameters": net.count_params()})["parameters"]
