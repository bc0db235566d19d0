"""The bytes of the TFLite file that a removal would leave, estimated without converting each candidate."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.costs.counts import ChannelCosts, CostTerms
from tfmot_swd.layers.call import FOLLOW, PRODUCE
from tfmot_swd.pruning.wrapped_models import own_weights
from tfmot_swd.tflite import file_bytes

# Of each element of a matrix, and of each channel that one makes: an int32 bias with its scale and zero point, and
# those of the matrix; or a bias in float32.
_BYTES = {"int8": (1.0, 28.0), "float32": (4.0, 4.0)}


@dataclasses.dataclass(frozen=True)
class FileSize:
    """How the bytes of a file follow from what is counted: scale times that, plus offset.

    Args:
      scale, offset: of the line through the file of the whole model and that of the smallest.
      recipe: of the files.
    """

    scale: float
    offset: float
    recipe: str

    def terms(self, costs: ChannelCosts) -> CostTerms:
        """Returns the estimate as a cost of channels."""
        return _counted(costs, self.recipe).scaled(self.scale, self.offset)


def measure_file_size(costs: ChannelCosts, least: dict[str, np.ndarray], recipe: str) -> FileSize:
    """Converts the whole model and the smallest that may be left, and returns the line between them.

    Batch normalization is folded and constants are merged in ways that only the converter knows; what is counted here
    are matrices and biases, and both ends are exact. Conversion takes seconds, and minutes for very large models.

    Args:
      costs: of the model's groups.
      least: keep-mask by group of the smallest model.
      recipe: "int8" or "float32".
    """
    groups = costs.groups
    smallest = plan_removal(groups.model, least, groups=groups)
    counted = _counted(costs, recipe)
    everything = np.ones(len(groups.trace.classes.root), bool)
    upper, lower = (counted.count(costs.sizes(stays)) for stays in (everything, smallest.stays))
    first, last = (file_bytes(model, recipe) for model in (groups.model, smallest.apply()))
    scale = (first - last) / (upper - lower) if upper > lower else 1.0
    return FileSize(scale, first - scale * upper, recipe)


def _counted(costs: ChannelCosts, recipe: str) -> CostTerms:
    element, channel = _BYTES[recipe]
    made = {(cut.variable_id, cut.axis) for cut in costs.groups.trace.cuts if cut.role in (PRODUCE, FOLLOW)}
    products = []
    for weight in own_weights(costs.groups.model):
        if len(weight.shape) < 2:
            continue
        products.append(costs.product(weight, element))
        for axis in range(len(weight.shape)):
            if (id(weight), axis) in made:
                products.append((channel, costs.axis_of(weight, axis)))
    return CostTerms.of(products)
