"""What is taken out of a file, and that it still computes the same by the same names."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.metadata import compact
from tfmot_swd.tflite.recipes import RECIPES
from tfmot_swd.tflite.serving import serving_function
from tfmot_swd.tflite.silence import quiet


def _converted(model, recipe):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serving_function(model, 1)], model)
    RECIPES[recipe].configure(converter)
    with quiet():
        return converter.convert()


def _read(content):
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


@pytest.mark.parametrize("recipe", ["float32", "float16"])
def test_names_and_notes_go_and_the_signature_stays(two_by_two, pairs, recipe):
    content = _converted(two_by_two, recipe)
    small = compact(content)
    assert len(small) < 0.7 * len(content)
    model = _read(small)
    assert [tensor.name for tensor in model.subgraphs[0].tensors] == [None] * len(model.subgraphs[0].tensors)
    assert (model.description, model.subgraphs[0].name) == (None, None)
    # Delegates take this one as leave to compute in half precision.
    assert [note.name for note in model.metadata or ()] == (
        [b"reduced_precision_support"] if recipe == "float16" else []
    )
    inputs = dict(zip(two_by_two.input_names, pairs, strict=True))
    before, after = (run_tflite(each, inputs)[0] for each in (content, small))
    assert after.keys() == before.keys() == {"zebra", "ant"}
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    assert compact(small) == small


def test_data_are_aligned_and_no_buffer_is_empty_but_the_first(conv_net):
    content = _converted(conv_net, "float32")
    small = compact(content)
    first, *others = _read(small).buffers
    assert first.data is None
    kernel = conv_net.get_layer("scores").kernel.numpy().T.tobytes()
    assert small.index(kernel) % 16 == 0
    starts = [small.index(bytes(buffer.data)) for buffer in others if len(buffer.data) > 64]
    assert len(starts) == 2
    assert all(start % 16 == 0 for start in starts)
    assert len(others) < len(_read(content).buffers) - 1


def test_names_can_stay(dense_net):
    content = _converted(dense_net, "float32")
    kept = compact(content, keep_names=True)
    names = [[tensor.name for tensor in _read(each).subgraphs[0].tensors] for each in (content, kept)]
    assert names[0] == names[1]
    assert len(compact(content)) < len(kept) < len(content)
