"""PGP's pass over the training data: the norm of the summed gradient, and nothing changed by looking."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, batches, begun, compiled, fit, layer_of, loss_of, sgd, small, step_of
from tests.pgp.nets import network as plain_network
from tests.pgp.nets import wrapped as plain_wrapped
from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.pgp.extra_pass import ExtraPass


def network(**options) -> keras.Model:
    return plain_network(dropout=0.5, **options)


def wrapped(net=None, **options) -> keras.Model:
    return plain_wrapped(network() if net is None else net, criterion="pgp", **options)


def state_of(model: keras.Model) -> list[np.ndarray]:
    """Weights, batch norm, the optimizer and the metrics of the running epoch; not what is being scored."""
    scores = {id(each) for wrapper in model.layers if hasattr(wrapper, "scored") for each in score_states(wrapper)}
    metrics = [each for metric in model.metrics for each in metric.variables]
    variables = [*model.weights, *model.optimizer.variables, *metrics]
    return [each.numpy() for each in variables if id(each) not in scores]


def score_states(wrapper) -> list[tf.Variable]:
    return [state for scored in wrapper.scored for state in (scored.total, scored.update)]


@pytest.fixture
def passes(monkeypatch) -> list:
    """Of each pass: the model's state before it and after it, and what the summed gradient is by another tape."""
    found = []
    original = ExtraPass.over

    def watched(self, data, steps):
        before, wanted = state_of(self._model), {}
        for x, y in data.take(steps if data.cardinality() < 0 else -1):
            with tf.GradientTape() as tape:
                loss = loss_of(y, self._model(x, training=False))
            kernels = {name: weight_at(layer_of(self._model, name), "kernel") for name in ("a", "b")}
            for name, gradient in tape.gradient(loss, kernels).items():
                wanted[name] = wanted.get(name, 0) + gradient.numpy()
        original(self, data, steps)
        wanted = {name: np.abs(value).sum(axis=(0, 1, 2)) for name, value in wanted.items()}
        found.append((before, state_of(self._model), wanted))

    monkeypatch.setattr(ExtraPass, "over", watched)
    return found


def assert_scores(seen, passes) -> None:
    assert len(seen) == len(passes) > 0
    for scores, (_, _, wanted) in zip(seen, passes, strict=True):
        for name, values in wanted.items():
            assert values.min() > 1e-3
            np.testing.assert_allclose(scores[name], values, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"steps_per_execution": 4}])
def test_scores_are_norms_of_the_summed_gradient_in_inference_mode(options, seen, passes):
    model = compiled(wrapped(epochs=2), **options)
    fit(model, 2, training_data=batches())
    assert_scores(seen, passes)
    assert not np.allclose(seen[0]["a"], seen[1]["a"], rtol=0.02)


def test_nothing_else_changes(passes):
    fit(compiled(wrapped(epochs=2)), 2, training_data=batches())
    for before, after, _ in passes:
        assert len(before) > 20
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_training_is_that_of_the_plain_model():
    net, model = compiled(network()), compiled(wrapped(epochs=2))
    histories = []
    for each, more in ((net, []), (model, [])):
        keras.utils.set_random_seed(1)
        if each is net:
            more = each.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, validation_data=(X, Y))
        else:
            fit(each, 2, training_data=batches(), validation_data=(X, Y))
            more = each.history
        histories.append({key: more.history[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy")})
    assert histories[0] == histories[1]
    for a, b in zip(model.trainable_variables, net.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_regularizers_of_kernels_are_left_out(seen, passes):
    regularizer = keras.regularizers.L2(0.1)
    fit(compiled(wrapped(network(regularizer=regularizer))), training_data=batches())
    assert_scores(seen, passes)


def test_sample_weights_count(seen):
    model = compiled(wrapped(plain_network()), keras.optimizers.SGD(0.0))
    weights = np.linspace(0, 2, BATCH).astype(np.float32)
    fit(model, training_data=tf.data.Dataset.from_tensors((X[:BATCH], Y[:BATCH], weights)))
    net = plain_network()
    # The pass has seen the statistics that a training epoch has left.
    layer_of(net, "norm").set_weights(layer_of(model, "norm").get_weights())
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(Y[:BATCH], net(X[:BATCH]), weights)
    wanted = np.abs(tape.gradient(loss, layer_of(net, "a").kernel)).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(seen[0]["a"], wanted, rtol=1e-4)


def test_an_infinite_stream_is_passed_over_for_the_steps_of_an_epoch(seen, passes):
    stream = batches().repeat()
    fit(compiled(wrapped()), data=stream, steps_per_epoch=3, training_data=stream)
    assert_scores(seen, passes)


def test_a_stream_of_unknown_length_is_passed_over_for_the_steps_of_an_epoch(seen, passes):
    def endless():
        while True:
            yield from zip(X.reshape(-1, BATCH, *X.shape[1:]), Y.reshape(-1, BATCH), strict=True)

    kinds = tf.TensorSpec((BATCH, *X.shape[1:])), tf.TensorSpec((BATCH,), tf.int64)
    stream = tf.data.Dataset.from_generator(endless, output_signature=kinds)
    assert stream.cardinality() == tf.data.UNKNOWN_CARDINALITY
    fit(compiled(wrapped()), data=stream, steps_per_epoch=4, training_data=stream)
    assert_scores(seen, passes)


def test_an_infinite_stream_without_steps_is_refused():
    model = compiled(wrapped())
    callback = begun(model, training_data=batches().repeat())
    with pytest.raises(ValueError, match="give fit steps_per_epoch. Received: an infinite training_data"):
        callback.on_epoch_end(0)


def test_in_a_loop_of_ones_own(seen, passes):
    model = wrapped(plain_network())
    model.compile(sgd(), loss_of)
    callback = begun(model, model.optimizer, training_data=batches())
    step = tf.function(step_of(model))
    for x, y in batches():
        step(x, y)
    callback.on_epoch_end(0)
    assert_scores(seen, passes)


def test_a_pass_after_filters_have_left(seen, passes):
    model = compiled(wrapped(rate=0.5, epochs=2, hard_share=1.0))
    fit(model, 3, training_data=batches())
    assert [len(each["a"]) for each in seen] == [8, 4]
    assert_scores(seen, passes)


def test_a_loss_scale_is_taken_off_and_an_overflow_does_not_count(seen):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = wrapped(plain_network())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    compiled(model, keras.optimizers.SGD(0.0), run_eagerly=True)
    spoilt = batches(1).map(lambda x, y: (x, y, tf.fill([BATCH], 1e30)))
    fit(model, training_data=spoilt.concatenate(batches(3).map(lambda x, y: (x, y, tf.ones([BATCH])))))
    net = plain_network()
    layer_of(net, "norm").set_weights(layer_of(model, "norm").get_weights())
    wanted = 0.0
    for x, y in batches(3):
        with tf.GradientTape() as tape:
            loss = loss_of(y, net(x, training=False))
        wanted += tape.gradient(loss, layer_of(net, "a").kernel)
    np.testing.assert_allclose(seen[0]["a"], np.abs(wanted).sum(axis=(0, 1, 2)), rtol=0.05)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, ValueError, r"pass UpdatePruningStep\(training_data=dataset\).*Received: training_data=None"),
        ((X, Y), TypeError, "training_data must be a tf.data.Dataset of batches. Received: tuple"),
    ],
)
def test_training_data_are_asked_for_before_training(data, error, message):
    model = compiled(wrapped())
    with pytest.raises(error, match=message):
        fit(model, training_data=data)
    assert model.optimizer.iterations.numpy() == 0


def test_fine_tuning_needs_no_training_data():
    model = compiled(wrapped(rate=0.5), run_eagerly=True)
    fit(model, training_data=batches())
    fit(model)


@pytest.mark.parametrize("compiles", [False, True])
def test_a_model_without_a_loss_is_refused(compiles):
    model = wrapped()
    if compiles:
        model.compile(sgd())
    with pytest.raises(ValueError, match="give model.compile the loss.*Received: 'net' without a loss"):
        begun(model, training_data=batches())


class Tripled(keras.Model):
    """Has its loss from a method."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return 3.0 * loss_of(y, y_pred)


def test_a_loss_from_a_method_is_enough(seen):
    found = []
    for kind in (keras.Model, Tripled):
        plain = plain_network()
        model = wrapped(kind(plain.inputs, plain.outputs))
        model.compile(keras.optimizers.SGD(0.0), loss_of if kind is keras.Model else None, run_eagerly=True)
        fit(model, training_data=batches())
        found.append(seen[-1]["a"])
    np.testing.assert_allclose(found[1], 3 * found[0], rtol=1e-4)


class TwoDomains(keras.Model):
    """Batches of ((images, labels), other images), and a loss of both."""

    def whole_loss(self, batch, training):
        (x, y), other = batch
        return loss_of(y, self(x, training=training)) + tf.reduce_mean(self(other, training=training) ** 2)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = self.whole_loss(data, training=True)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


def two_domains() -> keras.Model:
    plain = small()
    model = wrapped(TwoDomains(plain.inputs, plain.outputs, name="net"))
    model.compile(keras.optimizers.SGD(0.0), loss_of, run_eagerly=True)
    return model


def test_the_loss_of_a_training_step_of_ones_own(seen):
    pairs = tf.data.Dataset.zip((batches(), batches().map(lambda x, _: -x)))
    model = two_domains()
    callback = tfmot_swd.UpdatePruningStep(
        training_data=pairs, training_loss=lambda batch: model.whole_loss(batch, training=False)
    )
    model.fit(pairs, callbacks=[callback], verbose=0)
    plain, wanted = small(), 0.0
    for (x, y), other in pairs:
        with tf.GradientTape() as tape:
            loss = loss_of(y, plain(x, training=False)) + tf.reduce_mean(plain(other, training=False) ** 2)
        wanted += tape.gradient(loss, layer_of(plain, "a").kernel)
    np.testing.assert_allclose(seen[0]["a"], np.abs(wanted).sum(axis=(0, 1, 2)), rtol=1e-4)


def test_a_training_step_of_ones_own_has_to_tell_its_loss():
    # The compiled loss is not what it trains on.
    with pytest.raises(ValueError, match=r"training_loss=function of a batch.*Received: 'net' of class TwoDomains"):
        fit(two_domains(), training_data=batches())
