import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import (
    AfterPruning,
    ProgressiveRate,
    PruningWarning,
    SelectiveDecay,
    UpdatePruningStep,
    prune_progressive_gradient,
    prune_selective_decay,
    strip_pruning,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype(np.float32)
TRUE = RNG.normal(size=(4, 2)).astype(np.float32)
Y = X @ TRUE
# Four batches of six.
FIT = {"batch_size": 6, "verbose": 0}


class Heard(keras.callbacks.Callback):
    """Notes which ends it is told of."""

    def __init__(self, monitor: str | None = None) -> None:
        super().__init__()
        self.epochs, self.batches, self.began = [], 0, 0
        if monitor:
            self.monitor = monitor

    def on_epoch_begin(self, epoch, logs=None):
        self.began += 1

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


def wrapped(method: str = "swd", epochs: int = 2) -> keras.Model:
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.layers.Dense(6, "relu", input_shape=(4,)), keras.layers.Dense(2)])
    if method == "pgp":
        model = prune_progressive_gradient(net, ProgressiveRate(0.5, epochs), layers="all")
    else:
        model = prune_selective_decay(net, SelectiveDecay(0.5, epochs=epochs))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


@pytest.mark.parametrize("method", ["swd", "pgp"])
@pytest.mark.parametrize(
    ("monitor", "validated", "heard"),
    [(None, True, [1, 2]), ("val_loss", True, [1, 2]), ("loss", True, [2]), ("val_loss", False, [2])],
)
def test_epochs_count_from_the_first_whose_numbers_are_of_the_pruned_model(method, monitor, validated, heard):
    listener = Heard(monitor)
    callbacks = [UpdatePruningStep(), AfterPruning(listener)]
    wrapped(method).fit(X, Y, epochs=3, callbacks=callbacks, validation_data=(X, Y) if validated else None, **FIT)
    assert listener.epochs == heard
    assert listener.began == 3
    # The batch in which the model is pruned is told, and the four of the epoch after it.
    assert listener.batches == 5


def test_the_best_file_can_be_stripped_where_the_plain_callback_keeps_one_that_cannot(tmp_path):
    plain, held = (
        keras.callbacks.ModelCheckpoint(str(tmp_path / name), save_best_only=True) for name in ("a.keras", "b.keras")
    )
    net = keras.Sequential([keras.layers.Dense(2, input_shape=(4,), weights=[TRUE, np.zeros(2)])])
    model = prune_selective_decay(net, SelectiveDecay(0.8, epochs=3, ramp=0.0))
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    # It begins without an error, and the decay gets ever harder: the first epoch is the best.
    model.fit(X, Y, epochs=3, callbacks=[UpdatePruningStep(), plain, AfterPruning(held)], validation_data=(X, Y), **FIT)
    with pytest.raises(ValueError, match=r"ModelCheckpoint\(save_best_only=True\).*tfmot_swd.AfterPruning\(callback\)"):
        strip_pruning(keras.models.load_model(tmp_path / "a.keras"))
    best = keras.models.load_model(tmp_path / "b.keras")
    np.testing.assert_array_equal(strip_pruning(best).predict(X, verbose=0), model.predict(X, verbose=0))


def test_early_stopping_brings_back_pruned_weights():
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True, min_delta=100.0)
    model = wrapped()
    history = model.fit(
        X, Y, epochs=9, callbacks=[UpdatePruningStep(), AfterPruning(stopping)], validation_data=(X, Y), **FIT
    )
    # Pruned in the second epoch, which is the best by far for min_delta; the third is one too many.
    assert len(history.epoch) == 3
    strip_pruning(model)


def test_a_callback_that_has_seen_no_pruned_epoch_is_told_of():
    listener = Heard("loss")
    with pytest.warns(
        PruningWarning, match="Heard was not called for any epoch.*Received: no epoch after the final pruning step$"
    ):
        wrapped().fit(X, Y, epochs=2, callbacks=[UpdatePruningStep(), AfterPruning(listener)], **FIT)
    callbacks = [UpdatePruningStep(partial_fit=True), AfterPruning(listener)]
    with pytest.warns(PruningWarning, match="a training that ended before the final pruning step$"):
        wrapped(epochs=3).fit(X, Y, epochs=2, callbacks=callbacks, **FIT)
    assert listener.epochs == []


def test_a_custom_loop_that_tells_of_the_ends_of_epochs_alone():
    listener, model = Heard(), wrapped()
    callbacks = [UpdatePruningStep(), AfterPruning(listener)]
    for each in callbacks:
        each.set_model(model)
        each.set_params({"steps": 4})
        each.on_train_begin()
    for epoch in range(4):
        for first in range(0, 24, 6):
            model.train_on_batch(X[first : first + 6], Y[first : first + 6])
        for each in callbacks:
            each.on_epoch_end(epoch)
    # Pruned at the end of the second epoch: the numbers of the third are the first of the pruned model.
    assert listener.epochs == [2, 3]


def test_what_it_does_not_take():
    with pytest.raises(TypeError, match="AfterPruning takes a callback of tf_keras.*Received: 'val_loss'$"):
        AfterPruning("val_loss")
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(4,))])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Received: 'sequential.*' without wrappers$"):
        model.fit(X, Y, callbacks=[AfterPruning(Heard())], **FIT)
