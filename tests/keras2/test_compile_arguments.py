"""Copies of metrics for another model."""

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd.keras2.compile_arguments import copied_metrics


class Within(keras.metrics.Mean):
    """Share of predictions within a tolerance, whose config does not tell the tolerance."""

    def __init__(self, tolerance: float = 0.1, name: str = "within") -> None:
        super().__init__(name=name)
        self.tolerance = tolerance

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(abs(y_true - y_pred) < self.tolerance, sample_weight)


class TellsAll(Within):
    def get_config(self):
        return {"tolerance": self.tolerance, "name": self.name}


def test_a_metric_whose_config_lacks_an_argument_stays_itself():
    within = Within(0.5)
    assert copied_metrics([within])[0] is within


def test_a_metric_with_a_whole_config_is_copied():
    within = TellsAll(0.5)
    within.update_state(np.ones(2), np.ones(2))
    copied = copied_metrics({"out": [within, "mae"]})
    assert copied["out"][0] is not within
    assert copied["out"][0].tolerance == 0.5
    assert copied["out"][1] == "mae"
    assert float(copied["out"][0].count) == 0


@pytest.mark.parametrize(
    "metric",
    [
        keras.metrics.AUC(num_thresholds=7),
        keras.metrics.SparseTopKCategoricalAccuracy(k=2),
        keras.metrics.MeanMetricWrapper(keras.losses.mae, "own"),
    ],
)
def test_a_stock_metric_is_copied_though_its_config_leaves_defaults_out(metric):
    copied = copied_metrics(metric)
    assert type(copied) is type(metric)
    assert copied is not metric
    assert copied.get_config() == metric.get_config()
