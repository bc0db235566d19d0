"""Latency: the order of the runs, the numbers made of them, and refusals; nothing depends on how fast a machine is."""

import itertools

import numpy as np
import pytest

from tfmot_swd.tflite import ExportError, export_tflite
from tfmot_swd.tflite import latency as module
from tfmot_swd.tflite.latency import measure_latency, random_input, tflite_runner, time_in_turn


@pytest.fixture
def content(dense_net, tmp_path):
    export_tflite(dense_net, tmp_path / "net.tflite")
    return (tmp_path / "net.tflite").read_bytes()


def test_files_are_timed_in_turn_and_the_order_turns():
    seen = []
    runs = [lambda name=name: seen.append(name) for name in "abc"]
    times = time_in_turn(runs, 2)
    assert times.shape == (2, 3)
    # Calls of less than a stretch are repeated; each stretch counts once here.
    stretches = [seen[0], *(right for left, right in itertools.pairwise(seen) if left != right)]
    assert "".join(stretches) == "abcabcbca"


def test_medians_and_percentiles_are_of_the_rounds_and_ratios_round_by_round(content, monkeypatch):
    # The whole machine is slower in every second round: of medians taken in different rounds the ratio is another.
    rounds = np.array([[1.0, 2.0], [1.9, 3.8], [1.0, 2.0], [1.9, 3.8], [1.0, 2.0]]) / 1000
    monkeypatch.setattr(module, "time_in_turn", lambda runs, number: rounds)
    dense, small = measure_latency({"dense": content, "small": content}, threads=[1], rounds=5, reference="dense")
    assert (dense.name, dense.threads, dense.rounds, dense.ratio) == ("dense", 1, 5, 1.0)
    assert (dense.low_ms, dense.median_ms, dense.high_ms) == pytest.approx((1.0, 1.0, 1.9))
    assert (small.median_ms, small.ratio) == pytest.approx((2.0, 2.0))
    assert small.reference == "dense"


def test_the_ratio_is_no_ratio_of_medians(content, monkeypatch):
    # Medians 2 and 2.4, whose ratio is 1.2; the ratios of the rounds are 1.67, 1 and .8.
    rounds = np.array([[1.8, 3.0], [2.0, 2.0], [3.0, 2.4]]) / 1000
    monkeypatch.setattr(module, "time_in_turn", lambda runs, number: rounds)
    _, small = measure_latency({"dense": content, "small": content}, threads=[1], rounds=3, reference="dense")
    assert (small.median_ms, small.ratio) == pytest.approx((2.4, 1.0))


@pytest.mark.parametrize(
    ("rounds", "noise"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], ""),
        # One slow round among many is nothing, as the percentiles leave it out.
        ([[1.0, 2.0]] * 20 + [[1.0, 90.0]], ""),
        ([[1.0, 2.0], [1.0, 6.0], [1.0, 6.0]], "small ran between 2.8 and 6 ms"),
        ([[1.0, 2.0], [4.0, 2.0], [4.0, 2.0]], "dense ran between 1.6 and 4 ms"),
        # Medians 1 and 1.2, and ratios of the rounds whose median is .8: no reader would believe either.
        (
            [[1.0, 1.2], [1.0, 1.2], [1.5, 1.2], [1.5, 0.9], [1.0, 0.8]],
            "dense ran between 1 and 1.5 ms, small ran between 0.84 and 1.2 ms",
        ),
        # Ten times as slow together: what other work does to the two need not be the same.
        ([[1.0, 2.0], [10.0, 20.0]], "dense ran between 1.9 and 9.1 ms, small ran between 3.8 and 18.2 ms"),
    ],
)
def test_there_is_no_ratio_of_times_that_vary_too_much(content, monkeypatch, rounds, noise):
    monkeypatch.setattr(module, "time_in_turn", lambda runs, number: np.array(rounds) / 1000)
    dense, small = measure_latency({"dense": content, "small": content}, threads=[1], rounds=3, reference="dense")
    assert (dense.ratio, dense.noise) == (1.0, "")
    assert small.ratio == (None if noise else 2.0)
    assert small.to_dict()["noise"] == small.noise == (f"too noisy to compare: {noise}" if noise else "")


def test_each_number_of_threads_is_measured(content):
    found = measure_latency({"a": content, "b": content}, threads=(1, 2), rounds=2)
    assert [(each.name, each.threads, each.ratio) for each in found] == [
        ("a", 1, None),
        ("b", 1, None),
        ("a", 2, None),
        ("b", 2, None),
    ]
    assert all(0 < each.low_ms <= each.median_ms <= each.high_ms for each in found)


def test_tensorflow_runs_it_where_litert_is_absent(content, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)
    run = tflite_runner(content)
    assert type(run.__self__).__module__.startswith("tensorflow.")
    run()


def test_random_inputs_are_what_any_file_takes():
    floats = random_input((1000,), np.float32)
    assert floats.dtype == np.float32
    assert 0.9 < floats.std() < 1.1
    small = random_input((1000,), np.int8)
    assert small.dtype == np.int8
    assert (small.min(), small.max()) == (-128, 127)
    # Indices into a table that may have a single row.
    assert not random_input((3,), np.int32).any()
    with pytest.raises(ValueError, match="no random input of this dtype.*Received: <U3"):
        random_input((1,), "<U3")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"files": {}}, ValueError, "at least one file"),
        ({"threads": 2}, TypeError, "a list of numbers.*Received: threads=2"),
        ({"threads": (0,)}, ValueError, "1 or more. Received: threads=\\(0,\\)"),
        ({"rounds": 2.5}, TypeError, "whole numbers. Received: rounds=2.5"),
        ({"reference": "b"}, ValueError, "one of a. Received: reference='b'"),
        ({"files": {"a": "model.tflite"}}, TypeError, "read it first. Received: str for 'a'"),
    ],
)
def test_wrong_arguments_are_refused(content, change, error, message):
    with pytest.raises(error, match=message):
        measure_latency(**({"files": {"a": content}} | change))


def test_a_file_that_does_not_run_is_named(content):
    # The flatbuffer's root points outside of it.
    broken = b"\xff\xff\xff\x7f" + content[4:]
    with pytest.raises(ExportError, match="The file 'small' does not run"):
        measure_latency({"small": broken})
