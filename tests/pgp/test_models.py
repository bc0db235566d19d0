"""However a wrapped net is trained: inside other models, in loops of ones own, in several fits, frozen in between."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import (
    L,
    batches,
    begun,
    compiled,
    fit,
    layer_of,
    loss_of,
    sgd,
    small,
    step_of,
    widths,
    wrapped,
    wrapper_of,
)


class Outer(keras.Model):
    """A class with a training step of its own around a wrapped net."""

    def __init__(self, *nets):
        super().__init__()
        self.nets = list(nets)
        self.net = nets[0]

    def call(self, inputs, training=None):
        return tf.add_n([net(inputs, training=training) for net in self.nets])

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = loss_of(y, self(x, training=True))
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


def test_a_model_around_the_wrapped_one(seen):
    model = Outer(wrapped(rate=0.5, epochs=2))
    model.compile(sgd(), loss_of)
    net = model.net
    callback = fit(model, 3)
    assert [each.channels for each in callback.history] == [11, 6]
    assert model.net is net
    assert model.optimizer.iterations.numpy() == 12
    assert len(seen[0]["a"]) == 8
    assert len(seen[1]["a"]) == 6
    assert tfmot_swd.strip_pruning(model.net).count_params() == callback.history[-1].parameters


def test_two_wrapped_nets_of_one_training_have_their_own_decisions():
    nets = [wrapped(small(name), rate=0.5, epochs=3, hard_share=0.0) for name in ("one", "two")]
    model = Outer(*nets)
    model.compile(sgd(), loss_of, run_eagerly=True)
    callback = fit(model, 1, partial_fit=True)
    assert callback.history[0].sizes == {"one/a": 8, "two/a": 8}
    assert (callback.history[0].channels, callback.history[0].soft_pruned) == (16, 4)
    for net in nets:
        silent = wrapper_of(net, "a").scored[0].mask.numpy() == 0
        assert silent.sum() == 2
        np.testing.assert_array_equal(silent, ~layer_of(net, "a").kernel.numpy().any(axis=(0, 1, 2)))
    fit(model, 2)
    assert [widths(net)["a"] for net in nets] == [4, 4]


def test_a_wrapped_layer_of_two_models_is_refused():
    net = wrapped()
    first_half = keras.Model(net.input, net.get_layer("relu").output, name="half")

    class Both(Outer):
        def call(self, inputs, training=None):
            return self.nets[0](inputs, training=training)

    model = Both(net, first_half)
    model.compile(sgd(), loss_of)
    with pytest.raises(ValueError, match="share wrapped layers.*Received: prune_progressive_gradient_a in more than"):
        fit(model)


def test_a_nested_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    body = keras.Sequential([L.Conv2D(4, 3, activation="relu", name="inner"), L.Conv2D(4, 2, name="last")], name="body")
    x = body(L.Conv2D(8, 1, activation="relu", name="outer")(inputs))
    model = compiled(wrapped(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))), rate=0.5), run_eagerly=True)
    callback = fit(model)
    assert callback.history[0].sizes == {"outer": 2, "body/inner": 1, "body/last": 1}
    assert {name: widths(model)[name] for name in ("outer", "inner", "last")} == {"outer": 2, "inner": 1, "last": 1}


def test_a_loop_of_ones_own_goes_on_with_a_new_function():
    model = wrapped(small(), rate=0.5, epochs=2, hard_share=1.0)
    callback = begun(model)
    step = tf.function(step_of(model))
    for epoch in range(3):
        losses = [float(step(x, y)) for x, y in batches()]
        callback.on_epoch_end(epoch)
        if epoch < 2:
            assert callback.history[-1].removed
            step = tf.function(step_of(model))
    callback.on_train_end()
    assert np.isfinite(losses).all()
    assert model.optimizer.iterations.numpy() == 12
    assert widths(tfmot_swd.strip_pruning(model)) == {"a": 3, "head": 3}


def test_several_fits_make_one_run():
    whole, parts = (compiled(wrapped(small(), rate=0.5, epochs=2), run_eagerly=True) for _ in range(2))
    fit(whole, 2)
    for _ in range(2):
        fit(parts, partial_fit=True)
    assert widths(whole) == widths(parts)
    for a, b in zip(whole.trainable_variables, parts.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_callbacks_that_change_the_learning_rate_go_on():
    model = compiled(wrapped(small(), rate=0.5, epochs=2), run_eagerly=True)
    plan = keras.callbacks.LearningRateScheduler(lambda epoch, rate: [0.1, 0.02, 0.003][epoch])
    fit(model, 3, callbacks=[plan])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.003)
    np.testing.assert_allclose(model.history.history["lr"], [0.1, 0.02, 0.003])


def test_a_layer_that_is_frozen_in_between_keeps_its_filters_and_the_clock_goes_on():
    model = compiled(wrapped(rate=0.5, epochs=3, hard_share=1.0), run_eagerly=True)
    fit(model, partial_fit=True)
    left = widths(model)["a"]
    wrapper_of(model, "a").trainable = False
    fit(compiled(model, run_eagerly=True), partial_fit=True)
    assert widths(model)["a"] == left
    wrapper_of(model, "a").trainable = True
    callback = fit(compiled(model, run_eagerly=True))
    assert callback.history[0].epoch == 3
    assert {name: widths(model)[name] for name in ("a", "b")} == {"a": 4, "b": 3}


def test_a_frozen_member_keeps_a_sum_whole():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = L.Add()([L.Conv2D(4, 1, name="one")(inputs), L.Conv2D(4, 1, name="two")(inputs)])
    x = L.Conv2D(4, 1, name="three")(x)
    model = wrapped(keras.Model(inputs, L.Dense(3)(L.Flatten()(x))), rate=0.5)
    wrapper_of(model, "one").trainable = False
    fit(compiled(model, run_eagerly=True))
    assert {name: widths(model)[name] for name in ("one", "two", "three")} == {"one": 4, "two": 4, "three": 1}


@pytest.mark.parametrize("head", [True, False])
def test_a_part_that_is_called_for_inference_alone_is_scored_as_it_trains(head, seen):
    # Keras's recipe for fine-tuning: batch norm keeps its statistics, the weights train.
    def build() -> keras.Model:
        keras.utils.set_random_seed(3)
        inputs = keras.Input((6, 6, 2))
        x = L.BatchNormalization()(L.Conv2D(8, 3, use_bias=False, name="a")(inputs))
        base = keras.Model(inputs, L.ReLU()(x), name="base")
        inputs = keras.Input((6, 6, 2))
        x = base(inputs, training=False)
        x = L.Conv2D(6, 2, name="b")(x) if head else x
        return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))

    fit(compiled(wrapped(build()), keras.optimizers.SGD(0.05)))
    net, optimizer = build(), keras.optimizers.SGD(0.05)
    kernels = {name: layer_of(net, name).kernel for name in ("a", "b")[: 1 + head]}
    expected = dict.fromkeys(kernels, 0.0)
    for x, y in batches():
        with tf.GradientTape(persistent=True) as tape:
            loss = loss_of(y, net(x, training=True))
        for name, kernel in kernels.items():
            expected[name] += np.abs(tape.gradient(loss, kernel)).sum(axis=(0, 1, 2))
        optimizer.minimize(loss, net.trainable_variables, tape=tape)
    for name, scores in expected.items():
        np.testing.assert_allclose(seen[0][name], scores, rtol=1e-4)


def test_an_epoch_of_updates_goes_on_in_the_next_fit(seen):
    def widths_after(*epochs: int) -> list[dict[str, int]]:
        model = compiled(wrapped(small(), rate=0.5, epochs=2, updates_per_epoch=6), run_eagerly=True)
        found = []
        for count in epochs:
            fit(model, count, partial_fit=True)
            found.append(widths(model)["a"])
        return found

    # Four updates an epoch of fit: filters leave after the sixth and the twelfth.
    assert widths_after(1, 1, 1)[1:] == [widths_after(2)[0], widths_after(3)[0]]
    assert widths_after(1, 1, 1)[-1] == 3


def test_metrics_that_a_model_holds_are_no_parameters_of_it():
    class Measuring(keras.Model):
        def train_step(self, data):
            return {**super().train_step(data), "seen": self.seen.result()}

    plain = small()
    model = compiled(wrapped(Measuring(plain.inputs, plain.outputs), rate=0.5))
    model.seen = keras.metrics.Mean("seen")
    callback = fit(model)
    assert callback.history[-1].parameters == tfmot_swd.strip_pruning(model).count_params()
