"""A budget in the place of a rate: the least rate that meets it, and the net that the training ends with."""

import pytest

import tfmot_swd
from tests.progressive.nets import compiled, fit, network, residual
from tfmot_swd import Budget, ProgressiveRate, prune_progressive_gradient


@pytest.mark.parametrize("curve", ["exponential", "geometric", "once"])
@pytest.mark.parametrize("build", [network, residual])
@pytest.mark.parametrize("budget", [Budget(parameters=0.4), Budget(macs=0.5), Budget(macs=0.6, parameters=0.5)])
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
