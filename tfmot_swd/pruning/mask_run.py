"""Training run and status of methods that prune by masks."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tfmot_swd.keras2.layer_weights import elements
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.keras2.weight_values import nonzeros
from tfmot_swd.pruning.mask_pool import MaskPool
from tfmot_swd.pruning.run import PruningRun, RunOptions, warn_of_frozen
from tfmot_swd.pruning.status import Chart, ChartLine, Status
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper


@dataclasses.dataclass(frozen=True)
class MaskStatus(Status):
    """State of a training that prunes by masks.

    Args:
      step: updates begun since the model was wrapped.
      sparsity: share of exact zeros among the weights with a mask.
      layers: the same by layer.
      zeros: number of weights that are zero.
      weights: number of weights with a mask.
      is_pruned: whether masks have been chosen.
    """

    log_names: ClassVar[frozenset[str]] = frozenset({"sparsity"})

    step: int
    sparsity: float
    layers: dict[str, float]
    zeros: int
    weights: int
    is_pruned: bool

    def logs(self) -> dict[str, Any]:
        return {"sparsity": self.sparsity}

    def scalars(self) -> dict[str, float]:
        return {"sparsity": self.sparsity} | {f"sparsity/{name}": share for name, share in self.layers.items()}

    @classmethod
    def charts(cls, states: Sequence[Mapping[str, Any]]) -> Iterable[Chart]:
        yield Chart("weights that are zero", "share", [ChartLine("sparsity", [each["sparsity"] for each in states])])


class MaskRun(PruningRun):
    """Base of the runs of methods that prune by masks.

    Masked weights are zero in validation and at the end of each epoch, where a `MaskStatus` joins the history. A method
    derives from it and names its pool in `pool_class`.
    """

    pool_class: ClassVar[type[MaskPool[Any]]]

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        pool = self.pool_class.of(model)
        super().__init__(model, options, params)
        pool.join(self.optimizer)
        self._pool = pool
        self._link_wrappers()

    @classmethod
    def prune_now(cls, model: Any) -> None:
        pool = cls.pool_class.of(model)
        pool.finish()
        warn_of_frozen(model, collect_wrappers(model, pool.wrapper_class))

    @property
    def skipped(self) -> int:
        return self._pool.skipped

    @property
    def is_over(self) -> bool:
        end = self._pool.end()
        return end is not None and self._pool.step > end

    @property
    def wrappers(self) -> list[PruningWrapper]:
        return list(self._pool.wrappers)

    def status(self) -> MaskStatus:
        """Returns the present status."""
        zeros: dict[str, tuple[int, int]] = {}
        for wrapper in self._pool.wrappers:
            weights = [weight for weight, _, _ in wrapper.pruning_vars]
            size = elements(weights)
            zeros[wrapper.layer.name] = size - sum(nonzeros(each) for each in weights), size
        count, size = (sum(each[place] for each in zeros.values()) for place in (0, 1))
        shares = {name: found / of for name, (found, of) in zeros.items() if of}
        return MaskStatus(self._pool.step, count / max(size, 1), shares, count, size, self._pool.is_pruned)

    def scalars(self) -> tuple[int, dict[str, float]]:
        status = self.status()
        return status.step, status.scalars()

    def on_batch_end(self, batch: int) -> None:
        super().on_batch_end(batch)
        if self._is_status_due():
            self.history.append(self.status())

    def on_test_begin(self) -> None:
        self._pool.apply_masks()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None) -> None:
        super().on_epoch_end(epoch, logs)
        self._pool.apply_masks()
        status = self.status()
        if self.options.update_freq == "epoch":
            self.history.append(status)
        if logs is not None:
            logs.update(status.logs())

    def on_train_end(self) -> None:
        self._pool.apply_masks()
        if not self.options.partial_fit:
            warn_of_frozen(self.model, collect_wrappers(self.model, self.wrapper_class))
            end = self._pool.end()
            if end is not None and self._pool.step < end:
                warnings.warn(
                    f"Training ended after {self._pool.step} updates and the schedule at {end}, so fewer "
                    "weights are pruned than requested. Train on, or call tfmot_swd.prune_now(model). "
                    f"Received: sparsity {self.status().sparsity:.4f}",
                    PruningWarning,
                    stacklevel=3,
                )
        self._unlink_wrappers()
        self._pool.leave()
