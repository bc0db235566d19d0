"""How hard a schedule pulls: penalty form, mu, gain, and the forecast of a run."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.strength import (
    NEGLIGIBLE_LAST_SHRINK,
    NEGLIGIBLE_LOG_SHRINK,
    DecayStrength,
    RunForecast,
    _coupled_forecast,
)

SGD = keras.optimizers.SGD
LEGACY = keras.optimizers.legacy
NO_DECAY = r"this model has none: pass mu=5e-4 .*Received: mu=None, no L2 regularizer, no weight_decay"


def paper(**changes) -> SelectiveDecay:
    return SelectiveDecay.paper(**{"final_sparsity": 0.9, "end_step": 60, "mu": 5e-4, **changes})


def wrapped(*regularizers) -> list:
    """Stand-ins of wrappers: what mu is read off is `wrapper.layer.kernel_regularizer`."""

    class Wrapper:
        def __init__(self, regularizer):
            self.layer = keras.layers.Dense(1, kernel_regularizer=regularizer)

    return [Wrapper(regularizer) for regularizer in regularizers]


@pytest.mark.parametrize(
    ("penalty", "optimizer", "coupled"),
    [
        ("auto", SGD(0.1), True),
        ("auto", LEGACY.SGD(0.1), True),
        ("auto", keras.mixed_precision.LossScaleOptimizer(SGD(0.1)), True),
        ("auto", keras.optimizers.Adam(), False),
        ("auto", keras.optimizers.AdamW(), False),
        ("auto", LEGACY.Adam(), False),
        ("auto", keras.optimizers.RMSprop(), False),
        ("coupled", keras.optimizers.Adam(), True),
        ("implicit", SGD(0.1), False),
    ],
)
def test_the_penalty_form_goes_by_the_optimizer_unless_given(penalty, optimizer, coupled):
    assert DecayStrength.of(paper(penalty=penalty), optimizer).coupled is coupled


def test_mu_of_an_l2_regularizer_is_twice_its_factor():
    layers = wrapped(keras.regularizers.L2(2.5e-4), None, keras.regularizers.L2(2.5e-4))

    assert DecayStrength.of(paper(mu=None), SGD(), layers).mu == pytest.approx(5e-4)


def test_mu_falls_back_to_the_optimizers_own_decay():
    strength = DecayStrength.of(paper(mu=None), keras.optimizers.AdamW(weight_decay=0.004))

    assert strength.mu == pytest.approx(0.004)


def test_a_given_mu_wins():
    layers = wrapped(keras.regularizers.L2(1.0))

    assert DecayStrength.of(paper(mu=3e-4), SGD(weight_decay=0.1), layers).mu == 3e-4


def test_regularizers_of_different_strength_are_refused():
    layers = wrapped(keras.regularizers.L2(1e-4), keras.regularizers.L2(5e-4))

    with pytest.raises(ValueError, match=r"pass mu to the schedule\. Received: .*\[0\.0002, 0\.001\]"):
        DecayStrength.of(paper(mu=None), SGD(), layers)


@pytest.mark.parametrize("optimizer", [SGD(0.1), keras.optimizers.Adam()])
def test_the_automatic_strength_takes_regularizers_of_different_strength(optimizer):
    layers = wrapped(keras.regularizers.L2(1e-4), keras.regularizers.L2(5e-4))
    strength = DecayStrength.of(SelectiveDecay(final_sparsity=0.9, end_step=60), optimizer, layers)

    assert (strength.mu, strength.coupled) == (0.0, False)


@pytest.mark.parametrize("schedule", [paper(mu=None), paper(mu=None, penalty="implicit")])
def test_no_weight_decay_to_multiply_is_refused(schedule):
    with pytest.raises(ValueError, match=NO_DECAY):
        DecayStrength.of(schedule, SGD(), wrapped(None))


def test_the_automatic_strength_needs_no_weight_decay():
    schedule = SelectiveDecay(final_sparsity=0.9, end_step=60)
    strength = DecayStrength.of(schedule, SGD(0.1))

    assert (strength.mu, strength.coupled) == (0.0, False)
    for step in (0, 30, 60):
        assert float(strength.shrink(tf.constant(step, tf.int64))) == float(schedule.shrink(step))


def test_the_automatic_strength_does_not_follow_the_learning_rate():
    schedule = SelectiveDecay(final_sparsity=0.9, end_step=60)
    slow, fast = (DecayStrength.of(schedule, SGD(rate)) for rate in (1e-4, 1.0))

    assert float(slow.shrink(tf.constant(7))) == float(fast.shrink(tf.constant(7)))


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [(SGD(0.1), 0.1), (SGD(0.1, momentum=0.9), 1.0), (keras.optimizers.Adam(0.1), 0.1)],
)
def test_shrink_is_lr_mu_a_with_the_gain_of_momentum(optimizer, expected):
    """lr .1, mu .01, a 100: X = .1; momentum .9 makes it ten times that."""
    schedule = paper(mu=0.01, a_min=100.0, a_max=100.0, penalty="implicit")
    strength = DecayStrength.of(schedule, optimizer)

    assert float(strength.shrink(tf.constant(0, tf.int64))) == pytest.approx(expected)


def test_shrink_follows_the_optimizers_learning_rate():
    optimizer = SGD(0.1)
    schedule = paper(mu=0.01, a_min=100.0, a_max=100.0, penalty="implicit")
    strength = DecayStrength.of(schedule, optimizer)
    optimizer.learning_rate = 0.02

    assert float(strength.shrink(tf.constant(0, tf.int64))) == pytest.approx(0.02)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.001, 0.01, 0.5])
def test_the_coupled_forecast_is_what_keras_sgd_does(momentum, decay):
    """Constant decay on one weight, played by the real optimizer; what still moves is not gone."""
    weight = tf.Variable(1.0)
    optimizer = SGD(1.0, momentum=momentum)
    path = [1.0]
    for _ in range(40):
        optimizer.apply_gradients([(decay * weight, weight)])
        path.append(float(weight))

    forecast = _coupled_forecast(np.full(40, decay), momentum)

    left = math.hypot(path[-1], path[-2] - path[-1])
    assert forecast.log_shrink == pytest.approx(-math.log(left), abs=1e-3)


def test_without_momentum_log_shrink_is_the_sum_of_logs():
    """w falls by (1 - d) a step; the velocity left is d / (1 - d) of the weight."""
    forecast = _coupled_forecast(np.full(5, 0.5), 0.0)

    assert forecast.log_shrink == pytest.approx(5 * math.log(2) - 0.5 * math.log(2))
    assert forecast.limit == 2.0


def test_a_weight_that_is_gone_at_once_has_shrunk_without_end():
    forecast = _coupled_forecast(np.array([1.0, 0.0, 0.0]), 0.0)

    assert forecast.log_shrink == math.inf
    assert not forecast.diverges


def test_the_implicit_forecast_sums_the_logs_of_its_divisors():
    schedule = paper(mu=0.01, a_min=100.0, a_max=100.0, penalty="implicit")
    forecast = DecayStrength.of(schedule, SGD(0.1, momentum=0.9)).forecast()

    # One decay an update, and one more before the cut.
    assert forecast.log_shrink == pytest.approx(61 * math.log(2))
    assert forecast.last_shrink == pytest.approx(1.0)
    assert (forecast.peak, forecast.limit, forecast.diverges) == (0.0, math.inf, False)


def test_a_learning_rate_that_a_callback_decides_can_be_given():
    schedule = paper(mu=0.01, a_min=100.0, a_max=100.0, penalty="implicit", end_step=4)
    strength = DecayStrength.of(schedule, SGD(0.1))
    forecast = strength.forecast(learning_rate=lambda step: 1.0 if step < 2 else 0.0)

    assert forecast.log_shrink == pytest.approx(2 * math.log(2))


def test_the_forecast_reads_a_learning_rate_schedule():
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.0])
    schedule = paper(mu=0.01, a_min=100.0, a_max=100.0, penalty="implicit", end_step=4)

    # Updates 0 and 1 are at the first rate: Keras's boundaries are inclusive.
    assert DecayStrength.of(schedule, SGD(rates)).forecast().log_shrink == pytest.approx(2 * math.log(2))


def test_the_forecast_leaves_out_the_updates_before_begin():
    schedule = SelectiveDecay(0.9, 60, begin_step=57, mu=0.01, a_min=100.0, a_max=100.0)

    assert DecayStrength.of(schedule, SGD(0.1, momentum=0.9)).forecast().log_shrink == pytest.approx(4 * math.log(2))


def test_problems_of_a_run_are_sentences():
    sound = RunForecast(NEGLIGIBLE_LOG_SHRINK, 0.0, math.inf, NEGLIGIBLE_LAST_SHRINK)
    short = RunForecast(NEGLIGIBLE_LOG_SHRINK - 1, 0.0, math.inf, NEGLIGIBLE_LAST_SHRINK)
    weak_end = RunForecast(NEGLIGIBLE_LOG_SHRINK, 0.0, math.inf, NEGLIGIBLE_LAST_SHRINK / 2)
    diverging = RunForecast(-5.0, 4.0, 3.8, math.inf)

    assert sound.problems() == []
    assert [len(forecast.problems()) for forecast in (short, weak_end, diverging)] == [1, 1, 1]
    assert "Pruning at end_step will change the outputs" in short.problems()[0]
    assert "reaches 4, above the limit 3.8" in diverging.problems()[0]


def test_the_default_schedule_has_no_problems():
    for steps in (100, 1000):
        schedule = SelectiveDecay(final_sparsity=0.99, end_step=steps)
        assert DecayStrength.of(schedule, SGD(0.1, momentum=0.9)).forecast().problems() == []


@pytest.mark.parametrize(("decay", "diverges"), [(1.35, False), (1.37, True)])
def test_nesterov_diverges_sooner(decay, diverges):
    """The limit is 2 · (1 + m) / (1 + 2m), 1.357 at m = 0.9."""
    forecast = _coupled_forecast(np.full(2000, decay), 0.9, nesterov=True)

    assert forecast.diverges == diverges
    assert (forecast.log_shrink < 0) == diverges


@pytest.mark.parametrize("clip", [{"clipnorm": 1.0}, {"clipvalue": 0.1}, {"global_clipnorm": 1.0}])
def test_clipping_cancels_a_coupled_penalty(clip):
    clipped = keras.optimizers.SGD(0.1, **clip)
    settings = {"end_step": 100, "mu": 5e-4, "a_min": 0.1, "a_max": 1e5}

    assert not DecayStrength.of(SelectiveDecay(0.5, penalty="auto", **settings), clipped).coupled
    forced = DecayStrength.of(SelectiveDecay(0.5, penalty="coupled", **settings), clipped)
    assert "Use penalty='implicit' or 'auto'" in forced.forecast().problems()[0]
