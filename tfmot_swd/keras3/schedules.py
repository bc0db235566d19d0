"""Learning-rate schedules of Keras 3 as schedules of tf_keras."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfmot_swd.keras2.compat import keras as tf_keras
from tfmot_swd.keras3.inner_objects import check_runs_in_tensorflow, entry_of, from_entry


def tf_keras_schedule(schedule: Any) -> Any:
    """Returns the tf_keras schedule of a Keras 3 schedule.

    Stock ones are made of their config; one of the user's own is called inside a `CarriedSchedule`.

    Args:
      schedule: a `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
      TypeError: a schedule of the user's own where Keras 3 does not run on TensorFlow.
    """
    import keras

    name = type(schedule).__name__
    if getattr(keras.optimizers.schedules, name, None) is type(schedule):
        return getattr(tf_keras.optimizers.schedules, name).from_config(schedule.get_config())
    return CarriedSchedule(schedule)


@tf_keras.utils.register_keras_serializable("tfmot_swd")
class CarriedSchedule(tf_keras.optimizers.schedules.LearningRateSchedule):
    """A tf_keras schedule that calls a schedule written for Keras 3.

    A saved model loads with it if the class inside is registered with `keras.saving.register_keras_serializable`.

    Args:
      inner: a `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
      TypeError: Keras 3 does not run on TensorFlow.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        check_runs_in_tensorflow(inner, "subclass tf_keras.optimizers.schedules.LearningRateSchedule")
        self.inner = inner

    def __call__(self, step: Any) -> tf.Tensor:
        return tf.convert_to_tensor(self.inner(step))

    def get_config(self) -> dict[str, Any]:
        return {"inner": entry_of(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CarriedSchedule:
        return cls(from_entry(config["inner"], "optimizers.schedules.LearningRateSchedule"))
