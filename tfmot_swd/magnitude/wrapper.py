"""Wrapper of magnitude pruning on a schedule of TFMOT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfmot_swd.keras2.compat import (
    ConstantSparsity,
    PolynomialDecay,
    PruningSchedule,
    keras,
    make_prunable_as_tfmot,
    master_variable,
)
from tfmot_swd.layers.prunable import make_prunable
from tfmot_swd.pruning.blocks import Blocks
from tfmot_swd.pruning.mask_wrapper import MaskWrapper

SCOPES = ("layer", "global")


@keras.utils.register_keras_serializable("tfmot_swd")
class PruneMagnitude(MaskWrapper):
    """Wraps a layer as TFMOT's `PruneLowMagnitude` does, with the same masks, for the callback of this package.

    Models are wrapped by `prune_low_magnitude` with a schedule of TFMOT.

    Args:
      layer: any Keras layer. In layers that TFMOT knows, the weights are pruned that TFMOT prunes; in others those that
        a pruning rate counts.
      pruning_schedule: a TFMOT `PruningSchedule`.
      block_size, block_pooling_type, sparsity_m_by_n: as in `prune_low_magnitude`.
      scope: "layer" prunes each weight to the sparsity of the schedule, as TFMOT does; "global" compares all weights of
        the model under one threshold.

    Raises:
      TypeError: the schedule is not a TFMOT schedule.
      ValueError: an argument is malformed, or an m by n pattern is combined with a global threshold or blocks.
    """

    def __init__(
        self,
        layer: Any,
        pruning_schedule: PruningSchedule,
        block_size: tuple[int, int] = (1, 1),
        block_pooling_type: str = "AVG",
        sparsity_m_by_n: tuple[int, int] | None = None,
        scope: str = "layer",
        **kwargs: Any,
    ) -> None:
        if not isinstance(pruning_schedule, PruningSchedule):
            raise TypeError(
                "pruning_schedule must be a tfmot.sparsity.keras.PruningSchedule, as PolynomialDecay. "
                f"Received: {pruning_schedule!r}"
            )
        if scope not in SCOPES:
            raise ValueError(f"scope must be one of {SCOPES}. Received: scope={scope!r}")
        pattern = None if sparsity_m_by_n is None else _checked_pattern(sparsity_m_by_n)
        if pattern is not None and (scope == "global" or tuple(block_size) != (1, 1)):
            raise ValueError(
                "An m by n pattern is chosen within groups of weights, so it takes neither a global threshold nor "
                f"blocks. Received: sparsity_m_by_n={sparsity_m_by_n}, scope={scope!r}, {block_size=}"
            )
        make_prunable_as_tfmot(layer)
        blocks = Blocks(block_size, block_pooling_type)
        super().__init__(layer, pruning_schedule, **kwargs)
        # TFMOT's names.
        self.block_size, self.block_pooling_type, self.sparsity_m_by_n = blocks.size, blocks.pooling, pattern
        self.blocks, self.scope = blocks, scope

    def weights_to_prune(self) -> Sequence[Any]:
        found: Sequence[Any] = self.layer.get_prunable_weights()
        # Under a global threshold other weights are ranked one by one.
        if self.block_size != (1, 1) and self.scope == "layer":
            for weight in found:
                if (
                    len(weight.shape) != 2
                    or 1 in weight.shape
                    or any(side > length for side, length in zip(self.block_size, weight.shape, strict=True))
                ):
                    raise ValueError(
                        "Blocks are cut from weights of two axes, as long as the block at least and longer than 1: "
                        "name other layers in skip, or use scope='global', which leaves them without blocks. "
                        f"Received: block_size={self.block_size} for {weight.name!r} of shape {tuple(weight.shape)}"
                    )
        return found

    def ranked(self, weight: Any) -> Any:
        return self.blocks.magnitudes(weight) if self.blocks.tie(weight.shape) else super().ranked(weight)

    def held_axes(self, layer: Any) -> list[tuple[Any, int]]:
        # Removing a channel would shift every block, or every group of an m by n pattern, behind it.
        make_prunable_as_tfmot(layer)
        weights = [master_variable(each) for each in make_prunable(layer).get_prunable_weights()]
        if self.sparsity_m_by_n:
            return [(weight, axis) for weight in weights for axis in range(len(weight.shape))]
        return self.blocks.axes_of(weights)

    def method_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("block_size", "block_pooling_type", "sparsity_m_by_n", "scope")}
        return super().method_config() | {"masks": own}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        # TFMOT registers its schedules nowhere.
        known = {each.__name__: each for each in (ConstantSparsity, PolynomialDecay)}
        return super().from_config(config, custom_objects={**known, **(custom_objects or {})})

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "block_size": self.block_size,
            "block_pooling_type": self.block_pooling_type,
            "sparsity_m_by_n": self.sparsity_m_by_n,
            "scope": self.scope,
        }


def _checked_pattern(given: Any) -> tuple[int, int]:
    sides = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if len(sides) != 2 or not all(type(each) is int for each in sides) or not 0 < sides[0] < sides[1]:
        raise ValueError(
            "sparsity_m_by_n must be two whole numbers, zeros and of how many weights: (2, 4) for two zeros in each "
            f"four. Received: sparsity_m_by_n={given!r}"
        )
    return sides[0], sides[1]
