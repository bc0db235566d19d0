"""Damaged and crafted TFLite files end in one sentence that says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfmot_swd.tflite.file_facts import read_facts
from tfmot_swd.tflite.file_rows import operator_rows
from tfmot_swd.tflite.graph import place, read_graph
from tfmot_swd.tflite.layout import read_layout


@pytest.fixture(scope="module")
def content() -> bytes:
    """Returns a file of a convolution (tensor 0 its input) and a dense layer in float16, with two DEQUANTIZE."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.layers.Conv2D(3, 2, input_shape=(4, 4, 2)),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def changed(content: bytes, change: Any) -> bytes:
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    change(model, model.subgraphs[0])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operator(model: Any, graph: Any, kind: str) -> Any:
    codes = [each.builtinCode for each in model.operatorCodes]
    return next(each for each in graph.operators if codes[each.opcodeIndex] == getattr(schema.BuiltinOperator, kind))


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def cycle(model: Any, graph: Any) -> None:
    """The first DEQUANTIZE reads what the second one makes, and the other way round."""
    first, second = graph.operators[:2]
    assert first.opcodeIndex == second.opcodeIndex == operator(model, graph, "DEQUANTIZE").opcodeIndex
    first.inputs, second.inputs = second.outputs, first.outputs


def reads_itself(model: Any, graph: Any) -> None:
    each = operator(model, graph, "DEQUANTIZE")
    each.inputs = each.outputs


def written_twice(model: Any, graph: Any) -> None:
    graph.operators[1].outputs = graph.operators[0].outputs


CHANGES: dict[str, tuple[Any, str]] = {
    "cycle": (cycle, "the graph has a cycle"),
    "reads itself": (reads_itself, "the graph has a cycle"),
    "written twice": (written_twice, "written twice"),
    "no graph": (lambda model, graph: model.subgraphs.clear(), "no graph"),
    "operator code": (lambda model, graph: setattr(graph.operators[0], "opcodeIndex", 99), "operator code 99 of"),
    "buffer": (lambda model, graph: setattr(graph.tensors[2], "buffer", 999), "tensor 2, which names buffer 999 of"),
    "input": (lambda model, graph: setattr(graph, "inputs", numbers(999)), "the graph, which names tensor 999 of"),
    "negative": (lambda model, graph: setattr(graph, "outputs", numbers(-2)), "the graph, which names tensor -2 of"),
    "reads": (
        lambda model, graph: setattr(operator(model, graph, "CONV_2D"), "inputs", numbers(0, 999, 1)),
        "CONV_2D, which names tensor 999 of",
    ),
    "too few": (
        lambda model, graph: setattr(operator(model, graph, "CONV_2D"), "inputs", numbers(0)),
        "CONV_2D with 1 inputs and 1 outputs",
    ),
    "no outputs": (
        lambda model, graph: setattr(operator(model, graph, "DEQUANTIZE"), "outputs", None),
        "DEQUANTIZE with 1 inputs and 0 outputs",
    ),
    "options": (
        lambda model, graph: setattr(operator(model, graph, "CONV_2D"), "builtinOptionsType", 0),
        "CONV_2D without its options",
    ),
    "stride": (
        lambda model, graph: setattr(operator(model, graph, "CONV_2D").builtinOptions, "strideH", 0),
        "stride or dilation below 1",
    ),
    "rank": (lambda model, graph: setattr(graph.tensors[0], "shape", numbers(1, 32)), "an input of shape"),
    "negative side": (
        lambda model, graph: setattr(graph.tensors[0], "shape", numbers(1, -4, 4, 2)),
        "tensor 0 of shape",
    ),
    "absurd shape": (
        lambda model, graph: setattr(graph.tensors[0], "shape", numbers(*[2**31 - 1] * 4)),
        "tensor 0 of shape",
    ),
    "signature": (
        lambda model, graph: setattr(model.signatureDefs[0].inputs[0], "tensorIndex", 999),
        "a signature, which names tensor 999 of",
    ),
    "name": (
        lambda model, graph: setattr(model.signatureDefs[0].inputs[0], "name", b"\xff"),
        "UnicodeDecodeError",
    ),
    "metadata": (
        lambda model, graph: setattr(model.metadata[0], "buffer", 999),
        "an entry of the metadata, which names buffer 999 of",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_damaged_is_named(kind, content):
    change, message = CHANGES[kind]
    damaged = changed(content, change)
    for read in (read_graph, read_facts, read_layout):
        with pytest.raises(ValueError, match=f"damaged or incomplete.*Received: {len(damaged)} bytes, and .*{message}"):
            read(damaged)


def test_a_constant_of_another_size_is_damaged(content):
    def shorten(model: Any, graph: Any) -> None:
        kernel = graph.tensors[operator(model, graph, "DEQUANTIZE").inputs[0]]
        kernel.shape = np.array(kernel.shape) * 2

    with pytest.raises(ValueError, match="and float16, for which [0-9]+ bytes are stored"):
        read_graph(changed(content, shorten))


def test_a_file_whose_lists_are_the_same_bytes_many_times_is_refused_at_once():
    # 2,000 graphs that are one table, whose 2,000 tensors are one table: four million objects from 16 KB.
    builder = schema.flatbuffers.Builder(0)

    def repeated(start: Any, table: int) -> int:
        start(builder, 2000)
        for _ in range(2000):
            builder.PrependUOffsetTRelative(table)
        return int(builder.EndVector())

    schema.TensorStart(builder)
    tensors = repeated(schema.SubGraphStartTensorsVector, schema.TensorEnd(builder))
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graphs = repeated(schema.ModelStartSubgraphsVector, schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    crafted = bytes(builder.Output())
    assert len(crafted) < 20_000
    with pytest.raises(ValueError, match="lists that are longer than the file"):
        read_graph(crafted)


def test_an_operator_without_outputs_has_a_place(content):
    # As CALL_ONCE and ASSIGN_VARIABLE have none.
    def without(model: Any, graph: Any) -> None:
        code = model.operatorCodes[graph.operators[0].opcodeIndex]
        code.deprecatedBuiltinCode, code.builtinCode = 127, schema.BuiltinOperator.CALL_ONCE
        graph.operators[0].outputs = None

    graph = read_graph(changed(content, without))
    assert place(graph, graph.operators[0]) == "operator 0 CALL_ONCE"
    assert operator_rows(graph)[0].name == "CALL_ONCE"
