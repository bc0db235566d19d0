"""Whether the optimizer that is the clock of a pruning is the one that trains the wrapped layers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from tfmot_swd.keras2 import optimizers


class OptimizerCheck:
    """Looks after batches and epochs until it knows, which it mostly does after the first batch.

    Training steps of one's own and generative adversarial networks have optimizers that are not `model.optimizer`: the
    clock of the pruning would stand still, or count the updates of other layers.

    An optimizer that has made updates tells which variables it was built for. While it has made none, the weights tell:
    they stay as they are where gradients are accumulated over many batches, and change where another one trains them.

    Args:
      optimizer: whose updates are the clock.
      weights: variables that are pruned.
      models: that may hold other optimizers, to name the right one in the error.
    """

    def __init__(self, optimizer: Any, weights: Sequence[Any], models: Sequence[Any]) -> None:
        self._optimizer, self._weights, self._models = optimizer, list(weights), models
        self._passed = False
        self._batches = 0
        self._begun_at = self._updates()
        self._others_at = {id(each.optimizer): _count(each.optimizer) for each in self._others()}
        self._first = self._last = self._checksums()

    def after_batch(self) -> None:
        """Looks at what a batch has changed.

        Raises:
          ValueError: another optimizer trains the weights.
        """
        if self._passed or self._has_updated():
            return
        now = self._checksums()
        # The decay that begins an update changes weights as well, in the first batch.
        if self._batches and now != self._last:
            raise ValueError(self._message())
        self._batches, self._last = self._batches + 1, now

    def after_epoch(self) -> None:
        """Looks at what an epoch has changed, for loops that report no batches.

        Raises:
          ValueError: another optimizer trains the weights.
        """
        if self._passed or self._has_updated():
            return
        # Two batches that have changed nothing: gradients are being accumulated.
        if self._batches < 2 and self._checksums() != self._first:
            raise ValueError(self._message())

    def _has_updated(self) -> bool:
        if self._updates() == self._begun_at:
            return False
        if optimizers.trains(self._optimizer, self._weights) is False:
            raise ValueError(self._message())
        self._passed = True
        return True

    def _updates(self) -> int:
        return _count(self._optimizer)

    def _checksums(self) -> list[int]:
        return [zlib.crc32(weight.numpy().tobytes()) for weight in self._weights]

    def _others(self) -> list[optimizers.HeldOptimizer]:
        return [each for each in optimizers.held_optimizers(*self._models) if each.optimizer is not self._optimizer]

    def _message(self) -> str:
        """Returns what to do, with the name of the optimizer that trains the weights where a model holds it."""
        moved = [each for each in self._others() if _count(each.optimizer) != self._others_at.get(id(each.optimizer))]
        right = [each for each in moved if optimizers.trains(each.optimizer, self._weights) is not False]
        name = f"model.{right[0].attribute}" if right else "optimizer"
        found = f"; they are trained by {', '.join(map(str, right))}" if right else ""
        return (
            "The wrapped layers are not trained by the optimizer whose updates are the clock of their pruning, so that "
            "they would not be pruned as the schedule says: compute their gradients and apply it with model.optimizer, "
            f"or name the optimizer that does so, tfmot_swd.UpdatePruningStep(optimizer={name}). Received: "
            f"{type(self._optimizer).__name__} as the clock, with {self._updates() - self._begun_at} updates in this "
            f"training, none of the wrapped layers{found}"
        )


def _count(optimizer: Any) -> int:
    return int(optimizers.iterations(optimizer).numpy())
