"""The check that keeps schedules of this package out of TFMOT's own pruning wrapper."""

from __future__ import annotations

from tfmot_swd.keras2.compat import PruneLowMagnitude, layer_being_called


def check_not_in_tfmots_wrapper(schedule: object, entry: str) -> None:
    """Raises where TFMOT's own wrapper asks a schedule of this package what to prune.

    It would prune each layer by magnitude, to a share that the schedule means for the whole model or for something
    other than weights. The wrappers of this package never ask from inside their `call`.

    Args:
      schedule: that is being asked.
      entry: name of the function of this package that the schedule is for.

    Raises:
      ValueError: the layer that is being called is a wrapper of TFMOT.
    """
    layer = layer_being_called()
    if isinstance(layer, PruneLowMagnitude):
        name = type(schedule).__name__
        raise ValueError(
            f"tfmot.sparsity.keras.prune_low_magnitude cannot follow a {name}: it would prune each layer by magnitude "
            f"on its own. Call tfmot_swd.{entry}(model, schedule) instead, and fit with tfmot_swd.UpdatePruningStep(). "
            f"Received: a {name} as pruning_schedule of the layer {layer.name!r}"
        )
