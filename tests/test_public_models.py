"""Every public function that takes a model: right, or a clear error, for every kind of model."""

import functools
import inspect

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.sparsity.keras import ConstantSparsity, prune_low_magnitude

import tfmot_swd

L = keras.layers
X = np.ones((4, 6), "float32")
DATA = X, np.zeros((4, 2), "float32")
SCHEDULE = tfmot_swd.SelectiveDecay(0.5, end_step=2)
CALLS = {
    "prune_magnitude": lambda model: tfmot_swd.magnitude.prune_magnitude(model, ConstantSparsity(0.5, 0)),
    "wrap_prunable_layers": lambda model: tfmot_swd.pruning.wrap_prunable_layers(model, lambda layer: layer),
    "channel_groups": tfmot_swd.channels.channel_groups,
    "compress": lambda model: tfmot_swd.compress(model, DATA, DATA, output="job", budget=0.5),
    "channel_scores": tfmot_swd.channels.channel_scores,
    "prune_now": tfmot_swd.prune_now,
    "device_report": lambda model: tfmot_swd.device_report(model, model),
    "export_tflite": lambda model: tfmot_swd.export_tflite(model, "net.tflite"),
    "file_bytes": lambda model: tfmot_swd.tflite.file_bytes(model, "float32"),
    "from_keras3": tfmot_swd.keras3.from_keras3,
    "fit_budget": lambda model: tfmot_swd.costs.fit_budget(model, {"hidden": np.arange(5)}, 0.3),
    "plan_channels": tfmot_swd.plan_channels,
    "plan_dead_removal": tfmot_swd.channels.plan_dead_removal,
    "plan_pruning": tfmot_swd.plan_pruning,
    "plan_removal": lambda model: tfmot_swd.channels.plan_removal(model, {"hidden": [True, False, True, True, True]}),
    "profile": tfmot_swd.profile,
    "prune_progressive_gradient": lambda model: tfmot_swd.prune_progressive_gradient(
        model, tfmot_swd.ProgressiveRate(0.5, 2), layers="all"
    ),
    "prune_selective_decay": lambda model: tfmot_swd.prune_selective_decay(model, SCHEDULE),
    "quantization_error": lambda model: tfmot_swd.tflite.quantization_error(model, plain_file(), X),
    "quantize_aware": tfmot_swd.quantize_aware,
    "reestimate_batch_norm": lambda model: tfmot_swd.pruning.reestimate_batch_norm(model, [X]),
    "remove_channels": lambda model: tfmot_swd.channels.remove_channels(
        model, {"hidden": [True, False, True, True, True]}
    ),
    "remove_dead_channels": tfmot_swd.channels.remove_dead_channels,
    "sensitivity": lambda model: tfmot_swd.workflows.sensitivity(
        model, (X, np.zeros((len(X), 2), np.float32)), rates=[0.5], metric=keras.metrics.MeanSquaredError(), verbose=0
    ),
    "shrink_model": lambda model: tfmot_swd.channels.shrink_model(model, {"hidden": [True, False, True, True, True]}),
    "smallest": lambda model: tfmot_swd.workflows.smallest(model, DATA, DATA, max_drop=1.0),
    "sparsity_report": tfmot_swd.sparsity_report,
    "strip_pruning": tfmot_swd.strip_pruning,
    "to_keras3": tfmot_swd.keras3.to_keras3,
}


def plain() -> keras.Model:
    return keras.Sequential([L.Dense(5, input_shape=(6,), name="hidden"), L.BatchNormalization(), L.Dense(2)])


@functools.cache
def plain_file() -> bytes:
    return tf.lite.TFLiteConverter.from_keras_model(plain()).convert()


def keras_3():
    return keras3.Sequential([keras3.Input((6,)), keras3.layers.Dense(5, name="hidden"), keras3.layers.Dense(2)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.head = L.Dense(5, name="hidden"), L.BatchNormalization(), L.Dense(2)
        self.scale = self.add_weight("scale", (2, 2), initializer="ones")

    def call(self, x):
        return self.head(self.norm(self.hidden(x))) @ self.scale


def test_the_list_is_complete():
    takes = {
        name
        for room in (tfmot_swd, *(getattr(tfmot_swd, each) for each in tfmot_swd.__all__))
        for name in getattr(room, "__all__", ())
        if inspect.isfunction(found := getattr(room, name))
        and next(iter(inspect.signature(found).parameters), "") in ("model", "dense")
    }
    assert takes == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_keras_3_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in ("prune_now", "shrink_model", "strip_pruning", "to_keras3"):
        with pytest.raises(TypeError, match=r"tf_keras model.*Received: (the|a) Keras 3 (model|object)"):
            CALLS[name](keras_3())
    elif name in ("compress", "smallest"):
        # They train: tests/workflows has them with Keras 3.
        with pytest.raises(ValueError, match="not compiled"):
            CALLS[name](keras_3())
    else:
        assert CALLS[name](keras_3()) is not None


@pytest.mark.parametrize("name", CALLS)
def test_a_subclassed_model(name):
    model = Subclassed()
    model(X)
    if name == "sparsity_report":
        report = CALLS[name](model)
        assert (report.prunable_weights, report.kernels, report.nonzero_kernels) == (35 + 12, 30 + 10 + 4, 44)
    else:
        with pytest.raises((TypeError, ValueError), match=r"Received: "):
            CALLS[name](model)


@pytest.mark.parametrize(
    "name", ["sparsity_report", "profile", "device_report", "plan_pruning", "reestimate_batch_norm"]
)
def test_a_quantization_aware_model_counts_like_the_model_itself(name):
    net = plain()
    aware = tfmot_swd.quantize_aware(net)
    # The kernel is a tensor once the model has run.
    aware(X)
    one, two = CALLS[name](net), CALLS[name](aware)
    if name == "sparsity_report":
        assert (
            (one.prunable_weights, one.kernels, one.nonzero_kernels)
            == (two.prunable_weights, two.kernels, two.nonzero_kernels)
            == (47, 40, 40)
        )
        assert one.parameters == two.parameters
    elif name == "profile":
        assert (one.parameters, one.macs, one.trainable_parameters) == (
            two.parameters,
            two.macs,
            two.trainable_parameters,
        )
        assert two.unknown == ()
    elif name == "device_report":
        assert one.totals.weights_after == two.totals.weights_after == 47
    elif name == "plan_pruning":
        assert (one.prunable_weights, one.kernels) == (two.prunable_weights, two.kernels)
    else:
        assert one == two == 1


@pytest.mark.parametrize("name", ["prune_selective_decay", "prune_progressive_gradient"])
def test_a_quantization_aware_model_is_not_pruned(name):
    with pytest.raises(ValueError, match="prune and strip it first.*Received: .* quantization wrappers"):
        CALLS[name](tfmot_swd.quantize_aware(plain()))


def test_a_model_in_tfmots_own_wrappers_is_counted():
    report = tfmot_swd.sparsity_report(prune_low_magnitude(plain()))
    assert (report.prunable_weights, report.kernels) == (47, 40)


def test_depthwise_kernels_in_quantization_wrappers():
    net = keras.Sequential([L.DepthwiseConv2D(3, input_shape=(6, 6, 2)), L.Conv2D(3, 1), L.Flatten(), L.Dense(2)])
    aware = tfmot_swd.quantize_aware(net)
    aware(np.ones((1, 6, 6, 2), "float32"))
    assert tfmot_swd.plan_pruning(aware).uncounted == ()
    assert tfmot_swd.sparsity_report(aware).kernels == tfmot_swd.sparsity_report(net).kernels == 18 + 6 + 96
