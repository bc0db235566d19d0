"""Saved in the middle of training, in every format, a model goes on as if it had never stopped."""

import functools

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd

STEPS = 10
BATCH = 8


def build() -> keras.Model:
    keras.utils.set_random_seed(5)
    inputs = keras.Input((5,))
    x = keras.layers.Dense(8, activation="relu", name="one")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    inner = keras.Sequential([keras.layers.Dense(6, input_shape=(8,), name="two")], name="block")
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(inner(x)))


@functools.cache
def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(STEPS * BATCH, 5)).astype(np.float32), rng.integers(0, 3, STEPS * BATCH)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    return samples()


SCHEDULES = {
    "implicit": tfmot_swd.SelectiveDecay(0.7, end_step=3 * STEPS),
    "coupled": tfmot_swd.SelectiveDecay.paper(0.7, end_step=3 * STEPS, mu=5e-4),
    "forward": tfmot_swd.SelectiveDecay(0.7, end_step=3 * STEPS, penalty="forward"),
    "every third": tfmot_swd.SelectiveDecay(0.7, end_step=3 * STEPS, frequency=3),
}


def compiled(schedule, momentum: float = 0.9) -> keras.Model:
    model = tfmot_swd.prune_selective_decay(build(), schedule)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=momentum), loss)
    return model


def fit(model, data, epochs: int) -> None:
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    model.fit(*data, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])


@functools.cache
def trained(schedule: str, epochs: int, momentum: float = 0.9) -> keras.Model:
    """Returns a model in the middle of its training, after one epoch, or at its end after three; tests only read it."""
    model = compiled(SCHEDULES[schedule], momentum)
    fit(model, samples(), epochs)
    return model


def assert_ends_alike(resumed: keras.Model, schedule: str, momentum: float = 0.9) -> None:
    whole = trained(schedule, 3, momentum)
    for want, got in zip(
        tfmot_swd.strip_pruning(whole).get_weights(), tfmot_swd.strip_pruning(resumed).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        ("implicit", "model.keras"),
        ("implicit", "model.h5"),
        ("coupled", "model.h5"),
        ("forward", "model.keras"),
        ("every third", "saved_model"),
    ],
)
def test_resumed_equals_uninterrupted(data, tmp_path, schedule, name):
    # Keras itself does not bring optimizer slots back from a SavedModel, pruned or not.
    momentum = 0.0 if name == "saved_model" else 0.9
    stopped = trained(schedule, 1, momentum)
    if name == "saved_model":
        stopped.save(tmp_path / name, save_format="tf")
    else:
        stopped.save(tmp_path / name)
    resumed = keras.models.load_model(tmp_path / name)
    fit(resumed, data, 2)
    assert_ends_alike(resumed, schedule, momentum)


@pytest.mark.parametrize("name", ["weights", "all.weights.h5", "weights.h5"])
def test_weights_carry_the_clock_and_the_masks(data, tmp_path, name):
    trained("implicit", 1).save_weights(tmp_path / name)
    resumed = compiled(SCHEDULES["implicit"])
    resumed.load_weights(tmp_path / name)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    resumed.fit(*data, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    assert callback.history[-1].step == 3 * STEPS
    assert callback.final_step is not None
    assert callback.final_step.step == 3 * STEPS
    if name == "weights":
        # A checkpoint of TensorFlow holds the optimizer, too: the training goes on exactly.
        assert_ends_alike(resumed, "implicit")


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved_model"])
def test_a_finished_model_reloads_and_strips(data, tmp_path, name):
    model = trained("implicit", 3)
    model.save(tmp_path / name)
    loaded = keras.models.load_model(tmp_path / name)
    want, got = tfmot_swd.strip_pruning(model), tfmot_swd.strip_pruning(loaded)
    np.testing.assert_array_equal(want.predict(data[0], verbose=0), got.predict(data[0], verbose=0))


def test_a_saved_model_loaded_without_the_package_is_refused(tmp_path):
    trained("implicit", 3).save(tmp_path / "saved", save_format="tf")
    registry = keras.utils.get_custom_objects()
    name = "tfmot_swd>PruneSelectiveDecay"
    own = registry.pop(name)
    try:
        revived = keras.models.load_model(tmp_path / "saved")
    finally:
        registry[name] = own
    with pytest.raises(ValueError, match="import tfmot_swd before keras.models.load_model"):
        tfmot_swd.strip_pruning(revived)


def test_a_clone_of_a_wrapped_model_keeps_class_and_schedule():
    model = compiled(SCHEDULES["every third"])
    clone = keras.models.clone_model(model)
    assert clone.layers[1].pruning_schedule == SCHEDULES["every third"]
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]
