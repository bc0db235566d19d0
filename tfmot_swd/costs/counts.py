"""Symbolic sizes of the weights and calls of a model, as functions of the channels that are kept."""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import Any

import numpy as np

from tfmot_swd.channels.groups import ChannelGroups
from tfmot_swd.costs.liveness import CallTrace, Step
from tfmot_swd.costs.terms import CostTerms
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.keras2.graph import class_name
from tfmot_swd.keras2.layer_weights import own_weights, weights_inside
from tfmot_swd.layers.labels import Sizes
from tfmot_swd.layers.macs import count_macs, macs_by_weight
from tfmot_swd.layers.sample import InputShape, SampleTensor


@dataclasses.dataclass(frozen=True)
class CountedCall:
    """One call of one layer, from which costs are counted.

    Args:
      path: of the layer; layers of nested models are written model/layer.
      layer: the layer; for a pruning wrapper, the layer inside.
      macs: multiply-accumulates for one sample; 0 where they are unknown.
      parameters: number of elements of its weights, which each call reads.
    """

    path: str
    layer: Any
    macs: CostTerms
    parameters: CostTerms

    @property
    def kind(self) -> str:
        """The name of the layer's class, such as "Conv2D"."""
        return class_name(self.layer)


class ChannelCosts:
    """The weights and calls of a model, with sizes that depend on the channels that are kept.

    Exact for parameters, and for the MACs of layers that multiply with a weight. Products of two tensors, such as
    attention scores, are exact where their channel rule has declared the axes with channels; others count as in the
    unpruned model, an upper bound.

    Args:
      groups: `channel_groups` of the model.
      input_shape: the sizes of the model's inputs where it leaves some open, for MACs, as for `profile`.

    Attributes:
      lines: class of the channel at each index of each numbered axis, axis 1 first.
      unknown: paths of layers with unknown MACs, which count 0; set once `calls` was read.
    """

    def __init__(self, groups: ChannelGroups, input_shape: InputShape | None = None) -> None:
        self.groups = groups
        self._input_shape = input_shape
        self.lines: list[np.ndarray] = []
        self._numbers: dict[bytes, int] = {}
        self._axes: dict[int, dict[int, int]] = {}
        classes = groups.trace.classes
        for cut in groups.trace.cuts:
            self._axes.setdefault(cut.variable_id, {})[cut.axis] = self._number(classes.of(cut.ids))
        self._products = {
            call: [[self._number(classes.of(ids)) for ids in product.axes] for product in products]
            for call, products in groups.trace.products.items()
        }
        self.unknown: tuple[str, ...] = ()

    @cached_property
    def weights(self) -> list[Any]:
        """The weights of the model, each once, without those of wrappers and metrics."""
        return own_weights(self.groups.model)

    @cached_property
    def steps(self) -> list[Step]:
        """The calls of layers with the tensors between them, in the order in which Keras makes them.

        Raises:
          ValueError: a size of a model input is neither fixed nor given.
        """
        return CallTrace(self.groups.model, 1, self._input_shape).steps

    @cached_property
    def calls(self) -> list[CountedCall]:
        """The calls of layers, one for each of `steps`.

        Raises:
          ValueError: a size of a model input is neither fixed nor given.
        """
        unknown = (step.path for step in self.steps if count_macs(step.layer, step.call) is None)
        self.unknown = tuple(dict.fromkeys(unknown))
        return [self._call(step) for step in self.steps]

    def elements(self, *weights: Any) -> CostTerms:
        """Returns the number of kept elements of these weights."""
        return CostTerms.of(self.product(weight) for weight in weights)

    def tensor_elements(self, *tensors: SampleTensor) -> CostTerms:
        """Returns the number of kept elements of tensors between layers, for one sample.

        They add axes to `lines`: sizes that were computed before are too short for the terms.
        """
        return CostTerms.of(self._elements_of(tensor) for tensor in tensors)

    def _elements_of(self, tensor: SampleTensor) -> tuple[float, list[int]]:
        total = math.prod(tensor.shape)
        labels = self.groups.trace.labels.get(id(tensor.symbolic))
        if labels is None or isinstance(labels, Sizes) or not labels.ids.size:
            return float(total), []
        classes = self.groups.trace.classes
        if classes.is_pinned(labels.ids).all():
            return float(total), []
        return total / labels.ids.size, [self._number(classes.of(labels.ids.reshape(-1)))]

    def product(self, weight: Any, factor: float = 1.0) -> tuple[float, list[int]]:
        """Returns the kept elements of a weight times a factor: (coefficient, numbers of axes that channels change)."""
        axes = self._axes.get(id(master_variable(weight)), {})
        fixed = math.prod(size for axis, size in enumerate(weight.shape) if axis not in axes)
        return factor * fixed, list(axes.values())

    def axis_of(self, weight: Any, axis: int) -> list[int]:
        """Returns the number of one axis of a weight in a list, which is empty where channels do not change it."""
        return [number for place, number in self._axes.get(id(weight), {}).items() if place == axis]

    def sizes(self, stays: np.ndarray | None = None) -> np.ndarray:
        """Returns the kept size of each numbered axis, float64; axis 0 has size 1.

        Args:
          stays: bool by class of channels, true where they are kept; None keeps all.
        """
        lengths = (len(line) if stays is None else np.count_nonzero(stays[line]) for line in self.lines)
        return np.array([1, *lengths], np.float64)

    def _call(self, step: Step) -> CountedCall:
        by_weight, fixed = macs_by_weight(step.layer, step.call)
        macs = CostTerms.of(
            [*(self.product(weight, each) for weight, each in by_weight), *self._of_products(step, fixed)]
        )
        return CountedCall(step.path, step.layer, macs, self.elements(*weights_inside(step.wrapper)))

    def _of_products(self, step: Step, fixed: int) -> list[tuple[float, list[int]]]:
        """Returns the MACs of a call's products of tensors as (coefficient, numbers of axes)."""
        products = [] if step.key is None else [axes for axes in self._products.get(step.key, []) if axes]
        products = products or [[]]
        whole = [math.prod(len(self.lines[axis - 1]) for axis in axes) for axes in products]
        return [(fixed / sum(whole), axes) for axes in products]

    def _number(self, line: np.ndarray) -> int:
        key = line.tobytes()
        if key not in self._numbers:
            self.lines.append(line)
            self._numbers[key] = len(self.lines)
        return self._numbers[key]
