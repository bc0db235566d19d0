"""How well models and files do on the same data, by whose metric."""

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.report.test_build import export
from tfmot_swd.channels import remove_channels
from tfmot_swd.report import device_report
from tfmot_swd.report.scoring import measure_scores, metric_name, metric_unit, scores_of_proofs
from tfmot_swd.tflite import export_tflite

X = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
Y = np.array([0, 1, 2, 2])


def make(kernel, **compiled):
    """Returns a net of one layer without a bias."""
    net = keras.Sequential([keras.layers.Input((3,), name="x"), keras.layers.Dense(3, use_bias=False)])
    net.layers[-1].kernel.assign(np.asarray(kernel, "float32"))
    if compiled:
        net.compile("sgd", "mse", **compiled)
    return net


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Returns the path of a file that gets 3 of the 4 samples right, and of one that is none."""
    folder = tmp_path_factory.mktemp("files")
    export_tflite(make(np.eye(3)), folder / "right.tflite")
    (folder / "broken.tflite").write_bytes(b"nothing of the kind")
    return [str(folder / f"{name}.tflite") for name in ("right", "broken")]


def test_both_models_and_all_files_are_measured_on_the_same_samples(files):
    right, broken = files
    scores = measure_scores(make(np.eye(3)), make(np.eye(3)[[1, 0, 2]]), files, (X, Y))
    # The pruned one takes 0 for 1 and 1 for 0.
    assert (scores.metric, scores.samples, scores.dense, scores.small) == ("accuracy", 4, 0.75, 0.25)
    assert dict(scores.files) == {right: 0.75, broken: None}
    assert "No accuracy, as it does not run on the data: This is not a TFLite file" in scores.reasons[broken]


@pytest.mark.parametrize("y", [Y[:, None], np.eye(3)[Y]])
def test_classes_come_in_any_form(y):
    assert measure_scores(make(np.eye(3)), make(np.eye(3)), [], (X, y)).dense == 0.75


def test_a_dataset_is_read_once(files):
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(4, reshuffle_each_iteration=True).batch(3)
    assert measure_scores(make(np.eye(3)), make(np.eye(3)), files[:1], data).files == {files[0]: 0.75}


def test_the_metric_is_the_users(files):
    def hits(targets, outputs):
        return (outputs.argmax(axis=1) == targets).sum()

    net = make(np.eye(3))
    assert measure_scores(net, net, files[:1], (X, Y), hits).files == {files[0]: 3.0}
    assert measure_scores(net, net, [], (X, Y), hits).metric == "hits"
    top = keras.metrics.SparseTopKCategoricalAccuracy(3, "top_3")
    top.update_state([0], [[0.0, 0.0, 0.0]])
    found = measure_scores(net, net, files[:1], (X, Y), top)
    assert (found.metric, found.dense, found.files[files[0]]) == ("top_3", 1.0, 1.0)
    # Its own state, one sample so far, is as it was.
    assert top.count.numpy() == 1


def test_the_metric_of_compile_is_called_as_there(files):
    net = make(np.eye(3), metrics=[keras.metrics.SparseCategoricalAccuracy("hit_rate_acc")])
    net.evaluate(X, Y, verbose=0)
    found = measure_scores(make(np.eye(3)), net, files[:1], (X, Y))
    assert (found.metric, found.small, found.files[files[0]]) == ("hit_rate_acc", 0.75, 0.75)
    assert metric_name(None, make(np.eye(3))) == "accuracy"
    assert metric_name("rank-1 accuracy", net) == "rank-1 accuracy"
    assert [metric_unit(each) for each in ("hit_rate_acc", "AUC", "mae")] == ["share", "share", "number"]


def test_the_report_tells_them(files):
    report = device_report(make(np.eye(3)), make(np.eye(3)), [export(files[0])], data=(X, Y), metric="hit rate")
    assert (report.metric, report.samples, report.dense_score, report.small_score) == ("hit rate", 4, 0.75, 0.75)
    # That of the proof, on other samples, is beside it.
    assert [(each.score, each.accuracy) for each in report.files] == [(0.75, 0.9)]


def proof(path, accuracy, samples, weights):
    """Returns an export whose model got such a share right."""
    made = export(path)
    return type(made)(**{**made.to_dict(), "keras_accuracy": accuracy, "samples": samples, "weights": weights})


def test_without_data_the_proofs_tell_what_they_can():
    small = [proof("a", 0.8, 20, 50), proof("b", 0.9, 100, 50)]
    scores = scores_of_proofs("accuracy", small, 100, 50)
    assert (scores.samples, scores.dense, scores.small) == (100, None, 0.9)
    # A file of the dense model is told by its weights, and counts if it was proven on as many samples.
    assert scores_of_proofs("accuracy", [*small, proof("c", 0.95, 100, 100)], 100, 50).dense == 0.95
    assert scores_of_proofs("accuracy", [*small, proof("c", 0.95, 30, 100)], 100, 50).dense is None
    nothing = scores_of_proofs("accuracy", [], 100, 50)
    assert (nothing.samples, nothing.dense, nothing.small) == (None, None, None)


@pytest.mark.parametrize(
    ("data", "metric", "error", "message"),
    [
        (X, None, TypeError, r"data must be \(x, y\).*Received: data of type ndarray$"),
        ((X, None), None, TypeError, r"data must be \(x, y\)"),
        ((X, X * 1.5), None, ValueError, "pass metric=.*Received: data whose y is no classes"),
        ((X[:, :2], Y), None, ValueError, "must have shape"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).repeat(), None, ValueError, "data never ends"),
        (tf.data.Dataset.from_tensor_slices(X).batch(2), None, ValueError, r"batches of \(x, y\)"),
        ((X, Y), 5, TypeError, "metric must be .*Received: metric=5$"),
        ((X, Y), lambda targets, outputs: float("nan"), ValueError, "The metric is not finite"),
    ],
)
def test_other_data_and_metrics_are_refused(data, metric, error, message):
    with pytest.raises(error, match=message):
        measure_scores(make(np.eye(3)), make(np.eye(3)), [], data, metric)


def keras_3_net(**compiled):
    """Returns a net of Keras 3 that gets 3 of the 4 samples right, by way of a hidden layer of twice the units."""
    layers = [keras3.layers.Dense(units, use_bias=False, name=name) for units, name in ((6, "hidden"), (3, "out"))]
    net = keras3.Sequential([keras3.Input((3,), name="x"), *layers])
    net.set_weights([np.eye(3, 6), np.eye(6, 3)])
    if compiled:
        net.compile("sgd", "sparse_categorical_crossentropy", **compiled)
    return net


def test_keras_3_models_are_measured_by_the_metric_of_compile(files):
    dense = keras_3_net(metrics=["accuracy"])
    dense.evaluate(X, Y, verbose=0)
    small = remove_channels(dense, {"hidden": [True, True, False, True, True, True]})
    before = [variable.numpy() for variable in dense.metrics_variables]

    report = device_report(dense, small, [export(files[0])], data=(X, Y))

    # Without its unit the class 2 is never the largest output.
    assert (report.metric, report.dense_score, report.small_score) == ("accuracy", 0.75, 0.5)
    for variable, value in zip(dense.metrics_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_the_metric_may_be_of_keras_3():
    metric = keras3.metrics.SparseTopKCategoricalAccuracy(3, "top_3")
    metric.update_state([0], [[0.0, 1.0, 2.0, 3.0]])
    report = device_report(keras_3_net(), make(np.eye(3)), data=(X, Y), metric=metric)

    assert (report.metric, report.dense_score, report.small_score) == ("top_3", 1.0, 1.0)
    assert float(metric.result()) == 0.0
    squared = device_report(keras_3_net(), make(np.eye(3)), data=(X, X), metric=keras3.losses.MeanSquaredError())
    assert (squared.dense_score, squared.small_score) == (0.0, 0.0)
    # One that has not been trained or evaluated has no metrics yet.
    assert metric_name(None, keras_3_net(metrics=["mae"])) == "accuracy"


def test_several_outputs_have_no_single_metric():
    x = keras.Input((3,))
    net = keras.Model(x, [keras.layers.Dense(2, name="a")(x), keras.layers.Dense(2, name="b")(x)])
    with pytest.raises(ValueError, match="models of one output.*Received: outputs a, b"):
        measure_scores(net, net, [], (X, Y))
