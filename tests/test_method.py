"""Selective Weight Decay against what the method says: hand-computed numbers and a second implementation.

The traps of its authors' history each have a test here: the gradient decayed instead of the weight, the
mask inverted, a wrong total of steps, a penalty without a gradient.
"""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from examples.networks import resnet20
from tfmot_swd import SelectiveDecay, UpdatePruningStep, plan_pruning, prune_selective_decay
from tfmot_swd.pruning.thresholds import kth_magnitude
from tfmot_swd.swd.strength import DecayStrength, _coupled_forecast
from tfmot_swd.swd.weight_pool import WeightPool

L = keras.layers
W = np.array([0.1, -0.2, 0.3, -0.4], np.float32)
MU, MOMENTUM = 5e-4, 0.9


def one_layer(schedule, weights=W, optimizer=None, eager=True) -> keras.Model:
    net = keras.Sequential([L.Dense(1, use_bias=False, input_shape=(len(weights),))])
    net.set_weights([np.reshape(weights, (-1, 1))])
    pruned = prune_selective_decay(net, schedule)
    # Eager is quicker for a few steps; the tests that go through the compiled step say so.
    pruned.compile(optimizer or keras.optimizers.SGD(1.0), "mse", run_eagerly=eager)
    return pruned


def constant(penalty, a=10.0, **changes) -> SelectiveDecay:
    settings = {"end_step": 4, "ramp": 0.0, "mu": MU, "a_min": a, "a_max": a, "penalty": penalty}
    return SelectiveDecay(0.5, **{**settings, **changes})


def kernel(pruned) -> np.ndarray:
    return pruned.layers[0].layer.kernel.numpy().ravel()


def joined(pruned) -> WeightPool:
    pool = WeightPool.of(pruned)
    pool.join(pruned.optimizer)
    return pool


# --- the penalty of one step ---------------------------------------------------------------------


def test_the_penalty_and_its_gradient_of_four_weights():
    """w = [.1, -.2, .3, -.4], rate .5, mu 5e-4, a 10: threshold .3, keep 0 0 1 1."""
    pruned = one_layer(constant("coupled"))
    pool = joined(pruned)
    with tf.GradientTape() as tape:
        pruned(tf.zeros((1, 4)), training=True)
        penalty = tf.add_n(pruned.losses)
    gradient = tape.gradient(penalty, pruned.layers[0].layer.kernel)

    assert float(pool.leader.threshold) == np.float32(0.3)
    assert float(penalty) == pytest.approx(1.25e-4)
    np.testing.assert_allclose(gradient.numpy().ravel(), [5e-4, -1e-3, 0, 0], rtol=1e-6)
    assert gradient.numpy().ravel()[2:].tolist() == [0, 0]


def test_the_gradient_of_the_penalty_equals_finite_differences():
    weights = np.random.default_rng(0).normal(size=24).astype(np.float32)
    schedule = constant("coupled", a=1e3)
    pruned = one_layer(schedule, weights)
    pool = joined(pruned)
    variable = pruned.layers[0].layer.kernel
    with tf.GradientTape() as tape:
        pruned(tf.zeros((1, 24)), training=True)
        penalty = tf.add_n(pruned.losses)
    gradient = tape.gradient(penalty, variable).numpy().ravel()

    def at(values) -> float:
        # The targeted set of this update stands: threshold and clock are not computed anew.
        variable.assign(np.reshape(values, (-1, 1)))
        return float(pool.penalty(pruned.layers[0]))

    step = 1e-2
    for index in range(24):
        up, down = weights.copy(), weights.copy()
        up[index] += step
        down[index] -= step
        slope = (at(up) - at(down)) / (2 * step)
        crosses = abs(abs(weights[index]) - float(pool.leader.threshold)) <= step
        assert crosses or slope == pytest.approx(gradient[index], rel=1e-3, abs=1e-5)
    assert np.count_nonzero(gradient) == 12


def test_ordinary_weight_decay_stays_beside_the_selective_one():
    """The gradient of a targeted weight is wd·(1 + a)·w, of any other wd·w."""
    net = keras.Sequential(
        [L.Dense(1, use_bias=False, input_shape=(4,), kernel_regularizer=keras.regularizers.L2(MU / 2))]
    )
    net.set_weights([W[:, None]])
    pruned = prune_selective_decay(net, constant("coupled", mu=None))
    pruned.compile(keras.optimizers.SGD(1.0), "mse")
    pool = joined(pruned)
    with tf.GradientTape() as tape:
        pruned(tf.zeros((1, 4)), training=True)
        total = tf.add_n(pruned.losses)
    gradient = tape.gradient(total, pruned.layers[0].layer.kernel).numpy().ravel()

    assert pool.strength.mu == pytest.approx(MU)
    np.testing.assert_allclose(gradient, MU * W * [11, 11, 1, 1], rtol=1e-5)


# --- the four traps --------------------------------------------------------------------------------


def test_trap_the_weight_is_decayed_and_not_its_gradient():
    """Two targeted weights with equal task gradients fall by amounts in the ratio of the weights."""
    pruned = one_layer(constant("coupled", a=100.0), optimizer=keras.optimizers.SGD(1.0))
    x, y = np.ones((1, 4), np.float32), np.array([[-0.2]], np.float32)
    joined(pruned)
    # The output is -.2 already, so the task's gradient is zero: what moves is the penalty alone.
    pruned.train_on_batch(x, y)

    np.testing.assert_allclose(W - kernel(pruned), [0.05 * 0.1, 0.05 * -0.2, 0, 0], atol=1e-7)


@pytest.mark.parametrize("penalty", ["coupled", "implicit"])
def test_trap_the_small_weights_fall_and_the_large_ones_stay(penalty):
    pruned = one_layer(constant(penalty, a=100.0), optimizer=keras.optimizers.SGD(1.0))
    joined(pruned)
    pruned.train_on_batch(np.zeros((1, 4)), np.zeros((1, 1)))
    after = kernel(pruned)

    assert (np.abs(after[:2]) < np.abs(W[:2])).all()
    assert after[2:].tolist() == W[2:].tolist()


def test_trap_the_total_of_steps_is_counted_in_updates():
    """The strength ends at a_max in the last update, whatever the epochs, batches or executions."""
    schedule = SelectiveDecay.paper(0.5, end_step=6, mu=MU)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            wrapper = self.model.layers[0]
            seen.append((int(wrapper.pruning_step), bool(wrapper.cut)))

    pruned = one_layer(schedule, optimizer=keras.optimizers.SGD(1e-3), eager=False)
    callback = UpdatePruningStep()
    # Our callback first: the cut is to be seen at the end of update 6, and not before.
    history = pruned.fit(
        np.zeros((6, 4)), np.zeros((6, 1)), batch_size=2, epochs=2, verbose=0, callbacks=[callback, Watch()]
    )

    assert seen == [(1, False), (2, False), (3, False), (4, False), (5, False), (6, True)]
    # a(k) = .1 · 1e6^(k/6): 10 after the third update (k = 2), 1e4 after the sixth (k = 5).
    assert history.history["a"] == pytest.approx([10.0, 1e4], rel=1e-5)


def test_trap_the_penalty_reaches_the_weights_through_fit():
    """With a task that has no gradient at all, the compiled step still moves the targeted weights."""
    pruned = one_layer(constant("coupled", a=100.0, end_step=1), optimizer=keras.optimizers.SGD(1.0), eager=False)
    before = []

    class Before(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            before.append(kernel(self.model))

    pruned.fit(np.zeros((1, 4)), np.zeros((1, 1)), verbose=0, callbacks=[Before(), UpdatePruningStep()])

    np.testing.assert_allclose(before[0], [0.095, -0.19, 0.3, -0.4], rtol=1e-6)


# --- the targeted set is recomputed, and nothing is cut before the end -----------------------------


@pytest.mark.parametrize("penalty", ["coupled", "implicit"])
def test_a_weight_can_leave_the_targeted_set_and_come_back(penalty):
    """The task pulls the first weight up over the threshold and then down again."""
    pruned = one_layer(constant(penalty, a=1.0, end_step=100), optimizer=keras.optimizers.SGD(0.5))
    pool = joined(pruned)
    x = np.array([[1, 0, 0, 0]], np.float32)
    below = []
    for target in [1.0] * 3 + [0.0] * 3:
        pruned.train_on_batch(x, np.array([[target]]))
        begun_with = float(pool.leader.threshold)
        below.append(bool(abs(kernel(pruned)[0]) < begun_with))

    # lr .5 on (w - y)² carries the weight to the target in one update.
    assert below == [False, False, False, True, True, True]
    assert np.abs(kernel(pruned)[1]) > 0


def test_nothing_is_zero_before_the_end_and_half_of_it_after():
    schedule = SelectiveDecay.paper(0.5, end_step=8, mu=MU)
    pruned = one_layer(schedule, optimizer=keras.optimizers.SGD(1e-3, momentum=MOMENTUM))
    zeros = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            zeros.append(int((kernel(self.model) == 0).sum()))

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 1))
    pruned.fit(x, y, batch_size=1, verbose=0, callbacks=[UpdatePruningStep(), Count()])

    assert zeros == [0] * 7 + [2]


def test_all_weights_equal_means_that_none_is_targeted():
    """The rule keeps ties: a top-k would pick weights by their index."""
    pruned = one_layer(constant("implicit", a=1e5, end_step=1), np.full(4, 0.5))
    pruned.fit(np.zeros((1, 4)), np.zeros((1, 1)), verbose=0, callbacks=[UpdatePruningStep()])

    assert kernel(pruned).tolist() == [0.5] * 4


# --- the implicit form ------------------------------------------------------------------------------


def test_one_implicit_step_by_hand():
    """X = lr·mu·a / (1 - m) = 1·5e-4·1000 / (1 - 0) = .5: targeted weights become w / 1.5."""
    pruned = one_layer(constant("implicit", a=1000.0), optimizer=keras.optimizers.SGD(1.0))
    joined(pruned)
    pruned.train_on_batch(np.zeros((1, 4)), np.zeros((1, 1)))
    after = kernel(pruned)

    np.testing.assert_allclose(after[:2], W[:2] / 1.5, rtol=1e-6)
    # The others are the same to the bit.
    assert after[2:].view(np.int32).tolist() == W[2:].view(np.int32).tolist()


def test_after_the_last_update_the_weights_are_decayed_once_more_and_then_cut():
    """Two divisions by 1.5 in a run of one update: the decay of an update is made before its gradients."""
    pruned = one_layer(constant("implicit", a=1000.0, end_step=1), optimizer=keras.optimizers.SGD(1.0))
    callback = UpdatePruningStep()
    pruned.fit(np.zeros((1, 4)), np.zeros((1, 1)), verbose=0, callbacks=[callback])

    assert callback.final_step.removed == 2
    assert callback.final_step.largest_removed == pytest.approx(0.2 / 1.5**2)
    assert kernel(pruned).tolist() == [0, 0, *W[2:].tolist()]


class Reference:
    """The implicit method on a tiny dense net with squared error, in numpy and float64.

    In update k: threshold of the weights, w / (1 + X) below it, forward, backward, heavy-ball update.
    After the last update one more decay, then the cut.
    """

    def __init__(self, weights, schedule, rate, shrink):
        self.weights = [weight.astype(np.float64) for weight in weights]
        self.velocity = [np.zeros_like(weight) for weight in self.weights]
        self.schedule, self.rate, self.shrink, self.step = schedule, rate, shrink, 0

    def threshold(self, sparsity) -> float:
        pool = np.concatenate([np.abs(weight).ravel() for weight in self.weights])
        return np.partition(pool, int(sparsity * pool.size))[int(sparsity * pool.size)]

    def sparsity(self) -> float:
        left = max(0.0, 1.0 - self.step / self.schedule.end_step / self.schedule.ramp)
        return self.schedule.final_sparsity * (1.0 - left**3)

    def decay(self) -> None:
        limit = self.threshold(self.sparsity())
        for weight in self.weights:
            weight[np.abs(weight) < limit] /= 1.0 + self.shrink(self.step)

    def update(self, x, y) -> None:
        self.decay()
        first, bias, second, offset = self.weights
        hidden = np.maximum(x @ first + bias, 0.0)
        error = 2.0 * (hidden @ second + offset - y) / y.size
        back = (error @ second.T) * (hidden > 0)
        gradients = [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
        for weight, velocity, gradient in zip(self.weights, self.velocity, gradients, strict=True):
            velocity[...] = MOMENTUM * velocity - self.rate * gradient
            weight += velocity
        self.step += 1

    def finish(self) -> None:
        self.decay()
        limit = self.threshold(self.schedule.final_sparsity)
        for weight in self.weights:
            weight[np.abs(weight) < limit] = 0.0


@pytest.mark.parametrize("automatic", [False, True])
def test_several_steps_equal_a_second_implementation(automatic):
    rate, steps = 0.05, 8
    strength = {} if automatic else {"mu": 1.0, "a_min": 0.1, "a_max": 100.0}
    schedule = SelectiveDecay(0.6, end_step=steps, ramp=0.5, power=3.0, **strength)

    def shrink(step) -> float:
        if automatic:
            return float(schedule.shrink(step))
        return rate * 0.1 * 1000 ** (step / steps) / (1 - MOMENTUM)

    rng = np.random.default_rng(4)
    net = keras.Sequential([L.Dense(5, "relu", input_shape=(4,)), L.Dense(2)])
    net.set_weights([rng.normal(size=weight.shape) for weight in net.weights])
    x, y = rng.normal(size=(steps, 3, 4)), rng.normal(size=(steps, 3, 2))
    pruned = prune_selective_decay(net, schedule)
    pruned.compile(keras.optimizers.SGD(rate, momentum=MOMENTUM), "mse")
    reference = Reference(net.get_weights(), schedule, rate, shrink)
    path = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            path.append([weight.numpy() for weight in self.model.trainable_weights])

    # Watch stands before our callback, so it sees the last update without its decay and cut.
    pruned.fit(
        x.reshape(-1, 4),
        y.reshape(-1, 2),
        batch_size=3,
        shuffle=False,
        verbose=0,
        callbacks=[Watch(), UpdatePruningStep()],
    )

    for found, inputs, targets in zip(path, x, y, strict=True):
        reference.update(inputs, targets)
        for weight, expected in zip(found, reference.weights, strict=True):
            np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=2e-5)
    reference.finish()
    for weight, expected in zip(pruned.trainable_weights, reference.weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-3, atol=2e-5)
        assert ((weight.numpy() == 0) == (expected == 0)).all()
    # 37 weights in the pool, int(.6 · 37) = 22 of them cut.
    assert sum(int((weight.numpy() == 0).sum()) for weight in pruned.trainable_weights) == 22


# --- the schedule and its stability ------------------------------------------------------------------


def test_a_at_sixths_of_the_run():
    schedule = SelectiveDecay.paper(0.9, end_step=600)

    found = [float(schedule.a(step)) for step in range(0, 601, 100)]
    assert found == pytest.approx([0.1, 1, 10, 100, 1e3, 1e4, 1e5], rel=1e-6)


@pytest.mark.parametrize(("decay", "diverges"), [(3.79, False), (3.81, True)])
def test_the_edge_of_stability_with_momentum(decay, diverges):
    """lr·lambda = 2 (1 + m) = 3.8 at m = .9: by simulation, and as the forecast says."""
    weight = velocity = 1.0
    for _ in range(400):
        velocity = MOMENTUM * velocity + decay * weight
        weight -= velocity
    forecast = _coupled_forecast(np.full(400, decay), MOMENTUM)

    assert (abs(weight) > 1e3) is diverges
    assert (abs(weight) < 1e-3) is not diverges
    assert forecast.diverges is diverges
    assert (forecast.log_shrink < 0) is diverges
    assert forecast.limit == pytest.approx(3.8)


def forecast_of(epochs, a_max, rate_at, steps_per_epoch):
    """The schedule, the decay lr·mu·(1 + a) of every update, and the forecast, in the recipe's setting."""
    schedule = SelectiveDecay.paper(0.9, end_step=epochs * steps_per_epoch, mu=MU, a_max=a_max)
    steps = np.arange(schedule.end_step)
    rates = np.array([rate_at(step) for step in steps])
    strength = DecayStrength.of(schedule, keras.optimizers.SGD(0.1, momentum=MOMENTUM))
    return schedule, rates * MU * (1 + schedule.a(steps).numpy()), strength.forecast(rate_at)


def recipe(epochs, steps_per_epoch):
    """The recipe's learning rate: .1, divided by 10 after a third and two thirds, in whole epochs."""
    return lambda step: 0.1 * 10.0 ** -sum(step >= steps_per_epoch * (epochs * third // 3) for third in (1, 2))


def cosine(steps):
    return lambda step: 0.05 * (1 + math.cos(math.pi * step / steps))


def test_a_constant_learning_rate_crosses_the_edge_at_98_hundredths():
    _, decay, forecast = forecast_of(300, 1e5, lambda step: 0.1, 10)

    assert forecast.diverges
    assert int(np.argmax(decay > forecast.limit)) / 3000 == pytest.approx(0.98, abs=0.001)
    assert any("will diverge" in problem for problem in forecast.problems())


@pytest.mark.parametrize(("rate_at", "peak"), [(recipe(300, 10), 0.05), (cosine(3000), 0.034)], ids=["step", "cosine"])
def test_the_usual_learning_rates_are_far_from_the_edge(rate_at, peak):
    _, _, forecast = forecast_of(300, 1e5, rate_at, 10)

    assert forecast.peak == pytest.approx(peak, rel=0.02)
    assert not forecast.diverges


@pytest.mark.parametrize(("epochs", "a_max", "simple", "exact"), [(10, 1e5, 148, 61), (30, 1e3, 12, 12.5)])
def test_the_log_shrink_of_short_runs(epochs, a_max, simple, exact):
    """The method text counts the sum of lr·mu·(1 + a) / (1 - m); the forecast plays the oscillator.

    The two agree while a step's decay is below (1 - sqrt(m))² = .0026. Above it a weight swings around
    zero, and shrinks by sqrt(m) a step at most, however large `a` is: the simple sum promises too much.
    """
    _, decay, forecast = forecast_of(epochs, a_max, recipe(epochs, 391), 391)
    # Each step with the rate of the slower of its two modes: another way to the same number.
    modes = [np.abs(np.roots([1, -(1 + MOMENTUM - value), MOMENTUM])).max() for value in decay]

    assert decay.sum() / (1 - MOMENTUM) == pytest.approx(simple, abs=0.5)
    assert forecast.log_shrink == pytest.approx(-np.log(modes).sum(), rel=0.02)
    assert forecast.log_shrink == pytest.approx(exact, abs=1.0)
    assert forecast.jumps is (epochs == 30)


# --- the pool of the paper's network -------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper_network() -> keras.Model:
    return resnet20((32, 32, 3), 10, width=64, post_add_bn=True)


def test_the_pool_of_the_papers_network(paper_network):
    """Kernels and dense biases. The authors' code counts 768 weights more: by their names, the gamma and
    beta of the two projection shortcuts' batch norm (128 and 256 maps) belong to its pool as well."""
    plan = plan_pruning(paper_network, targets="all")
    counted = {
        kind: sum(row.eligible_weights for row in plan.rows if row.kind == kind)
        for kind in ("Conv2D", "Dense", "BatchNormalization")
    }
    shortcuts = [layer for layer in paper_network.layers if layer.name.endswith("shortcut_bn")]

    assert counted == {"Conv2D": 4_318_912, "Dense": 2_570, "BatchNormalization": 0}
    assert plan.prunable_weights == 4_321_482
    assert sum(weight.shape[0] for layer in shortcuts for weight in layer.trainable_weights) == 768
    assert plan.prunable_weights + 768 == 4_322_250


@pytest.mark.parametrize(("pool", "kept_at_last"), [(4_321_482, 4_322), (4_322_250, 4_323)])
def test_the_rates_of_the_paper_keep_what_they_should(pool, kept_at_last):
    """Kept is N - int(rate · N), falls with the rate, and is 0.1 % in the end."""
    # A permutation of distinct magnitudes, so that there are no ties to keep.
    magnitudes = np.random.default_rng(0).permutation(pool).astype(np.float32) + 1
    rates = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999]
    weights = tf.constant(magnitudes)
    kept = [int((magnitudes >= kth_magnitude([weights], int(rate * pool)).numpy()).sum()) for rate in rates]

    assert kept == [pool - int(rate * pool) for rate in rates]
    assert kept == sorted(set(kept), reverse=True)
    assert kept[-1] == kept_at_last


def test_the_number_kept_falls_with_the_rate_through_the_real_cut():
    kept = []
    for rate in (0.0, 0.2, 0.5, 0.75, 0.9, 0.99):
        schedule = SelectiveDecay(rate, end_step=1)
        weights = np.linspace(-1, 1, 40) + 0.013
        pruned = one_layer(schedule, weights)
        WeightPool.of(pruned).finish()
        kept.append(int(np.count_nonzero(kernel(pruned))))

    assert kept == [40, 32, 20, 10, 4, 1]
