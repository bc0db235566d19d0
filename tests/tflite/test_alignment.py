"""Where data begin in a file."""

import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.alignment import pack, padded


@pytest.mark.parametrize(("size", "wanted"), [(0, 0), (1, 16), (16, 16), (17, 32)])
def test_the_next_multiple_of_16(size, wanted):
    assert padded(size) == wanted


def test_data_of_any_length_are_aligned():
    data = [np.full(length, 100 + length, np.uint8) for length in (1, 7, 16, 33)]
    model = schema.ModelT()
    model.buffers = [schema.BufferT(), *(schema.BufferT(each) for each in data)]
    before = list(model.buffers)
    content = pack(model)
    assert model.buffers == before
    read = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    assert read.buffers[0].data is None
    for each, buffer in zip(data, read.buffers[1:], strict=True):
        np.testing.assert_array_equal(buffer.data, each)
        assert content.index(each.tobytes()) % 16 == 0
