"""Magnitude pruning on TFMOT's schedules: TFMOT's masks, this package's training, stripping and files."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tfmot_swd.magnitude import PruneMagnitude, prune_magnitude

sparsity = tfmot.sparsity.keras
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8)).astype(np.float32)
Y = RNG.normal(size=(64, 4)).astype(np.float32)


def net():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.layers.Dense(16, "relu", input_shape=(8,), name="hidden"), keras.layers.Dense(4, name="head")]
    )


def trained(pruned, callbacks, epochs=2, **options):
    pruned.compile(keras.optimizers.Adam(0.01), "mse")
    pruned.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **options)
    return pruned


@pytest.mark.parametrize(
    "arguments",
    [
        {"pruning_schedule": sparsity.PolynomialDecay(0.2, 0.8, 2, 12, frequency=5)},
        {"pruning_schedule": sparsity.ConstantSparsity(0.5, 3, frequency=2)},
        {"sparsity_m_by_n": (2, 4)},
        {
            "pruning_schedule": sparsity.ConstantSparsity(0.5, 1, frequency=2),
            "block_size": (2, 2),
            "block_pooling_type": "MAX",
        },
    ],
    ids=["polynomial", "constant", "2 in 4", "blocks"],
)
def test_weights_are_those_of_tfmot_to_the_bit(arguments):
    theirs = trained(sparsity.prune_low_magnitude(net(), **arguments), [sparsity.UpdatePruningStep()])
    ours = trained(tfmot_swd.prune_low_magnitude(net(), **arguments), [tfmot_swd.UpdatePruningStep()])
    expected = sparsity.strip_pruning(theirs).get_weights()
    found = tfmot_swd.strip_pruning(ours, remove_channels=False).get_weights()
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (found[0] == 0).mean() >= 0.5


def test_layers_may_have_schedules_of_their_own_as_in_tfmot():
    first = sparsity.PolynomialDecay(0.2, 0.8, 2, 12, frequency=5)
    second = sparsity.ConstantSparsity(0.5, 3, frequency=4)

    def model(prune):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(16, "relu", input_shape=(8,)), keras.layers.Dense(4)]
        return keras.Sequential([prune(*each) for each in zip(layers, (first, second), strict=True)])

    theirs = trained(model(sparsity.prune_low_magnitude), [sparsity.UpdatePruningStep()])
    ours = trained(model(tfmot_swd.prune_low_magnitude), [tfmot_swd.UpdatePruningStep()])
    found = tfmot_swd.strip_pruning(ours, remove_channels=False).get_weights()
    for one, other in zip(sparsity.strip_pruning(theirs).get_weights(), found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_at_once_all_layers_end_where_their_own_schedule_does():
    schedules = [sparsity.PolynomialDecay(0.2, 0.75, 0, 4), sparsity.PolynomialDecay(0.2, 0.5, 0, 100)]
    layers = [keras.layers.Dense(8, input_shape=(8,)), keras.layers.Dense(8)]
    model = keras.Sequential([tfmot_swd.prune_low_magnitude(*each) for each in zip(layers, schedules, strict=True)])
    tfmot_swd.prune_now(model)
    kernels = tfmot_swd.strip_pruning(model, remove_channels=False).get_weights()[::2]
    assert [float((kernel == 0).mean()) for kernel in kernels] == [0.75, 0.5]


def test_one_global_threshold_needs_one_schedule():
    layers = [
        PruneMagnitude(keras.layers.Dense(4), sparsity.ConstantSparsity(rate, 0), scope=scope)
        for rate, scope in ((0.5, "global"), (0.6, "global"), (0.5, "layer"))
    ]
    for pair, message in ((layers[:2], "schedules must be equal"), (layers[1:], "in one scope")):
        model = keras.Sequential([keras.Input((4,)), *pair])
        with pytest.raises(ValueError, match=message):
            tfmot_swd.prune_now(model)


def test_a_global_threshold_compares_all_weights():
    model = net()
    model.get_layer("hidden").set_weights([np.full((8, 16), 3.0), np.zeros(16)])
    model.get_layer("head").set_weights([np.linspace(0.1, 2.0, 64).reshape(16, 4), np.zeros(4)])
    pruned = prune_magnitude(model, sparsity.ConstantSparsity(0.25, 0), scope="global")
    tfmot_swd.prune_now(pruned)
    hidden, _, head, _ = tfmot_swd.strip_pruning(pruned, remove_channels=False).get_weights()
    # 192 kernel weights, of which 48 are zero: the smallest of the head, none of the hidden layer.
    assert np.count_nonzero(hidden == 0) == 0
    assert np.count_nonzero(head.ravel()[:48]) == 0
    assert np.count_nonzero(head.ravel()[48:]) == 16


def test_an_end_that_the_frequency_does_not_divide_is_reached():
    schedule = sparsity.PolynomialDecay(0.0, 0.75, 0, 15, frequency=100)
    pruned = trained(prune_magnitude(net(), schedule), [tfmot_swd.UpdatePruningStep()])
    assert tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(pruned, remove_channels=False)).nonzero_kernels == 48


def test_a_training_that_ends_early_says_how_far_it_came():
    pruned = prune_magnitude(net(), sparsity.PolynomialDecay(0.0, 0.5, 0, 50, frequency=2))
    with pytest.warns(tfmot_swd.PruningWarning, match="ended after 16 updates and the schedule at 49"):
        trained(pruned, [tfmot_swd.UpdatePruningStep()])
    tfmot_swd.prune_now(pruned)
    left = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(pruned, remove_channels=False)).nonzero_kernels
    assert left == 96


def test_what_was_never_pruned_is_not_stripped():
    with pytest.raises(
        ValueError, match="Layers have not been pruned yet.* Received: 0 updates made, hidden, head not pruned"
    ):
        tfmot_swd.strip_pruning(prune_magnitude(net(), sparsity.ConstantSparsity(0.5, 0)))


def test_validation_sees_the_pruned_model_and_logs_tell_its_sparsity():
    callback = tfmot_swd.UpdatePruningStep()
    pruned = prune_magnitude(net(), sparsity.ConstantSparsity(0.5, 0, frequency=1))
    trained(pruned, [callback], validation_data=(X, Y))
    history = pruned.history.history
    assert history["sparsity"] == [0.5, 0.5]
    np.testing.assert_allclose(history["val_loss"][-1], pruned.evaluate(X, Y, verbose=0), rtol=1e-6)
    assert callback.history[-1].layers == {"hidden": 0.5, "head": 0.5}
    assert callback.history[-1].step == 16


def test_a_saved_model_goes_on(tmp_path):
    def wrapped():
        schedule = sparsity.PolynomialDecay(0.2, 0.8, 0, 15, frequency=3)
        return prune_magnitude(net(), schedule, block_size=(2, 1), scope="global")

    whole = trained(wrapped(), [tfmot_swd.UpdatePruningStep()])
    half = trained(wrapped(), [tfmot_swd.UpdatePruningStep(partial_fit=True)], epochs=1)
    for ending in (".keras", ".h5"):
        half.save(tmp_path / f"half{ending}")
        loaded = keras.models.load_model(tmp_path / f"half{ending}")
        loaded.fit(X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
        for one, other in zip(whole.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_backup_goes_on(tmp_path):
    def wrapped():
        return prune_magnitude(net(), sparsity.PolynomialDecay(0.2, 0.8, 0, 15, frequency=3))

    whole = trained(wrapped(), [tfmot_swd.UpdatePruningStep()])

    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(wrapped(), [tfmot_swd.UpdatePruningStep(backup_dir=tmp_path / "backup"), Crash()])
    again = trained(wrapped(), [tfmot_swd.UpdatePruningStep(backup_dir=tmp_path / "backup")])
    assert again.history.epoch == [1]
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_channels_that_became_zero_leave():
    model = keras.Sequential([keras.layers.Conv2D(8, 3, input_shape=(6, 6, 1)), keras.layers.GlobalMaxPooling2D()])
    model.add(keras.layers.Dense(2, name="head"))
    kernel = model.layers[0].get_weights()[0]
    kernel[..., :3] *= 1e-3
    model.layers[0].set_weights([kernel, np.zeros(8)])
    pruned = prune_magnitude(model, sparsity.ConstantSparsity(0.375, 0), skip=["head"])
    tfmot_swd.prune_now(pruned)
    assert tfmot_swd.strip_pruning(pruned).layers[0].filters == 5


def test_an_m_by_n_pattern_keeps_its_channels():
    model = keras.Sequential([keras.layers.Dense(4, input_shape=(8,)), keras.layers.Dense(1)])
    model.set_weights([np.eye(8, 4), np.zeros(4), np.zeros((4, 1)), np.zeros(1)])
    pruned = prune_magnitude(model, sparsity.ConstantSparsity(0.5, 0), sparsity_m_by_n=(2, 4))
    tfmot_swd.prune_now(pruned)
    assert tfmot_swd.strip_pruning(pruned).layers[0].units == 4


def test_a_frozen_layer_stays_whole():
    model = net()
    model.get_layer("hidden").trainable = False
    pruned = prune_magnitude(model, sparsity.ConstantSparsity(0.5, 0, frequency=1))
    with pytest.warns(tfmot_swd.PruningWarning, match="frozen at the final pruning step"):
        trained(pruned, [tfmot_swd.UpdatePruningStep()])
    hidden, _, head, _ = tfmot_swd.strip_pruning(pruned, remove_channels=False).get_weights()
    assert np.count_nonzero(hidden == 0) == 0
    assert np.count_nonzero(head == 0) == 32


def test_masks_are_the_same_on_two_replicas():
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices[:2]])
    with strategy.scope():
        pruned = prune_magnitude(net(), sparsity.ConstantSparsity(0.5, 0, frequency=3))
        pruned.compile(keras.optimizers.SGD(0.01), "mse")
    pruned.fit(X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    assert np.count_nonzero(tfmot_swd.strip_pruning(pruned, remove_channels=False).get_weights()[0]) == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope": "model"}, "scope must be one of .*'layer', 'global'.* Received: scope='model'"),
        ({"scope": "global", "sparsity_m_by_n": (2, 4)}, "neither a global threshold nor blocks"),
        ({"block_size": (0, 1)}, "block_size must be two whole numbers"),
        ({"block_size": (2, 8)}, r"as long as the block at least.*block_size=\(2, 8\) for 'head/kernel:0' of shape"),
        ({"sparsity_m_by_n": (4, 2)}, r"two whole numbers, zeros and of how many.*sparsity_m_by_n=\(4, 2\)"),
        ({"sparsity_m_by_n": (2,)}, "two whole numbers, zeros and of how many"),
        ({"sparsity_m_by_n": (0, 4)}, "two whole numbers, zeros and of how many"),
    ],
)
def test_malformed_arguments_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune_magnitude(net(), sparsity.ConstantSparsity(0.5, 0), **arguments)


def test_a_schedule_of_another_kind_is_told():
    with pytest.raises(TypeError, match="must be a tfmot.sparsity.keras.PruningSchedule"):
        PruneMagnitude(keras.layers.Dense(2), 0.5)


def test_a_training_in_which_the_schedule_is_never_due_is_not_stripped():
    # TFMOT's default: the first masks are those of update 100.
    pruned = trained(tfmot_swd.prune_low_magnitude(net()), [tfmot_swd.UpdatePruningStep()])
    with pytest.raises(
        ValueError, match="a frequency that is less than the updates.*16 updates made, hidden, head not"
    ):
        tfmot_swd.strip_pruning(pruned)


def test_one_layer_that_was_never_due_is_told():
    schedules = (sparsity.ConstantSparsity(0.5, 0), sparsity.PolynomialDecay(0.2, 0.5, 0, 8, frequency=2))
    layers = [keras.layers.Dense(8, input_shape=(8,), name="first"), keras.layers.Dense(4, name="second")]
    model = keras.Sequential([tfmot_swd.prune_low_magnitude(*each) for each in zip(layers, schedules, strict=True)])
    with pytest.raises(ValueError, match="updates made, first not pruned"):
        tfmot_swd.strip_pruning(trained(model, [tfmot_swd.UpdatePruningStep()]))


class Ramp(sparsity.PruningSchedule):
    """A user's schedule without an end."""

    end_step = None

    def __call__(self, step):
        return tf.constant(True), tf.minimum(0.8, 0.1 * tf.cast(step, tf.float32))

    def get_config(self):
        return {"class_name": "Ramp", "config": {}}


def test_a_schedule_without_an_end_is_followed_and_ends_at_once_where_it_leads():
    pruned = prune_magnitude(net(), Ramp())
    tfmot_swd.prune_now(pruned)
    hidden = tfmot_swd.strip_pruning(pruned, remove_channels=False).get_weights()[0]
    assert (hidden == 0).mean() == pytest.approx(0.8, abs=0.01)
    again = trained(prune_magnitude(net(), Ramp()), [tfmot_swd.UpdatePruningStep()], epochs=1)
    hidden = tfmot_swd.strip_pruning(again, remove_channels=False).get_weights()[0]
    assert (hidden == 0).mean() == pytest.approx(0.8, abs=0.01)
