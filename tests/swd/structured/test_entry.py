"""What is wrapped, and what is refused before training."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import X, layer_of, network, residual
from tfmot_swd import Budget, StructuredDecay, prune_selective_decay

L = keras.layers


def test_every_layer_that_owns_a_part_of_a_channel_is_wrapped():
    model = prune_selective_decay(network(), StructuredDecay(0.5, end_step=10))
    kinds = {each.name.removeprefix("prune_structured_decay_"): type(each).__name__ for each in model.layers}
    wrapped = {name for name, kind in kinds.items() if kind == "PruneStructuredDecay"}
    assert wrapped == {"a", "norm", "b", "head"}
    owned = {wrapper.layer.name: wrapper.owned_axes for wrapper in model.layers if hasattr(wrapper, "owned_axes")}
    assert owned["b"] == [("kernel", 2), ("kernel", 3), ("bias", 0)]
    assert owned["head"] == [("kernel", 0)]


def test_the_wrapped_model_predicts_the_same_and_the_original_is_left_alone():
    net = residual()
    before = net.get_weights()
    model = prune_selective_decay(net, StructuredDecay(0.5, end_step=10))
    np.testing.assert_array_equal(model(X), net(X))
    assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), before, strict=True))


def test_layers_left_out_keep_their_channels():
    model = prune_selective_decay(network(), StructuredDecay(0.2, end_step=10), skip=["b"])
    assert not layer_of(model, "prune_structured_decay_b").owned[1:]
    with pytest.raises(ValueError, match="skip names layers that the model does not have. Received: c$"):
        prune_selective_decay(network(), StructuredDecay(0.2, end_step=10), skip=["c"])


def test_convolutions_alone():
    net = keras.Sequential(
        [
            L.Conv2D(8, 3, input_shape=(6, 6, 2), name="conv"),
            L.Flatten(),
            L.Dense(8, name="dense"),
            L.Dense(2, name="head"),
        ]
    )
    model = prune_selective_decay(net, StructuredDecay(0.3, end_step=10, layers="convolutions"))
    ranked = [each.name for each in model.layers if hasattr(each, "owned")]
    assert ranked == ["prune_structured_decay_conv", "prune_structured_decay_dense"]
    assert layer_of(model, "prune_structured_decay_dense").owned_axes == [("kernel", 0)]


def test_a_budget_that_cannot_be_met_is_refused_with_the_smallest_that_can():
    smallest = tfmot_swd.costs.fit_budget(
        network(), tfmot_swd.channels.channel_scores(network()), Budget(parameters=network().count_params())
    )
    assert smallest.costs["parameters"] == network().count_params()
    with pytest.raises(ValueError, match=r"cannot be met: with 1 channel left.*parameters=(\d+)\. Give.*parameters=10"):
        prune_selective_decay(network(), StructuredDecay(Budget(parameters=10), end_step=10))
    with pytest.raises(ValueError, match=r"with 4 channels left of each group, rounded to 1.*macs="):
        prune_selective_decay(network(), StructuredDecay(Budget(macs=0.05), end_step=10, minimum=4))


def test_nothing_to_rank_is_refused():
    net = keras.Sequential([L.Dense(2, input_shape=(3,))])
    with pytest.raises(ValueError, match="No channel of this model can be removed"):
        prune_selective_decay(net, StructuredDecay(0.5, end_step=10))


def test_a_pruning_policy_is_of_weights():
    policy = tfmot.sparsity.keras.PruneForLatencyOnXNNPack()
    with pytest.raises(ValueError, match="name the layers whose channels stay in skip"):
        prune_selective_decay(network(), StructuredDecay(0.5, end_step=10), pruning_policy=policy)


def test_a_frozen_layer_that_reads_channels_is_wrapped_for_when_it_is_not():
    net = network()
    layer_of(net, "head").trainable = False
    model = prune_selective_decay(net, StructuredDecay(0.3, end_step=10))
    owned = {each.layer.name: each.owned_axes for each in model.layers if hasattr(each, "owned_axes")}
    net.get_layer("head").trainable = True
    whole = prune_selective_decay(net, StructuredDecay(0.3, end_step=10))
    # What is ranked, and so the budget, does not depend on what is frozen at the moment.
    assert owned == {each.layer.name: each.owned_axes for each in whole.layers if hasattr(each, "owned_axes")}
    assert ("kernel", 0) in owned["head"]


def test_unknown_macs_are_told():
    class Mix(L.Layer):
        def build(self, shape):
            self.matrix = self.add_weight("matrix", (shape[-1], shape[-1]))

        def call(self, inputs):
            return inputs @ self.matrix

    net = keras.Sequential([L.Dense(8, input_shape=(4,), name="a"), L.Dense(6, name="b"), Mix(name="mix")])
    with pytest.warns(tfmot_swd.PruningWarning, match="are not known.*Received: mix"):
        prune_selective_decay(net, StructuredDecay(Budget(macs=0.8), end_step=10))
