"""What tables of networks have in common, on networks of a few channels."""

import numpy as np
import pytest
import tf_keras as keras

from research import coverage
from tfmot_swd.channels.groups import channel_groups

layers = keras.layers


def small() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3)(inputs))
    x = layers.Conv2D(4, 3, activation="relu")(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def test_shares_count_what_can_leave():
    model = keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.BatchNormalization(), layers.Dense(2)])
    # 3 of 5 channels; of 12 + 3, 12 and 6 + 2 parameters all but the last bias.
    assert coverage.shares(channel_groups(model)) == pytest.approx((3 / 5, 33 / 35, 1.0))


def test_channels_that_leave_all_or_none_do_not_count():
    inputs = keras.Input((4,))
    first, second = (layers.Dense(3)(inputs) for _ in range(2))
    outer = keras.layers.Reshape((9,))(keras.backend.expand_dims(first, 2) * keras.backend.expand_dims(second, 1))
    groups = channel_groups(keras.Model(inputs, layers.Dense(1)(outer)))
    # Each of nine products ties a channel of the one to one of the other.
    assert all(group.size == 1 for group in groups.values())
    assert coverage.shares(groups)[0] == 0


def test_what_the_network_itself_keeps_is_not_asked_for():
    inputs = keras.Input((8, 8, 3))
    x = layers.LayerNormalization()(layers.Conv2D(5, 1)(inputs))
    x = layers.LocallyConnected2D(4, 1)(layers.Conv2D(6, 1)(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Conv2D(7, 1)(x))))
    # 7 of 5 + 6 + 7 + 2 leave; 5 are normalized together, 2 are outputs, 6 stay as a layer has no rule.
    share, _, of_allowed = coverage.shares(channel_groups(model))
    assert (share, of_allowed) == pytest.approx((7 / 20, 7 / 13))


def test_barriers_of_one_kind_are_one_row():
    x = inputs = keras.Input((4,))
    for width in (3, 5):
        x = layers.LayerNormalization()(layers.Dense(width)(x))
    found = coverage.barriers(channel_groups(keras.Model(inputs, layers.Dense(2)(x))))
    shared = {"reason": "its statistics are taken across channels", "layers": 2, "channels": 8}
    assert found == [shared, {"reason": "model output", "layers": 1, "channels": 2}]


def test_filters_of_zeros_leave_and_stripping_keeps_the_predictions():
    found = coverage.measure(small, pixels=False)
    assert found["exact"]
    for step in ("dead", "strip"):
        assert coverage.keeps_predictions(found[step]), found[step]
        before, after = found[step]["parameters"]
        # Half of six and of four channels are gone.
        assert (before, after) == (28 * 6 + 24 + 55 * 4 + 65 * 2, 28 * 3 + 12 + 28 * 2 + 33 * 2)


def test_a_step_that_raises_is_told_and_the_rest_is_measured(monkeypatch):
    def fails(_):
        raise TypeError("a rule is missing")

    monkeypatch.setattr(coverage, "remove_dead_channels", fails)
    found = coverage.measure(small, pixels=False)
    assert "TypeError: a rule is missing" in found["dead"]["error"]
    assert coverage.verdict_of(found["dead"]) == "raised"
    assert not coverage.keeps_predictions(found["dead"])
    assert coverage.keeps_predictions(found["strip"])


def test_a_network_of_which_nothing_can_leave_is_exact_by_itself():
    def norms() -> keras.Model:
        inputs = keras.Input((16, 3))
        return keras.Model(inputs, layers.Dense(2)(layers.LayerNormalization()(layers.Dense(4)(inputs))))

    found = coverage.measure(norms, pixels=False)
    assert (found["groups"], found["mask_effect"], found["exact"]) == (0, 0.0, True)


def test_what_rounding_may_have_made_is_measured_again_in_float64():
    fine = {"difference": 1e-7}
    answers = {
        "float32": {"exact": False, "difference": 2e-5, "dead": fine, "strip": {"difference": 3e-5}},
        "float64": {"exact": True, "difference": 1e-14, "dead": fine, "strip": {"difference": 1e-3}},
    }

    def measure():
        answer = answers[keras.backend.floatx()]
        return {key: dict(value) if isinstance(value, dict) else value for key, value in answer.items()}

    found = coverage.measure_exactly(measure)
    assert keras.backend.floatx() == "float32"
    assert (found["exact"], found["difference"], found["difference_float64"]) == (True, 2e-5, 1e-14)
    # A step that is wrong in float64 too is not rounding.
    assert not coverage.keeps_predictions(found["strip"])
    assert coverage.verdict_of(found["strip"]) == "NO: 3e-05; 1e-03 in float64"
    answers["float64"]["difference"] = 1e-6
    assert not coverage.measure_exactly(measure)["exact"]


def test_a_network_that_cannot_be_float64_says_so():
    def measure():
        if keras.backend.floatx() == "float64":
            raise TypeError("float32 expected")
        return {"exact": False, "difference": 2e-5}

    found = coverage.measure_exactly(measure)
    assert (found["exact"], found["float64_error"]) == (False, "TypeError: float32 expected")
    assert keras.backend.floatx() == "float32"


def test_the_reason_of_most_channels_comes_first():
    rows = [
        {"reason": "a", "layers": 1, "channels": 3},
        {"reason": coverage.OUTPUT_ONLY, "layers": 1, "channels": 1000},
        {"reason": "b", "layers": 2, "channels": 1200},
    ]
    assert coverage.stays_text({"barriers": rows}) == "1,200 of 2 layers: b; 3 of 1 layers: a"


def test_sequences_are_waves_of_any_number_of_features():
    found = coverage._samples((20, 3), np.random.default_rng(0), pixels=False)
    assert found.shape == (8, 20, 3)
    assert found.dtype == np.float32
