"""The schedule: its two curves, its contract with TFMOT, and what it refuses."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.swd.schedules import SelectiveDecay


def make(**changes) -> SelectiveDecay:
    return SelectiveDecay(**{"final_sparsity": 0.9, "end_step": 600, **changes})


def test_the_target_climbs_as_a_cubic_and_stays():
    schedule = make(ramp=2 / 3, power=3.0)
    # Half of the ramp (t = 1/3): 0.9 · (1 - (1/2)³).
    expected = {0: 0.0, 200: 0.9 * 7 / 8, 400: 0.9, 500: 0.9, 600: 0.9, 700: 0.9}

    assert {step: float(schedule.sparsity(step)) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize("rate", [0.1, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("ramp", [0.0, 2 / 3, 0.9, 1.0])
def test_the_target_ends_on_the_rate_to_the_bit(rate, ramp):
    schedule = make(final_sparsity=rate, ramp=ramp)

    assert float(schedule.sparsity(600)) == rate
    assert schedule.sparsity(600).dtype == tf.float64


def test_an_initial_sparsity_is_where_the_target_starts():
    schedule = make(initial_sparsity=0.5, ramp=1.0, power=1.0)

    assert [float(schedule.sparsity(step)) for step in (0, 300, 600)] == pytest.approx([0.5, 0.7, 0.9])


def test_progress_waits_for_the_begin_step():
    schedule = make(begin_step=200)

    assert [float(schedule.progress(step)) for step in (0, 200, 400, 600, 800)] == [0, 0, 0.5, 1, 1]


def test_a_constant_strength():
    schedule = make(a_min=7.0, a_max=7.0)

    assert [float(schedule.a(step)) for step in (0, 300, 600)] == [7.0, 7.0, 7.0]


def test_the_automatic_shrink_goes_geometrically_from_first_to_last():
    schedule = make(shrink_min=0.04, shrink_max=400.0)

    assert schedule.is_automatic
    assert [float(schedule.shrink(step)) for step in (0, 300, 600)] == pytest.approx([0.04, 4.0, 400.0])


def test_strength_is_float32_even_where_float16_would_overflow():
    assert SelectiveDecay.paper(0.9, end_step=6).a(6).dtype == tf.float32


def test_paper_is_the_published_setting():
    schedule = SelectiveDecay.paper(0.9, end_step=600)

    assert [float(schedule.sparsity(step)) for step in (0, 1, 600)] == [0.9, 0.9, 0.9]
    assert (schedule.a_min, schedule.a_max) == (0.1, 1e5)
    assert (schedule.penalty, schedule.targets, schedule.frequency) == ("auto", "all", 1)
    assert not schedule.is_automatic


def test_call_keeps_tfmots_contract():
    schedule = make(begin_step=10, end_step=40, frequency=15)
    due = [int(step) for step in range(60) if schedule(tf.constant(step, tf.int64))[0]]
    flag, sparsity = schedule(tf.Variable(39, dtype=tf.int64))

    assert due == [10, 25, 40]
    assert (flag.dtype, sparsity.dtype) == (tf.bool, tf.float32)


def test_config_survives_json_and_keras_without_custom_objects():
    schedule = make(mu=5e-4, a_min=0.5, a_max=10.0, penalty="auto", begin_step=3)
    config = json.loads(json.dumps(schedule.get_config()))

    assert config["class_name"] == "tfmot_swd>SelectiveDecay"
    assert keras.utils.deserialize_keras_object(config) == schedule


def test_numpy_counts_become_ints():
    schedule = make(end_step=np.ceil(99.5), begin_step=np.int32(4), frequency=np.int64(2))

    assert [type(step) for step in (schedule.end_step, schedule.begin_step, schedule.frequency)] == [int] * 3
    assert schedule == make(end_step=100, begin_step=4, frequency=2)
    # A float step would not compare with an int64 tensor.
    assert bool(schedule(tf.constant(100, tf.int64))[0])


def test_equal_schedules_are_one_in_a_set():
    assert len({make(), make(), make(end_step=601)}) == 2


BAD = [
    ({"final_sparsity": 1.0}, r"final_sparsity must be in \[0, 1\)\. Received: final_sparsity=1\.0"),
    ({"final_sparsity": -0.1}, r"Received: final_sparsity=-0\.1"),
    ({"final_sparsity": float("nan")}, r"Received: final_sparsity=nan"),
    ({"final_sparsity": "0.5"}, r"Received: final_sparsity='0\.5'"),
    ({"final_sparsity": 90}, r"Received: final_sparsity=90"),
    ({"initial_sparsity": 0.95}, r"initial_sparsity must be in \[0, 0\.9\]\. Received"),
    ({"ramp": 1.1}, r"ramp must be in \[0, 1\]\. Received: ramp=1\.1"),
    ({"power": 0.5}, r"power must be in \[1, inf\]\. Received: power=0\.5"),
    ({"end_step": 0}, r"end_step=epochs \* steps_per_epoch.*at least 1.*Received: end_step=0, epochs=None$"),
    ({"end_step": -5}, r"Received: end_step=-5"),
    ({"end_step": 2.5}, r"Received: end_step=2\.5"),
    ({"end_step": None}, r"Received: end_step=None"),
    ({"end_step": "10"}, r"Received: end_step='10'"),
    ({"end_step": math.inf}, r"Received: end_step=inf"),
    ({"end_step": True}, r"Received: end_step=True"),
    ({"begin_step": -1}, r"begin_step must be .* Received: begin_step=-1"),
    ({"begin_step": 600}, r"begin_step must be before end_step.*Received: begin_step=600, end_step=600"),
    ({"frequency": 0}, r"Received: frequency=0"),
    ({"mu": 0.0}, r"mu must be positive.*None for the model's own\. Received: mu=0\.0"),
    ({"mu": -5e-4}, r"mu must be positive.*Received: mu=-0\.0005"),
    ({"mu": float("nan")}, r"mu must be positive.*Received: mu=nan"),
    ({"a_min": 0.1}, r"Give a_min and a_max both.*Received: a_min=0\.1, a_max=None"),
    ({"a_max": 10.0}, r"Give a_min and a_max both.*Received: a_min=None, a_max=10\.0"),
    ({"a_min": 0.0, "a_max": 1.0}, r"a_min must be positive and finite\. Received: a_min=0\.0"),
    ({"a_min": 1.0, "a_max": math.inf}, r"a_max must be positive and finite\. Received: a_max=inf"),
    ({"shrink_min": 0.0}, r"shrink_min must be positive and finite\. Received: shrink_min=0\.0"),
    ({"shrink_max": math.nan}, r"shrink_max must be positive and finite\. Received: shrink_max=nan"),
    ({"penalty": "l2"}, r"penalty must be one of .*implicit.*Received: 'l2'"),
    ({"targets": "bias"}, r"targets must be one of .*kernels.*Received: 'bias'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_bad_arguments_are_refused_early(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
