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
    # training step: 8, the weights of the stripped model and of the one without dead channels, and 37 when each step
    # made copies. (TensorFlow keeps what a training step has freed: a step that takes more leaves them more room.)
    assert found["beside_the_step"] < 12.0
    # All of them, the weights, their momentum and the first network included: 49 now, 114 when each step made copies.
    assert found["whole"] < 55.0
