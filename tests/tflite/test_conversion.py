"""Conversions in a process of their own: what ends it is an error, and the next one goes on."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.tflite import RECIPES, ExportError, conversion, export_tflite
from tfmot_swd.tflite.conversion import convert
from tfmot_swd.tflite.flatbuffer import compact
from tfmot_swd.tflite.samples import Samples
from tfmot_swd.tflite.serving import serving_function
from tfmot_swd.tflite.silence import silenced_logs

L = keras.layers


def test_the_other_process_writes_what_this_one_would(conv_net, images):
    function = serving_function(conv_net, 1)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], conv_net)
    RECIPES["int8"].configure(converter)
    converter.representative_dataset = lambda: ({"image": each[None]} for each in images[:20])
    with silenced_logs():
        wanted = converter.convert()
    found = convert(conv_net, RECIPES["int8"], Samples((images[:20],)))
    assert compact(found) == compact(wanted)


def test_a_crash_is_an_error_and_the_next_conversion_goes_on(dense_net, rows, tmp_path):
    # LiteRT ends the process when it loads the int16x8 file of a layer normalization.
    model = keras.Sequential([L.Input((16,)), L.Dense(16), L.LayerNormalization(), L.Dense(3)])
    data = np.random.default_rng(0).normal(size=(40, 16)).astype("float32")
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    with pytest.raises(ExportError, match=r"(?s)crashes on the file of this model in int16x8.*it ended with SIGABRT$"):
        export_tflite(model, path, "int16x8", data)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert export_tflite(dense_net, path, "int16x8", rows).bytes > 0


def test_a_process_that_was_killed_or_had_nothing_to_do_is_replaced(dense_net, rows, tmp_path, monkeypatch):
    export_tflite(dense_net, tmp_path / "a", "int8", rows)
    (process,) = conversion._running
    process._subprocess.send_signal(signal.SIGSTOP)
    os.kill(process._subprocess.pid, signal.SIGKILL)
    process._subprocess.wait()
    export_tflite(dense_net, tmp_path / "a", "int8", rows)
    assert conversion._running[0] is not process


def test_an_interrupt_leaves_no_process_that_goes_on(dense_net, rows, tmp_path, monkeypatch):
    conversion.prepare(RECIPES["int8"])
    (process,) = conversion._running

    class Interrupted:
        def readline(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(process._subprocess, "stdout", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        export_tflite(dense_net, tmp_path / "a", "int8", rows)
    assert not process.is_alive


def test_words_of_the_converter_come_back(tmp_path):
    x = L.Input((3,))
    model = keras.Model(x, L.Lambda(tf.math.digamma)(x))
    with pytest.raises(
        ExportError, match=r"(?s)could not convert the model to int8.*Received: ConverterError.*Digamma"
    ):
        export_tflite(model, tmp_path / "a", "int8", np.random.default_rng(0).uniform(1, 2, (40, 3)).astype("float32"))


def test_a_table_of_a_lookup_is_saved_with_the_model(tmp_path):
    token = L.Input((2,), dtype="int64", name="token")
    found = L.IntegerLookup(vocabulary=[10, 20, 30])(token)
    model = keras.Model(token, L.Dense(2)(L.Flatten()(L.Embedding(4, 3)(found))))
    data = np.random.default_rng(0).choice([10, 20, 30, 40], (40, 2))
    # It reaches the converter, which has no such operator.
    with pytest.raises(ExportError, match=r"(?s)ConverterError.*LookupTableFindV2"):
        export_tflite(model, tmp_path / "a", "int8", data)
