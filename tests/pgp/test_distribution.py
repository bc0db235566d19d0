"""Under tf.distribute filters have the scores that they have on one device, and leave on all replicas alike."""

from pathlib import Path

import numpy as np
import pytest

from tests import workers

WORKER = Path(__file__).with_name("distributed_worker.py")
CASES = ("steps_per_execution", "extra_pass", "own_loop")


@pytest.fixture(scope="module")
def results() -> dict[str, list[dict]]:
    """Returns (one device, two replicas) by case."""
    found = dict(workers.results(workers.start(WORKER), timeout=540))
    assert set(found) == set(CASES)
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_mirrored_replicas_equal_one_device(results, case):
    one, two = results[case]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert one["iterations"] == two["iterations"] == 8
    assert one["left"] == two["left"]
    assert one["mask"] == two["mask"]
    assert 0.0 in one["mask"]
    assert len(one["mask"]) < 8
    # A map is a mean over the images of its replica, so its scores are twice as large on two: all of them.
    factor = 2.0 if case == "own_loop" else 1.0
    for first, second in zip(one["scores"], two["scores"], strict=True):
        np.testing.assert_allclose(factor * np.array(first), second, rtol=1e-3)
    for part in ("weights", "slots"):
        for first, second in zip(one[part], two[part], strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES[:-1])
def test_logs_and_what_is_left_in_the_end_are_alike(results, case):
    one, two = results[case]
    for name, values in one["logs"].items():
        np.testing.assert_allclose(two["logs"][name], values, rtol=1e-4, err_msg=name)
    assert {"loss", "channels"} < set(one["logs"])
    assert ("val_loss" in one["logs"]) == (case == "steps_per_execution")
    assert one["in the end"] == two["in the end"]
    assert one["in the end"][0] == [3, 3, 2, 4]
    assert two["logs"]["channels"] == ([12, 10] if case == "steps_per_execution" else [7, 6])
