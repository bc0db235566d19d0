"""The size of a TFLite file as a cost, estimated without converting each candidate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.costs.cost import Cost, register_cost
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.terms import CostTerms
from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.record import FOLLOW, PRODUCE
from tfmot_swd.layers.sample import InputShape
from tfmot_swd.tflite.export import file_bytes

# Of each element of a matrix, and of each channel that one makes: an int32 bias with its scale and zero point, and
# those of the matrix; or a bias in float32.
_BYTES = {"int8": (1.0, 28.0), "float32": (4.0, 4.0)}


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class FileSize(Cost):
    """The bytes of a model's TFLite file: estimated as a line over what is counted, matrices and biases.

    Batch normalization is folded and constants are merged in ways that only the converter knows: the line goes through
    the file of the whole model and that of the smallest, and both ends are exact.

    Args:
      scale, offset: of the line.
      recipe: of the files, "int8" or "float32".
    """

    scale: float = 1.0
    offset: float = 0.0
    recipe: str = "int8"

    integral = True
    estimated = True

    def terms(self, model: ChannelCosts) -> CostTerms:
        return _counted(model, self.recipe).scaled(self.scale, self.offset)

    def of(self, model: Any, input_shape: InputShape | None = None) -> int:
        """Returns the bytes of the file; conversion takes seconds, and minutes for very large models."""
        return file_bytes(model, self.recipe)

    def for_recipe(self, recipe: str) -> FileSize:
        return dataclasses.replace(self, recipe=recipe)

    def calibrated(self, costs: ChannelCosts, smallest: Mapping[str, np.ndarray]) -> FileSize:
        groups = costs.groups
        least = plan_removal(groups.model, smallest, groups=groups)
        counted = _counted(costs, self.recipe)
        upper, lower = (counted.count(costs.sizes(stays)) for stays in (None, least.stays))
        first, last = (self.of(model) for model in (groups.model, least.apply(keras2=True)))
        scale = (first - last) / (upper - lower) if upper > lower else 1.0
        return FileSize(scale, first - scale * upper, self.recipe)

    def corrected(self, model: Any, counted: float, limit: float) -> FileSize:
        real = self.of(model)
        return self if real <= limit else dataclasses.replace(self, offset=self.offset + real - counted)


def _counted(costs: ChannelCosts, recipe: str) -> CostTerms:
    element, channel = _BYTES[recipe]
    made = {(cut.variable_id, cut.axis) for cut in costs.groups.trace.cuts if cut.role in (PRODUCE, FOLLOW)}
    products = []
    for weight in costs.weights:
        if len(weight.shape) < 2:
            continue
        products.append(costs.product(weight, element))
        for axis in range(len(weight.shape)):
            if (id(weight), axis) in made:
                products.append((channel, costs.axis_of(weight, axis)))
    return CostTerms.of(products)


register_cost("bytes", FileSize())
