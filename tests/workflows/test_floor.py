"""Points of a metric are hundredths of a share, and the metric's own unit else."""

import pytest

from tfmot_swd.workflows.floor import Floor, check_one_floor, floor_of
from tfmot_swd.workflows.objective import Objective

ACCURACY, ERROR, RATIO = Objective(None, "accuracy", "max"), Objective(None, "mae", "min"), Objective(None, "db", "max")


@pytest.mark.parametrize(
    ("objective", "baseline", "drop", "value"),
    [(ACCURACY, 0.9, 1.0, 0.89), (ERROR, 2.5, 1.0, 3.5), (RATIO, 31.5, 1.0, 30.5), (RATIO, -3.0, 1.0, -4.0)],
)
def test_a_drop_in_points_is_a_value(objective, baseline, drop, value):
    floor = floor_of(drop, None, objective, baseline)
    assert floor.value == pytest.approx(value)
    # To the rounding of the subtraction.
    assert floor.holds(value)
    worse = value + 0.001 if objective.mode == "min" else value - 0.001
    assert not floor.holds(worse)
    assert floor.margin(worse) == pytest.approx(-0.001)
    assert floor_of(None, 0.8, objective, baseline) == Floor(0.8, objective.mode)


def test_nan_is_never_good_enough():
    assert not Floor(0.5, "max").holds(float("nan"))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((None, None), ValueError, "in one way.*Received: neither"),
        ((1.0, 0.9), ValueError, "Received: max_drop=1.0 and floor=0.9"),
        ((0, None), ValueError, "above 0. Received: max_drop=0"),
        ((float("nan"), None), ValueError, "above 0. Received: max_drop=nan"),
        ((None, float("inf")), ValueError, "finite. Received: floor=inf"),
        (("1", None), TypeError, "must be a number. Received: max_drop='1'"),
        ((True, None), TypeError, "Received: max_drop=True"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        check_one_floor(*given)


@pytest.mark.parametrize(
    ("objective", "baseline", "drop", "message"),
    [
        (ACCURACY, 0.9, 90, "one point is a hundredth .* max_drop=9, or give .* floor=.* for accuracy 0.9000"),
        (ACCURACY, 0.0, 1.0, "any model would do.*Give the worst value itself, as floor="),
        (ERROR, 0.191, 1.0, "one point is 1 of the mae. Try a tenth of it, max_drop=0.0191, or give .* floor="),
        (ERROR, 0.0, 0.1, "Give the worst value itself, as floor="),
        (ERROR, -2.0, 2.0, "max_drop=0.2, or"),
        (RATIO, 31.5, 31.5, "one point is 1 of the db. Try a tenth of it, max_drop=3.15,"),
    ],
)
def test_a_drop_of_the_whole_metric_is_a_mistake_of_units(objective, baseline, drop, message):
    with pytest.raises(ValueError, match=message):
        floor_of(drop, None, objective, baseline)
