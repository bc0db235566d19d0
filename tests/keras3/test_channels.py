"""Channels removed from Keras 3 models, by plans and groups that know the model as its user does."""

import keras as keras3
import pytest
import tf_keras as keras

from tests.keras3.entries import HALF, WRAPS, agrees, residual
from tfmot_swd import (
    Budget,
    plan_channels,
    profile,
    prune_now,
    strip_pruning,
)
from tfmot_swd.channels import (
    channel_groups,
    channel_scores,
    plan_dead_removal,
    plan_removal,
    remove_channels,
    remove_dead_channels,
    shrink_model,
)
from tfmot_swd.channels.shrink import shrink_to
from tfmot_swd.costs import fit_budget


def test_a_model_made_smaller_while_it_trains_still_gives_keras_3(net):
    pruned = WRAPS["swd"](net)
    shrink_model(pruned, {"prune_selective_decay_stem": [True, False] * 4})
    prune_now(pruned)

    stripped = strip_pruning(pruned, remove_channels=False)

    assert stripped.get_layer("stem").filters == 4
    assert agrees(stripped, pruned)


def test_channels_are_removed_from_a_keras_3_model(net):
    silent = keras3.models.clone_model(net)
    silent.set_weights(net.get_weights())
    for name in ("stem", "conv"):
        kernel, bias = net.get_layer(name).get_weights()
        silent.get_layer(name).set_weights([kernel * HALF["stem"], bias * HALF["stem"]])
    norm = silent.get_layer("norm")
    norm.set_weights([norm.get_weights()[0] * HALF["stem"], *norm.get_weights()[1:]])

    for smaller in (remove_channels(net, HALF), plan_removal(net, HALF).apply(), remove_dead_channels(silent)):
        assert isinstance(smaller, keras3.Model)
        assert smaller.get_layer("conv").filters == 4
        assert agrees(smaller, silent)
    for plan in (plan_removal(net, HALF), plan_dead_removal(silent)):
        assert isinstance(plan.apply(keras2=True), keras.Model)
    assert isinstance(remove_channels(net, HALF, keras2=True), keras.Model)
    assert isinstance(remove_dead_channels(silent, keras2=True), keras.Model)


def test_what_one_call_names_the_next_one_knows(net):
    fit = fit_budget(net, channel_scores(net), Budget(parameters=0.5))

    smaller = remove_channels(net, fit.keep)

    assert set(fit.keep) == {"stem", "head/hidden"}
    assert profile(smaller).parameters == fit.costs["parameters"]
    groups = channel_groups(net)
    assert (groups.keras3, plan_channels(net).groups.keras3) == (net, net)
    assert fit_budget(net, "l1", 0.5, groups=groups).keep.keys() == fit.keep.keys()


def test_groups_found_before_the_weights_changed_do_not_bring_the_old_ones_back(net):
    groups = channel_groups(net)
    kernel, bias = net.get_layer("head").get_layer("hidden").get_weights()
    net.get_layer("head").get_layer("hidden").set_weights([kernel * [1, 1, 1, 1, 0, 0], bias])

    smaller = remove_dead_channels(net, groups=groups)

    assert smaller.get_layer("head").get_layer("hidden").units == 4
    with pytest.raises(ValueError, match="groups must be those of the model itself"):
        plan_removal(residual("other"), HALF, groups=groups)


def test_a_keras_3_model_does_not_shrink_in_place(net):
    with pytest.raises(TypeError, match=r"remove_channels returns a smaller copy.*Received: the Keras 3 model 'net'"):
        shrink_model(net, HALF)
    with pytest.raises(TypeError, match=r"plan\.apply\(\) returns.*Received: a plan for the Keras 3 model 'net'"):
        shrink_to(plan_removal(net, HALF))
