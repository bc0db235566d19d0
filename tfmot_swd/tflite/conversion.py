"""Conversion of a Keras model to the bytes of a TFLite file, by TensorFlow's converter."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.tflite.layer_types import no_operator
from tfmot_swd.tflite.recipes import Recipe
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Samples, chunks
from tfmot_swd.tflite.serving import batch_size, has_loop, output_layers, serving_function
from tfmot_swd.tflite.silence import CapturedLogs, silenced_logs
from tfmot_swd.tflite.subprocesses import describe_exit

_WORKER = Path(__file__).with_name("conversion_worker.py")


def convert(
    model: keras.Model,
    recipe: Recipe,
    calibration: Samples | None,
    float_layers: Sequence[str] = (),
    int16_layers: Sequence[str] = (),
) -> bytes:
    """Converts a model at its fixed batch, 1 unless it has one.

    Where ranges are measured, the quantizer ends the whole process on some graphs, and the interpreter on some files
    that it writes: those recipes are converted and tried out in another process, which is kept for the next conversion
    as it takes some seconds to start.

    Args:
        model: in float32.
        recipe: what kind of file.
        calibration: samples to measure ranges on, for recipes that need them.
        float_layers: names of layers that stay in float, for recipes in int8.
        int16_layers: names of layers with activations in int16, for recipes in int8.

    Raises:
        ExportError: the model cannot be converted, or the converter crashes on it.
    """
    batch = batch_size(model) or 1
    function = serving_function(model, batch)
    if not recipe.needs_data:
        return _convert_here(function, model, recipe)
    if has_loop(function):
        raise ExportError(
            f"The converter crashes on a loop in a {recipe.name} model: build "
            "recurrent layers with unroll=True, or use LSTM with its default activations and no "
            f"mask, or another recipe. Received: model {model.name!r} with a while loop"
        )
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        _save(function, model, directory / "model")
        names = [] if calibration is None else list(model.input_names)
        settings = {
            **recipe.settings(),
            "input_names": names,
            "float_layers": list(float_layers),
            "int16_layers": list(int16_layers),
            "output_layers": output_layers(model) if float_layers or int16_layers else {},
        }
        (directory / "settings.json").write_text(json.dumps(settings))
        if calibration is not None:
            batches = [arrays for arrays, _ in chunks(calibration.inputs, batch)]
            np.savez(directory / "inputs.npz", *(np.stack(arrays) for arrays in zip(*batches, strict=True)))
        return _convert_apart(directory, recipe, model)


def prepare(recipe: Recipe) -> None:
    """Starts the worker process of a recipe that needs one, so that it loads while the caller computes."""
    if recipe.needs_data:
        with _LOCK:
            _process()


def _convert_here(function: Any, model: keras.Model, recipe: Recipe) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    recipe.configure(converter)
    captured = CapturedLogs()
    try:
        with silenced_logs() as captured:
            content: bytes = converter.convert()
    except Exception as error:
        raise _failed(recipe, captured.tail(), type(error).__name__, str(error)) from error
    return content


def _save(function: Any, model: keras.Model, path: Path) -> None:
    """Saves the one function that is converted."""
    signatures = {tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: function}
    module = tf.Module()
    module.held = model.variables
    with silenced_logs():
        try:
            # Without the Keras model, whose layers would all be traced.
            tf.saved_model.save(module, str(path), signatures)
        except (AssertionError, ValueError):
            # The function uses a resource that is not a variable, such as a lookup table: the model holds it.
            tf.saved_model.save(model, str(path), signatures)


def _failed(recipe: Recipe, said: str, kind: str, message: str) -> ExportError:
    return ExportError(
        f"TensorFlow could not convert the model to {recipe.name}; its last words may name "
        "the operator at fault. Replace that layer, or try recipe='float32' to see whether "
        f"it is the quantization. It said:\n{said}\n"
        f"Received: {kind}: {message[-2000:]}"
    )


class _Process:
    """The worker process, and its log."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self.owner = os.getpid()
        self._subprocess = subprocess.Popen(
            # -P: the names beside the script are not to be imported in place of packages.
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            # The converter has no use for a GPU, whose memory this process may have taken.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            # An interrupt from the keyboard is for the caller, who then stops it.
            start_new_session=True,
        )

    @property
    def is_alive(self) -> bool:
        return self.owner == os.getpid() and self._subprocess.poll() is None

    def convert(self, directory: Path) -> int | None:
        """Converts a directory; returns None, or the exit code of a process that ended instead."""
        assert self._subprocess.stdin is not None
        assert self._subprocess.stdout is not None
        self._said.seek(0, os.SEEK_END)
        self._start = self._said.tell()
        try:
            self._subprocess.stdin.write(f"{directory}\n")
            self._subprocess.stdin.flush()
            answered = bool(self._subprocess.stdout.readline())
        except BrokenPipeError:
            answered = False
        except BaseException:
            self.stop()
            raise
        return None if answered else self._subprocess.wait()

    def said(self) -> str:
        """Returns its log of the last conversion."""
        self._said.seek(self._start)
        return self._said.read().decode(errors="replace").strip()[-2000:]

    def stop(self) -> None:
        if self.owner == os.getpid():
            self._subprocess.kill()
            self._subprocess.wait()


_LOCK = threading.Lock()
_running: list[_Process] = []


def _process() -> _Process:
    if not (_running and _running[0].is_alive):
        _running[:] = [_Process()]
    return _running[0]


@atexit.register
def _stop() -> None:
    for process in _running:
        process.stop()


def _convert_apart(directory: Path, recipe: Recipe, model: keras.Model) -> bytes:
    with _LOCK:
        process = _process()
        code = process.convert(directory)
        if code == 0:
            # It ended because nobody had needed it for long, just now.
            process = _process()
            code = process.convert(directory)
        said = process.said()
    if code is not None:
        is_file = (directory / "model.tflite").exists()
        crashes = "The interpreter crashes on the file" if is_file else "TensorFlow's converter crashes on the graph"
        raise ExportError(
            f"{crashes} of this model in {recipe.name}, and nothing was put in place: use another recipe, such as int8 "
            "or float16, or replace the layer that cannot be quantized. "
            f"It said:\n{said}\nReceived: {describe_exit(code)}"
        )
    error = directory / "error.json"
    if error.exists():
        told = json.loads(error.read_text())
        if told["missing"]:
            operators = {name: tuple(each) for name, each in told["operators"].items()}
            raise no_operator(model, told["argument"], told["missing"], operators)
        raise _failed(recipe, said, told["type"], told["message"])
    return (directory / "model.tflite").read_bytes()
