"""A wrapped model in the middle of its schedule goes into files and comes back, of the size that it has then."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import X, batches, begun, compiled, fit, network, step_of, widths, wrapped, wrapper_of


def halfway(**settings) -> keras.Model:
    """Returns a model after one of two epochs: filters have left, others are silenced."""
    settings = {"rate": 0.5, "epochs": 2, **settings}
    model = compiled(wrapped(**settings), run_eagerly=True)
    fit(model, partial_fit=True, training_data=batches())
    assert widths(model) == {"a": 6, "b": 5, "head": 3}
    assert (wrapper_of(model, "a").scored[0].mask.numpy() == 0).sum() == 2
    return model


def assert_same_state(first: keras.Model, second: keras.Model) -> None:
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.name)


def goes_on(model: keras.Model) -> tfmot_swd.UpdatePruningStep:
    model.run_eagerly = True
    callback = fit(model, training_data=batches())
    assert [each.epoch for each in callback.history] == [2]
    return callback


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("ending", [".keras", ".h5", ""])
def test_files_bring_the_wrapped_model_back(ending, tmp_path):
    model = halfway()
    # Scores of an epoch that has not ended.
    wrapper_of(model, "b").scored[0].total.assign(np.arange(5.0))
    path = str(tmp_path / f"model{ending}")
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(wrapper_of(loaded, "a")) is tfmot_swd.pgp.PruneProgressiveGradient
    for name in "ab":
        assert wrapper_of(loaded, name).settings == wrapper_of(model, name).settings
        assert wrapper_of(loaded, name).pruning_schedule == wrapper_of(model, name).pruning_schedule
        assert wrapper_of(loaded, name).pruning_step.numpy() == 1
    assert_same_state(model, loaded)
    np.testing.assert_array_equal(loaded(X), model(X))
    with pytest.raises(ValueError, match="schedule is not finished.*1 of 2 epochs"):
        tfmot_swd.strip_pruning(loaded)
    goes_on(loaded)
    assert widths(tfmot_swd.strip_pruning(loaded)) == {"a": 3, "b": 3, "head": 3}


@pytest.mark.parametrize("criterion", ["rpgp", "pgp", "weight_change", "feature_taylor"])
def test_a_loaded_model_goes_on_as_the_saved_one(criterion, tmp_path):
    model = halfway(criterion=criterion)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        goes_on(each)
    assert loaded.optimizer.iterations.numpy() == 8
    for a, b in zip(model.trainable_variables, loaded.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
def test_weights_files_fit_a_model_of_the_same_sizes(ending, tmp_path):
    model = halfway()
    path = str(tmp_path / f"weights{ending}")
    model.save_weights(path)
    fresh = type(model).from_config(model.get_config())
    fresh.load_weights(path)
    assert_same_state(model, fresh)
    with pytest.raises(ValueError, match="shape"):
        wrapped(rate=0.5, epochs=2).load_weights(path)


def test_a_checkpoint_writes_and_restores(tmp_path):
    model = halfway()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    path = checkpoint.write(str(tmp_path / "checkpoint"))
    values = [each.numpy() for each in (*model.weights, *model.optimizer.variables)]
    callback = begun(model, model.optimizer, partial_fit=True)
    for x, y in batches(2):
        step_of(model)(x, y)
    callback.on_train_end()
    assert model.optimizer.iterations.numpy() == 6
    checkpoint.read(path).assert_consumed()
    for value, each in zip(values, (*model.weights, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(each.numpy(), value)
    goes_on(model)


def test_a_checkpoint_of_larger_variables_does_not_fit(tmp_path):
    model = compiled(wrapped(rate=0.5, epochs=2))
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    fit(model, partial_fit=True)
    with pytest.raises(ValueError, match="shape"):
        tf.train.Checkpoint(model=model).read(path).assert_consumed()


def test_the_stripped_model_needs_nothing_of_ours(tmp_path):
    model = halfway()
    goes_on(model)
    small = tfmot_swd.strip_pruning(model)
    assert not any("tfmot_swd" in type(each).__module__ for each in small.submodules)
    np.testing.assert_allclose(small.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    small.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0), small.predict(X, verbose=0))


def test_a_loaded_model_can_be_cut_at_once(tmp_path):
    model = wrapped(rate=0.5, epochs=3)
    callback = begun(model, partial_fit=True)
    for x, y in batches(2):
        step_of(model)(x, y)
    callback.on_epoch_end(0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    tfmot_swd.prune_now(loaded)
    assert widths(tfmot_swd.strip_pruning(loaded)) == {"a": 4, "b": 3, "head": 3}


def test_a_plain_model_is_not_cut():
    with pytest.raises(ValueError, match="Received: "):
        tfmot_swd.prune_now(network())
