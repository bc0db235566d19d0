"""Under tf.distribute every replica decays and cuts the same weights: equal to one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = Path(__file__).with_name("distributed_worker.py")


def start(*args: str, **environment: str) -> subprocess.Popen:
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    env["PYTHONPATH"] = str(WORKER.parents[1])
    command = [sys.executable, str(WORKER), *args]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def result(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=240)
    lines = [line for line in out.splitlines() if line.startswith("RESULT ")]
    assert lines, err[-3000:]
    return json.loads(lines[0].removeprefix("RESULT "))


def assert_equal(first: dict, second: dict, tolerance: float) -> None:
    assert first["step"] == second["step"] == 20
    for a, b in zip(first["weights"], second["weights"], strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
        # The same weights were cut, not merely similar ones.
        np.testing.assert_array_equal(np.asarray(a) == 0, np.asarray(b) == 0)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.parametrize("schedule", ["implicit", "coupled"])
def test_two_mirrored_replicas_equal_one_device(schedule):
    single, mirrored = start("single", schedule, "float32"), start("mirrored", schedule, "float32")
    one, two = result(single), result(mirrored)
    assert two["replicas"] == 2
    assert_equal(one, two, 1e-5)


def test_mirrored_mixed_precision_prunes_too():
    found = result(start("mirrored", "implicit", "mixed_float16"))
    zeros = sum(int((np.asarray(value) == 0).sum()) for value in found["weights"])
    assert zeros >= int(0.8 * (6 * 16 + 16 + 16 * 3 + 3))


def test_two_workers_equal_one():
    ports = free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    workers = [
        start(
            "multiworker",
            "implicit",
            "float32",
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    results = [result(worker) for worker in workers]
    assert results[0]["replicas"] == 2
    assert_equal(results[0], results[1], 0.0)
    assert_equal(results[0], result(start("single", "implicit", "float32")), 1e-5)
