"""Stripping gives a plain model with exact zeros, and refuses one that is not pruned."""

import numpy as np
import pytest
import tf_keras as keras
from tensorflow_model_optimization.sparsity.keras import prune_low_magnitude

import tfmot_swd
from tfmot_swd import SelectiveDecay, prune_now, prune_selective_decay, strip_pruning
from tfmot_swd.channels import groups
from tfmot_swd.swd import PruneSelectiveDecay

L = keras.layers
SCHEDULE = SelectiveDecay(final_sparsity=0.5, end_step=4)


def build() -> keras.Model:
    inner = keras.Sequential([L.Dense(4, input_shape=(4,), name="inside")], name="inner")
    inputs = keras.Input((5,))
    x = L.BatchNormalization()(L.Dense(4, name="first")(inputs))
    shared = L.Dense(4, name="shared")
    return keras.Model(inputs, inner(shared(shared(x))) + 1.0)


@pytest.fixture
def cut() -> keras.Model:
    pruned = prune_selective_decay(build(), SCHEDULE)
    prune_now(pruned)
    return pruned


def test_no_wrapper_is_left_and_the_graph_is_the_original(cut):
    stripped = strip_pruning(cut)

    assert not any(isinstance(layer, PruneSelectiveDecay) for layer in stripped.submodules)
    assert [type(layer) for layer in stripped.layers] == [type(layer) for layer in build().layers]
    assert sorted(layer.name for layer in stripped.layers if isinstance(layer, L.Dense)) == [
        "first",
        "shared",
    ]


def test_predictions_agree_and_half_of_the_pool_is_exactly_zero(cut):
    stripped = strip_pruning(cut)
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)

    np.testing.assert_array_equal(stripped(x), cut(x))
    # 5·4 + 4, then 4·4 + 4 twice: 64 weights, of which the 12 biases are zero from the start.
    report = tfmot_swd.sparsity_report(stripped)
    assert (report.prunable_weights, report.nonzero_prunable_weights) == (64, 32)


def test_the_wrapped_model_stays_as_it_is(cut):
    before = [variable.numpy() for variable in cut.variables]
    stripped = strip_pruning(cut)
    stripped.layers[1].kernel.assign_add(np.ones((5, 4)))

    for old, variable in zip(before, cut.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_what_the_optimizer_moved_since_the_cut_is_zero_again(cut):
    for wrapper in tfmot_swd.pruning.wrapped_models.collect_wrappers(cut, PruneSelectiveDecay):
        wrapper.layer.kernel.assign_add(np.full(wrapper.layer.kernel.shape, 0.01))
        wrapper.layer.bias.assign_add(np.full(4, 0.01))

    assert tfmot_swd.sparsity_report(cut).nonzero_prunable_weights == 64
    assert tfmot_swd.sparsity_report(strip_pruning(cut)).nonzero_prunable_weights == 32


@pytest.mark.parametrize("first", ["wrapped", "input"])
def test_a_sequential_model_comes_back_built(first):
    layers = [L.Dense(3, name="a"), L.Dense(2)]
    if first == "wrapped":
        model = keras.Sequential([L.Dense(3, input_shape=(4,)), *layers])
    else:
        model = keras.Sequential([keras.Input((4,)), *layers])
    pruned = prune_selective_decay(model, SCHEDULE)
    prune_now(pruned)
    stripped = strip_pruning(pruned)

    assert stripped.built
    assert stripped.input_shape == (None, 4)
    again = keras.Sequential.from_config(stripped.get_config())
    assert again.built


def test_frozen_layers_stay_frozen():
    model = build()
    model.layers[1].trainable = False
    pruned = prune_selective_decay(model, SCHEDULE)
    prune_now(pruned)

    assert not strip_pruning(pruned).layers[1].trainable
    assert strip_pruning(pruned).layers[2].trainable


def test_a_stripped_model_can_be_pruned_further(cut):
    further = prune_selective_decay(strip_pruning(cut), SelectiveDecay(final_sparsity=0.75, end_step=4))
    prune_now(further)

    assert tfmot_swd.sparsity_report(strip_pruning(further)).nonzero_prunable_weights == 16


def test_a_model_that_is_not_cut_is_refused():
    message = r"this model is not pruned: train on until end_step.*prune_now.*Received: 0 of 4 updates made"
    with pytest.raises(ValueError, match=message):
        strip_pruning(prune_selective_decay(build(), SCHEDULE))


def test_a_model_without_wrappers_is_refused():
    with pytest.raises(
        ValueError, match=r"already stripped, or was never wrapped\. Received: 'model.*' with \d layers"
    ):
        strip_pruning(build())


def test_tfmots_wrappers_are_sent_to_tfmots_function():
    net = keras.Sequential([L.Dense(2, input_shape=(3,), name="mine")])
    with pytest.raises(ValueError, match=r"tfmot\.sparsity\.keras\.strip_pruning\. Received: prune_low_magnitude_mine"):
        strip_pruning(prune_low_magnitude(net))


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="Received: Dense"):
        strip_pruning(L.Dense(2))


@pytest.mark.parametrize("given", [None, "model.keras"])
def test_what_is_no_model_is_not_cut(given):
    with pytest.raises(TypeError, match=f"A tf_keras model is needed. Received: {type(given).__name__}"):
        prune_now(given)


@pytest.mark.parametrize("first", [L.BatchNormalization, L.PReLU, lambda: L.Lambda(lambda x: x * 2.0)])
def test_what_real_nets_begin_with_is_stripped(first):
    model = keras.Sequential([keras.Input((5,)), first(), L.BatchNormalization(), L.Dense(8, "relu"), L.Dense(2)])
    pruned = prune_selective_decay(model, SelectiveDecay(final_sparsity=0.9, end_step=4))
    prune_now(pruned)
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)

    stripped = strip_pruning(pruned)
    np.testing.assert_allclose(stripped(x), pruned(x), rtol=1e-5)
    assert stripped.count_params() < model.count_params()


def test_a_model_comes_back_whole_where_its_dead_channels_cannot_be_removed(cut, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("lost")

    monkeypatch.setattr(tfmot_swd.pruning.strip, "remove_dead_channels", fail)
    with pytest.warns(tfmot_swd.PruningWarning, match=r"keeps all its channels.* KeyError: 'lost'"):
        stripped = strip_pruning(cut)

    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_array_equal(stripped(x), cut(x))
    assert stripped.count_params() == build().count_params()


@pytest.mark.parametrize("removed", [0, 3])
def test_the_graph_is_traced_once_whether_channels_leave_or_not(monkeypatch, removed):
    net = keras.Sequential([L.Dense(4, input_shape=(5,), name="first"), L.Dense(2)])
    first = net.get_layer("first").kernel
    first.assign(np.full((5, 4), 9.0) * ([0.0] * removed + [1.0] * (4 - removed)))
    net.layers[1].kernel.assign(np.full((4, 2), 10.0))
    pruned = prune_selective_decay(net, SCHEDULE)
    prune_now(pruned)
    trace, traced = groups.trace_channels, []
    monkeypatch.setattr(groups, "trace_channels", lambda model, **given: traced.append(model) or trace(model, **given))

    stripped = strip_pruning(pruned)

    assert len(traced) == 1
    assert stripped.layers[0].units == 4 - removed
