"""The wrapper: what it keeps, when it writes, what it changes, and how its state follows the filters."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, L, X, Y, begun, compiled, fit, layer_of, network, sgd, step_of, wrapped, wrapper_of
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.pgp.wrapper import _channel_axis

KINDS = {
    "rpgp": ("update",),
    "pgp": ("update",),
    "weight_taylor": ("update",),
    "feature_taylor": ("update",),
    "weight_change": ("start",),
    "l1": (),
}


@pytest.mark.parametrize("criterion", KINDS)
def test_it_keeps_what_its_criterion_needs_and_no_more(criterion):
    wrapper = wrapper_of(wrapped(criterion=criterion), "a")
    scored = wrapper.scored[0]
    names = {each.name.split("/")[-1].removesuffix(":0") for each in scored.states()}
    assert names == {"origin", "initial", "leads", "mask", "total", *KINDS[criterion]}
    full = {"rpgp", "pgp", "weight_change"}
    for name in KINDS[criterion]:
        shape = (3, 3, 2, 8) if criterion in full else (8,)
        assert tuple(getattr(scored, name).shape) == shape
    assert not wrapper.trainable_weights[1:]
    assert wrapper.pruning_step.numpy() == 0


def test_tfmots_tools_find_their_names():
    model = wrapped()
    assert len(tfmot.sparsity.keras.UpdatePruningStep().prunable_layers) == 0
    wrapper = wrapper_of(model, "a")
    (weight, mask, threshold), *_ = wrapper.pruning_vars
    assert weight is layer_of(model, "a").kernel
    assert mask is wrapper.scored[0].mask
    assert threshold is wrapper.threshold
    callback = begun(model)
    assert callback.prunable_layers == [wrapper, wrapper_of(model, "b")]


@pytest.mark.parametrize("criterion", ["rpgp", "feature_taylor"])
def test_inference_writes_nothing(criterion):
    model = compiled(wrapped(criterion=criterion))
    fit(model, partial_fit=True)
    before = [each.numpy() for each in model.weights]
    model.predict(X, verbose=0)
    model.evaluate(X, Y, verbose=0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(X, training=False))
    tape.gradient(loss, model.trainable_variables)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


@pytest.mark.parametrize("criterion", ["rpgp", "weight_taylor", "feature_taylor"])
def test_what_passes_through_is_not_changed(criterion):
    net, model = network(), wrapped(criterion=criterion)
    begun(model)
    x, y = tf.constant(X[:BATCH]), Y[:BATCH]
    outputs, gradients = [], []
    for each in (net, model):
        with tf.GradientTape() as tape:
            outputs.append(each(x, training=True))
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, outputs[-1])
        gradients.append(tape.gradient(loss, each.trainable_variables))
    np.testing.assert_array_equal(*outputs)
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_and_losses_of_the_layer_pass_through():
    inputs = keras.Input((5,), dtype="int32")
    x = L.Embedding(9, 4, mask_zero=True, name="table")(inputs)
    x = L.LSTM(3, kernel_regularizer=keras.regularizers.L2(0.1), name="lstm")(x)
    net = keras.Model(inputs, L.Dense(2)(x))
    model = wrapped(net, layers="all")
    begun(model)
    x = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 0, 0]])
    for training in (False, True):
        np.testing.assert_allclose(model(x, training=training), net(x, training=training), rtol=1e-6)
    np.testing.assert_allclose(model.losses, net.losses)


def test_mixed_precision_keeps_master_weights_in_full():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = wrapped(network())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    compiled(model, keras.optimizers.SGD(0.0), run_eagerly=True)
    before = {name: layer_of(model, name).kernel.numpy() for name in "ab"}
    fit(model)
    for name, value in before.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(layer_of(model, name).kernel.numpy(), value)
    assert wrapper_of(model, "a").scored[0].update.dtype == tf.float32
    assert model.output.dtype == tf.float16


def test_training_needs_the_callback():
    model = wrapped()
    with pytest.raises(ValueError, match=r"trains only with its callback.*Received: a training step without it"):
        model(X, training=True)
    callback = begun(model, partial_fit=True)
    model(X, training=True)
    callback.on_train_end()
    with pytest.raises(ValueError, match="trains only with its callback"):
        model(X, training=True)
    model.trainable = False
    model(X, training=True)


def test_its_config_makes_the_same_wrapper():
    wrapper = wrapper_of(wrapped(criterion="l2", rate=0.3, epochs=7, hard_share=0.2), "a")
    again = tfmot_swd.pgp.PruneProgressiveGradient.from_config(wrapper.get_config())
    assert again.settings == wrapper.settings
    assert again.pruning_schedule == wrapper.pruning_schedule
    assert again.ranked_weights == [("kernel", 3)]
    assert again.layer.get_config() == wrapper.layer.get_config()


def test_state_is_cut_like_the_filters_that_it_is_of():
    model = wrapped(criterion="rpgp")
    kernel = layer_of(model, "b").kernel
    states = {each.name.split("/")[-1].split(":")[0]: each for each in wrapper_of(model, "b").scored[0].states()}
    values = {name: np.arange(np.prod(each.shape)).reshape(each.shape) for name, each in states.items()}
    for name, each in states.items():
        each.assign(values[name] % 2 == 1 if name == "leads" else values[name].astype(each.dtype.as_numpy_dtype))
    groups = channel_groups(model)
    first, second = (f"prune_progressive_gradient_{name}" for name in "ab")
    masks = {first: np.arange(8) % 2 == 0, second: np.array([True, False, False, True, True, False])}
    assert groups[first].size == len(masks[first])
    small = tfmot_swd.channels.remove_channels(model, masks)
    scored = wrapper_of(small, "b").scored[0]
    kept = np.flatnonzero(masks[second])
    for name in ("initial", "mask", "total"):
        np.testing.assert_array_equal(getattr(scored, name).numpy(), kept)
    np.testing.assert_array_equal(scored.leads.numpy(), kept % 2 == 1)
    np.testing.assert_array_equal(scored.update.numpy(), values["update"][:, :, ::2][..., kept])
    np.testing.assert_array_equal(layer_of(small, "b").kernel.numpy(), kernel.numpy()[:, :, ::2][..., kept])


def test_the_channels_of_maps_are_where_the_data_format_has_them():
    assert _channel_axis(L.Conv2D(3, 1), tf.zeros((2, 4, 4, 3))) == 3
    assert _channel_axis(L.Conv2D(3, 1, data_format="channels_first"), tf.zeros((2, 3, 4, 4))) == 1
    assert _channel_axis(L.Conv1D(3, 1, data_format="channels_first"), tf.zeros((2, 3, 4))) == 1
    assert _channel_axis(L.Dense(3), tf.zeros((2, 3))) == 1


def test_a_step_that_also_calls_the_model_for_inference_is_watched():
    """As in self-distillation."""
    model = wrapped()
    callback = begun(model)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = tf.reduce_mean(tf.square(outputs - tf.stop_gradient(model(x, training=False))))
        model.optimizer.minimize(loss, model.trainable_variables, tape=tape)

    step(tf.constant(X[:BATCH]))
    callback.on_epoch_end(0)
    assert callback.history[0].epoch == 1


def test_a_model_inside_a_function_of_its_own_is_watched(seen):
    model, other = wrapped(), wrapped()
    for each, call in ((model, model), (other, tf.function(lambda x, training: other(x, training=training)))):
        callback = begun(each, sgd())
        if each is model:
            step_of(each)(X[:BATCH], Y[:BATCH])
        else:
            with tf.GradientTape() as tape:
                logits = call(tf.constant(X[:BATCH]), True)
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(Y[:BATCH], logits)
            each.optimizer.minimize(loss, each.trainable_variables, tape=tape)
        callback.on_epoch_end(0)
    np.testing.assert_allclose(seen[1]["a"], seen[0]["a"], rtol=1e-5)
