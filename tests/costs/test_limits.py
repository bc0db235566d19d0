"""The channels that a budget leaves, on real networks and for each kind of cost."""

import numpy as np
import pytest
import tf_keras as keras

from examples.networks import NETWORKS
from tfmot_swd import Budget, PruningWarning, export_tflite, profile
from tfmot_swd.channels import channel_groups, channel_scores, remove_channels
from tfmot_swd.costs import fit_budget
from tfmot_swd.tflite import file_bytes

L = keras.layers


@pytest.fixture(scope="module")
def resnet() -> keras.Model:
    keras.utils.set_random_seed(0)
    net = NETWORKS["resnet20"]((32, 32, 3), 10)
    rng = np.random.default_rng(0)
    for layer in net.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.1, 1.0, layer.gamma.shape))
    return net


@pytest.mark.parametrize(
    ("budget", "round_to"),
    [
        (Budget(sparsity=0.9), 1),
        (Budget(parameters=100_000), 1),
        (Budget(macs=0.3), 1),
        (Budget(macs=0.5, parameters=0.2), 1),
        (Budget(macs=0.5, parameters=0.2), 8),
    ],
    ids=["sparsity", "parameters", "macs", "both", "both in eights"],
)
def test_what_is_left_is_what_was_counted_and_within_one_channel_of_the_budget(resnet, budget, round_to):
    groups = channel_groups(resnet)
    scores = channel_scores(resnet)
    fitted = fit_budget(resnet, scores, budget, round_to=round_to, groups=groups)
    found = profile(remove_channels(resnet, fitted.keep))
    whole = profile(resnet)
    assert fitted.limits == budget.limits({"parameters": whole.parameters, "macs": whole.macs})
    for cost, limit in fitted.limits.items():
        assert fitted.costs[cost] == getattr(found, cost) <= limit
    if round_to > 1:
        assert all(mask.sum() % round_to == 0 for mask in fitted.keep.values())
        return
    # The best channel that was left out would be too much.
    name, place = max(
        ((name, place) for name in scores for place in np.flatnonzero(~fitted.keep[name])),
        key=lambda at: scores[at[0]][at[1]],
    )
    more = {group: mask.copy() for group, mask in fitted.keep.items()}
    more[name][place] = True
    over = profile(remove_channels(resnet, more))
    assert any(getattr(over, cost) > limit for cost, limit in fitted.limits.items())


@pytest.mark.parametrize(("recipe", "share"), [("int8", 0.25), ("float32", 0.6)])
def test_bytes_are_those_of_the_file(recipe, share, tmp_path):
    keras.utils.set_random_seed(0)
    net = NETWORKS["vgg8"]((32, 32, 3), 10)
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(size=group.size) for name, group in channel_groups(net).items()}
    fitted = fit_budget(net, scores, Budget(bytes=share, recipe=recipe))
    assert fitted.limits["bytes"] == int(share * file_bytes(net, recipe))
    small = remove_channels(net, fitted.keep)
    x = rng.uniform(size=(64, 32, 32, 3)).astype(np.float32)
    result = export_tflite(small, tmp_path / "small.tflite", recipe, representative_data=x)
    assert result.bytes == pytest.approx(fitted.costs["bytes"], rel=0.02)
    assert result.bytes <= fitted.limits["bytes"]


def test_groups_that_are_not_named_stay_whole():
    net = keras.Sequential([L.Dense(4, input_shape=(3,), name="a"), L.Dense(4, name="b"), L.Dense(2)])
    fitted = fit_budget(net, {"a": [4, 3, 2, 1]}, Budget(parameters=0.8))
    assert set(fitted.keep) == {"a"}
    assert fitted.groups_at_minimum == ()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "Scores of one group at least.*Received: none"),
        ({"c": [1.0]}, "no such group: the groups are a. Received: .'c'"),
        ({"a": [1.0, 2.0]}, r"scores\['a'\] must be 4 finite numbers.*shape \(2,\)"),
        ({"a": [1.0, np.nan, 1, 1]}, "1 of them NaN or infinite"),
    ],
)
def test_bad_scores_are_refused(scores, message):
    net = keras.Sequential([L.Dense(4, input_shape=(3,), name="a"), L.Dense(2)])
    with pytest.raises(ValueError, match=message):
        fit_budget(net, scores, 0.5)


def test_a_budget_below_the_floor_is_refused_with_the_floor():
    net = keras.Sequential([L.Dense(4, input_shape=(3,), name="a"), L.Dense(2)])
    with pytest.raises(ValueError, match=r"still has parameters=14\. Give at least that.*Received: parameters=11"):
        fit_budget(net, {"a": [1, 2, 3, 4]}, Budget(parameters=11), minimum=2)


@pytest.mark.parametrize(
    "budget", [Budget(macs=1.0), Budget(parameters=10**9), Budget(sparsity=0.0), Budget(macs=1.0, parameters=26)]
)
def test_a_budget_that_the_whole_model_meets_warns(budget):
    net = keras.Sequential([L.Dense(4, input_shape=(3,), name="a"), L.Dense(2)])
    with pytest.warns(PruningWarning, match="within this budget as it is, so nothing will be removed.*Received: "):
        assert fit_budget(net, {"a": [1, 2, 3, 4]}, budget).keep["a"].all()


@pytest.mark.parametrize("budget", [Budget(macs=0.999), Budget(macs=1.0, parameters=25), Budget(sparsity=0.01)])
def test_a_budget_with_one_limit_below_the_whole_model_does_not_warn(budget, recwarn):
    net = keras.Sequential([L.Dense(4, input_shape=(3,), name="a"), L.Dense(2)])
    assert not fit_budget(net, {"a": [1, 2, 3, 4]}, budget).keep["a"].all()
    assert not [each for each in recwarn if issubclass(each.category, PruningWarning)]


def test_the_old_field_of_a_fit_warns():
    net = keras.Sequential([L.Dense(4, input_shape=(3,), name="a"), L.Dense(2)])
    fitted = fit_budget(net, {"a": [4, 3, 2, 1]}, Budget(parameters=0.8))
    with pytest.warns(DeprecationWarning, match=r"BudgetFit.floored is deprecated .*: write groups_at_minimum"):
        assert fitted.floored == fitted.groups_at_minimum
