import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.keras3 import training_object
from tfmot_swd.keras3.metrics import direction_of

RNG = np.random.default_rng(0)
WEIGHTS = RNG.random(6).astype(np.float32)
PREDICTED = RNG.dirichlet(np.ones(4), size=6).astype(np.float32)
ONE_HOT = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, 6)]
ARGUMENTS = {
    "FBetaScore": {"beta": 2.0, "threshold": 0.4},
    "IoU": {"num_classes": 4, "target_class_ids": [0, 1], "sparse_y_pred": False},
    "MeanIoU": {"num_classes": 4, "sparse_y_pred": False},
    "OneHotIoU": {"num_classes": 4, "target_class_ids": [0, 1]},
    "OneHotMeanIoU": {"num_classes": 4},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "SparseTopKCategoricalAccuracy": {"k": 2},
    "TopKCategoricalAccuracy": {"k": 2},
}
STOCK = [
    name
    for name in dir(keras.metrics)
    if isinstance(getattr(keras.metrics, name), type)
    and hasattr(tf_keras.metrics, name)
    and name not in ("Metric", "MeanMetricWrapper")
]


@keras.saving.register_keras_serializable("metrics_test")
class Largest(keras.metrics.Metric):
    """The largest prediction so far, written for Keras 3."""

    def __init__(self, name="largest", dtype=None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.value = self.add_variable((), "zeros", name="value")
        self._direction = "up"

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))

    def result(self):
        return self.value


def data(name: str) -> tuple:
    if name in ("Mean", "Sum"):
        return (PREDICTED[:, 0],)
    is_sparse = name.startswith("Sparse") or name in ("IoU", "MeanIoU")
    return (ONE_HOT.argmax(1)[:, None] if is_sparse else ONE_HOT, PREDICTED)


@pytest.mark.parametrize("name", STOCK)
def test_stock_metrics_are_those_of_tf_keras_and_the_same(name):
    metric = getattr(keras.metrics, name)(**ARGUMENTS.get(name, {}), name="mine")
    made = training_object(metric)
    assert type(made) is getattr(tf_keras.metrics, name)
    assert made.name == "mine"
    # The second update is weighted; Keras 3 cuts the weights of IoU to integers.
    for weights in (None, None if "IoU" in name else WEIGHTS):
        metric.update_state(*data(name), sample_weight=weights)
        made.update_state(*data(name), sample_weight=weights)
    np.testing.assert_allclose(made.result(), metric.result(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("metric", [Largest(), keras.metrics.PearsonCorrelation()], ids=lambda each: each.name)
def test_what_tf_keras_lacks_is_counted_inside_and_begins_anew(metric):
    made = training_object(metric)
    metric.update_state(ONE_HOT, PREDICTED)
    tf.function(lambda: [made.update_state(ONE_HOT, PREDICTED)][:0])()
    result, kept = float(np.mean(made.result())), made.get_weights()
    assert result == pytest.approx(float(np.mean(metric.result())))
    assert len(kept) == len(made.weights) > 0
    made.reset_state()
    assert float(np.mean(made.result())) != result
    made.set_weights(kept)
    assert float(np.mean(made.result())) == result


def test_a_metric_of_the_users_own_comes_back_from_its_config():
    made = training_object(Largest("top"))
    again = tf_keras.utils.deserialize_keras_object(tf_keras.utils.serialize_keras_object(made))
    assert again.name == "top"
    assert isinstance(again.inner, Largest)
    assert again.inner is not made.inner


def test_a_function_inside_a_mean_is_that_of_tf_keras():
    made = training_object(keras.metrics.MeanMetricWrapper(keras.metrics.hinge, name="mine"))
    made.update_state(ONE_HOT, PREDICTED)
    expected = np.mean(keras.losses.hinge(ONE_HOT, PREDICTED))
    assert (type(made), made.name) == (tf_keras.metrics.MeanMetricWrapper, "mine")
    assert float(made.result()) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        (tf_keras.metrics.SparseCategoricalAccuracy(), "up"),
        (tf_keras.metrics.MeanIoU(2), "up"),
        (tf_keras.metrics.MeanMetricWrapper(tf_keras.metrics.binary_accuracy), "up"),
        (tf_keras.metrics.MeanMetricWrapper(tf_keras.losses.mean_squared_error), "down"),
        (tf_keras.metrics.MeanMetricWrapper(lambda y_true, y_pred: y_pred), None),
        (tf_keras.metrics.Sum(), None),
    ],
)
def test_the_direction_in_which_a_metric_gets_better_is_known(metric, direction):
    assert direction_of(metric) == direction
    assert direction_of(training_object(Largest())) == "up"


def test_several_replicas_do_not_count_in_one_metric(monkeypatch):
    monkeypatch.setattr(type(tf.distribute.get_strategy()), "num_replicas_in_sync", 2)
    with pytest.raises(ValueError, match=r"write it as a subclass of tf_keras.*Received: .*Largest and 2 replicas$"):
        training_object(Largest())


class Count(keras.metrics.Metric):
    """Counts updates in steps of a size, which its config does not have."""

    def __init__(self, size=1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.size, self.count = size, self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign_add(self.size)

    def result(self):
        return self.count


class CountWithConfig(Count):
    def get_config(self):
        return {**super().get_config(), "size": self.size}


def test_a_metric_counts_for_one_model_alone():
    metric = CountWithConfig(2.0)
    metric.update_state(ONE_HOT, PREDICTED)

    made = training_object(metric)
    model = tf_keras.Sequential([tf_keras.layers.Dense(4, input_shape=(4,))])
    model.compile("sgd", "mse", metrics=[metric])
    logs = model.fit(ONE_HOT, PREDICTED, batch_size=2, verbose=0).history

    assert float(made.result()) == 0.0
    assert logs["count_with_config"] == [6.0]
    assert float(metric.result()) == 2.0


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (Count(2.0), "with no size in its config"),
        (type("Must", (CountWithConfig,), {"from_config": None})(), "with TypeError: "),
    ],
)
def test_a_metric_that_cannot_be_copied_counts_itself_and_says_so(metric, reason):
    metric.update_state(ONE_HOT, PREDICTED)

    with pytest.warns(PruningWarning, match=rf"get_config that returns the arguments.*Received: .* {reason}"):
        made = training_object(metric)

    assert made.inner is metric
    assert float(made.result()) == 0.0
