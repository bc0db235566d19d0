import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfmot_swd import PruningWarning
from tfmot_swd.keras3 import register_training_object, training_object

RNG = np.random.default_rng(0)
START = [RNG.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3,))]
GRADIENTS = [[RNG.normal(size=each.shape).astype(np.float32) for each in START] for _ in range(5)]


def after_updates(optimizer) -> np.ndarray:
    """Returns two weights after five updates by the same gradients."""
    is_keras3 = isinstance(optimizer, keras.optimizers.Optimizer)
    names = ("kernel", "bias")
    make = keras.Variable if is_keras3 else tf.Variable
    weights = [make(each, name=name) for each, name in zip(START, names, strict=True)]
    for gradients in GRADIENTS:
        optimizer.apply_gradients(zip(map(tf.constant, gradients), weights, strict=True))
    return np.concatenate([np.ravel(each) for each in weights])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Adadelta", {}),
        ("Adadelta", {"learning_rate": 1.0, "rho": 0.8}),
        ("Adafactor", {}),
        ("Adafactor", {"relative_step": False, "weight_decay": 0.1}),
        ("Adagrad", {}),
        ("Adam", {}),
        ("Adam", {"amsgrad": True, "clipnorm": 0.1}),
        ("Adam", {"epsilon": 0.1, "beta_1": 0.5, "weight_decay": 0.1}),
        ("AdamW", {}),
        ("Adamax", {}),
        ("Ftrl", {}),
        ("Ftrl", {"beta": 0.1, "l1_regularization_strength": 0.01, "l2_shrinkage_regularization_strength": 0.01}),
        ("Lion", {}),
        ("RMSprop", {}),
        ("RMSprop", {"centered": True, "momentum": 0.9}),
        ("SGD", {}),
        ("SGD", {"momentum": 0.9, "nesterov": True, "global_clipnorm": 0.5}),
        ("SGD", {"clipvalue": 0.1, "weight_decay": 0.1}),
        ("SGD", {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)}),
    ],
)
def test_the_same_weights_come_out_of_both(name, arguments):
    optimizer = getattr(keras.optimizers, name)(**arguments)
    made = training_object(optimizer)
    assert type(made) is getattr(tf_keras.optimizers, name)
    theirs = after_updates(optimizer)
    assert np.abs(theirs - np.concatenate([np.ravel(each) for each in START])).max() > 1e-6
    np.testing.assert_allclose(after_updates(made), theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("optimizer", "difference"),
    [
        (keras.optimizers.Nadam(), r"Nadam corrects.*Received: keras.optimizers.Nadam$"),
        (keras.optimizers.SGD(use_ema=True), r"\(use_ema\) begins with.*Received: keras.optimizers.SGD$"),
    ],
)
def test_what_computes_otherwise_under_the_same_name_is_said(optimizer, difference):
    with pytest.warns(PruningWarning, match=difference):
        made = training_object(optimizer)
    assert made.use_ema == optimizer.use_ema


def test_names_are_left_out_of_weight_decay_in_both():
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    made = training_object(optimizer)
    np.testing.assert_allclose(after_updates(made), after_updates(optimizer), rtol=1e-5)


@pytest.mark.parametrize(
    "excluded", [{"var_names": ["^bias$"]}, {"var_list": [keras.Variable([1.0], name="bias")]}], ids=["names", "list"]
)
def test_names_that_mean_something_else_in_tf_keras_are_refused(excluded):
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(**excluded)
    with pytest.raises(ValueError, match=r"by parts of their names.*Received: keras.optimizers.AdamW with var_"):
        training_object(optimizer)


def test_loss_scales_are_those_of_tf_keras():
    dynamic = training_object(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=4.0))
    fixed = training_object(keras.optimizers.Adam(loss_scale_factor=8.0))
    found = [(float(each.loss_scale), each.dynamic, type(each.inner_optimizer).__name__) for each in (dynamic, fixed)]
    assert found == [(4.0, True, "Adam"), (8.0, False, "Adam")]


class Own(keras.optimizers.SGD):
    pass


@pytest.mark.parametrize(
    ("optimizer", "error", "said"),
    [
        (lambda: keras.optimizers.Muon(), TypeError, r"choose Adam.*Received: keras.optimizers.Muon$"),
        (lambda: Own(), TypeError, r"subclass tf_keras.optimizers.Optimizer.*Received: .*test_optimizers.Own$"),
        (
            lambda: keras.optimizers.Adam(gradient_accumulation_steps=4),
            ValueError,
            r"pass a batch_size.*Received: keras.optimizers.Adam\(gradient_accumulation_steps=4\)$",
        ),
        (
            lambda: keras.optimizers.SGD(lambda: 0.1),
            ValueError,
            r"LearningRateSchedule, whose .*learning_rate=<function",
        ),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(optimizer, error, said):
    with pytest.raises(error, match=said):
        training_object(optimizer())


def test_users_say_what_their_own_class_is_in_tf_keras():
    class Mine(keras.optimizers.SGD):
        pass

    register_training_object(Mine, lambda given: tf_keras.optimizers.SGD(2 * float(given.learning_rate)))
    optimizer = Mine(0.5)
    made = training_object(optimizer)
    assert float(made.learning_rate) == 1.0
    assert training_object(optimizer) is made
    register_training_object(Mine, lambda given: given)
    with pytest.raises(TypeError, match="must return an object of tf_keras.*for .*Mine"):
        training_object(Mine())
    with pytest.raises(TypeError, match="takes a class of Keras 3.*Received: <class 'int'>"):
        register_training_object(int, abs)
    with pytest.raises(TypeError, match="make must be a function.*Mine. Received: 3"):
        register_training_object(Mine, 3)


def test_one_optimizer_has_one_counterpart_and_a_used_one_begins_anew_aloud():
    optimizer = keras.optimizers.SGD(0.1)
    assert training_object(optimizer) is training_object(optimizer)
    used = keras.optimizers.SGD(0.1)
    after_updates(used)
    with pytest.warns(PruningWarning, match="begins anew.*Received: keras.optimizers.SGD with 5 updates$"):
        made = training_object(used)
    assert int(made.iterations) == 0
