import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.tflite import ExportError, interpreter
from tfmot_swd.tflite.interpreter import dequantize, quantize, run_tflite
from tfmot_swd.tflite.serving import keras_outputs, serving_function
from tfmot_swd.tflite.silence import silenced_logs


def _converted(model):
    with silenced_logs():
        return tf.lite.TFLiteConverter.from_concrete_functions([serving_function(model, 1)], model).convert()


def test_all_samples_by_name_though_a_reshape_forbids_a_larger_batch(conv_net, images):
    outputs, interpreter = run_tflite(_converted(conv_net), {"image": images})
    assert interpreter == "ai_edge_litert"
    wanted = keras_outputs(conv_net, (images,))
    assert outputs.keys() == wanted.keys()
    np.testing.assert_allclose(outputs["scores"], wanted["scores"], atol=1e-6)


def test_the_older_interpreter_takes_over_without_a_warning(dense_net, rows, monkeypatch, capfd):
    content = _converted(dense_net)
    new, _ = run_tflite(content, {"x": rows})
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        old, interpreter = run_tflite(content, {"x": rows})
    assert interpreter == "tensorflow"
    ((name, wanted),) = new.items()
    np.testing.assert_allclose(old[name], wanted, atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_an_open_dimension_takes_the_shape_of_the_data():
    model = keras.Sequential([keras.layers.Input((None, 2), name="x"), keras.layers.Dense(1, name="y")])
    data = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    outputs, _ = run_tflite(_converted(model), {"x": data})
    np.testing.assert_allclose(outputs["y"], keras_outputs(model, (data,))["y"], atol=1e-6)


def test_bytes_that_are_no_file(rows):
    with pytest.raises(ValueError, match=r"."):
        run_tflite(b"not a model at all", {"x": rows})


def test_a_file_that_the_interpreter_does_not_run_ends_in_a_sentence(dense_net, rows, monkeypatch, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(_converted(dense_net))

    def refuse(*_: object) -> None:
        raise RuntimeError("Node number 6 (ADD) failed to prepare.")

    monkeypatch.setattr(interpreter, "open_interpreter", refuse)
    said = rf"does not run this file: .*Received: \d+ bytes of {str(path)!r}, and RuntimeError: Node number 6 \(ADD\)"
    with pytest.raises(ExportError, match=said):
        run_tflite(path, {"x": rows})


def test_quantization_by_hand():
    detail = {"quantization": (0.5, -3), "dtype": np.int8}
    # To the nearest, ties to even, and clipped: 1.25 / .5 - 3 and so on.
    stored = quantize(np.array([0.0, 1.25, -0.3, 100.0, -100.0], np.float32), detail)
    assert (stored.dtype, stored.tolist()) == (np.int8, [-3, -1, -4, 127, -128])
    np.testing.assert_array_equal(dequantize(stored, detail), np.array([0, 1, -0.5, 65, -62.5], np.float32))


def test_floats_and_indices_pass_as_they_are():
    for array in (np.array([0.25], np.float32), np.array([7], np.int32)):
        detail = {"quantization": (0.0, 0), "dtype": array.dtype.type}
        assert quantize(array, detail) is array
        assert dequantize(array, detail) is array
