"""The memory that a pruning takes: no step of it makes copies of all weights.

`research/peak_memory.py` measures exactly how much, at sizes that take minutes.
"""

from pathlib import Path

from tests import workers


def test_nothing_copies_all_weights():
    (found, *_) = workers.results(workers.start(Path(__file__).parent / "memory_worker.py"))
    # Channels have left, so that the removal of channels was measured too.
    assert found["removed"] > 0
    # Bytes a weight of the look-ahead, the final pruning step, the status, stripping and the report beside those of the
    # training step: 1.9, which are pieces of a fixed size, and 37 when each of them made copies.
    assert found["beside_the_step"] < 5.0
    # All of them, the weights, their momentum and the first network included: 44 now.
    assert found["whole"] < 55.0
