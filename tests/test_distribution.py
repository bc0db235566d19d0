"""Under tf.distribute every replica decays and cuts the same weights, equal to one device, and sends nothing for it."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.workers import results, start

WORKER = Path(__file__).with_name("distributed_worker.py")
SCHEDULES = ("implicit", "coupled", "forward", "channels", "floors")


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
def one_process() -> list:
    """Returns [one device, two replicas] of each schedule, then two replicas in mixed precision."""
    return results(start(WORKER, "mirrored", *SCHEDULES), timeout=540)


@pytest.fixture(scope="module")
def two_processes() -> list[list]:
    """Returns of each of two workers what it has trained and, for the first, what its steps communicate."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    workers = [start(WORKER, "multiworker", "implicit", TF_CONFIG=json.dumps(task)) for task in tasks]
    return [results(worker) for worker in workers]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_two_mirrored_replicas_equal_one_device(one_process, schedule):
    one, two = one_process[SCHEDULES.index(schedule)]
    assert two["replicas"] == 2
    assert_equal(one, two, 1e-5)


def test_a_layer_on_another_device_is_decayed_there():
    """As an embedding whose `build` keeps it in the memory of the CPU; in graph and eagerly."""
    (found,) = results(start(WORKER, "devices"), timeout=540)
    for one, two in (found[:2], found[2:]):
        assert one["devices"] == ["CPU:0"] * 4
        assert two["devices"] == ["CPU:1", "CPU:1", "CPU:0", "CPU:0"]
        assert_equal(one, two, 0.0)


def test_mirrored_mixed_precision_prunes_too(one_process):
    zeros = sum(int((np.asarray(value) == 0).sum()) for value in one_process[-1]["weights"])
    assert zeros >= int(0.8 * (6 * 16 + 16 + 16 * 3 + 3))


def test_two_workers_equal_one(one_process, two_processes):
    first, second = [found[0] for found in two_processes]
    assert first["replicas"] == 2
    assert_equal(first, second, 0.0)
    assert_equal(first, one_process[SCHEDULES.index("implicit")][0], 1e-5)


@pytest.fixture(scope="module")
def communicated(two_processes) -> dict[str, list[tuple]]:
    """Returns (kind, dtype, elements, conditional) of the collective operations of a step, by what it prunes."""
    return {kind: [tuple(each) for each in found] for kind, found in two_processes[0][1].items()}


def test_a_plain_step_communicates_gradients_and_the_loss(communicated):
    weights = 3 * 3 * 2 * 4 + 4 + 2 * 4 + 64 * 3 + 3
    # The loss of all workers, and the sum and count of its mean.
    scalars = [("CollectiveReduceV2", "float32", 1, False)] * 3
    assert communicated["plain"] == [*scalars, ("CollectiveReduceV2", "float32", weights, False)]


@pytest.mark.parametrize("kind", ["implicit", "channels", "finished", "weight_change"])
def test_pruning_communicates_nothing_more_in_a_step(communicated, kind):
    assert communicated[kind] == communicated["plain"]


@pytest.mark.parametrize(("criterion", "elements"), [("rpgp", 3 * 3 * 2 * 4), ("feature_taylor", 4)])
def test_criteria_of_gradients_add_up_the_scores_of_an_update_over_the_workers(communicated, criterion, elements):
    """One operation more: the norm is that of the sum of the gradients, so RPGP sends them before it is taken."""
    of_scores = ("CollectiveReduceV2", "float32", elements, False)
    assert communicated[criterion] == sorted([*communicated["plain"], of_scores])
