import inspect
import warnings

import keras
import numpy as np
import pytest
import tf_keras

import tfmot_swd
from tfmot_swd import PruningWarning, SelectiveDecay, UpdatePruningStep
from tfmot_swd.keras3.training import take_keras3_objects

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)).astype(np.float32)
Y = X[:, :3].argmax(1)[:, None]


def net() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.layers.Dense(16, "relu", input_shape=(6,)), tf_keras.layers.Dense(3)])


@keras.saving.register_keras_serializable("training_test")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak: float = 0.02) -> None:
        self.peak = peak

    def __call__(self, step):
        return self.peak * keras.ops.minimum(1.0, (keras.ops.cast(step, "float32") + 1) / 5)

    def get_config(self):
        return {"peak": self.peak}


@keras.saving.register_keras_serializable("training_test")
class Squared(keras.losses.Loss):
    """The squared distance of the probabilities from the labels, written for Keras 3."""

    def call(self, y_true, y_pred):
        one_hot = keras.ops.one_hot(keras.ops.cast(y_true[..., 0], "int32"), 3)
        return keras.ops.sum((keras.ops.softmax(y_pred) - one_hot) ** 2, axis=-1)


@keras.saving.register_keras_serializable("training_test")
class Seen(keras.metrics.Metric):
    """Number of samples, written for Keras 3."""

    def __init__(self, name="seen", dtype=None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.count = self.add_weight((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign_add(keras.ops.cast(keras.ops.shape(y_pred)[0], "float32"))

    def result(self):
        return self.count


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]


def test_a_model_is_pruned_with_objects_of_keras_3_alone(tmp_path):
    pruned = tfmot_swd.prune_selective_decay(net(), SelectiveDecay(0.6, epochs=3))
    optimizer = keras.optimizers.AdamW(Warmup(), clipnorm=1.0)
    pruned.compile(
        optimizer,
        loss=Squared(),
        metrics=[keras.metrics.SparseCategoricalAccuracy("right"), Seen(), "accuracy"],
        weighted_metrics=[keras.losses.sparse_categorical_crossentropy],
        jit_compile="auto",
        auto_scale_loss=True,
    )
    best = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), "val_right", save_best_only=True)
    step = UpdatePruningStep(validation_data=Batches(), optimizer=optimizer)
    callbacks = [step, tfmot_swd.AfterPruning(best), keras.callbacks.EarlyStopping(patience=9)]
    history = pruned.fit(Batches(), epochs=4, validation_data=Batches(), callbacks=callbacks, verbose=0).history
    assert history["right"] == history["accuracy"]
    assert history["seen"] == [64.0] * 4
    assert step.final_step.after["right"] > 0.3
    small = tfmot_swd.strip_pruning(pruned)
    # 144 kernel weights, of which 0.6 are zero, each layer keeping its share.
    assert np.mean([np.mean(each == 0) for each in small.get_weights()[::2]]) > 0.4
    again = tf_keras.models.load_model(tmp_path / "best.keras")
    assert again.evaluate(X, Y, verbose=0, return_dict=True)["right"] == pytest.approx(best.best)
    assert again.optimizer.get_config()["learning_rate"]["config"]["inner"]["config"] == {"peak": 0.02}


def test_a_training_goes_on_after_a_save_and_a_load_in_its_middle(tmp_path):
    model = net()
    model.compile(keras.optimizers.Adam(Warmup()), Squared(), metrics=[Seen()])
    model.fit(X, Y, 8, 1, 0, shuffle=False)
    model.save(tmp_path / "middle.keras")
    loaded = tf_keras.models.load_model(tmp_path / "middle.keras")
    losses = [each.fit(X, Y, 8, 1, 0, shuffle=False).history["loss"] for each in (model, loaded)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    np.testing.assert_allclose(loaded.get_weights()[0], model.get_weights()[0], rtol=1e-5, atol=1e-7)


def test_outputs_have_losses_and_metrics_by_name():
    entry = tf_keras.Input((6,))
    outputs = {"a": tf_keras.layers.Dense(3, name="a")(entry), "b": tf_keras.layers.Dense(1, name="b")(entry)}
    model = tf_keras.Model(entry, outputs)
    model.compile(
        keras.optimizers.SGD(0.0),
        loss={"a": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "b": "mse"},
        loss_weights={"a": 1.0, "b": 2.0},
        metrics={
            "a": [keras.metrics.SparseCategoricalAccuracy, "accuracy"],
            "b": keras.metrics.MeanSquaredError("own"),
        },
    )
    logs = model.evaluate(X, {"a": Y, "b": Y}, verbose=0, return_dict=True)
    assert logs["b_loss"] == pytest.approx(logs["b_own"], rel=1e-5)
    assert logs["loss"] == pytest.approx(logs["a_loss"] + 2 * logs["b_loss"], rel=1e-5)
    assert logs["a_sparse_categorical_accuracy"] == logs["a_accuracy"]


def test_names_that_only_keras_3_knows_are_understood_or_refused():
    model = tf_keras.Sequential([tf_keras.layers.Dense(3, "softmax", input_shape=(6,))])
    model.compile("adam", "dice", metrics=["f1_score", "auc"])
    logs = model.evaluate(X, np.eye(3, dtype=np.float32)[Y[:, 0]], verbose=0, return_dict=True)
    assert sorted(logs) == ["auc", "f1_score", "loss"]
    # Keras 3.12 does not know the name.
    with pytest.raises((TypeError, ValueError), match=r"choose Adam.*Received: keras.optimizers.Muon$|'muon'"):
        model.compile("muon", "mse")
    with pytest.raises(ValueError, match="Unknown optimizer: 'nonsense'"):
        model.compile("nonsense", "mse")


def test_mixed_precision_scales_the_loss_unless_it_is_told_not_to():
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    model = net()
    found = []
    for arguments in ({}, {"auto_scale_loss": False}):
        model.compile(keras.optimizers.SGD(), "mse", **arguments)
        found.append((float(model.optimizer.loss_scale), model.optimizer.dynamic))
    assert found == [(2.0**15, True), (1.0, False)]


def test_an_optimizer_keeps_its_state_for_its_model_and_begins_anew_for_another():
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model, other = net(), net()
    model.compile(optimizer, "mse")
    model.fit(X, Y, verbose=0)
    made = model.optimizer
    model.compile(optimizer, "mse")
    assert model.optimizer is made
    with pytest.warns(PruningWarning, match="begins anew.*keras.optimizers.SGD with 2 updates$"):
        other.compile(optimizer, "mse")
    assert other.optimizer is not made
    other.fit(X, Y, verbose=0)


def test_a_learning_rate_set_on_the_wrong_object_is_said_once():
    optimizer = keras.optimizers.SGD(0.5)
    model = net()
    model.compile(optimizer, "mse")
    optimizer.learning_rate = 0.25
    with pytest.warns(PruningWarning, match="set model.optimizer.learning_rate. Received: .*SGD with 0.25, and 0.5"):
        model.fit(X, Y, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PruningWarning)
        model.fit(X, Y, verbose=0)


def test_a_custom_loop_is_told_what_its_optimizer_must_be():
    model = tfmot_swd.prune_selective_decay(net(), SelectiveDecay(0.5, end_step=4))
    model.optimizer = keras.optimizers.SGD(0.1)
    callback = UpdatePruningStep()
    callback.set_model(model)
    with pytest.raises(TypeError, match=r"tfmot_swd.keras3.training_object\(optimizer\).*Received: SGD of Keras 3$"):
        callback.on_train_begin()


def test_the_methods_are_wrapped_once_and_look_as_before():
    before = tf_keras.Model.fit
    take_keras3_objects()
    assert tf_keras.Model.fit is before
    assert list(inspect.signature(before).parameters)[:4] == ["self", "x", "y", "batch_size"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        net().fit(X, nothing=1)


def test_what_is_of_tf_keras_is_passed_on_as_it_is():
    optimizer, loss = tf_keras.optimizers.SGD(), tf_keras.losses.Hinge()
    model = net()
    model.compile(optimizer, loss)
    assert model.optimizer is optimizer
    assert model.loss is loss
