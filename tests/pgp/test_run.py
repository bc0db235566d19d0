"""When an epoch of the schedule ends, and what then sees the pruned model: validation, files, logs, TensorBoard."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, Notes, X, Y, batches, begun, compiled, fit, small, step_of, widths, wrapped


@pytest.mark.parametrize(
    ("every", "at_once", "batches_of_changes", "epochs"),
    [
        (3, 1, [3, 6, 9], [1, 2, 3]),
        (3, 2, [4, 6, 10], [1, 2, 3]),
        # In one call two of them end.
        (2, 4, [4, 8], [2, 3]),
    ],
)
def test_an_epoch_may_be_a_number_of_updates(every, at_once, batches_of_changes, epochs):
    sizes = Notes(lambda model, logs: (int(model.optimizer.iterations.numpy()), widths(model)["a"]))
    model = wrapped(small(), rate=0.75, epochs=3, curve="linear", updates_per_epoch=every, hard_share=1.0)
    options = {"run_eagerly": True} if at_once == 1 else {"steps_per_execution": at_once}
    callback = fit(compiled(model, **options), 3, callbacks=[sizes])
    pairs = zip([(0, 8), *sizes.found[:-1]], sizes.found, strict=True)
    assert [after[0] for before, after in pairs if before[1] != after[1]] == batches_of_changes
    assert [(each.epoch, each.channels) for each in callback.history] == [(each, 8 - 2 * each) for each in epochs]
    assert callback.history[-1].done


def test_updates_are_counted_and_not_batches_of_a_custom_loop():
    model = wrapped(small(), rate=0.5, epochs=2, updates_per_epoch=2, hard_share=1.0)
    callback = begun(model)
    for number, (x, y) in enumerate(batches()):
        step_of(model)(x, y)
        callback.on_train_batch_end(number)
    assert [(each.epoch, each.channels) for each in callback.history] == [(1, 4), (2, 3)]
    callback.on_epoch_end(0)
    assert len(callback.history) == 2


def test_validation_checkpoints_and_logs_see_the_pruned_model(tmp_path):
    model = compiled(wrapped(rate=0.5, epochs=2))
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "last.keras"))
    callback = tfmot_swd.UpdatePruningStep()
    # It need not stand before what looks at the model.
    options = {"validation_data": (X, Y), "callbacks": [checkpoint, callback]}
    logs = model.fit(X, Y, batch_size=BATCH, epochs=3, shuffle=False, verbose=0, **options).history
    assert logs["channels"] == [11, 6, 6]
    assert logs["soft_channels"] == [4, 0, 0]
    assert [each.channels for each in callback.history] == [11, 6]
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0)[0], logs["val_loss"][2], rtol=1e-6)
    small = tfmot_swd.strip_pruning(model)
    assert logs["parameters"][-1] == small.count_params() == callback.history[-1].parameters
    np.testing.assert_allclose(small.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    assert widths(small) == {"a": 3, "b": 3, "head": 3}
    loaded = keras.models.load_model(tmp_path / "last.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_validation_in_the_epoch_of_a_removal_is_of_what_is_left():
    model = compiled(wrapped(small(), rate=0.5))
    fit(model, validation_data=(X, Y))
    np.testing.assert_allclose(model.history.history["val_loss"][-1], model.evaluate(X, Y, verbose=0)[0], rtol=1e-6)


def test_a_first_epoch_of_unknown_length_is_validated_before_the_removal():
    def stream():
        for start in range(0, len(X), BATCH):
            yield X[start : start + BATCH], Y[start : start + BATCH]

    shapes = (tf.TensorSpec((None, 6, 6, 2)), tf.TensorSpec((None,), tf.int64))
    data = tf.data.Dataset.from_generator(stream, output_signature=shapes)
    model = compiled(wrapped(small(), rate=0.9, epochs=2, hard_share=1.0))
    seen = []

    class Look(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            seen.append(widths(self.model)["a"])

    fit(model, 2, data=data, validation_data=(X, Y), callbacks=[Look()])
    assert seen == [8, 1]
    assert model.history.history["channels"] == [1, 1]


def test_summaries_reach_tensorboard(tmp_path):
    model = compiled(wrapped(rate=0.5, epochs=2), run_eagerly=True)
    fit(model, 3, callbacks=[tfmot_swd.PruningSummaries(str(tmp_path))])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    tags = {name.removeprefix("progressive_gradient/") for name in events.Tags()["tensors"]}
    counts = {"channels", "soft_pruned", "silenced", "removed", "parameters"}
    assert tags == {"rate", "threshold", "channels/a", "channels/b", *counts}
    values = [
        (event.step, float(tf.make_ndarray(event.tensor_proto)))
        for event in events.Tensors("progressive_gradient/channels/a")
    ]
    # The third look is at what the second epoch has left.
    assert values == [(1, 6.0), (2, 3.0), (2, 3.0)]


def test_an_optimizer_whose_state_cannot_lose_channels_is_refused_at_once():
    with pytest.raises(ValueError, match="Adafactor keeps means.*Received: Adafactor"):
        fit(compiled(wrapped(small(), rate=0.5), keras.optimizers.Adafactor()))
