"""What `encode_pruned` writes, byte by byte and as TFLite Micro reads it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tf_keras as keras
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tests.tflite.micro.conftest import zero_smallest
from tfmot_swd.tflite.advice import HELPS, advise
from tfmot_swd.tflite.flatbuffer import pack
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.micro import decode
from tfmot_swd.tflite.micro.decode import encode_pruned
from tfmot_swd.tflite.micro.interpreter import run_micro


def _object(content):
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def _same_outputs(one, other, inputs):
    wanted, found = run_micro(one, inputs).outputs, run_micro(other, inputs).outputs
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        assert np.ptp(values) > 0
        np.testing.assert_array_equal(found[name], values)


def test_bytes_of_mask_and_values(to_file):
    kernel = np.zeros((32, 16), np.float32)
    # In the file rows are outputs: flat positions 0, 9 and 511 of (16, 32).
    kernel[0, 0], kernel[9, 0], kernel[31, 15] = 1, -1, 1
    net = keras.Sequential([keras.layers.Input((32,)), keras.layers.Dense(16)])
    net.layers[0].set_weights([kernel, np.ones(16)])
    content = to_file(net, np.random.default_rng(0).normal(size=(40, 32)).astype("float32"))
    encoded = encode_pruned(content)
    (tensor,) = encoded.tensors
    assert (tensor.shape, tensor.zeros, tensor.plain_bytes, tensor.encoded_bytes) == ((16, 32), 509, 512, 64 + 16 + 3)
    assert (encoded.bytes_before, encoded.bytes_after) == (len(content), len(encoded.content))
    # The operator and all that comes with the first of them cost less than 200.
    assert 512 - 83 - 200 < encoded.bytes_saved < 512 - 83
    graph = read_graph(encoded.content)
    operator, dense = graph.operators
    assert (operator.name, dense.name) == ("TFLM_DECODE", "FULLY_CONNECTED")
    mask, ancillary = (graph.tensors[index] for index in operator.inputs)
    wanted = np.zeros(64, np.uint8)
    wanted[0], wanted[1], wanted[63] = 0x80, 0x40, 0x01
    np.testing.assert_array_equal(mask.values, wanted)
    assert ancillary.values.tolist() == [2, 1, 0, 0, 1] + 11 * [0] + [127, 256 - 127, 127]
    assert operator.outputs[0] == dense.inputs[1]
    restored = graph.tensors[dense.inputs[1]]
    assert (restored.shape, restored.dtype, restored.stored_bytes) == ((16, 32), np.dtype(np.int8), 0)
    assert restored.scales == read_graph(content).tensors[tensor.index].scales
    assert encoded.content.index(wanted.tobytes()) % 16 == 0
    assert encoded.content.index(bytes([2, 1, 0, 0, 1])) % 16 == 0


def test_pruned_net_computes_the_same_in_less_flash(pruned_file, pictures):
    encoded = encode_pruned(pruned_file)
    plain = read_graph(pruned_file)
    kernels = {tensor.index: tensor for tensor in plain.kernels()}
    assert [tensor.index for tensor in encoded.tensors] == sorted(kernels)
    for tensor in encoded.tensors:
        assert tensor.zeros == np.count_nonzero(kernels[tensor.index].values == 0)
        assert tensor.encoded_bytes == -(-tensor.plain_bytes // 8) + 16 + tensor.plain_bytes - tensor.zeros
    gain = sum(tensor.plain_bytes - tensor.encoded_bytes for tensor in encoded.tensors)
    assert gain - 4 * 150 < encoded.bytes_saved < gain
    _same_outputs(pruned_file, encoded.content, {"image": pictures})
    names = [[code.builtinCode, code.customCode] for code in _object(encoded.content).operatorCodes]
    assert names[-1] == [32, b"TFLM_DECODE"]


def test_metadata_and_signature_stay(pruned_file):
    model = _object(pruned_file)
    model.metadata = [schema.MetadataT(name="note", buffer=len(model.buffers))]
    model.buffers.append(schema.BufferT(data=np.arange(5, dtype=np.uint8)))
    encoded = _object(encode_pruned(pack(model)).content)
    assert (encoded.metadata[0].name, len(encoded.operatorCodes)) == (b"note", len(model.operatorCodes) + 1)
    assert encoded.buffers[encoded.metadata[0].buffer].data.tolist() == [0, 1, 2, 3, 4]
    (signature,) = encoded.signatureDefs
    assert [entry.name for entry in [*signature.inputs, *signature.outputs]] == [b"image", b"scores"]


def test_weights_that_several_operators_read(shared_file):
    encoded = encode_pruned(shared_file)
    assert [tensor.shape for tensor in encoded.tensors] == [(16, 3, 3, 16)]
    names = [operator.name for operator in read_graph(encoded.content).operators]
    assert names[:6] == 3 * ["TFLM_DECODE", "CONV_2D"]
    images = np.random.default_rng(1).normal(size=(10, 8, 8, 16)).astype("float32")
    _same_outputs(shared_file, encoded.content, {"image": images})


def test_zero_is_the_zero_point(pruned_file, pictures):
    model = _object(pruned_file)
    for tensor in read_graph(pruned_file).kernels():
        stored = model.subgraphs[0].tensors[tensor.index]
        stored.quantization.zeroPoint = np.arange(len(tensor.scales), dtype=np.int64) % 3 + 5
        axis = stored.quantization.quantizedDimension
        shape = [-1 if each == axis else 1 for each in range(len(tensor.shape))]
        moved = tensor.values // 2 + stored.quantization.zeroPoint.reshape(shape)
        model.buffers[stored.buffer].data = moved.astype(np.int8).reshape(-1).view(np.uint8)
    shifted = pack(model)
    encoded = encode_pruned(shifted)
    assert len(encoded.tensors) == 4
    assert encoded.bytes_saved > 3000
    _same_outputs(shifted, encoded.content, {"image": pictures})


@pytest.mark.parametrize("file", ["pruned_file", "shared_file", "graded_file"])
def test_no_other_choice_of_tensors_is_smaller(file, request):
    content = request.getfixturevalue(file)
    chosen = encode_pruned(content).bytes_after
    count = len(list(decode._candidates(_object(content))))
    assert count >= 3
    for flags in itertools.product((False, True), repeat=count):
        model = _object(content)
        candidates = list(decode._candidates(model))
        decode._insert(model, list(itertools.compress(candidates, flags)))
        # Two paddings of 16: what a buffer is aligned to.
        assert chosen <= len(pack(model)) + 32


def test_nothing_to_gain(to_file, pruned_file):
    net = keras.Sequential([keras.layers.Input((32,)), keras.layers.Dense(32)])
    content = to_file(net, np.random.default_rng(0).normal(size=(40, 32)).astype("float32"))
    full = encode_pruned(content)
    assert full.content is content
    assert (full.tensors, full.bytes_saved) == ((), 0)
    once = encode_pruned(pruned_file).content
    assert encode_pruned(once).content is once


def test_scalar_constants_stay_as_they_are(to_file):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [layers.Input((32,), name="x"), layers.Dense(64), layers.LayerNormalization(), layers.Dense(4, "hard_sigmoid")]
    )
    zero_smallest(net.layers, 0.8)
    data = np.random.default_rng(0).normal(size=(40, 32)).astype("float32")
    content = to_file(net, data)
    graph = read_graph(content)
    assert any(each.stored_bytes and not each.shape and each.scales for each in graph.tensors)
    encoded = encode_pruned(content)
    assert [tensor.shape for tensor in encoded.tensors] == [(4, 64), (64, 32)]
    _same_outputs(content, encoded.content, {"x": data})
    flash = advise(content, target="microcontroller").on("microcontroller flash")
    assert [each.verdict for each in flash] == [HELPS]


def test_largest_bounds_the_arena(pruned_file, pictures):
    # Weights of the four: 1,728, 576, 1,024 and 4,000.
    bounded = encode_pruned(pruned_file, max_encoded_weights=2000)
    assert sorted(tensor.plain_bytes for tensor in bounded.tensors) == [576, 1024, 1728]
    every = encode_pruned(pruned_file)
    arenas = [run_micro(each.content, {"image": pictures[:1]}).arena_bytes for each in (bounded, every)]
    assert arenas[0] < arenas[1]


def test_what_is_refused(float_file, pruned_file):
    with pytest.raises(ValueError, match=r'recipe="int8".*float32'):
        encode_pruned(float_file)
    with pytest.raises(ValueError, match="not a TFLite file"):
        encode_pruned(b"no file")
    with pytest.raises(TypeError, match="file must be the bytes.*Received: file=ndarray$"):
        encode_pruned(np.frombuffer(pruned_file, np.uint8))
    with pytest.raises(ValueError, match="max_encoded_weights must be a positive.*Received: max_encoded_weights=0"):
        encode_pruned(pruned_file, max_encoded_weights=0)
