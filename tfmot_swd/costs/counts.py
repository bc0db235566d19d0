"""What is left of a model's costs where some of its channels stay, counted without building the smaller model."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import Any

import numpy as np

from tfmot_swd.channels.groups import ChannelGroups
from tfmot_swd.costs.liveness import CallTrace
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.layers.macs import count_macs, macs_by_weight
from tfmot_swd.pruning.wrapped_models import own_weights


@dataclasses.dataclass(frozen=True)
class CostTerms:
    """A count as a sum of products: coefficients times the sizes that axes of weights are left with.

    Args:
      coefficients: float64 `(terms,)`.
      axes: int64 `(terms, most axes of a weight)`: numbers of axes of `ChannelCosts`; 0 is one of size 1.
    """

    coefficients: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, products: list[tuple[float, list[int]]]) -> CostTerms:
        """Returns the sum of (coefficient, axes) products; those of the same axes are added up."""
        merged: dict[tuple[int, ...], float] = {}
        for coefficient, axes in products:
            merged[tuple(sorted(axes))] = merged.get(tuple(sorted(axes)), 0.0) + coefficient
        most = max((len(axes) for axes in merged), default=0) or 1
        padded = [list(axes) + [0] * (most - len(axes)) for axes in merged]
        return cls(np.array(list(merged.values()), np.float64), np.array(padded, np.int64).reshape(-1, most))

    def scaled(self, scale: float, offset: float) -> CostTerms:
        """Returns the sum times `scale`, plus `offset`."""
        constant = np.zeros((1, self.axes.shape[1]), np.int64)
        return CostTerms(np.append(self.coefficients * scale, offset), np.concatenate([self.axes, constant]))

    def count(self, sizes: np.ndarray) -> float:
        """Returns the count for these sizes of the axes, `(axes,)`."""
        return float((self.coefficients * sizes[self.axes].prod(axis=1)).sum())


class ChannelCosts:
    """Parameters and MACs of what a removal would leave, as `profile` would count them.

    Exact for parameters, and for the MACs of layers that multiply with a weight. Products of two tensors, as those of
    attention scores, count as in the whole model, so that a budget holds with them. MACs need inputs of fixed sizes.

    Args:
      groups: of the model.

    Attributes:
      lines: the class of the channel at each index of each axis, axis 1 first.
      unknown: layers whose MACs are not known, and missing in the count; once MACs have been asked for.
    """

    def __init__(self, groups: ChannelGroups) -> None:
        self.groups = groups
        self.lines: list[np.ndarray] = []
        self._numbers: dict[bytes, int] = {}
        self._axes: dict[int, dict[int, int]] = {}
        classes = groups.trace.classes
        for cut in groups.trace.cuts:
            self._axes.setdefault(cut.variable_id, {})[cut.axis] = self._number(classes.of(cut.ids))
        self.unknown: tuple[str, ...] = ()

    def terms(self, cost: str) -> CostTerms:
        """Returns how "parameters" or "macs" are counted.

        Raises:
          ValueError: MACs of a model whose inputs have no fixed sizes.
        """
        return self._macs if cost == "macs" else self._parameters

    @cached_property
    def _parameters(self) -> CostTerms:
        return CostTerms.of([self.product(weight) for weight in own_weights(self.groups.model)])

    @cached_property
    def _macs(self) -> CostTerms:
        trace = CallTrace(self.groups.model, 1)
        unknown = (step.path for step in trace.steps if count_macs(step.layer, step.call) is None)
        self.unknown = tuple(dict.fromkeys(unknown))
        macs, fixed = _macs_of(trace)
        multiplied = [
            self.product(weight, macs[id(weight)]) for weight in own_weights(self.groups.model) if id(weight) in macs
        ]
        return CostTerms.of([*multiplied, (float(fixed), [])])

    def product(self, weight: Any, factor: float = 1.0) -> tuple[float, list[int]]:
        """Returns the elements of a weight times a factor: (what no channel changes, the axes that they do)."""
        axes = self._axes.get(id(weight), {})
        fixed = math.prod(size for axis, size in enumerate(weight.shape) if axis not in axes)
        return factor * fixed, list(axes.values())

    def axis_of(self, weight: Any, axis: int) -> list[int]:
        """Returns the number of one axis of a weight, in a list; an empty one where no channel changes it."""
        return [number for place, number in self._axes.get(id(weight), {}).items() if place == axis]

    def sizes(self, stays: np.ndarray) -> np.ndarray:
        """Returns what each axis is left with, float64; `stays` is bool by class of channels."""
        return np.array([1, *(np.count_nonzero(stays[line]) for line in self.lines)], np.float64)

    def parameters(self, stays: np.ndarray) -> int:
        """Returns the parameters of the model that is left; `stays` is bool by class of channels."""
        return round(self._parameters.count(self.sizes(stays)))

    def macs(self, stays: np.ndarray) -> int:
        """Returns its multiply-accumulates for one sample."""
        return round(self._macs.count(self.sizes(stays)))

    def _number(self, line: np.ndarray) -> int:
        key = line.tobytes()
        if key not in self._numbers:
            self.lines.append(line)
            self._numbers[key] = len(self.lines)
        return self._numbers[key]


def _macs_of(trace: CallTrace) -> tuple[dict[int, float], int]:
    """Returns the MACs of each element of each matrix, by the weight's identity, over all calls, and those of none."""
    by_weight: dict[int, float] = {}
    fixed = 0
    for step in trace.steps:
        found, without = macs_by_weight(step.layer, step.call)
        fixed += without
        for weight, macs in found:
            variable = id(master_variable(weight))
            by_weight[variable] = by_weight.get(variable, 0.0) + macs
    return by_weight, fixed
