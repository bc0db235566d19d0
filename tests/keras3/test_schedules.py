import keras
import numpy as np
import pytest
import tf_keras

from tfmot_swd.keras3 import training_object

SCHEDULES = keras.optimizers.schedules


@keras.saving.register_keras_serializable("schedules_test")
class Warmup(SCHEDULES.LearningRateSchedule):
    """A learning rate that rises to its peak in some steps."""

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, steps

    def __call__(self, step):
        return self.peak * keras.ops.minimum(1.0, keras.ops.cast(step, "float32") / self.steps)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps}


@pytest.mark.parametrize(
    "schedule",
    [
        SCHEDULES.CosineDecay(0.1, 10, alpha=0.1, warmup_target=0.5, warmup_steps=3),
        SCHEDULES.CosineDecayRestarts(0.1, 4),
        SCHEDULES.ExponentialDecay(0.1, 5, 0.5, staircase=True),
        SCHEDULES.InverseTimeDecay(0.1, 5, 0.5),
        SCHEDULES.PiecewiseConstantDecay([3, 5], [0.1, 0.01, 0.001]),
        SCHEDULES.PolynomialDecay(0.1, 5, power=2.0, cycle=True),
    ],
    ids=lambda each: type(each).__name__,
)
def test_stock_schedules_are_those_of_tf_keras_and_the_same(schedule):
    made = training_object(schedule)
    assert type(made) is getattr(tf_keras.optimizers.schedules, type(schedule).__name__)
    assert [float(made(step)) for step in range(12)] == [float(schedule(step)) for step in range(12)]


def test_a_schedule_of_the_users_own_is_called_and_comes_back_from_its_config():
    made = training_object(Warmup(1.0, 4))
    again = tf_keras.utils.deserialize_keras_object(tf_keras.utils.serialize_keras_object(made))
    for each in (made, again):
        np.testing.assert_allclose([each(step) for step in range(6)], [0, 0.25, 0.5, 0.75, 1, 1])


def test_another_backend_cannot_carry_a_schedule(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(
        TypeError, match=r"KERAS_BACKEND=tensorflow, or subclass tf_keras.*Received: .*Warmup on the backend 'jax'$"
    ):
        training_object(Warmup(1.0, 4))


@pytest.mark.parametrize("scaled", [False, True])
def test_a_schedule_is_set_on_the_optimizer_of_a_model(scaled):
    inner = tf_keras.optimizers.SGD()
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(inner) if scaled else inner

    optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(0.1, 5)

    config = inner.get_config()["learning_rate"]
    assert (config["class_name"], config["config"]["initial_learning_rate"]) == ("CosineDecay", 0.1)
    other = tf_keras.optimizers.SGD()
    other.learning_rate = 0.5
    assert float(other.learning_rate) == 0.5
