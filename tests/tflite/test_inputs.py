"""What a file is run on: every input, in its shape and in numbers that it can hold."""

import re

import numpy as np
import pytest

from tfmot_swd.tflite import export_tflite
from tfmot_swd.tflite.inputs import check_inputs
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.layout import Port
from tfmot_swd.tflite.micro import run_micro

FLOAT = Port("x", 0, (1, 2), np.dtype("float32"), 0.0, 0)
QUANTIZED = Port("x", 0, (1, 2), np.dtype("int8"), 0.5, 3)
IDS = Port("x", 0, (1, 2), np.dtype("int32"), 0.0, 0)
OPEN = Port("x", 0, (1, 1, 3), np.dtype("float32"), 0.0, 0, (1,))


def test_arrays_in_the_order_of_the_file():
    ports = [FLOAT, Port("ids", 1, (1, 3), np.dtype("int32"), 0.0, 0)]
    ids, x = np.arange(12.0).reshape(4, 3), np.ones((4, 2), int)
    (first, second), count = check_inputs({"ids": ids, "x": x}, ports)
    assert first is x
    assert second is ids
    assert count == 4


@pytest.mark.parametrize("port", [FLOAT, QUANTIZED, IDS, OPEN])
def test_what_fits_passes(port):
    shape = (5, *(7 if axis in port.open_axes else side for axis, side in enumerate(port.shape) if axis))
    assert check_inputs({"x": np.ones(shape)}, [port])[1] == 5


@pytest.mark.parametrize(
    ("port", "inputs", "error", "message"),
    [
        (FLOAT, np.ones((1, 2)), TypeError, "dictionary of arrays named ['x'], one for each input of the file."),
        (FLOAT, {}, ValueError, "inputs must be arrays named ['x']. Received: []"),
        (FLOAT, {"x": np.ones((1, 2)), "z": 1}, ValueError, "Received: ['x', 'z']"),
        (FLOAT, {"x": np.ones((1, 3))}, ValueError, "must have shape ('N', 2). Received: shape (1, 3)"),
        (FLOAT, {"x": np.float32(1)}, ValueError, "must have shape ('N', 2). Received: shape ()"),
        (OPEN, {"x": np.ones((1, 7, 2))}, ValueError, "must have shape ('N', None, 3). Received: shape (1, 7, 2)"),
        (FLOAT, {"x": np.ones((0, 2))}, ValueError, "at least 1. Received: [0]"),
        (FLOAT, {"x": np.array([["a", "b"]])}, TypeError, "must be an array of numbers. Received: dtype <U1"),
        (QUANTIZED, {"x": np.array([[1, np.nan]])}, ValueError, "no infinity: clean it first. Received: 1 of 2 values"),
        (IDS, {"x": np.array([[1, 2.5]])}, ValueError, "whole numbers of int32, such as token ids, as they are. Rec"),
        (IDS, {"x": np.array([[1, 2**31]])}, ValueError, "Received: dtype int64, values from 1 to 2147483648"),
        (IDS, {"x": np.array([[1, np.inf]])}, ValueError, "Received: dtype float64"),
        (Port("x", 0, (), np.dtype("int8"), 0.5, 0), {"x": 1.0}, ValueError, "no batch axis"),
    ],
)
def test_what_does_not_fit_is_refused(port, inputs, error, message):
    with pytest.raises(error, match=re.escape(message)):
        check_inputs(inputs, [port])


def test_both_interpreters_ask_for_every_input(two_by_two, pairs, tmp_path):
    path = tmp_path / "net.tflite"
    export_tflite(two_by_two, path)
    right, left = pairs
    for run in (run_tflite, run_micro):
        with pytest.raises(ValueError, match=r"named \['right', 'left-hand'\]. Received: \['right'\]"):
            run(path, {"right": right})
        with pytest.raises(ValueError, match=r"same number of samples, at least 1. Received: \[2, 40\]"):
            run(path, {"right": right, "left-hand": left[:2]})
