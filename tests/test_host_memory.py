"""No tensor of the weights' size leaves the memory of a GPU in any training step, and no size depends on data."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.host_memory import crossings, operators
from tfmot_swd.keras2.compat import ConstantSparsity
from tfmot_swd.magnitude import prune_magnitude
from tfmot_swd.pruning import thresholds

L = keras.layers
X, Y = np.zeros((2, 2, 2, 8), np.float32), np.zeros(2, np.int64)
# Of the smallest kernel; no activation, batch or bias is as large.
SMALLEST = 3 * 3 * 8 * 16


def net(decay=None):
    regularizer = None if decay is None else keras.regularizers.L2(decay)
    first = L.Conv2D(16, 3, padding="same", kernel_regularizer=regularizer, input_shape=X.shape[1:])
    second = L.Conv2D(24, 3, padding="same")
    return keras.Sequential([first, L.BatchNormalization(), L.ReLU(), second, L.ReLU(), L.Flatten(), L.Dense(16)])


def selective(rate=0.8, end_step=10, blocks=(1, 1), **options):
    schedule = tfmot_swd.SelectiveDecay(rate, end_step, **options)
    return lambda: tfmot_swd.prune_selective_decay(net(), schedule, block_size=blocks)


FORMS = {
    "default": selective(),
    "without floors": selective(minimum_kept=0),
    "blocks": selective(blocks=(4, 1)),
    "not every update": selective(frequency=3),
    "coupled": selective(penalty="coupled", mu=5e-4),
    "forward": selective(penalty="forward"),
    "published": lambda: tfmot_swd.prune_selective_decay(net(), tfmot_swd.SelectiveDecay.paper(0.8, 10, mu=5e-4)),
    "structured": lambda: tfmot_swd.prune_selective_decay(net(), tfmot_swd.StructuredDecay(0.5, 10)),
    "structured, not every update": lambda: tfmot_swd.prune_selective_decay(
        net(), tfmot_swd.StructuredDecay(0.5, 10, frequency=3)
    ),
    "gradients of filters": lambda: tfmot_swd.prune_progressive_gradient(net(), tfmot_swd.ProgressiveRate(0.5, 3)),
    "changes of filters": lambda: tfmot_swd.prune_progressive_gradient(
        net(), tfmot_swd.ProgressiveRate(0.5, 3), criterion="weight_change"
    ),
    "magnitude, global": lambda: prune_magnitude(net(), ConstantSparsity(0.5, 0, frequency=1), scope="global"),
    "magnitude, by layer": lambda: prune_magnitude(net(), ConstantSparsity(0.5, 0, frequency=1)),
}


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """Has all graphs traced in the form for accelerators."""
    monkeypatch.setattr(thresholds, "in_xla_context", lambda: True, raising=False)


def step_of(model, optimizer=None):
    """Returns the training step of a wrapped model, as `fit` traces it, with all shapes known."""
    model.compile(
        optimizer or keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True)
    )
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    callback.set_model(model)
    callback.on_train_begin()

    def step(x, y):
        return model.distribute_strategy.run(model.train_step, args=((x, y),))

    return tf.function(step).get_concrete_function(tf.constant(X), tf.constant(Y))


@pytest.mark.parametrize("form", FORMS)
def test_no_weights_cross_in(form):
    step = step_of(FORMS[form]())

    assert crossings(step, SMALLEST) == []
    assert "ResourceApplyKerasMomentum" in operators(step) or "AssignAddVariableOp" in operators(step)


@pytest.mark.parametrize("form", ["default", "coupled", "forward", "structured"])
def test_no_weights_cross_after_the_final_pruning_step(form):
    pruned = FORMS[form]()
    tfmot_swd.prune_now(pruned)

    assert crossings(step_of(pruned), SMALLEST) == []


@pytest.mark.parametrize("form", ["default", "coupled", "structured", "gradients of filters"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_no_weights_cross_in_mixed_precision(form, policy):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        assert crossings(step_of(FORMS[form]()), SMALLEST) == []
    finally:
        keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize("form", ["default", "coupled", "forward", "structured", "gradients of filters"])
def test_no_weights_cross_on_replicas(form):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        pruned = FORMS[form]()
        optimizer = keras.optimizers.SGD(0.1)
        pruned.compile(optimizer, "mse")

        assert crossings(step_of(pruned, optimizer), SMALLEST) == []


def test_the_walk_sees_what_crosses():
    weights = tf.Variable(tf.zeros([SMALLEST]))

    @tf.function
    def step():
        bits = tf.bitcast(weights.read_value(), tf.int32)
        tf.cond(weights[0] > 0.0, lambda: weights.assign(tf.where(bits - 1 < 5, 0.0, weights)), lambda: weights)
        return tf.where(weights > 0.0)

    found = {(each.operator, each.why) for each in crossings(step.get_concrete_function(), SMALLEST)}

    assert ("Sub", "x is in host memory") in found
    assert ("Less", "x is in host memory") in found
    assert ("If", "int32 argument of a function") in found
    assert ("Where", "the size is read by the host") in found
