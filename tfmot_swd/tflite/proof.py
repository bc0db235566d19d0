"""Proof of a TFLite file: bounds on its differences from the Keras model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.tflite.parity import Parity
from tfmot_swd.tflite.recipes import Recipe
from tfmot_swd.tflite.result import ExportError

# A file fails below the first and is warned of below the second.
LEAST_AGREEMENT, GOOD_AGREEMENT = 0.7, 0.9
# A file fails above the first and is warned of above the second; shares of all samples.
MOST_ACCURACY_LOSS, SMALL_ACCURACY_LOSS = 0.1, 0.02


@dataclass(frozen=True)
class Bounds:
    """Bounds on the differences between a file and its model.

    Agreement and accuracy are bounded twice: beyond the first bound the file fails, beyond the second it is warned of.
    A bound that was given replaces both. What a single sample accounts for is never held against a file.

    Attributes:
        tolerance: the difference by the recipe's measure, as a share of the output range.
        min_agreement: share of samples on which file and model name the same class; None for 0.7, with a warning below
            0.9.
        max_accuracy_loss: by how much the accuracy of the file may be below the model's, 0.05 for five points; None
            for 0.1, with a warning above 0.02.
    """

    tolerance: float
    min_agreement: float | None = None
    max_accuracy_loss: float | None = None

    def __post_init__(self) -> None:
        check_share("tolerance", self.tolerance, math.inf)
        for name in ("min_agreement", "max_accuracy_loss"):
            value = getattr(self, name)
            if value is not None:
                check_share(name, value, 1.0)


def check_share(name: str, value: Any, most: float) -> None:
    """Checks that a value is a number from 0 to `most`.

    Raises:
        TypeError: not a number.
        ValueError: not finite, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number or None. Received: {name}={value!r}")
    if not (math.isfinite(value) and 0 <= float(value) <= most):
        limits = "not negative" if most == math.inf else f"from 0 to {most:g}"
        raise ValueError(f"{name} must be finite and {limits}, a share. Received: {name}={value!r}")


@dataclass(frozen=True)
class Shortfall:
    """One bound that a file exceeds.

    Attributes:
        fails: whether it is beyond the bound, or only worth a warning.
        said: what was measured and what is allowed, as part of a sentence.
        argument: what to pass to let it through, as it is written in Python.
    """

    fails: bool
    said: str
    argument: str


def shortfalls(parity: Parity, measure: str, bounds: Bounds) -> tuple[Shortfall, ...]:
    """Returns every bound that a file exceeds, and every one that it nearly does.

    Args:
        parity: the differences.
        measure: `"worst"` or `"mean"`, which difference the tolerance bounds, see `Recipe`.
        bounds: that hold.
    """
    found = []
    value = parity.relative_worst if measure == "worst" else parity.relative_mean
    if value > bounds.tolerance:
        said = f"its {measure} difference is {value:.3g} of the output range, {bounds.tolerance:.3g} is allowed"
        found.append(Shortfall(True, said, f"tolerance={_rounded_up(value):g}"))
    if parity.agreement is not None:
        missed = 1 - parity.agreement
        given = None if bounds.min_agreement is None else 1 - bounds.min_agreement
        fails = _beyond(missed, given, 1 - LEAST_AGREEMENT, 1 - GOOD_AGREEMENT, parity.samples)
        if fails is not None:
            wanted = bounds.min_agreement if given is not None else LEAST_AGREEMENT if fails else GOOD_AGREEMENT
            said = f"it names the same class as Keras on {parity.agreement:.1%} of the samples, {wanted:.0%} is wanted"
            found.append(Shortfall(fails, said, f"min_agreement={_rounded_down(parity.agreement):g}"))
    if parity.accuracy is not None and parity.keras_accuracy is not None:
        lost = parity.keras_accuracy - parity.accuracy
        given = bounds.max_accuracy_loss
        fails = _beyond(lost, given, MOST_ACCURACY_LOSS, SMALL_ACCURACY_LOSS, parity.samples)
        if fails is not None:
            said = f"its accuracy is {parity.accuracy:.1%}, that of Keras {parity.keras_accuracy:.1%}"
            found.append(Shortfall(fails, said, f"max_accuracy_loss={_rounded_up(lost):g}"))
    return tuple(found)


def require(parity: Parity, recipe: Recipe, bounds: Bounds, explain: Callable[[], tuple[str, ...]] = tuple) -> None:
    """Raises where a file exceeds a bound, and warns where it nearly does.

    Args:
        parity: the differences.
        recipe: of the file.
        bounds: that hold.
        explain: called where the file is too far; returns what was found to be the cause and the way out, sentences
            that take the place of the recipe's own remedy.

    Raises:
        ExportError: with the numbers and what to do.
    """
    found = shortfalls(parity, recipe.measure, bounds)
    if not found:
        return
    failing = [each for each in found if each.fails]
    causes = " ".join(explain())
    causes = f"{causes} If" if causes else f"To get closer, {recipe.remedy}; if"
    said = "; ".join(each.said for each in failing or found)
    agreement = "" if parity.agreement is None else f", agreement {parity.agreement:.4f}"
    received = (
        f"Received: worst difference {parity.worst_difference:.4g}, mean difference {parity.mean_difference:.4g}"
        f"{agreement}, {parity.samples:,} samples"
    )
    passed = f"the numbers are fine for you, pass {', '.join(each.argument for each in failing or found)}."
    if failing:
        raise ExportError(
            f"The {recipe.name} file is too far from the Keras model and was not put in place: {said}. {causes} "
            f"{passed} {received}"
        )
    warnings.warn(
        f"The {recipe.name} file passed its proof, and is not close to the Keras model: {said}. {causes} {passed} "
        f"{received}",
        PruningWarning,
        stacklevel=4,
    )


def _beyond(value: float, given: float | None, most: float, good: float, samples: int) -> bool | None:
    """Returns True where a share is beyond its bound, False where it is worth a warning, and None where all is well."""
    if value * samples < 1.5:
        return None
    # Shares of samples are rounded.
    if value > (most if given is None else given) + 1e-9:
        return True
    return False if given is None and value > good + 1e-9 else None


def _rounded_up(value: float) -> float:
    """Returns two significant digits that are not below `value`."""
    if not np.isfinite(value):
        return value
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / unit) * unit)


def _rounded_down(value: float) -> float:
    """Returns two decimals that are not above `value`."""
    return float(np.floor(100 * value) / 100)
