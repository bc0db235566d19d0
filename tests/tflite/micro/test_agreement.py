"""What is proven in LiteRT is proven for TFLite Micro only where both compute the same."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.tflite import ExportError, export_tflite
from tfmot_swd.tflite.inputs import random_inputs
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.micro import agreement, encode_pruned, write_c_source
from tfmot_swd.tflite.micro.agreement import proven_run


def test_files_that_both_run_alike(pruned_file, float_file):
    for content in (pruned_file, float_file, encode_pruned(pruned_file).content):
        run = proven_run(content, read_layout(content))
        assert run.samples == 16
        assert run.outputs["scores"].shape == (16, 10)


def test_outputs_of_bools_agree_where_all_are_the_same(tmp_path, monkeypatch):
    x = keras.layers.Input((8,), name="x")
    model = keras.Model(x, tf.greater(keras.layers.Dense(3)(x), 0.0))
    result = export_tflite(model, tmp_path / "net.tflite", "float32")
    assert result.worst_difference == 0
    content = (tmp_path / "net.tflite").read_bytes()
    layout = read_layout(content)
    (name,) = (port.name for port in layout.outputs)
    assert proven_run(content, layout).outputs[name].dtype == bool
    right = agreement.run_tflite(content, random_inputs(layout.inputs, 16))
    right[0][name][3, 0] ^= True
    monkeypatch.setattr(agreement, "run_tflite", lambda *_: right)
    with pytest.raises(ExportError, match="differs by 0.0625 in the mean over 16 random samples, 0 is allowed"):
        proven_run(content, layout)


@pytest.mark.parametrize("arena_bytes", [None, 100_000])
def test_a_difference_is_no_c_source(pruned_file, tmp_path, monkeypatch, arena_bytes):
    (port,) = read_layout(pruned_file).outputs
    right = agreement.run_tflite

    def shifted(steps):
        def run(content, inputs):
            outputs, library = right(content, inputs)
            return {name: values + np.float32(steps * port.scale) for name, values in outputs.items()}, library

        return run

    monkeypatch.setattr(agreement, "run_tflite", shifted(3))
    write_c_source(pruned_file, tmp_path / "net", arena_bytes=arena_bytes)
    monkeypatch.setattr(agreement, "run_tflite", shifted(6))
    with pytest.raises(ExportError, match="TFLite Micro computes something else.*Received: output 'scores' differs by"):
        write_c_source(pruned_file, tmp_path / "other", arena_bytes=arena_bytes)
    write_c_source(pruned_file, tmp_path / "net", arena_bytes=arena_bytes, compare=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.c", "net.h"]
