import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfmot_swd.keras3 import training_object

RNG = np.random.default_rng(0)
WEIGHTS = RNG.random(6).astype(np.float32)
PREDICTED = RNG.dirichlet(np.ones(4), size=6).astype(np.float32)
ONE_HOT = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, 6)]
STOCK = [
    name
    for name in dir(keras.losses)
    if isinstance(getattr(keras.losses, name), type) and hasattr(tf_keras.losses, name) and name != "Loss"
]


@keras.saving.register_keras_serializable("losses_test")
class Distance(keras.losses.Loss):
    """The mean of |error| ** power of each sample, written for Keras 3."""

    def __init__(self, power: float = 1.0, reduction="sum_over_batch_size", name="distance") -> None:
        super().__init__(name, reduction)
        self.power = power

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** self.power, axis=-1)

    def get_config(self):
        return {"power": self.power, "reduction": self.reduction, "name": self.name}


class Doubled(Distance):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return 2 * super().__call__(y_true, y_pred, sample_weight)


def labels(name: str) -> np.ndarray:
    return ONE_HOT.argmax(1)[:, None] if name.startswith("Sparse") else ONE_HOT


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none", "mean"])
@pytest.mark.parametrize("name", STOCK)
def test_stock_losses_are_those_of_tf_keras_and_the_same(name, reduction):
    loss = getattr(keras.losses, name)(reduction=reduction)
    made = training_object(loss)
    assert type(made) is getattr(tf_keras.losses, name)
    for weights in (None, WEIGHTS):
        theirs = loss(labels(name), PREDICTED, weights)
        np.testing.assert_allclose(made(labels(name), PREDICTED, weights), theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.Dice(),
        keras.losses.Tversky(alpha=0.3),
        keras.losses.SparseCategoricalCrossentropy(axis=2),
        keras.losses.MeanSquaredError(dtype="float64"),
        keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        Distance(2.0),
        Distance(2.0, reduction="sum"),
        Distance(2.0, reduction=None),
        Doubled(2.0),
    ],
    ids=lambda each: f"{type(each).__name__} {each.reduction}",
)
def test_what_tf_keras_lacks_is_called_and_reduced_with_its_weights(loss):
    made = training_object(loss)
    assert isinstance(made, tf_keras.losses.Loss)
    assert made.name == loss.name
    y_true, y_pred, weighted = ONE_HOT, PREDICTED, WEIGHTS
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        y_true, y_pred, weighted = RNG.integers(0, 4, (6, 2)), np.stack([PREDICTED] * 2, 1), np.stack([WEIGHTS] * 2, 1)
    for weights in (None, weighted):
        np.testing.assert_allclose(made(y_true, y_pred, weights), loss(y_true, y_pred, weights), rtol=1e-5)


def test_masked_steps_count_for_nothing_in_a_loss_of_the_users_own():
    y_pred = tf.constant([[[1.0], [2.0], [9.0]]])
    y_pred._keras_mask = tf.constant([[True, True, False]])
    # (1 + 2) / 2: without the mask (1 + 2 + 9) / 3.
    assert float(training_object(Distance())(tf.zeros((1, 3, 1)), y_pred)) == pytest.approx(1.5)


def test_functions_are_those_of_tf_keras_where_it_has_them():
    assert training_object(keras.losses.log_cosh) is tf_keras.losses.log_cosh
    assert training_object(keras.metrics.binary_accuracy) is tf_keras.metrics.binary_accuracy
    assert training_object(keras.losses.dice) is keras.losses.dice
    own = lambda y_true, y_pred: y_pred  # noqa: E731
    assert training_object(own) is own


def test_a_loss_of_the_users_own_comes_back_from_its_config_if_it_is_registered():
    made = training_object(Distance(3.0, "sum"))
    entry = tf_keras.utils.serialize_keras_object(made)
    again = tf_keras.utils.deserialize_keras_object(entry)
    assert (again.inner.power, again.reduction, again.name) == (3.0, "sum", "distance")
    entry = tf_keras.utils.serialize_keras_object(training_object(Doubled()))
    with pytest.raises(ValueError, match=r"@keras.saving.register_keras_serializable.*Received: 'Doubled'$"):
        tf_keras.utils.deserialize_keras_object(entry)
    with tf_keras.utils.custom_object_scope({"Doubled": Doubled}):
        assert isinstance(tf_keras.utils.deserialize_keras_object(entry).inner, Doubled)


def test_another_backend_has_stock_losses_alone(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert isinstance(training_object(keras.losses.Hinge()), tf_keras.losses.Hinge)
    for loss in (keras.losses.Dice(), keras.losses.dice):
        with pytest.raises(TypeError, match=r"KERAS_BACKEND=tensorflow, or write it as a subclass.*backend 'torch'$"):
            training_object(loss)
