"""What a file needs of a board, held against numbers counted by hand, and the verdict."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.tflite import Board, BoardFit, board_fit, check_fit
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.micro import run_micro


def to_bytes(net, optimizations=()):
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = list(optimizations)
    return converter.convert()


@pytest.fixture(scope="module")
def content():
    """A dense layer of 32 by 16 weights in float32: 2,048 bytes, and activations of 4 · (32 + 16) = 192 bytes."""
    return to_bytes(keras.Sequential([keras.layers.Dense(16, input_shape=(32,), name="y")]))


def fit_of(**changes):
    told = {
        "path": None,
        "form": "int8",
        "board": None,
        "flash_bytes": 100,
        "flash_limit": 120,
        "ram_bytes": 50,
        "ram_is_least": False,
        "ram_limit": 64,
        "macs": 9,
        "obstacles": (),
    }
    return BoardFit(**told | changes)


@pytest.mark.parametrize(
    ("changes", "fits", "left", "reason", "remedy"),
    [
        ({}, True, (20, 14), "", ""),
        ({"flash_limit": 100, "ram_limit": 50}, True, (0, 0), "", ""),
        ({"flash_limit": 99}, False, (-1, 14), "100 bytes of flash and there are 99: 1 too many", "bytes=99"),
        (
            {"ram_limit": 30},
            False,
            (20, -20),
            "the arena takes 50 bytes of RAM and there are 30: 20 too many",
            "remove",
        ),
        ({"flash_limit": 9, "form": "float32"}, False, (-91, 14), "91 too many", 'recipe="int8"'),
        ({"flash_limit": None, "ram_limit": None}, True, (None, None), "", ""),
        ({"ram_is_least": True}, None, (20, 14), "the arena takes more than 50 bytes", ""),
        ({"ram_is_least": True, "ram_limit": 49}, False, (20, -1), "the activations alone take 50 bytes", "remove"),
        ({"ram_is_least": True, "ram_limit": None}, True, (20, None), "", ""),
        ({"ram_bytes": None, "obstacles": ("no kernel",)}, False, (20, None), "does not run it: no kernel", ""),
    ],
)
def test_verdict_and_reason(changes, fits, left, reason, remedy):
    fit = fit_of(**changes)
    assert fit.fits is fits
    assert (fit.flash_left, fit.ram_left) == left
    assert reason in fit.reason
    assert bool(fit.reason) == bool(reason)
    assert remedy in fit.remedy
    assert bool(fit.remedy) == bool(remedy)
    shown = " ".join(str(fit).replace("│", " ").split())
    assert {True: ": fits", False: ": does not fit", None: ": unknown whether it fits"}[fits] in shown
    assert json.loads(json.dumps(fit.to_dict()))["fits"] is fits


def test_the_table_names_the_board_and_what_is_not_counted():
    board = Board("own", 200, 100, chip="X1", core="M4", clock_mhz=64.0, kernels="CMSIS-NN", source="data sheet")
    shown = " ".join(str(fit_of(board=board, macs=1234)).replace("│", " ").split())
    for each in ("own: fits", "X1, M4 at 64 MHz; figures: data sheet", "1,234 multiply-accumulates a run"):
        assert each in shown
    assert "a run" not in str(fit_of(macs=None))
    assert "time not estimated" in " ".join(shown.split())
    assert "20 (17%)" in shown


def test_a_file_against_limits(content, monkeypatch):
    monkeypatch.setattr(board_fit, "has_micro", lambda: False)
    fit = check_fit(content, flash="4k", ram=191)
    assert (fit.flash_bytes, fit.flash_limit, fit.ram_limit) == (len(content), 4096, 191)
    # 32 · 16 multiplications; 192 bytes go in and come out.
    assert (fit.macs, fit.ram_bytes, fit.ram_is_least, fit.fits, fit.form) == (512, 192, True, False, "float32")
    assert check_fit(content, ram=192).fits is None
    assert check_fit(content, flash=len(content)).fits is True
    assert check_fit(content, flash="2k").fits is False
    # Limits stand in place of the board's.
    changed = check_fit(content, "raspberry-pi-pico", ram=100)
    assert (changed.ram_limit, changed.flash_limit, changed.fits) == (100, 2 * 2**20, False)


def test_a_file_on_a_board_whose_limits_are_changed(content, tmp_path):
    pytest.importorskip("tflite_micro")
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    fit = check_fit(path, "raspberry-pi-pico")
    assert (fit.path, fit.fits, fit.ram_is_least) == (str(path), True, False)
    assert (fit.flash_limit, fit.ram_limit) == (2 * 2**20, 264 * 2**10)
    # That is enough, and what a run takes on this host.
    (port,) = read_layout(content).inputs
    run = run_micro(content, {port.name: np.zeros((1, 32), "float32")}, arena_bytes=fit.ram_bytes)
    assert run.arena_bytes <= fit.ram_bytes


def test_a_file_that_runs_on_no_microcontroller():
    net = keras.Sequential([keras.layers.Dense(64, input_shape=(32,))])
    fit = check_fit(to_bytes(net, [tf.lite.Optimize.DEFAULT]), flash="1M", ram="1M")
    assert (fit.fits, fit.ram_bytes, fit.ram_left) == (False, None, None)
    assert "int8 weights and float32 activations" in fit.reason
    assert "cannot run" in str(fit)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "Give a board, or limits"),
        ({"board": "pico"}, ValueError, "board must be one of .*Received: board='pico'"),
        ({"flash": "2q"}, ValueError, "flash must be .*Received: flash='2q'"),
        ({"ram": 1.5}, TypeError, "Received: ram=1.5"),
    ],
)
def test_what_is_refused(arguments, error, message, content):
    with pytest.raises(error, match=message):
        check_fit(content, **arguments)
