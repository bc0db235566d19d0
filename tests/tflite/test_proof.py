"""Which files pass, which are warned of and which fail."""

import re
import warnings

import numpy as np
import pytest

from tests.tflite.test_parity import FILE, KERAS
from tfmot_swd import PruningWarning
from tfmot_swd.tflite.parity import compare
from tfmot_swd.tflite.proof import Bounds, require
from tfmot_swd.tflite.recipes import Recipe
from tfmot_swd.tflite.result import ExportError

LOOSE = Recipe("a", "mean", 1.0, "try b")


def test_require_bounds_the_measure_of_the_recipe():
    parity = compare(KERAS, FILE)
    worst, mean = Recipe("a", "worst", 0.0, "try b"), Recipe("b", "mean", 0.0, "try c")
    require(parity, worst, Bounds(1.0))
    require(parity, mean, Bounds(0.5625))
    with pytest.raises(
        ExportError,
        match=r"The a file is too far .* worst difference is 1 .* 0.9 is allowed. To get closer, try b; "
        r".*tolerance=1\. Received: worst difference 4, mean difference 1.375, agreement 0.5000",
    ):
        require(parity, worst, Bounds(0.9))
    with pytest.raises(ExportError, match=r"mean difference is 0.562 .*pass tolerance=0.57\."):
        require(parity, mean, Bounds(0.5))


@pytest.mark.parametrize(
    ("agreeing", "samples", "outcome"),
    [
        (100, 100, "passes"),
        (90, 100, "passes"),
        (89, 100, "warns"),
        (70, 100, "warns"),
        (69, 100, "fails"),
        # One sample alone is never held against a file.
        (1, 2, "passes"),
        (0, 2, "fails"),
    ],
)
def test_agreement_is_bounded_twice(agreeing, samples, outcome):
    rows = np.arange(samples)
    parity = compare({"y": np.eye(2)[0 * rows]}, {"y": np.eye(2)[(rows >= agreeing).astype(int)]})
    _expect(outcome, parity, Bounds(1.0), r"same class as Keras on .* min_agreement=0")
    # A bound that was given replaces both.
    _expect("passes", parity, Bounds(1.0, min_agreement=agreeing / samples), "")
    if 0 < agreeing < samples - 1:
        _expect("fails", parity, Bounds(1.0, min_agreement=agreeing / samples + 0.001), "min_agreement=")


@pytest.mark.parametrize(
    ("lost", "outcome"), [(0, "passes"), (4, "passes"), (5, "warns"), (20, "warns"), (21, "fails")]
)
def test_accuracy_is_bounded_twice(lost, outcome):
    # Keras is right on all of 200 samples, and the file wrong on some; agreement is left out of it.
    rows = np.arange(200)
    file = np.eye(2)[(rows < lost).astype(int)]
    parity = compare({"y": np.eye(2)[0 * rows]}, {"y": file}, 0 * rows)
    assert parity.accuracy == 1 - lost / 200
    _expect(outcome, parity, Bounds(1.0, min_agreement=0.5), r"its accuracy is .* max_accuracy_loss=0\.")
    _expect("passes", parity, Bounds(1.0, 0.5, max_accuracy_loss=0.2), "")
    _expect("fails" if lost > 1 else "passes", parity, Bounds(1.0, 0.5, max_accuracy_loss=0.0), "max_accuracy_loss=")


def test_a_file_that_is_better_than_its_model_passes():
    rows = np.arange(200)
    parity = compare({"y": np.eye(2)[(rows < 30).astype(int)]}, {"y": np.eye(2)[0 * rows]}, 0 * rows)
    assert (parity.keras_accuracy, parity.accuracy) == (0.85, 1.0)
    _expect("passes", parity, Bounds(1.0, min_agreement=0.5), "")


def test_causes_take_the_place_of_the_remedy():
    parity = compare(KERAS, FILE)
    message = "0.5 is allowed. Something is stretched. If the numbers are fine for you, pass tolerance=0.57. Received: "
    with pytest.raises(ExportError, match=re.escape(message)):
        require(parity, LOOSE, Bounds(0.5), lambda: ("Something is stretched.",))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1.0, 1.5), ValueError, "min_agreement must be finite and from 0 to 1, a share. Received: min_agreement=1.5"),
        ((1.0, None, "1"), TypeError, "max_accuracy_loss must be a number or None. Received: max_accuracy_loss='1'"),
        ((-1.0,), ValueError, "tolerance must be finite and not negative, a share. Received: tolerance=-1.0"),
    ],
)
def test_bounds_that_bound_nothing(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Bounds(*arguments)


def _expect(outcome, parity, bounds, message):
    if outcome == "fails":
        with pytest.raises(ExportError, match=message):
            require(parity, LOOSE, bounds)
    elif outcome == "warns":
        with pytest.warns(PruningWarning, match=f"passed its proof, and is not close.*{message}"):
            require(parity, LOOSE, bounds)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            require(parity, LOOSE, bounds)
