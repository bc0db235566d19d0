"""Files side by side: sizes, contents, and what is said of those that cannot run."""

import gzip

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd.tflite import ExportError, export_tflite, latency
from tfmot_swd.tflite import measure as module
from tfmot_swd.tflite.latency import measure_latency
from tfmot_swd.tflite.measure import measure_files
from tfmot_swd.tflite.memory import peak_memory
from tfmot_swd.tflite.micro import run_micro, time_micro, write_c_source


def files(conv_net, images, tmp_path):
    """Returns the paths of a net with half of its filters zero, in two forms."""
    kernel = conv_net.get_layer("conv").kernel
    kernel.assign(np.where(np.arange(8) < 4, 0.0, kernel.numpy()))
    paths = {name: tmp_path / f"{name}.tflite" for name in ("float32", "int8")}
    for recipe, path in paths.items():
        export_tflite(conv_net, path, recipe, images)
    return paths


def calm(runs, rounds):
    """Runs each once, and tells times that do not depend on what else this machine does."""
    for run in runs:
        run()
    return np.full((rounds, len(runs)), 0.002)


def test_files_side_by_side(conv_net, images, tmp_path, monkeypatch):
    pytest.importorskip("tflite_micro")
    monkeypatch.setattr(latency, "time_in_turn", calm)
    paths = files(conv_net, images, tmp_path)
    float32, int8 = measure_files(paths, dense="float32", threads=(1,), rounds=3)
    content = paths["int8"].read_bytes()
    assert (int8.name, int8.bytes, int8.path) == ("int8", len(content), str(paths["int8"]))
    assert int8.gzip_bytes == len(gzip.compress(content, 9))
    assert int8.operator_counts == {"CONV_2D": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1} | {
        name: 1 for name in int8.operator_counts if name == "RESHAPE"
    }
    assert int8.operators[0].output_shape == (1, 8, 8, 8)
    # 3 · 3 · 3 · 8 of the convolution, half of its filters zero, and 512 · 4 that are not.
    assert int8.weights == float32.weights == 216 + 2048
    assert float32.zeros == 108
    assert int8.zeros >= 108
    assert [(each.threads, each.ratio) for each in float32.latency] == [(1, 1.0)]
    assert int8.latency[0].ratio == 1.0
    assert int8.peak_memory_bytes > 0
    # Activations of 8 bits are a quarter of those of 32.
    assert 512 <= int8.arena_bytes < float32.arena_bytes
    assert int8.micro_ms > 0
    assert (int8.runtime_reason, int8.micro_reason) == ("", "")
    assert (float32.form, int8.form) == ("float32", "int8")


def test_a_file_that_cannot_run_keeps_its_sizes_and_says_why(dense_net, tmp_path, monkeypatch):
    paths = {name: tmp_path / f"{name}.tflite" for name in ("runs", "fails")}
    for path in paths.values():
        export_tflite(dense_net, path)

    def refuse(path):
        if path == paths["fails"]:
            raise ExportError("It does not run here. Received: DECODE")
        raise OSError("this system does not tell")

    monkeypatch.setattr(module, "peak_memory", refuse)
    monkeypatch.setattr(module, "_micro", lambda contents, rounds: ({}, {}, dict.fromkeys(contents, "no Micro")))
    runs, fails = measure_files(paths, dense="fails", threads=(1,), rounds=2)
    assert (fails.latency, fails.peak_memory_bytes) == ((), None)
    assert fails.runtime_reason == "It does not run here. Received: DECODE"
    assert fails.weights == 6 * 3
    # Without its reference the other has no ratio; that no memory is told is no fault of the file. Both are said.
    assert (runs.latency[0].ratio, runs.peak_memory_bytes) == (None, None)
    told = "Its latency has no ratio, as the dense file, fails, does not run here. this system does not tell"
    assert runs.runtime_reason == told
    assert (runs.arena_bytes, runs.micro_reason) == (None, "no Micro")


def test_indices_are_within_every_table(tmp_path):
    pytest.importorskip("tflite_micro")
    net = keras.Sequential([keras.layers.Input((6,), dtype="int32"), keras.layers.Embedding(2, 4)])
    export_tflite(net, tmp_path / "net.tflite", check_data=np.ones((4, 6), np.int32))
    (found,) = measure_files({"net": tmp_path / "net.tflite"}, threads=(1,), rounds=2)
    assert found.micro_ms > 0
    assert (found.runtime_reason, found.micro_reason) == ("", "")


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one path by name"):
        measure_files({})
    with pytest.raises(ValueError, match="dense must be one of a. Received: dense='b'"):
        measure_files({"a": tmp_path / "a"}, dense="b")
    with pytest.raises(FileNotFoundError, match=r"no such file.*Received: files\['a'\]='.*/a'$"):
        measure_files({"a": tmp_path / "a"})
    with pytest.raises(TypeError, match=r"must be the path.*Received: files\['a'\]=bytes$"):
        measure_files({"a": b""})
    (tmp_path / "a").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a TFLite file"):
        measure_files({"a": tmp_path / "a"})


def test_an_open_size_is_not_measured_as_one_pixel(tmp_path):
    image = keras.Input((None, None, 3), name="image")
    layers = keras.layers
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))))
    path = tmp_path / "net.tflite"
    export_tflite(model, path, check_data=np.ones((2, 9, 9, 3), "float32"))
    (found,) = measure_files({"net": path}, threads=(1,), rounds=3)
    assert (found.latency, found.peak_memory_bytes, found.arena_bytes, found.micro_ms) == ((), None, None, None)
    for reason in (found.runtime_reason, found.micro_reason):
        assert "fix it before the export" in reason
        assert reason.endswith("Received: an input of shape (1, None, None, 3)")
    content = path.read_bytes()
    for refused in (
        lambda: write_c_source(path, tmp_path / "net"),
        lambda: run_micro(content, {"image": np.ones((1, 9, 9, 3))}),
        lambda: time_micro([content]),
        lambda: measure_latency({"net": content}, threads=(1,), rounds=1),
        lambda: peak_memory(path),
    ):
        with pytest.raises(ValueError, match=r"size of input .* is open.*Received: an input of shape \(1, None, None"):
            refused()
    with pytest.raises(ValueError, match=r"int8_pruned.*Received: an input of shape \(None, None, None, 3\)"):
        export_tflite(model, path, "int8_pruned", np.ones((2, 9, 9, 3), "float32"))
