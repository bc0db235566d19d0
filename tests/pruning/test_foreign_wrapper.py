"""What TFMOT's own wrapper says when it is given a schedule of this package."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd

L = keras.layers
theirs = tfmot.sparsity.keras
SCHEDULES = {
    "prune_selective_decay": tfmot_swd.SelectiveDecay(0.8, end_step=4),
    "prune_selective_decay, channels": tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), end_step=4),
    "prune_progressive_gradient": tfmot_swd.ProgressiveRate(0.5, epochs=2),
    "prune_progressive_gradient, budget": tfmot_swd.ProgressiveRate(tfmot_swd.Budget(macs=0.5), epochs=2),
}


class TheirSubclass(tfmot.sparsity.keras.prune_low_magnitude(L.Dense(1)).__class__):
    """A wrapper that somebody derives from TFMOT's."""


def functional(wrap):
    image = keras.Input((6, 6, 2))
    features = wrap(L.Conv2D(3, 3))(image)
    return keras.Model(image, L.Dense(2)(L.Flatten()(features)))


def whole_model(schedule):
    net = keras.Sequential([L.Conv2D(3, 3, input_shape=(6, 6, 2)), L.Flatten(), L.Dense(2)])
    return theirs.prune_low_magnitude(net, pruning_schedule=schedule)


def one_layer(schedule):
    return functional(lambda layer: theirs.prune_low_magnitude(layer, pruning_schedule=schedule))


def subclass(schedule):
    return functional(lambda layer: TheirSubclass(layer, schedule))


# In eager steps without a callback TFMOT's own wrapper asks for its callback first.
WAYS = {
    "fit": (whole_model, False, theirs.UpdatePruningStep),
    "fit without a callback": (whole_model, False, None),
    "eager": (whole_model, True, theirs.UpdatePruningStep),
    "one layer": (one_layer, False, theirs.UpdatePruningStep),
    "a subclass": (subclass, False, theirs.UpdatePruningStep),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_step_says_what_to_call(name, way):
    wrap, run_eagerly, callback = WAYS[way]
    model = wrap(SCHEDULES[name])
    weights = [each.numpy() for each in model.trainable_weights]
    model.compile("sgd", "mse", run_eagerly=run_eagerly)
    x, y = np.ones((4, 6, 6, 2), "float32"), np.ones((4, 2), "float32")
    entry = name.partition(",")[0]
    with pytest.raises(ValueError, match=rf"Call tfmot_swd\.{entry}\(model, schedule\) instead.*Received: a \w+ as"):
        model.fit(x, y, verbose=0, callbacks=[callback()] if callback else [])
    for before, after in zip(weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_model_from_a_file_says_it_too(name, tmp_path):
    path = str(tmp_path / "model.h5")
    whole_model(SCHEDULES[name]).save(path)
    with theirs.prune_scope():
        loaded = keras.models.load_model(path)
    loaded.compile("sgd", "mse")
    with pytest.raises(ValueError, match="cannot follow a"):
        loaded.train_on_batch(np.ones((4, 6, 6, 2), "float32"), np.ones((4, 2), "float32"))


def test_a_schedule_can_still_be_looked_at():
    flag, share = SCHEDULES["prune_selective_decay"](3)
    assert bool(flag)
    assert float(share) == pytest.approx(0.8)


def test_a_schedule_of_tfmot_in_their_wrapper_is_none_of_our_business():
    schedule = theirs.ConstantSparsity(0.5, 0, -1, 1)
    model = whole_model(schedule)
    model.compile("sgd", "mse")
    x, y = np.ones((4, 6, 6, 2), "float32"), np.ones((4, 2), "float32")
    model.fit(x, y, verbose=0, callbacks=[theirs.UpdatePruningStep()])
    kernel = theirs.strip_pruning(model).layers[-1].kernel.numpy()
    assert np.count_nonzero(kernel == 0) == kernel.size // 2
