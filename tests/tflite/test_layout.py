"""Sizes of inputs and outputs that no memory holds."""

import numpy as np
import pytest

from tfmot_swd.tflite.layout import FileLayout, Port


def layout(*shape: int) -> FileLayout:
    return FileLayout((Port("x", 0, shape, np.dtype("float32"), 0.0, 0),), (), (), "100 bytes of 'net.tflite'")


def test_sizes_without_measure_are_refused_before_memory_is_asked_for():
    layout(1, 8).require_sizes(32)
    with pytest.raises(ValueError, match=r"Received: 100 bytes of 'net.tflite', with 'x' of shape \(1, 9\), 36 bytes$"):
        layout(1, 9).require_sizes(32)
    # Beside a side of 0, where the product says nothing.
    with pytest.raises(ValueError, match=r"takes more memory than there is.*of shape \(0, 9\)"):
        layout(0, 9).require_sizes(32)
    with pytest.raises(ValueError, match="takes more memory"):
        layout(1, 2**30).require_sizes()
