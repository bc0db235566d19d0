"""How many filters are left after each epoch: the published numbers, and what the schedule refuses."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.pgp.ranking import Ranked, select_filters
from tfmot_swd.pgp.schedule import CURVES, ProgressiveRate

FINAL = {
    0.3: (12, 23, 45, 90, 179, 358),
    0.5: (8, 16, 32, 64, 128, 255),
    0.7: (5, 10, 20, 39, 77, 153),
    0.9: (2, 4, 7, 13, 26, 51),
}


def counted(initial: int, schedule: ProgressiveRate, hard_share: float = 0.5) -> list[tuple[int, int, int]]:
    """Returns (left, weak, hard) of each epoch of a layer."""
    now, found = initial, []
    for epoch in range(1, schedule.epochs + 1):
        share = 1.0 if epoch == schedule.epochs else hard_share
        selection = select_filters(
            [Ranked("layer", initial, np.arange(float(now)))], schedule.share_left(epoch), share
        )["layer"]
        now -= len(selection.hard)
        found.append((now, len(selection.hard) + len(selection.soft), len(selection.hard)))
    return found


def test_published_counts_of_64_filters():
    left, weak, hard = zip(*counted(64, ProgressiveRate(0.5, 10)), strict=True)
    assert left == (60, 56, 53, 50, 47, 44, 41, 38, 35, 30)
    assert weak == (8, 8, 7, 7, 7, 7, 7, 6, 6, 5)
    assert hard == (4, 4, 3, 3, 3, 3, 3, 3, 3, 5)


@pytest.mark.parametrize("rate", FINAL)
def test_published_final_widths(rate):
    widths = (16, 32, 64, 128, 256, 512)
    assert tuple(counted(each, ProgressiveRate(rate, 160))[-1][0] for each in widths) == FINAL[rate]


@pytest.mark.parametrize(
    ("curve", "reached"),
    [
        ("psfp", (0.250, 0.446, 0.723, 0.894)),
        ("asfp", (0.750, 0.938, 0.996, 1.000)),
        ("exponential", (0.166, 0.318, 0.586, 0.811)),
        ("geometric", (0.166, 0.318, 0.586, 0.811)),
        ("linear", (0.125, 0.250, 0.500, 0.750)),
        ("constant", (1.0, 1.0, 1.0, 1.0)),
        ("once", (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_share_of_the_rate_that_is_reached_on_the_way(curve, reached):
    # So many epochs that the one by which "exponential" is ahead does not show.
    schedule = ProgressiveRate(0.5, 80_000, curve)
    found = [(1 - schedule.share_left(epoch)) / 0.5 for epoch in (10_000, 20_000, 40_000, 60_000)]
    assert found == pytest.approx(reached, abs=5.1e-4)


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_ends_at_the_rate_and_stays_there(curve):
    schedule = ProgressiveRate(0.7, 6, curve)
    shares = [schedule.share_left(epoch) for epoch in range(8)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[6] == pytest.approx(0.3 ** (7 / 6) if curve == "exponential" else 0.3)
    assert shares[7] == shares[6]


def test_exponential_by_hand():
    schedule = ProgressiveRate(0.75, 3)
    assert [schedule.share_left(epoch) for epoch in (1, 2, 3)] == pytest.approx(
        [0.25 ** (2 / 3), 0.25, 0.25 ** (4 / 3)]
    )


def test_removals_are_every_so_often_and_at_the_end():
    schedule = ProgressiveRate(0.5, 8, removal_frequency=3)
    assert [epoch for epoch in range(12) if epoch and schedule.removes_after(epoch)] == [3, 6, 8]


def test_it_is_a_tfmot_schedule_of_epochs():
    schedule = ProgressiveRate(0.5, 4, "linear")
    due, rate = zip(*(schedule(tf.constant(step)) for step in (-1, 0, 1, 4, 9)), strict=True)
    assert [bool(each) for each in due] == [False, False, True, True, False]
    np.testing.assert_allclose(rate, [0, 0, 0.125, 0.5, 0.5])
    again = keras.utils.deserialize_keras_object(schedule.get_config())
    assert again == schedule


@pytest.mark.parametrize("rate", [0, 0.0, 1, 1.0, -0.1, 1.5, math.nan, "0.5", True, None])
def test_rates_outside_are_refused(rate):
    with pytest.raises(ValueError, match=r"final_rate must be in \(0, 1\).*Received: "):
        ProgressiveRate(rate, 10)


@pytest.mark.parametrize("name", ["epochs", "removal_frequency", "updates_per_epoch"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_counts_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, 1 or more. Received: {name}="):
        ProgressiveRate(**{"final_rate": 0.5, "epochs": 10, name: value})


def test_an_unknown_curve_is_refused():
    with pytest.raises(ValueError, match="curve must be one of exponential, .*Received: 'cosine'"):
        tfmot_swd.ProgressiveRate(0.5, 10, "cosine")


@pytest.mark.parametrize("curve", [[], None, {}])
def test_a_curve_that_is_no_name_is_refused(curve):
    with pytest.raises(ValueError, match="curve must be one of exponential, .*Received: "):
        ProgressiveRate(0.5, 3, curve)
