import numpy as np
import pytest

from tfmot_swd.export.errors import ExportError
from tfmot_swd.export.parity import compare, require
from tfmot_swd.export.recipes import Recipe

KERAS = {"y": np.array([[0.0, 1.0], [3.0, -1.0]])}
FILE = {"y": np.array([[0.5, 1.0], [-1.0, 0.0]])}


def test_numbers_by_hand():
    parity = compare(KERAS, FILE, labels=np.array([1, 0]))
    # Differences .5, 0, 4, 1; the range is 3 - (-1) = 4; largest of each vector .5 and 4.
    assert parity.worst_difference == 4.0
    assert parity.mean_difference == 5.5 / 4
    assert parity.relative_worst == 1.0
    assert parity.relative_mean == 2.25 / 4
    assert (parity.agreement, parity.accuracy, parity.keras_accuracy) == (0.5, 0.5, 1.0)


def test_the_range_includes_zero():
    parity = compare({"y": np.array([[9.0], [10.0]])}, {"y": np.array([[9.0], [9.0]])})
    assert parity.relative_worst == 0.1
    assert parity.agreement is None


def test_a_file_with_wrong_classes_is_far_off_however_many_classes_there_are():
    one_hot = np.eye(100)
    parity = compare({"y": one_hot}, {"y": np.roll(one_hot, 1, axis=1)})
    assert parity.mean_difference == pytest.approx(0.02)
    assert parity.relative_mean == 1.0


def test_the_worst_of_several_outputs_counts():
    parity = compare(
        {"a": np.array([[1.0]]), "b": np.array([[100.0]])},
        {"b": np.array([[98.0]]), "a": np.array([[0.5]])},
    )
    assert (parity.worst_difference, parity.mean_difference, parity.relative_worst) == (2.0, 1.25, 0.5)
    assert (parity.agreement, parity.accuracy) == (None, None)


def test_outputs_of_one_axis_are_averaged_over_samples():
    assert compare({"y": np.array([0.0, 2.0])}, {"y": np.array([0.0, 1.0])}).relative_mean == 0.25


def test_an_output_of_zeros():
    zeros = {"y": np.zeros((2, 2))}
    assert compare(zeros, zeros).relative_worst == 0.0
    assert compare(zeros, {"y": np.full((2, 2), 1e-9)}).relative_worst == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite(value):
    with pytest.raises(ExportError, match=r"'y' is not finite.*Received: 1 of 4 values"):
        compare(KERAS, {"y": np.array([[0.5, 1.0], [value, 0.0]])})


def test_other_shapes_and_names():
    with pytest.raises(ExportError, match=r"other outputs than the model.*Received: {'y': \(2, 1\)}"):
        compare(KERAS, {"y": np.zeros((2, 1))})
    with pytest.raises(ExportError, match=r"Received: {'z'"):
        compare(KERAS, {"z": KERAS["y"]})


def test_require_bounds_the_measure_of_the_recipe():
    parity = compare(KERAS, FILE)
    worst, mean = Recipe("a", "worst", 0.0, "try b"), Recipe("b", "mean", 0.0, "try c")
    require(parity, worst, 1.0)
    require(parity, mean, 0.5625)
    with pytest.raises(
        ExportError,
        match=r"The a file is too far .* worst difference is 1 .* 0.9 is allowed. To get closer, try b; "
        r".*tolerance=1\. Received: worst difference 4, mean difference 1.375, agreement 0.5000",
    ):
        require(parity, worst, 0.9)
    with pytest.raises(ExportError, match=r"mean difference is 0.562 .*pass tolerance=0.57\."):
        require(parity, mean, 0.5)
