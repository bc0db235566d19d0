import numpy as np
import pytest

from tfmot_swd.tflite.parity import compare
from tfmot_swd.tflite.result import ExportError

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


def test_one_outlier_neither_stretches_the_range_nor_stands_for_the_others():
    keras = np.tile([[0.0, 1.0]], (200, 1))
    file = keras + np.array([0.25, 0.0])
    assert compare({"y": keras}, {"y": file}).relative_mean == 0.25
    keras[7], file[7] = [0.0, 1000.0], [0.0, 0.0]
    parity = compare({"y": keras}, {"y": file})
    # The outlier is off by the whole range, which is still 1, and counts once in 200.
    assert parity.relative_mean == pytest.approx((199 * 0.25 + 1) / 200)
    assert parity.relative_worst == 1.0
    assert parity.samples == 200


def test_an_output_that_is_zero_but_for_one_sample_has_a_range():
    keras = np.zeros((200, 1))
    keras[3] = 8.0
    assert compare({"y": keras}, {"y": keras + 1}).relative_mean == 0.125
