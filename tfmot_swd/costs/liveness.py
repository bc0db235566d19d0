"""Lifetimes of the tensors between layers when a model runs, and the peak of activation memory."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfmot_swd.layers.registry import is_view
from tfmot_swd.layers.sample import InputShape, SampleCall, SampleTensor, SampleWalk


@dataclasses.dataclass
class Buffer:
    """Memory written by one call, alive from step `born` to step `last_read`, both included."""

    nbytes: int
    born: int
    last_read: int


@dataclasses.dataclass(frozen=True)
class Step(SampleCall):
    """One call of a layer other than a nested model, with the bytes that it writes for a batch."""

    activation_bytes: int = 0


class CallTrace:
    """The calls of a model in the order in which Keras runs them, those of nested models in their place.

    Args:
      model: a Sequential or Functional model.
      batch_size: samples in a batch.
      input_shape: the sizes of its inputs where it leaves some open, as for `SampleWalk`.
    """

    def __init__(self, model: Any, batch_size: int, input_shape: InputShape | None = None) -> None:
        self.steps: list[Step] = []
        self._buffers: list[Buffer] = []
        self._batch_size = batch_size
        walk = SampleWalk(model, input_shape)
        known: dict[SampleTensor, Buffer] = {}
        for index, call in enumerate(walk.calls):
            born = 0 if index < len(model.inputs) else index
            self.steps.append(Step(**vars(call), activation_bytes=self._write(call, born, known)))
        for output in walk.outputs:
            known.setdefault(output, Buffer(0, 0, 0)).last_read = len(self.steps)

    def peak(self) -> tuple[int, int]:
        """Returns the largest number of bytes alive at once, and the first step at which it is reached."""
        changes = [0] * (len(self.steps) + 2)
        for buffer in self._buffers:
            changes[buffer.born] += buffer.nbytes
            changes[buffer.last_read + 1] -= buffer.nbytes
        alive, best, at = 0, -1, 0
        for step in range(len(self.steps)):
            alive += changes[step]
            if alive > best:
                best, at = alive, step
        return best, at

    def _write(self, call: SampleCall, born: int, known: dict[SampleTensor, Buffer]) -> int:
        """Extends the lifetimes of the inputs of a call and allocates its outputs; returns the bytes allocated."""
        for read in call.reads:
            # A constant passed to a nested model is part of the model, not an activation.
            known.setdefault(read, Buffer(0, 0, 0)).last_read = len(self.steps)
        if call.reads and is_view(call.layer):
            known.update(dict.fromkeys(call.writes, known[call.reads[0]]))
            return 0
        nbytes = 0
        for write in call.writes:
            size = math.prod(write.shape) * write.itemsize * (self._batch_size if write.batched else 1)
            known[write] = Buffer(size, born, born)
            self._buffers.append(known[write])
            nbytes += size
        return nbytes
