"""Eligibility of a TFLite file for sparse kernels: XNNPACK's rules and TFLite's block kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfmot_swd.tflite.graph import FileGraph, FileOperator, FileTensor, Finding, place
from tfmot_swd.tflite.sparse_layout import (
    CONVOLUTIONS,
    ENTER,
    LEAVE,
    NOWHERE,
    POOL,
    Node,
    may_leave,
    pools_whole_maps,
    read_nodes,
)


@dataclass(frozen=True)
class Rule:
    """One thing that XNNPACK asks of a file before it uses its sparse kernels.

    Attributes:
        name: short.
        demand: what has to hold.
        remedy: what to do where it does not.
    """

    name: str
    demand: str
    remedy: str


XNNPACK_RULES = tuple(
    Rule(*row)
    for row in (
        (
            "first layer",
            "the first convolution is 3x3 with stride 2 and padding 1 on exactly 3 channels",
            "begin with ZeroPadding2D(1) and Conv2D(n, 3, strides=2) on images of 3 channels; padding='same' will not "
            "do, nor a ZeroPadding2D that two layers read",
        ),
        (
            "convolution",
            "all other convolutions are 1x1 without stride, groups or dilation",
            "use Conv2D(n, 1), and DepthwiseConv2D for what has to be larger or to stride",
        ),
        (
            "depthwise",
            "depthwise convolutions are 3x3 or 5x5, of stride 1 or 2, padded by half the kernel on every side",
            "use a 3x3 or 5x5 kernel with depth_multiplier=1 and no dilation: padding='same' with stride 1, or "
            "ZeroPadding2D(1) (2 for 5x5) and padding='valid' with stride 2",
        ),
        (
            "operator",
            "only additions and multiplications of two feature maps, unary activations, bilinear resizing and dense "
            "layers stand between them",
            "replace it by one of these, or fold a constant into the convolution before it; strides of depthwise "
            "convolutions do what pooling does",
        ),
        (
            "end",
            "all paths end in a global average pooling or in depth_to_space",
            "end in GlobalAveragePooling2D() and Dense, or in tf.nn.depth_to_space; let no feature map be an output",
        ),
        (
            "zeros",
            "more than two thirds of the weights of the 1x1 convolutions are zero",
            "prune the 1x1 convolutions to more than 67 %, better 80 %",
        ),
        ("stored sparse", "the weights are stored sparse", 'export with recipe="sparse_float32"'),
        ("float", "it computes in floating point", 'export with recipe="sparse_float32"'),
    )
)
_RULES = {rule.name: rule for rule in XNNPACK_RULES}
_ORDER = [rule.name for rule in XNNPACK_RULES]
_BLOCK = (1, 4)


def xnnpack_sparse(graph: FileGraph) -> tuple[Finding, ...]:
    """Returns the rules of `XNNPACK_RULES` that a file breaks, in their order; none: on ARM its sparse kernels run.

    They run 1x1 convolutions on the weights left and need the whole of the network between the first layer and the
    pooling channels first, so that one operator that does not fit switches them off for all. They are off on any x86
    with AVX, whatever the file.

    Source: TensorFlow's lite/delegates/xnnpack/README.md, "Sparse inference"; details of each operator from
    `xnn_check_nchw_compatibility` in XNNPACK's src/subgraph.c, checked against LiteRT 2.3.

    Example:
        >>> import tensorflow as tf, tf_keras as keras
        >>> from tfmot_swd.tflite.graph import read_graph
        >>> layers = [keras.layers.Conv2D(8, 3, input_shape=(9, 9, 1)), keras.layers.GlobalAveragePooling2D()]
        >>> content = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential(layers)).convert()
        >>> [finding.rule for finding in xnnpack_sparse(read_graph(content))]
        ['first layer', 'zeros', 'stored sparse']
    """
    walk = _Walk(graph)
    walk.run()
    return tuple(sorted(walk.findings, key=lambda finding: _ORDER.index(finding.rule)))


class _Walk:
    """One pass over the operators, with the tensors that would be channels first if nothing broke a rule."""

    def __init__(self, graph: FileGraph) -> None:
        self.findings: list[Finding] = []
        self._graph = graph
        self._nodes = read_nodes(graph)
        self._region: dict[int, Node] = {}
        self._pooled: set[int] = set()
        self._ended = False
        self._pointwise: list[Node] = []
        self._judged: list[Node] = []

    def run(self) -> None:
        after_convolution: set[int] = set()
        for node in self._after_entries():
            is_convolution = node.operator.name in CONVOLUTIONS
            is_first = is_convolution and after_convolution.isdisjoint(node.reads)
            if is_convolution or not after_convolution.isdisjoint(node.reads):
                after_convolution.add(node.output)
            if node.role == ENTER or is_first:
                if node.role != ENTER:
                    self._add("first layer", node, node.found)
                self._region[node.output] = node
                self._judged.append(node)
            elif any(index in self._region for index in node.reads):
                self._judged.append(node)
                self._step(node)
        if not self._region:
            self._add("first layer", None, "there is no convolution")
        else:
            self._check_end()
            self._check_zeros()
        self._check_form()

    def _after_entries(self) -> list[Node]:
        """Returns the nodes but for those that lead to a proper first layer: they may be anything."""
        before: set[int] = set()
        rest = []
        for node in reversed(self._nodes):
            is_before = node.output in before
            if is_before or node.role == ENTER:
                before.update(node.reads)
            if not is_before or node.role == ENTER:
                rest.append(node)
        return rest[::-1]

    def _step(self, node: Node) -> None:
        """Judges a node that reads what the region made."""
        name = node.operator.name
        is_map = len(self._graph.tensors[node.output].shape) == 4
        if node.role == NOWHERE:
            if is_map:
                rule = {"CONV_2D": "convolution", "DEPTHWISE_CONV_2D": "depthwise"}.get(name, "operator")
                self._add(rule, node, node.found)
                self._region[node.output] = node
            elif not all(may_leave(self._graph, self._region[index]) for index in node.reads if index in self._region):
                self._add("end", node, "reads feature maps that were not pooled")
                self._ended = True
            return
        if any(index not in self._region for index in node.reads):
            self._add("operator", node, "one of its inputs comes from outside of this part of the network")
        if node.role in (POOL, LEAVE):
            self._ended = True
            if node.role == POOL and not pools_whole_maps(self._graph, node.operator):
                self._add("end", node, f"{node.found}, and not over height and width")
        elif not node.is_pointwise and not self._pooled.isdisjoint(node.reads):
            self._add("end", node, "reads a pooling that keeps its axes, which only 1x1 convolutions can")
        if is_map and node.role != LEAVE:
            self._region[node.output] = node
        if node.role == POOL:
            self._pooled.add(node.output)
        if node.is_pointwise:
            self._pointwise.append(node)

    def _check_end(self) -> None:
        outputs = [node for index, node in self._region.items() if index in self._graph.outputs]
        for node in outputs:
            if not may_leave(self._graph, node):
                self._add("end", node, "is an output of the model")
        self._ended |= bool(outputs)
        if not self._ended:
            self._add("end", list(self._region.values())[-1], "nothing pools what it makes")

    def _check_zeros(self) -> None:
        weights = sum(node.weights for node in self._pointwise)
        zeros = sum(node.zeros for node in self._pointwise)
        if not weights:
            self._add("zeros", None, "there is no 1x1 convolution to run on sparse weights")
        elif 3 * zeros <= 2 * weights:
            densest = max(self._pointwise, key=lambda node: node.weights - node.zeros)
            self._add("zeros", densest, f"{zeros / weights:.0%} zeros in all, most of the others are here")

    def _check_form(self) -> None:
        other = next((node for node in self._judged or self._nodes if not node.is_float), None)
        if other is not None:
            self._add("float", other, "computes with integer weights or activations")
        elif not any(operator.name == "DENSIFY" for operator in self._graph.operators):
            self._add("stored sparse", None, "all weights are stored, zeros too")

    def _add(self, rule: str, node: Node | None, found: str) -> None:
        if node is None:
            finding = Finding(rule, None, "", "", found, _RULES[rule].remedy)
        else:
            where = place(self._graph, node.operator)
            finding = Finding(rule, node.operator.index, node.operator.name, where, found, _RULES[rule].remedy)
        if finding not in self.findings:
            self.findings.append(finding)


def block_sparse(graph: FileGraph) -> tuple[Finding, ...]:
    """Returns a finding for each dense layer that TFLite's own block kernel cannot run; none where there are no layers.

    The kernel takes float32 weights that are stored in blocks of 4 inputs, block (4, 1) of a Keras kernel, on every
    CPU. Others are unpacked at load, or stored whole.
    """
    return tuple(
        _judge_blocks(graph, operator, kernel) for operator, kernel in dense_kernels(graph) if not in_blocks(kernel)
    )


def dense_kernels(graph: FileGraph) -> Iterator[tuple[FileOperator, FileTensor]]:
    """Yields each dense layer with the constant that its weights are stored as."""
    for operator in graph.operators:
        kernel = graph.constant(operator.inputs[1]) if operator.name == "FULLY_CONNECTED" else None
        if kernel is not None:
            yield operator, kernel


def in_blocks(kernel: FileTensor) -> bool:
    """Returns whether the weights of a dense layer are stored as the block kernel reads them."""
    return kernel.dtype == np.float32 and kernel.block == _BLOCK


def _judge_blocks(graph: FileGraph, operator: FileOperator, kernel: FileTensor) -> Finding:
    remedy = (
        "prune dense layers in blocks, prune_selective_decay(model, schedule, block_size=(4, 1)), and export with "
        'recipe="sparse_float32"'
    )
    if kernel.dtype != np.float32:
        found = f"weights of {kernel.dtype}"
    elif not kernel.is_sparse:
        found = "weights that are stored whole"
    else:
        found = "weights that are stored sparse one by one, and unpacked at load"
    return Finding("dense blocks", operator.index, operator.name, place(graph, operator), found, remedy)
