"""A model made of a model has its dtype policy, whatever policy is in force: by it `compile` scales the loss."""

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import (
    SelectiveDecay,
    UpdatePruningStep,
    prune_now,
    prune_selective_decay,
    quantize_aware,
    strip_pruning,
)
from tfmot_swd.channels import remove_channels, shrink_model
from tfmot_swd.keras2.compat import policy_scope

MIXED = "mixed_float16"
HALF = {"stem": [True, False] * 4}


def small(seed=0):
    """Returns a model of mixed precision with one inside it, made under a policy that is no longer in force."""
    keras.utils.set_random_seed(seed)
    with policy_scope(MIXED):
        head = keras.Sequential([keras.layers.Dense(1, dtype="float32", input_shape=(8,))], name="head")
        inputs = keras.Input((4,))
        return keras.Model(inputs, head(keras.layers.Dense(8, "relu", name="stem")(inputs)))


def wrapped():
    return prune_selective_decay(small(), SelectiveDecay(0.5, end_step=100))


def stripped():
    model = wrapped()
    prune_now(model)
    return strip_pruning(model, remove_channels=False)


def shrunk():
    model = small()
    shrink_model(model, HALF)
    return model


@pytest.mark.parametrize("make", [wrapped, stripped, lambda: remove_channels(small(), HALF), shrunk])
def test_a_model_made_of_one_of_mixed_precision_scales_its_loss(make):
    model = make()

    assert [model.dtype_policy.name, model.get_layer("head").dtype_policy.name] == [MIXED, MIXED]
    model.compile("sgd", "mse")
    assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)


@pytest.mark.parametrize("policy", [MIXED, "mixed_bfloat16"])
def test_a_policy_of_the_moment_does_not_become_that_of_a_copy(policy):
    model = keras.Sequential([keras.layers.Dense(4, input_shape=(3,))])

    with policy_scope(policy):
        pruned = prune_selective_decay(model, SelectiveDecay(0.5, end_step=4))
        aware = quantize_aware(model)

    assert {each.dtype_policy.name for made in (pruned, aware) for each in (made, *made.layers)} == {"float32"}
    assert aware(np.ones((1, 3), "float32")).dtype == "float32"


def test_small_gradients_do_not_vanish():
    model = wrapped()
    kernel = model.layers[1].layer.kernel
    before = kernel.numpy()
    # A gradient of 1e-8 is 0 in half precision.
    model.compile(keras.optimizers.SGD(1e4), lambda y, found: 1e-7 * keras.backend.mean((y - found) ** 2, axis=-1))
    x = np.random.default_rng(0).random((64, 4))

    model.fit(x, x[:, :1] + 5, epochs=1, verbose=0, callbacks=[UpdatePruningStep(partial_fit=True)])

    assert np.all(np.abs(kernel.numpy() - before).max(axis=0)[before.sum(axis=0) > 0] > 0)


def test_a_scope_of_a_policy_leaves_none_set_behind():
    floatx = keras.backend.floatx()
    with policy_scope(MIXED):
        assert keras.mixed_precision.global_policy().name == MIXED
    try:
        keras.backend.set_floatx("float64")
        assert keras.mixed_precision.global_policy().name == "float64"
    finally:
        keras.backend.set_floatx(floatx)
