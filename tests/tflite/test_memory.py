"""Peak memory of a file in a process of its own."""

import sys

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd.tflite import ExportError, export_tflite
from tfmot_swd.tflite import memory as module
from tfmot_swd.tflite.memory import peak_memory


def test_activations_count(tmp_path):
    sizes = {}
    for side in (8, 1024):
        net = keras.Sequential([keras.layers.Input((side, side, 1)), keras.layers.Conv2D(4, 1), keras.layers.ReLU()])
        path = tmp_path / f"{side}.tflite"
        export_tflite(net, path, check_data=np.zeros((1, side, side, 1), "float32"))
        sizes[side] = peak_memory(path)
    # The larger one writes 16 MB of activations and reads 4 MB; the interpreter's own share is in both.
    assert 15e6 < sizes[1024] - sizes[8] < 60e6


def test_nothing_is_imported_from_the_working_directory(dense_net, tmp_path, monkeypatch):
    export_tflite(dense_net, tmp_path / "net.tflite")
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from where the file lies')")
    monkeypatch.chdir(tmp_path)
    assert peak_memory("net.tflite") > 0


def test_what_does_not_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file to run"):
        peak_memory(tmp_path / "absent.tflite")
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    with pytest.raises(ExportError, match="does not run on this machine|ended early"):
        peak_memory(path)


def test_a_process_that_dies_or_hangs_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "any.tflite"
    path.write_bytes(b"")
    monkeypatch.setattr(module, "_PROGRAM", "import os, sys; print('killed', file=sys.stderr, flush=True); os.abort()")
    with pytest.raises(ExportError, match=r"ended early(.|\n)*Received: it ended with SIGABRT, path=(.|\n)*killed"):
        peak_memory(path)
    monkeypatch.setattr(module, "_PROGRAM", "import time; time.sleep(60)")
    with pytest.raises(ExportError, match=r"One run of '.*any.tflite'.*had not ended after 0.2 s"):
        peak_memory(path, timeout=0.2)
    with pytest.raises(ValueError, match="timeout must be"):
        peak_memory(path, timeout=0)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's peak is inherited on Linux alone")
def test_the_memory_of_this_process_does_not_count(dense_net, tmp_path):
    export_tflite(dense_net, tmp_path / "net.tflite")
    ballast = np.ones(200_000_000, np.uint8)
    assert peak_memory(tmp_path / "net.tflite") < 50e6 < ballast.nbytes
