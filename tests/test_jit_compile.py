"""Training steps that XLA compiles as a whole prune as uncompiled ones do."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.keras2.compat import ConstantSparsity
from tfmot_swd.magnitude import prune_magnitude

L = keras.layers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(32, 6, 6, 3)).astype(np.float32), RNG.integers(0, 4, 32)
STEPS = 12


def net():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(X.shape[1:])
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same")(inputs)))
    x = L.Add()([x, L.Conv2D(8, 3, padding="same")(x)])
    x = L.GlobalAveragePooling2D()(L.Concatenate()([x, L.Conv2D(4, 1)(x)]))
    return keras.Model(inputs, L.Dense(4)(x))


def selective(*args, blocks=(1, 1), **options):
    schedule = tfmot_swd.SelectiveDecay(0.8, STEPS, *args, **options)
    return lambda: tfmot_swd.prune_selective_decay(net(), schedule, block_size=blocks)


def structured():
    # The scales of batch norm, which the default compares, are all one at first: rounding would decide among them.
    schedule = tfmot_swd.StructuredDecay(0.5, STEPS, criterion="filter_norm", frequency=2)
    return tfmot_swd.prune_selective_decay(net(), schedule)


def published():
    return tfmot_swd.prune_selective_decay(net(), tfmot_swd.SelectiveDecay.paper(0.8, STEPS, mu=5e-4))


def filters():
    return tfmot_swd.prune_progressive_gradient(net(), tfmot_swd.ProgressiveRate(0.5, 3))


FORMS = {
    "default": selective(),
    "from a later step on, not every update": selective(begin_step=3, frequency=2),
    "with floors that bind": selective(minimum_kept=9),
    "blocks": selective(blocks=(4, 1)),
    "forward": selective(penalty="forward"),
    "published": published,
    "structured, not every update": structured,
    "filters": filters,
    "magnitude": lambda: prune_magnitude(net(), ConstantSparsity(0.5, 0, frequency=2), scope="global"),
}


def trained(wrapped, compiled):
    model = wrapped()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, jit_compile=compiled)
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    return model


@pytest.mark.filterwarnings("ignore::tfmot_swd.keras2.validation.PruningWarning")
@pytest.mark.parametrize("form", FORMS)
def test_a_compiled_step_prunes_as_an_uncompiled_one(form):
    models = [trained(FORMS[form], compiled) for compiled in (None, True)]
    plain, compiled = ([weight.numpy() for weight in model.weights] for model in models)

    for expected, found in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
    zeros = [tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model)).nonzero_prunable_weights for model in models]
    assert zeros[0] == zeros[1]


def test_a_compiled_step_prunes_in_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = trained(selective(), True)

    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=False))
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)


def test_a_custom_loop_may_compile_its_step():
    model = selective()()
    model.optimizer = optimizer = keras.optimizers.SGD(0.05)
    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=True)
    def step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    for _ in range(STEPS + 1):
        step(tf.constant(X), tf.constant(Y))
    callback.on_epoch_end(0)
    callback.on_train_end()

    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=False))
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)
