"""What is found to keep an int8 file from its model, on files that really fail."""

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import PruningWarning
from tfmot_swd.tflite import ExportError, export_tflite
from tfmot_swd.tflite.diagnosis import stretched
from tfmot_swd.tflite.samples import Samples

L = keras.layers


@pytest.fixture(scope="module")
def sensors():
    """Returns a net that tells three kinds of rows apart, the rows, with one glitch in 600, and what they are."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 600)
    centres = generator.normal(size=(3, 8)) * 2
    x = (centres[y] + generator.normal(size=(600, 8)) * 0.5).astype("float32")
    # The class whose centre is nearest: the largest of x . c - |c|² / 2.
    model = keras.Sequential([L.Input((8,), name="x"), L.Dense(3)])
    model.set_weights([centres.T, -(centres**2).sum(axis=1) / 2])
    x[7, 2] = 2000.0
    return model, x, y


def test_an_outlier_among_the_calibration_data_fails_and_is_named(sensors, tmp_path):
    model, x, y = sensors
    with pytest.raises(ExportError) as error:
        export_tflite(model, tmp_path / "net.tflite", "int8", (x, y))
    message = str(error.value)
    assert "same class as Keras on" in message
    assert "Input 'x' reaches 2000, and 99.9 % of its values lie within" in message
    assert "calibration_percentile=99.9" in message
    assert message.endswith(", 120 samples")
    assert not list(tmp_path.iterdir())


def test_percentile_calibration_is_a_way_out(sensors, tmp_path):
    model, x, y = sensors
    result = export_tflite(model, tmp_path / "net.tflite", "int8", (x, y), calibration_percentile=99.9)
    assert result.keras_accuracy > 0.98
    assert result.accuracy > 0.98
    assert result.samples == 120


def test_a_softmax_over_many_classes_is_told_to_leave(tmp_path):
    model = keras.Sequential([L.Input((16,)), L.Dense(200, activation="softmax")])
    x = np.random.default_rng(0).normal(size=(60, 16)).astype("float32")
    with pytest.raises(ExportError, match="leave the softmax out of the file, exporting a model that ends in"):
        export_tflite(model, tmp_path / "net.tflite", "int8", x)
    logits = keras.Sequential([L.Input((16,)), L.Dense(200)])
    logits.set_weights(model.get_weights())
    assert export_tflite(logits, tmp_path / "net.tflite", "int8", x).samples == 12


def test_a_layer_is_named_where_the_inputs_are_well():
    model = keras.Sequential(
        [L.Input((4,)), L.Dense(4, name="fine"), L.Dense(1, activation="exponential", name="grows")]
    )
    model.set_weights([np.eye(4), np.zeros(4), 3 * np.ones((4, 1)), np.zeros(1)])
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 4)).astype("float32")
    assert stretched(model, Samples((x,))) is None
    found = stretched(model, Samples((np.concatenate([x, np.ones((1, 4), "float32")]),)))
    assert (found.name, found.is_input) == ("grows", False)
    assert found.largest == pytest.approx(np.exp(12), rel=1e-3)


def test_a_model_inside_is_named_by_what_it_returns_here():
    inner = keras.Sequential([L.Input((4,)), L.Dense(1, activation="exponential")], name="inner")
    inner.set_weights([3 * np.ones((4, 1)), np.zeros(1)])
    given = L.Input((4,))
    model = keras.Model(given, L.Flatten()(inner(given)))
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 4)).astype("float32")
    found = stretched(model, Samples((np.concatenate([x, np.ones((1, 4), "float32")]),)))
    assert (found.name, found.is_input) == ("inner", False)
    assert found.largest == pytest.approx(np.exp(12), rel=1e-3)


def test_few_samples_are_warned_of_and_integer_inputs_are_never_stretched(dense_net, rows, tmp_path):
    with pytest.warns(PruningWarning, match="Pass 100 samples or more. Received: 1 of them") as warned:
        export_tflite(dense_net, tmp_path / "a", "int8", rows[:1])
    assert warned[0].filename == __file__
    token = L.Input((2,), dtype="int32")
    model = keras.Model(token, L.Embedding(1000, 3)(token))
    assert stretched(model, Samples((np.array([[999, 1]] + 2000 * [[1, 1]], "int32"),))) is None


@pytest.mark.parametrize(
    ("recipe", "percentile", "message"),
    [("int8", 40, "Received: calibration_percentile=40$"), ("float16", 99.9, "with recipe='float16'$")],
)
def test_percentiles_that_clip_nothing_of_use(recipe, percentile, message, dense_net, rows, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_tflite(dense_net, tmp_path / "a", recipe, rows, calibration_percentile=percentile)


def test_indices_in_a_float_input_are_named_where_a_file_rounds_them(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([L.Input((4,), name="token"), L.Embedding(5000, 8), L.Flatten(), L.Dense(4)])
    model.layers[0].embeddings.assign(np.random.default_rng(1).normal(size=(5000, 8)))
    ids = np.random.default_rng(0).integers(0, 5000, (100, 4))
    with pytest.raises(ExportError, match="Input 'token' holds indices of an embedding in float32, which quantization"):
        export_tflite(model, tmp_path / "a", "int8", ids)


def test_labels_that_give_no_accuracy_are_told(tmp_path):
    model = keras.Sequential([L.Input((4,)), L.Dense(1, activation="sigmoid")])
    x = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")
    with pytest.warns(PruningWarning, match="Accuracies are not measured.*Received: 30 labels"):
        assert export_tflite(model, tmp_path / "a", check_data=(x, x[:, 0] > 0)).accuracy is None
