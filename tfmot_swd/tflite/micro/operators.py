"""Operators of TFLite Micro, and what keeps it from running a file."""

from __future__ import annotations

import numpy as np

from tfmot_swd.tflite.graph import FileGraph, FileOperator, Finding, place

DECODE = "TFLM_DECODE"
# Those for which the runtime of the PyPI package tflite-micro, October 2026, finds a kernel: each code was tried.
_NAMES = (
    "ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS "
    "BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV "
    "DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED "
    "GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG "
    "LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG "
    "NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE "
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX "
    "SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF "
    "TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE"
)
MICRO_OPERATORS = frozenset(_NAMES.split()) | {DECODE, "TFLite_Detection_PostProcess"}
_INT8 = 'export with recipe="int8"'


def micro_problems(graph: FileGraph) -> tuple[Finding, ...]:
    """Returns what keeps TFLite Micro from running a file, by operator; nothing: it finds a kernel for each.

    Rules of the findings: `"sparse"` for weights in the sparse encoding, which it does not unpack, `"float16"`,
    `"hybrid"` for int8 weights of float operators (dynamic range), `"operator"` for those that it has not got, and
    `"open size"` for inputs without a fixed size.
    Kernels can still refuse a dtype that is rare: `micro.run_micro` runs the file.
    """
    problems = [problem for operator in graph.operators for problem in _problems(graph, operator)]
    for tensor in graph.open_inputs:
        sides = "x".join("?" if axis in tensor.open_axes else str(side) for axis, side in enumerate(tensor.shape))
        found = f"the size of an input is open ({sides}), which TFLite Micro takes for 1"
        remedy = "fix the size of the input before the export"
        problems.append(Finding("open size", None, "", "", found, remedy))
    return tuple(problems)


def is_encoded(graph: FileGraph) -> bool:
    """Returns whether weights are stored as `encode_pruned` writes them, which only TFLite Micro runs."""
    return any(operator.name == DECODE for operator in graph.operators)


def is_hybrid(graph: FileGraph, operator: FileOperator) -> bool:
    """Returns whether an operator computes in float32 with weights that are stored in int8."""
    if len(operator.inputs) < 2 or operator.name in ("DEQUANTIZE", "DENSIFY", DECODE):
        return False
    given, weights = (graph.tensors[index] for index in operator.inputs[:2])
    return given.dtype == np.float32 and weights.dtype == np.int8


def _problems(graph: FileGraph, operator: FileOperator) -> list[Finding]:
    stored = [graph.tensors[index] for index in operator.inputs]
    if operator.name == "DENSIFY" or any(each.is_sparse for each in stored):
        return [_problem(graph, operator, "sparse", "TFLite Micro does not unpack sparse weights", _INT8)]
    if any(each.dtype == np.float16 for each in stored):
        return [_problem(graph, operator, "float16", "TFLite Micro does not compute with float16", _INT8)]
    if is_hybrid(graph, operator):
        found = "int8 weights and float32 activations, which TFLite Micro does not mix"
        return [_problem(graph, operator, "hybrid", found, _INT8)]
    if operator.name not in MICRO_OPERATORS:
        remedy = "build the model of operators that it has, or register a kernel of your own"
        return [_problem(graph, operator, "operator", "TFLite Micro has no such operator", remedy)]
    return []


def _problem(graph: FileGraph, operator: FileOperator, rule: str, found: str, remedy: str) -> Finding:
    return Finding(rule, operator.index, operator.name, place(graph, operator), found, remedy)
