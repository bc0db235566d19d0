"""Arguments that were renamed work under their old names, with a warning that names the new ones."""

import pytest
import tf_keras as keras

from tfmot_swd import export_tflite
from tfmot_swd.tflite import advise, file_bytes, run_tflite
from tfmot_swd.tflite.micro import encode_pruned, estimate_npu, run_micro, time_micro, write_c_source

NET = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])


@pytest.mark.parametrize(
    ("function", "given", "old", "new"),
    [
        (export_tflite, {"model": NET, "path": "a", "quantize": "int9"}, "quantize", "recipe"),
        (export_tflite, {"model": NET, "path": "a", "largest": 0}, "largest", "max_encoded_weights"),
        (file_bytes, {"model": NET, "quantize": "int9"}, "quantize", "recipe"),
        (run_tflite, {"content": 5, "inputs": {}}, "content", "file"),
        (run_micro, {"content": 5, "inputs": {}}, "content", "file"),
        (time_micro, {"contents": b"5"}, "contents", "files"),
        (encode_pruned, {"content": 5}, "content", "file"),
        (encode_pruned, {"file": b"", "largest": 0}, "largest", "max_encoded_weights"),
        (estimate_npu, {"content": 5}, "content", "file"),
        (advise, {"content": 5}, "content", "file"),
        (write_c_source, {"tflite": 5, "path": "a"}, "tflite", "file"),
    ],
)
def test_an_old_argument_is_the_new_one(function, given, old, new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.warns(DeprecationWarning, match=rf"{function.__name__}\({old}=.*write {new}= instead") as warned,
        # What is wrong with the value is told of the argument of today.
        pytest.raises((TypeError, ValueError), match=rf"^{new} .*Received: {new}="),
    ):
        function(**given)
    assert warned[0].filename == __file__
