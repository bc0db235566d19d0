"""Under tf.distribute every replica decays and cuts the same weights: equal to one device."""

import json
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.workers import result, results, start

WORKER = Path(__file__).with_name("distributed_worker.py")
SCHEDULES = ("implicit", "coupled", "forward", "channels", "floors")


def train(*args: str, **environment: str) -> subprocess.Popen:
    return start(WORKER, *args, **environment)


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


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[dict, dict]]:
    """Returns (one device, two replicas) by schedule, all trained in two processes, which are slow to begin."""
    single, mirrored = (train(strategy, ",".join(SCHEDULES), "float32") for strategy in ("single", "mirrored"))
    return dict(zip(SCHEDULES, zip(results(single), results(mirrored), strict=True), strict=True))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_two_mirrored_replicas_equal_one_device(pairs, schedule):
    one, two = pairs[schedule]
    assert two["replicas"] == 2
    assert_equal(one, two, 1e-5)


def test_mirrored_mixed_precision_prunes_too():
    found = result(train("mirrored", "implicit", "mixed_float16"))
    zeros = sum(int((np.asarray(value) == 0).sum()) for value in found["weights"])
    assert zeros >= int(0.8 * (6 * 16 + 16 + 16 * 3 + 3))


def test_two_workers_equal_one():
    ports = free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    workers = [
        train(
            "multiworker",
            "implicit",
            "float32",
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    first, second = [result(worker) for worker in workers]
    assert first["replicas"] == 2
    assert_equal(first, second, 0.0)
    assert_equal(first, result(train("single", "implicit", "float32")), 1e-5)
