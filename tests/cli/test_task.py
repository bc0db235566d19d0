"""The loss that data and outputs tell, and the metric that goes with it."""

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd.cli.data import Data
from tfmot_swd.cli.task import task_of

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")


def net(units: int, activation: str | None = None):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(units, activation)])


@pytest.mark.parametrize(
    ("model", "y", "name", "from_logits"),
    [
        (net(3), np.arange(12) % 3, "sparse_categorical_crossentropy", True),
        (net(3, "softmax"), np.arange(12)[:, None] % 3, "sparse_categorical_crossentropy", False),
        (net(3), np.eye(3)[np.arange(12) % 3], "categorical_crossentropy", True),
        (net(1, "sigmoid"), np.arange(12) % 2, "binary_crossentropy", False),
        (net(1), np.arange(12.0)[:, None] % 2, "binary_crossentropy", True),
        (net(1), np.arange(12.0), "mean_squared_error", False),
        (net(3), X[:, :3], "mean_squared_error", False),
    ],
)
def test_the_loss_is_guessed_from_what_is_right(model, y, name, from_logits):
    task = task_of(model, Data(X, y))
    assert (task.name, task.from_logits, task.is_guessed) == (name, from_logits, True)
    # As fit does it for labels (N,) before outputs (N, 1).
    expected = y if name.startswith("sparse") else np.reshape(y, (12, -1))
    assert np.isfinite(task.make_loss()(expected, model(X)))


def test_the_metric_is_the_share_that_is_right():
    model = net(3)
    classes = model.predict(X, verbose=0).argmax(axis=1)
    wrong = np.where(np.arange(12) < 3, (classes + 1) % 3, classes)
    task = task_of(model, Data(X, wrong))
    model.compile("sgd", task.make_loss(), metrics=[task.make_metric()])
    found = model.evaluate(X, wrong, verbose=0, return_dict=True)
    assert set(found) == {"loss", "accuracy"}
    assert found["accuracy"] == pytest.approx(0.75)


def test_a_loss_that_is_asked_for_is_not_guessed():
    task = task_of(net(1), Data(X, np.arange(12.0)), "mean_absolute_error")
    assert (task.name, task.metric, task.is_guessed) == ("mean_absolute_error", "mean absolute error", False)
    model = net(1)
    model.compile("sgd", task.make_loss(), metrics=[task.make_metric()])
    assert set(model.fit(X, np.arange(12.0), verbose=0).history) == {"loss", "mean absolute error"}


@pytest.mark.parametrize(
    ("y", "loss", "message"),
    [
        (None, None, "put y into --data"),
        (np.arange(12), None, "classes from 0 to 11, and 3 outputs"),
        (np.zeros((12, 2)), None, "no loss that could be guessed"),
        (np.zeros(12), "mean_squared_error", r"y of shape \('N', 3\)"),
    ],
)
def test_what_does_not_go_together_says_so(y, loss, message):
    with pytest.raises(ValueError, match=message):
        task_of(net(3), Data(X, y), loss)


def test_several_outputs_are_left_to_python():
    x = keras.Input((4,))
    with pytest.raises(ValueError, match="models of one output"):
        task_of(keras.Model(x, [keras.layers.Dense(2)(x), keras.layers.Dense(2)(x)]), Data(X, np.zeros(12)))
