"""The schedule of structured decay: its budget over the steps, its presets, and what it refuses."""

import json

import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd import Budget, StructuredDecay
from tfmot_swd.costs.limits import CostLimits


def test_limits_fall_as_a_cubic_from_the_whole_to_the_final():
    schedule = StructuredDecay(0.8, end_step=600, ramp=2 / 3, power=3.0)
    limits = CostLimits({"parameters": 1000, "macs": 500}, {"parameters": 200, "macs": 500})
    found = {step: limits.at(schedule.way_left(step)).numpy().tolist() for step in (0, 200, 400, 600)}
    # Half of the ramp: an eighth of the way is left.
    assert found == {0: [1000, 500], 200: [300, 500], 400: [200, 500], 600: [200, 500]}


def test_a_limit_above_the_whole_is_no_limit():
    limits = CostLimits({"parameters": 100}, {"parameters": 300})
    assert limits.at(tf.constant(1.0, tf.float64)).numpy().tolist() == [300]


def test_a_number_is_the_share_of_the_parameters():
    assert StructuredDecay(0.9, end_step=10).budget == Budget(sparsity=0.9)
    assert StructuredDecay(Budget(macs=0.5), 10).budget == Budget(macs=0.5)


def test_paper_is_the_published_setting():
    schedule = StructuredDecay.paper(0.9, end_step=600)
    assert [float(schedule.way_left(step)) for step in (0, 300, 600)] == [0, 0, 0]
    assert [float(schedule.a(100 * sixth)) for sixth in range(7)] == pytest.approx([0.1, 1, 10, 100, 1e3, 1e4, 1e5])
    assert (schedule.penalty, schedule.mode, schedule.criterion, schedule.scope) == (
        "auto",
        "filter",
        "scale",
        "global",
    )


def test_call_keeps_tfmots_contract():
    schedule = StructuredDecay(0.5, end_step=40, begin_step=10, frequency=15)
    assert [step for step in range(60) if schedule(tf.constant(step, tf.int64))[0]] == [10, 25, 40]
    flag, share = schedule(tf.Variable(39, dtype=tf.int64))
    assert (flag.dtype, share.dtype) == (tf.bool, tf.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 1.5}, r"in \(0, 1\). Received: 1.5"),
        ({"criterion": "taylor"}, "criterion must be one of auto, scale, magnitude, .* Received: 'taylor'"),
        ({"mode": "weights"}, "mode must be one of filter, scale"),
        ({"scope": "model"}, "scope must be one of global, layer"),
        ({"layers": "dense"}, "layers must be one of all, convolutions"),
        ({"minimum": 0}, "Received: minimum=0"),
        ({"round_to": 2.5}, "Received: round_to=2.5"),
        ({"end_step": 0}, "Received: end_step=0"),
        ({"mu": 0.0}, "mu must be positive"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StructuredDecay(**{"budget": 0.5, "end_step": 10, **arguments})


def test_it_comes_back_from_json():
    schedule = StructuredDecay(Budget(macs=0.5, bytes=90_000), 100, mode="scale", round_to=8, begin_step=10)
    entry = json.loads(json.dumps(schedule.get_config()))
    assert keras.utils.deserialize_keras_object(entry) == schedule
