"""The whole way from a model to a file in place, on real conversions."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter
from tensorflow_model_optimization.python.core.sparsity.keras import prune

from tfmot_swd.tflite import RECIPES, ExportError, export_tflite
from tfmot_swd.tflite import export as tflite

L = keras.layers


def _tensor(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, Any]]:
    """Reads the one int8 weight tensor of that shape and its quantization."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    found = [
        each for each in interpreter.get_tensor_details() if tuple(each["shape"]) == shape and each["dtype"] == np.int8
    ]
    assert len(found) == 1
    return interpreter.get_tensor(found[0]["index"]), found[0]["quantization_parameters"]


def test_int8_is_int8_at_both_ends_per_channel_and_batch_1(conv_net, images, tmp_path):
    path = tmp_path / "net.tflite"
    export_tflite(conv_net, path, "int8", images)
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    (given,), (got,) = runner.get_input_details().values(), runner.get_output_details().values()
    assert list(runner.get_input_details()) == ["image"]
    assert list(runner.get_output_details()) == ["scores"]
    assert given["dtype"] == got["dtype"] == np.int8
    assert given["shape_signature"].tolist() == [1, 8, 8, 3]
    _, quantization = _tensor(path, (8, 3, 3, 3))
    assert len(set(quantization["scales"])) == 8
    # Batch normalization is folded into the convolution: no operator of its own is left.
    names = {each["op_name"] for each in Interpreter(model_path=str(path))._get_ops_details()}
    assert names == {"CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"}


def test_zeros_stay_zero_in_int8(conv_net, images, tmp_path):
    conv = conv_net.get_layer("conv")
    (kernel,) = conv.get_weights()
    cut = np.abs(kernel) < np.quantile(np.abs(kernel), 0.7)
    conv.set_weights([np.where(cut, 0.0, kernel)])
    path = tmp_path / "net.tflite"
    export_tflite(conv_net, path, "int8", images)
    stored, quantization = _tensor(path, (8, 3, 3, 3))
    assert not quantization["zero_points"].any()
    # TFLite keeps (out, height, width, in); what was not cut is large enough not to round to 0.
    np.testing.assert_array_equal(stored == 0, cut.transpose(3, 0, 1, 2))


def test_names_stay_if_asked_for(dense_net, tmp_path):
    with_names, without = (export_tflite(dense_net, tmp_path / str(keep), keep_names=keep) for keep in (True, False))
    assert with_names.bytes > without.bytes
    named, nameless = (
        [each["name"] for each in Interpreter(model_path=result.path).get_tensor_details()]
        for result in (with_names, without)
    )
    assert all(named)
    assert not any(nameless)


def test_the_result_prints_as_a_table(dense_net, rows, tmp_path, monkeypatch):
    kernel = dense_net.layers[0].kernel
    kernel.assign(np.where(np.arange(18).reshape(6, 3) < 9, 0, kernel.numpy()))
    labels = dense_net.predict(rows, verbose=0).argmax(axis=1)
    result = export_tflite(dense_net, tmp_path / "a", check_data=(rows, labels))
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in str(result).splitlines()]
    for row in (["zeros of 18 weights", "50.00%", "50.00%"], ["accuracy", "100.00%", "100.00%"]):
        assert row in lines
    assert ["zstd bytes", f"{result.zstd_bytes:,}", ""] in lines
    monkeypatch.setitem(sys.modules, "zstandard", None)
    without = export_tflite(dense_net, tmp_path / "a")
    assert without.zstd_bytes is None
    assert "zstd" not in str(without)


def test_zeros_that_are_lost_leave_the_old_file(dense_net, tmp_path, monkeypatch):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    kernel = dense_net.layers[0].kernel
    kernel.assign(np.zeros((6, 3)))
    content = tflite.convert(dense_net, RECIPES["float32"], None)
    # One of the zeros becomes 1e-20, which no output shows.
    place = content.rindex(bytes(4 * 18))
    changed = content[:place] + np.float32(1e-20).tobytes() + content[place + 4 :]
    monkeypatch.setattr(tflite, "convert", lambda *_: changed)
    with pytest.raises(ExportError, match=r"does not keep the zeros.*Received: 1 of the 18 zeros of 'dense"):
        export_tflite(dense_net, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_mixed_precision_model_with_a_nested_one(images, tmp_path):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        inner = keras.Sequential([L.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization()], name="inner")
        image = L.Input((8, 8, 3), name="image")
        x = L.TimeDistributed(L.Dense(4))(inner(image))
        model = keras.Model(image, L.Dense(5, dtype="float32")(L.Flatten()(x)))
        before = model.get_weights()
        for recipe in ("float32", "int8"):
            result = export_tflite(model, tmp_path / "net.tflite", recipe, images)
            # Half precision itself is off by about 1e-3: the file is held to the float32 weights.
            assert result.worst_difference < (1e-5 if recipe == "float32" else 0.2)
        assert keras.mixed_precision.global_policy().name == "mixed_float16"
        assert model.get_layer("inner").layers[0].compute_dtype == "float16"
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_a_fixed_batch_stays_and_its_last_chunk_is_cut_to_size(rows, tmp_path):
    model = keras.Sequential([L.Input((6,), batch_size=4), L.Dense(3)])
    path = tmp_path / "net.tflite"
    assert export_tflite(model, path, check_data=rows).samples == 50
    (detail,) = Interpreter(model_path=str(path)).get_input_details()
    assert detail["shape_signature"].tolist() == [4, 6]


def test_integer_inputs(tmp_path):
    token = L.Input((7,), dtype="int32", name="token")
    x = L.GlobalAveragePooling1D()(L.Embedding(30, 8)(token))
    model = keras.Model(token, L.Dense(2)(x))
    data = np.random.default_rng(0).integers(0, 30, (60, 7))
    assert export_tflite(model, tmp_path / "a", "int8", data).agreement > 0.9
    with pytest.raises(ValueError, match=r"pass check_data.*Received: an input of shape \(None, 7\)"):
        export_tflite(model, tmp_path / "a")


def test_a_state_of_a_recurrent_layer_is_cleared_between_samples(tmp_path):
    sequence = L.Input((4, 3), name="sequence")
    model = keras.Model(sequence, L.Dense(2)(L.LSTM(4)(sequence)))
    assert export_tflite(model, tmp_path / "a").worst_difference < 1e-5


def test_a_loop_in_int8_is_refused_because_the_converter_dies_of_it(tmp_path):
    model = keras.Sequential([L.Input((4, 3)), L.GRU(3)])
    data = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")
    with pytest.raises(ExportError, match=r"unroll=True.*Received: model 'sequential"):
        export_tflite(model, tmp_path / "a", "int8", data)


def test_it_is_quiet(dense_net, rows, tmp_path, capfd):
    export_tflite(dense_net, tmp_path / "a", "int8", rows)
    assert capfd.readouterr() == ("", "")


def test_weights_beyond_half_precision_leave_the_old_file(dense_net, rows, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    dense_net.layers[0].kernel.assign(np.full((6, 3), 1e6))  # the converter clips it to 65,504
    with pytest.raises(ExportError, match=r"float16 file is too far .*look for weights beyond 65,504"):
        export_tflite(dense_net, path, "float16", check_data=rows)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_gives_nan_is_not_put_in_place(dense_net, rows, tmp_path, monkeypatch):
    name = dense_net.output_names[0]
    answer = {name: np.full((50, 3), np.nan, "float32")}, "ai_edge_litert"
    monkeypatch.setattr(tflite, "run_tflite", lambda content, inputs: answer)
    with pytest.raises(ExportError, match=r"not finite: try another recipe.*Received: 150 of 150 values"):
        export_tflite(dense_net, tmp_path / "a", check_data=rows, tolerance=1e9)
    assert not list(tmp_path.iterdir())


def test_unlike_representative_data_fails_the_proof_and_a_tolerance_lets_it_pass(dense_net, rows, tmp_path):
    path = tmp_path / "net.tflite"
    with pytest.raises(ExportError, match="too far from the Keras model and was not put in place") as error:
        export_tflite(dense_net, path, "int8", rows / 255, check_data=rows)
    assert not list(tmp_path.iterdir())
    assert "Received: worst difference" in str(error.value)
    assert "agreement" in str(error.value)
    offered = re.search(r"pass tolerance=([\d.]+), min_agreement=([\d.]+)\. ", str(error.value)).groups()
    tolerance, agreement = map(float, offered)
    assert tolerance > RECIPES["int8"].tolerance
    with pytest.raises(ExportError, match=f"pass min_agreement={agreement:g}"):
        export_tflite(dense_net, path, "int8", rows / 255, check_data=rows, tolerance=tolerance)
    export_tflite(dense_net, path, "int8", rows / 255, check_data=rows, tolerance=tolerance, min_agreement=agreement)
    assert path.exists()


def test_an_operator_tflite_does_not_have_is_named(tmp_path):
    x = L.Input((3,))
    model = keras.Model(x, L.Lambda(tf.math.digamma)(x))
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    with pytest.raises(ExportError, match=r"(?s)could not convert.*Received: ConverterError.*Digamma"):
        export_tflite(model, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError("no kernel")])
def test_an_interrupted_proof_leaves_the_old_file(dense_net, tmp_path, monkeypatch, failure):
    def run(content: bytes, inputs: Any) -> Any:
        assert len(list(tmp_path.iterdir())) == 2  # the file under proof is there already
        raise failure

    monkeypatch.setattr(tflite, "run_tflite", run)
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt if failure is KeyboardInterrupt else ExportError):
        export_tflite(dense_net, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_that_gives_nan_is_not_converted(dense_net, tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "convert", None)  # not reached
    dense_net.layers[0].kernel.assign(np.full((6, 3), np.nan))
    with pytest.raises(ExportError, match=r"Keras model's own output 'dense.* is not finite.*Received: 192 of 192"):
        export_tflite(dense_net, tmp_path / "a")


def test_wrong_arguments_are_refused_before_the_conversion(dense_net, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "convert", None)  # not reached
    path = tmp_path / "net.tflite"
    with pytest.raises(ValueError, match=r"must be one of 'float32'.*Received: recipe='int4'"):
        export_tflite(dense_net, path, "int4")
    with pytest.raises(ValueError, match=r"pass representative_data.*Received: representative_data=None"):
        export_tflite(dense_net, path, "int8")
    with pytest.raises(ValueError, match="representative_data holds no samples"):
        export_tflite(dense_net, path, "int8", rows[:0])
    with pytest.raises(ValueError, match=r"must vary.*Received: 50 samples that are 0.0 everywhere"):
        export_tflite(dense_net, path, "int16x8", 0 * rows)
    with pytest.raises(TypeError, match=r"representative_data for input 'x' is integer-only.*Received: dtype uint8"):
        export_tflite(dense_net, path, "int8", np.ones((5, 6), "uint8"))
    with pytest.raises(ValueError, match=r"check_data for input 'x' must be finite.*Received: 1 of 300"):
        export_tflite(dense_net, path, "int8", rows, check_data=np.where(rows == rows.max(), np.nan, rows))
    with pytest.raises(ValueError, match=r"tolerance must be finite.*Received: tolerance=nan"):
        export_tflite(dense_net, path, tolerance=float("nan"))
    with pytest.raises(TypeError, match=r"tolerance must be a number.*Received: tolerance='1'"):
        export_tflite(dense_net, path, tolerance="1")
    with pytest.raises(ValueError, match=r"no recipe 'sparse_int8' that works.*use 'int8'"):
        export_tflite(dense_net, path, "sparse_int8", rows)
    with pytest.raises(IsADirectoryError, match="Received: path="):
        export_tflite(dense_net, tmp_path)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tflite_micro" else find_spec(name))
    with pytest.raises(ImportError, match=r"proven in the TFLite Micro interpreter.*Received: no package tflite_micro"):
        export_tflite(dense_net, path, "int8_pruned", rows)
    assert not list(tmp_path.iterdir())


def test_a_wrapped_model_is_refused(rows, tmp_path):
    model = keras.Sequential([L.Input((6,)), L.Dense(3)])
    with pytest.raises(ValueError, match=r"call tfmot_swd.strip_pruning\(model\) first"):
        export_tflite(prune.prune_low_magnitude(model), tmp_path / "a")


def test_a_float32_copy_that_predicts_something_else_is_not_exported(dense_net, tmp_path, monkeypatch):
    twin = keras.models.clone_model(dense_net)
    twin.set_weights([-each for each in dense_net.get_weights()])
    monkeypatch.setattr(tflite, "float32_copy", lambda model: twin)
    monkeypatch.setattr(tflite, "convert", None)  # not reached
    with pytest.raises(ExportError, match=r"rebuild it under the float32 policy.*Received: a mean difference"):
        export_tflite(dense_net, tmp_path / "a")
