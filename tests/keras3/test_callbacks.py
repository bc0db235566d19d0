import keras
import numpy as np
import pytest
import tf_keras

from tfmot_swd import AfterPruning
from tfmot_swd.keras3 import training_object

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)
FIT = {"batch_size": 6, "verbose": 0, "shuffle": False}


def net(rate: float = 0.1) -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, "sigmoid", input_shape=(4,))])
    model.compile(tf_keras.optimizers.SGD(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


class Heard(keras.callbacks.Callback):
    """Notes the hooks it is called by."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = []

    def on_train_begin(self, logs=None):
        self.heard.append(("train", type(self.model).__name__, self.params["epochs"]))

    def on_epoch_begin(self, epoch, logs=None):
        self.heard.append(("epoch", epoch))

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append((batch, sorted(logs)))

    def on_test_end(self, logs=None):
        self.heard.append(("test", sorted(logs)))

    def on_predict_end(self, logs=None):
        self.heard.append(("predict",))


def test_a_callback_of_the_users_own_hears_of_everything():
    heard = Heard()
    model = net()
    model.fit(X[:12], Y[:12], validation_data=(X, Y), callbacks=[heard], **FIT)
    model.predict(X, verbose=0, callbacks=[heard])
    metrics = ["accuracy", "loss"]
    assert heard.heard == [
        ("train", "Sequential", 1),
        ("epoch", 0),
        (0, metrics),
        (1, metrics),
        ("test", metrics),
        ("predict",),
    ]


def test_batches_are_reported_only_to_whom_they_matter():
    idle, old, new = keras.callbacks.History(), keras.callbacks.TerminateOnNaN(), Heard()
    asked = [training_object(each)._implements_train_batch_hooks() for each in (idle, old, new)]
    assert asked == [False, True, True]
    assert not training_object(new)._implements_predict_batch_hooks()


def test_early_stopping_knows_that_accuracy_rises_and_brings_the_best_weights_back():
    stopping = keras.callbacks.EarlyStopping("val_accuracy", patience=1, restore_best_weights=True)
    model, kept = net(), []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()[0]))
    model.fit(X, Y, epochs=30, validation_data=(X, Y), callbacks=[keep, stopping], **FIT)
    assert (stopping.mode, stopping.stopped_epoch, len(kept)) == ("max", len(kept) - 1, stopping.best_epoch + 2)
    np.testing.assert_array_equal(model.get_weights()[0], kept[stopping.best_epoch])


def test_learning_rates_are_set_and_logged():
    model = net()
    halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = model.fit(X, Y, epochs=2, callbacks=[halved], **FIT).history
    np.testing.assert_allclose(history["learning_rate"], [0.05, 0.025])
    plateau = keras.callbacks.ReduceLROnPlateau("accuracy", factor=0.1, patience=1, min_delta=10.0)
    model.fit(X, Y, epochs=3, callbacks=[plateau], **FIT)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.00025)


def test_models_of_a_checkpoint_are_of_tf_keras(tmp_path):
    whole, weights = str(tmp_path / "{epoch}.keras"), str(tmp_path / "last.weights.h5")
    callbacks = [
        keras.callbacks.ModelCheckpoint(whole, "val_accuracy"),
        keras.callbacks.ModelCheckpoint(weights, save_weights_only=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    model = net()
    model.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=callbacks, **FIT)
    again, other = tf_keras.models.load_model(whole.format(epoch=2)), net()
    other.load_weights(weights)
    for each in (again, other):
        np.testing.assert_array_equal(each.get_weights()[0], model.get_weights()[0])
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == "epoch,accuracy,loss,val_accuracy,val_loss"


def test_what_works_on_the_inside_of_a_model_is_that_of_tf_keras(tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path / "logs", histogram_freq=2, update_freq="batch", profile_batch=0)
    made = training_object(board)
    assert type(made) is tf_keras.callbacks.TensorBoard
    assert (made.log_dir, made.histogram_freq, made.update_freq) == (board.log_dir, 2, 1)
    made = training_object(keras.callbacks.BackupAndRestore(str(tmp_path / "backup"), delete_checkpoint=False))
    assert type(made) is tf_keras.callbacks.BackupAndRestore
    assert (made.backup_dir, made.delete_checkpoint) == (str(tmp_path / "backup"), False)
    assert type(training_object(keras.callbacks.ProgbarLogger())) is tf_keras.callbacks.ProgbarLogger
    net().fit(X, Y, epochs=2, callbacks=[board, keras.callbacks.ProgbarLogger()], **FIT)
    assert list((tmp_path / "logs" / "train").iterdir())


class Board(keras.callbacks.TensorBoard):
    pass


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (lambda: keras.callbacks.SwapEMAWeights(), r"give the optimizer ema_overwrite_frequency.*SwapEMAWeights$"),
        (lambda: keras.callbacks.CallbackList([]), r"as a list. Received: keras.callbacks.CallbackList$"),
        (lambda: Board("logs"), r"subclass tf_keras.callbacks.TensorBoard. Received: .*test_callbacks.Board$"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_to_write(callback, said):
    given = callback()
    with pytest.raises(TypeError, match=said):
        net().fit(X, Y, callbacks=given if isinstance(given, keras.callbacks.CallbackList) else [given], **FIT)


def test_an_unknown_direction_is_asked_for_by_keras():
    model = net()
    model.compile("sgd", "mse", metrics=[tf_keras.metrics.MeanMetricWrapper(lambda y_true, y_pred: y_pred, "own")])
    with pytest.raises(ValueError, match="Pass `mode='max'`"):
        model.fit(X, Y, callbacks=[keras.callbacks.EarlyStopping("own")], **FIT)


def test_after_pruning_takes_callbacks_of_keras_3():
    stopping = keras.callbacks.EarlyStopping("loss", patience=3)
    wrapped = AfterPruning(stopping)
    assert (wrapped.callback.monitor, wrapped.callback.patience) == ("loss", 3)
    with pytest.raises(TypeError, match=r"tf_keras or Keras 3.*Received: <keras\..*SGD object"):
        AfterPruning(keras.optimizers.SGD())
