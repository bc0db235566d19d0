"""Activations of a quantized file beside those of its model, operator by operator."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfmot_swd.keras2.compat import keras
from tfmot_swd.tflite.conversion import convert
from tfmot_swd.tflite.file_bytes import describe
from tfmot_swd.tflite.flatbuffer import compact
from tfmot_swd.tflite.graph import FileGraph, FileOperator, read_graph
from tfmot_swd.tflite.inputs import check_inputs
from tfmot_swd.tflite.interpreter import dequantize, open_interpreter, quantize
from tfmot_swd.tflite.layout import FileLayout, read_layout
from tfmot_swd.tflite.micro.operators import is_encoded
from tfmot_swd.tflite.recipes import get_recipe
from tfmot_swd.tflite.samples import Array, Samples, chunks
from tfmot_swd.tflite.serving import output_layers
from tfmot_swd.tflite.silence import silenced_logs

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class TensorPair:
    """The output of an operator that the float32 file and the quantized one have in common.

    Attributes:
        layers: names of the Keras layers that the operator computes, the last one first; empty where the converter did
            not keep them.
        operator: `"CONV_2D"` and so on.
        wanted: number of the tensor in the float32 file.
        found: its number in the quantized file.
    """

    layers: tuple[str, ...]
    operator: str
    wanted: int
    found: int


def float_file(model: keras.Model) -> bytes:
    """Returns the float32 file of a model in float32, names of tensors kept."""
    converted = convert(model, get_recipe("float32"), None)
    return compact(converted, True, model.input_names, model.output_names)


def pair_tensors(model: keras.Model, float_content: bytes, found: FileGraph, content: bytes) -> list[TensorPair]:
    """Pairs the operators of two files of a model, in the order of execution.

    The quantized file has no names of tensors, but the same operators in the same order, with conversions between
    them. Operators that only one of the two has are left out.

    Args:
        model: gives the names of layers.
        float_content: the float32 file, names kept.
        found: the graph of the quantized file.
        content: its bytes, for messages.

    Raises:
        ValueError: fewer than half of the operators are the same.
    """
    names = {each.name for each in model.submodules if isinstance(each, keras.layers.Layer)}
    wanted, makers = read_graph(float_content), output_layers(model)
    # Tensors of outputs are not named after layers. One that is there twice may have one place in the file.
    outputs = {wanted.outputs[port.position]: makers[port.name] for port in read_layout(float_content).outputs}
    ours, theirs = ([each for each in graph.operators if each.name not in _CONVERSIONS] for graph in (wanted, found))
    keys = [[_key(graph, each) for each in group] for graph, group in ((wanted, ours), (found, theirs))]
    blocks = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks()
    pairs = []
    for block in blocks:
        for step in range(block.size):
            left, right = ours[block.a + step], theirs[block.b + step]
            for index, other in zip(left.outputs, right.outputs, strict=True):
                if wanted.tensors[index].dtype == np.float32:
                    layers = _layers(wanted.tensors[index].name, names) or tuple(outputs.get(index, ())[-1:])
                    pairs.append(TensorPair(layers, left.name, index, other))
    if 2 * sum(block.size for block in blocks) < max(len(ours), 1) or not pairs:
        raise ValueError(
            "The file has other operators than the model: it may be of another model. "
            f"Received: {describe(content)}, with {', '.join(each.name for each in theirs[:8])}"
        )
    return pairs


def run_pairs(
    float_content: bytes, content: bytes, pairs: list[TensorPair], names: list[str], samples: Samples
) -> Iterator[list[tuple[Array, Array]]]:
    """Runs both files on each batch; yields the values (elements of the tensor) of each pair, dequantized.

    The last batch is filled up for files with a fixed batch above 1, and what the filling makes is left out, where the
    batch is in the first axis of a tensor, alone or with others behind it.

    Args:
        float_content, content: the float32 file and the quantized one.
        pairs: of their tensors.
        names: of the model's inputs. A file whose inputs are called otherwise gets them by position.
        samples: in the order of the names.

    Raises:
        ValueError: the quantized file takes other inputs.
    """
    layouts = [read_layout(each) for each in (float_content, content)]
    order = [_inputs(layout, names, samples) for layout in layouts]
    with silenced_logs():
        opened = [open_interpreter(each, keep_tensors=True)[0] for each in (float_content, content)]
        for interpreter in opened:
            interpreter.allocate_tensors()
    details = {detail["index"]: detail for detail in opened[1].get_tensor_details()}
    batch = layouts[0].inputs[0].shape[0]
    for arrays, real in chunks(samples.inputs, batch):
        for interpreter, layout, numbers in zip(opened, layouts, order, strict=True):
            interpreter.reset_all_variables()
            places = [detail["index"] for detail in interpreter.get_input_details()]
            for port, number in zip(layout.inputs, numbers, strict=True):
                interpreter.set_tensor(places[port.position], quantize(arrays[number], port.detail))
            interpreter.invoke()
        yield [
            (
                _real(opened[0].get_tensor(pair.wanted), real, batch),
                _real(dequantize(opened[1].get_tensor(pair.found), details[pair.found]), real, batch),
            )
            for pair in pairs
        ]


def read_quantized(content: bytes) -> FileGraph:
    """Returns the graph of a quantized file that LiteRT runs.

    Raises:
        ValueError: not a TFLite file, or its weights are encoded for TFLite Micro.
    """
    graph = read_graph(content)
    if is_encoded(graph):
        raise ValueError(
            "The file runs in TFLite Micro alone, which shows no tensors: export the model with recipe='int8', whose "
            f"outputs are the same, and pass that file. Received: {describe(content)}, made by 'int8_pruned'"
        )
    return graph


def _real(values: Array, real: int, batch: int) -> Array:
    """Returns the rows of the first samples of a batch."""
    if not values.ndim or len(values) % batch:
        return values
    return values[: len(values) // batch * real]


def _inputs(layout: FileLayout, names: list[str], samples: Samples) -> list[int]:
    """Returns which of the samples' arrays each input of a file gets."""
    ports = [port.name for port in layout.inputs]
    by_name = set(ports) == set(names)
    order = [names.index(each) for each in ports] if by_name else list(range(len(names)))
    given = zip(ports if len(ports) == len(names) else names, order, strict=True)
    check_inputs({name: samples.inputs[number] for name, number in given}, layout.inputs, layout.file)
    return order


def _key(graph: FileGraph, operator: FileOperator) -> tuple[str, tuple[tuple[int, ...], ...]]:
    return operator.name, tuple(graph.tensors[index].shape for index in operator.outputs)


def _layers(name: str, known: set[str]) -> tuple[str, ...]:
    """Returns the layers in a tensor's name, such as `net/conv/Relu;net/conv/BiasAdd`."""
    found: list[str] = []
    for part in name.split(";"):
        # Of layers within a layer, the inner one; the last part is an operation, as the add of a dense layer.
        inner = [each for each in part.split("/")[:-1] if each in known][-1:]
        found += [each for each in inner if each not in found]
    return tuple(found)
