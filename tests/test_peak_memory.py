"""The memory that a pruning takes: no step of it makes copies of all weights.

`research/peak_memory.py` measures exactly how much, at sizes that take minutes.
"""

from pathlib import Path

from tests import workers


def test_nothing_copies_all_weights():
    (found, *_) = workers.results(workers.start(Path(__file__).parent / "memory_worker.py"))
    # Channels have left, so that the removal of channels was measured too.
    assert found["removed"] > 0
    # Peaks above the start, in bytes a weight, the weights, their momentum and the first network included: about 40 of
    # wrapping and of the first training steps, and 2 to 8 more of the look-ahead, the final pruning step, the status,
    # stripping and the report, which were 37 when each of them made copies. The difference is between two peaks: what a
    # process keeps of memory that a step has freed, which a later step may have, differs from one run to the next.
    assert found["afterwards"] - found["training"] < 16.0
    # 114 when each step made copies.
    assert max(found["training"], found["afterwards"]) < 55.0
