"""Files in TFLite Micro, against TFLite."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.micro import interpreter as module
from tfmot_swd.tflite.micro.interpreter import run_micro, time_micro
from tfmot_swd.tflite.result import ExportError


def test_outputs_of_tflite(pruned_file, float_file, pictures, capfd):
    for content, steps in ((pruned_file, 3), (float_file, 0)):
        run = run_micro(content, {"image": pictures})
        wanted, _ = run_tflite(content, {"image": pictures})
        (port,) = read_layout(content).outputs
        assert (run.samples, run.outputs["scores"].shape, run.outputs["scores"].dtype) == (40, (40, 10), np.float32)
        np.testing.assert_allclose(run.outputs["scores"], wanted["scores"], rtol=0, atol=steps * port.scale + 1e-5)
        assert run.milliseconds > 0
    assert capfd.readouterr() == ("", "")


def test_several_inputs_and_outputs_by_name(two_by_two, pairs, to_file):
    content = to_file(two_by_two, pairs, "float32")
    inputs = dict(zip(two_by_two.input_names, pairs, strict=True))
    run = run_micro(content, inputs)
    wanted = two_by_two.predict(pairs, verbose=0)
    assert {name: values.shape[1] for name, values in run.outputs.items()} == {"zebra": 4, "ant": 3}
    for name, values in zip(two_by_two.output_names, wanted, strict=True):
        np.testing.assert_allclose(run.outputs[name], values, atol=1e-5)


def test_the_arena_is_enough_and_not_much_less_is(pruned_file, pictures):
    inputs = {"image": pictures[:2]}
    found = run_micro(pruned_file, inputs)
    again = run_micro(pruned_file, inputs, arena_bytes=found.arena_bytes)
    np.testing.assert_array_equal(again.outputs["scores"], found.outputs["scores"])
    with pytest.raises(ExportError, match="Failed to"):
        run_micro(pruned_file, inputs, arena_bytes=found.arena_bytes - 512)


def test_an_operator_that_it_lacks_is_named(to_file):
    net = keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Lambda(lambda x: tf.atan2(x, x + 1))])
    content = to_file(net, np.ones((4, 4), np.float32), "float32")
    with pytest.raises(ExportError, match="ATAN2"):
        run_micro(content, {"x": np.ones((1, 4), np.float32)})


def test_a_crash_is_an_error_and_ends_no_process_but_its_own(pruned_file, pictures, tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(module, "_WORKER", worker)
    with pytest.raises(ExportError, match="it ended with SIG"):
        run_micro(pruned_file, {"image": pictures[:1]})


def test_a_file_that_would_crash_it_is_refused(pruned_file, pictures):
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(pruned_file))
    model.subgraphs[0].operators[0].inputs[1] = 2**30
    broken = flatbuffer_utils.convert_object_to_bytearray(model)
    with pytest.raises(ValueError, match="damaged or incomplete"):
        run_micro(broken, {"image": pictures[:1]})


@pytest.mark.parametrize("wait", [{"timeout": 0.5}, {}])
def test_a_process_that_hangs_is_an_error(pruned_file, pictures, tmp_path, monkeypatch, wait):
    worker = tmp_path / "worker.py"
    worker.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(module, "_WORKER", worker)
    # By default 10 s an inference are added.
    monkeypatch.setattr(module, "TIMEOUT", 0.5 - 10 * 3)
    runs = (
        lambda: run_micro(pruned_file, {"image": pictures[:3]}, **wait),
        lambda: time_micro([pruned_file], rounds=2, **wait),
    )
    for run in runs:
        with pytest.raises(ExportError, match=r"TFLite Micro had not ended after 0\.5 s"):
            run()


def test_a_path_will_do(pruned_file, pictures, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(pruned_file)
    assert run_micro(path, {"image": pictures[:1]}).samples == 1
    assert len(time_micro([path, pruned_file], rounds=1)) == 2


def test_what_is_refused(pruned_file, pictures, monkeypatch):
    with pytest.raises(ValueError, match=r"named \['image'\]. Received: \['picture'\]"):
        run_micro(pruned_file, {"picture": pictures})
    with pytest.raises(ValueError, match=r"shape \('N', 12, 12, 3\). Received: shape \(12, 12, 3\)"):
        run_micro(pruned_file, {"image": pictures[0]})
    with pytest.raises(ValueError, match="at least 1"):
        run_micro(pruned_file, {"image": pictures[:0]})
    with pytest.raises(TypeError, match="arena_bytes"):
        run_micro(pruned_file, {"image": pictures}, arena_bytes="much")
    with pytest.raises(TypeError, match=r"dictionary of arrays named \['image'\].*Received: inputs=ndarray$"):
        run_micro(pruned_file, pictures)
    with pytest.raises(TypeError, match="'image' must be an array of numbers. Received: dtype <U1$"):
        run_micro(pruned_file, {"image": np.full((1, 12, 12, 3), "x")})
    with pytest.raises(TypeError, match="file must be the bytes.*Received: file=ndarray$"):
        run_micro(pictures, {"image": pictures})
    with pytest.raises(FileNotFoundError, match="no such file.*Received: file='absent.tflite'$"):
        run_micro("absent.tflite", {"image": pictures})
    with pytest.raises(ValueError, match="Received: timeout=0$"):
        run_micro(pruned_file, {"image": pictures}, timeout=0)
    with pytest.raises(TypeError, match="list of TFLite files.*Received: files=bytes$"):
        time_micro(pruned_file)
    with pytest.raises(TypeError, match="files\\[1\\] must be.*Received: files\\[1\\]=int$"):
        time_micro([pruned_file, 3])
    with pytest.raises(TypeError, match="Received: rounds='2'$"):
        time_micro([pruned_file], rounds="2")
    with pytest.raises(ValueError, match="rounds=0"):
        time_micro([pruned_file], rounds=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for run in (lambda: run_micro(pruned_file, {"image": pictures}), lambda: time_micro([pruned_file])):
        with pytest.raises(ImportError, match=r"tfmot_swd\[micro\]"):
            run()


def test_more_work_takes_more_time(to_file):
    def net(filters):
        return keras.Sequential([keras.layers.Input((16, 16, 8)), keras.layers.Conv2D(filters, 3)])

    samples = np.random.default_rng(0).normal(size=(20, 16, 16, 8)).astype("float32")
    small, large = time_micro([to_file(net(4), samples), to_file(net(64), samples)], rounds=5)
    assert small.rounds == 5
    assert 0 < small.least <= small.median
    assert large.least > 4 * small.least
