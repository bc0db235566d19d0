"""When AC/DC compresses."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable("acdc")
@dataclasses.dataclass(frozen=True)
class AlternatingPhases:
    """Dense updates first, then compressed and decompressed phases in turn, and compressed ones from `end_step` on.

    Args:
      final_sparsity: share of all prunable weights that is zero in a compressed phase.
      begin_step: update at which the first compressed phase begins.
      end_step: update at which the last one does.
      phase_steps: updates in a phase.
    """

    final_sparsity: float
    begin_step: int
    end_step: int
    phase_steps: int

    def is_compressed(self, step: tf.Tensor) -> tf.Tensor:
        """Returns whether weights are pruned at an update."""
        return (step >= self.end_step) | ((step >= self.begin_step) & (self._phase(step) % 2 == 0))

    def begins_phase(self, step: tf.Tensor) -> tf.Tensor:
        """Returns whether a phase begins with an update."""
        starts = (step >= self.begin_step) & (step < self.end_step) & ((step - self.begin_step) % self.phase_steps == 0)
        return starts | tf.equal(step, self.end_step)

    def _phase(self, step: tf.Tensor) -> tf.Tensor:
        return (step - self.begin_step) // self.phase_steps

    def get_config(self) -> dict[str, Any]:
        """Returns the config as TFMOT's wrappers keep it, with the name of the class."""
        return {"class_name": keras.utils.get_registered_name(type(self)), "config": dataclasses.asdict(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AlternatingPhases:
        """Returns the schedule of a config."""
        return cls(**config)
