"""XNNPACK's channels-first rewriting, replayed: the operators that can run on sparse weights, and those that will."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

from tfmot_swd.tflite.graph import FileGraph, FileOperator

# Where an operator may stand in a part of the graph that runs channels first, as sparse kernels do: ENTER begins it,
# POOL is inside or ends it, LEAVE ends it.
ENTER, INSIDE, POOL, LEAVE, NOWHERE = "enter", "inside", "pool", "leave", ""

CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_UNARY = (
    "ABS CEIL COS ELU EXP FLOOR GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC NEG RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND "
    "RSQRT SIN SQRT SQUARE TANH"
)
_SAME = 0

Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class Node:
    """One operator as XNNPACK sees it, a PAD in front of it fused in, constants unpacked.

    Attributes:
        operator: of the file.
        reads: tensors that are computed, not stored.
        role: ENTER, INSIDE, POOL, LEAVE or NOWHERE.
        found: what the operator is, for people who wonder about its role.
        is_float: whether it computes in floating point.
        weights, zeros: of a 1x1 convolution or dense layer inside; 0 for others.
    """

    operator: FileOperator
    reads: tuple[int, ...]
    role: str
    found: str
    is_float: bool
    weights: int
    zeros: int

    @property
    def output(self) -> int:
        """The number of the tensor it makes."""
        return self.operator.outputs[0]

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a 1x1 convolution or a dense layer that sparse kernels can run."""
        return self.weights > 0


def read_nodes(graph: FileGraph) -> tuple[Node, ...]:
    """Returns the operators that compute something at run time, in order."""
    pads = {operator.outputs[0]: operator for operator in _fused_pads(graph)}
    nodes = []
    for operator in graph.operators:
        if not operator.outputs or operator.outputs[0] in pads or graph.constant(operator.outputs[0]) is not None:
            continue
        inputs = [index for index in operator.inputs if graph.constant(index) is None]
        pad = pads.get(inputs[0]) if inputs else None
        reads = tuple(inputs if pad is None else [pad.inputs[0], *inputs[1:]])
        role, found = _JUDGES.get(operator.name, _nowhere)(graph, operator, pad)
        is_float = not any(
            each.dtype is None or (each.dtype.kind in "iu" and (each.dtype.itemsize < 4 or each.scales))
            for each in (graph.tensors[index] for index in (*operator.inputs, *operator.outputs))
        )
        kernel = graph.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
        is_pointwise = role == INSIDE and operator.name in ("CONV_2D", "FULLY_CONNECTED") and kernel is not None
        weights, zeros = (kernel.size, kernel.size - kernel.nonzeros) if is_pointwise and kernel is not None else (0, 0)
        nodes.append(Node(operator, reads, role, found, is_float, weights, zeros))
    return tuple(nodes)


def xnnpack_outcome(graph: FileGraph) -> str:
    """Returns what becomes of a file where XNNPACK's sparse kernels are switched on, as they are on ARM.

    A part of the graph runs channels first, and so on sparse weights, if it begins with a convolution that changes the
    layout and holds nothing but operators that know the other layout. XNNPACK decides that group by group, and does not
    ask whether anything changes the layout back: then the next operator reads its input in the wrong order.

    Returns:
        `"sparse"`, `"dense"` (correct, and no faster for the zeros) or `"wrong"`: the file does not load, or computes
        something else without a word.

    Source: `xnn_subgraph_rewrite_for_nchw` in XNNPACK's src/subgraph.c. Checked against LiteRT 2.3 with AVX hidden
    from it, which has the sparse kernels of old x86 run.
    """
    if not any(operator.name == "DENSIFY" for operator in graph.operators):
        return "dense"
    nodes = [node for node in read_nodes(graph) if node.is_float or node.role == NOWHERE]
    first = _channels_first(graph, nodes)
    if not first:
        return "dense"
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        for index in node.reads:
            readers.setdefault(index, []).append(node)
    for node in nodes:
        if not first.intersection(node.reads):
            continue
        stays = node.output in first
        if node.role == POOL:
            # Its result has no rows and columns to be confused about, but only pointwise operators take it on.
            wrong = not pools_whole_maps(graph, node.operator)
            wrong |= stays and not all(each.is_pointwise for each in readers.get(node.output, ()))
        else:
            wrong = not stays and not may_leave(graph, node)
        if wrong:
            return "wrong"
    return "sparse"


def may_leave(graph: FileGraph, node: Node) -> bool:
    """Returns whether others can read what a node makes: without rows and columns both layouts are the same.

    Convolutions, of which dense layers are a kind here, mind all the same.
    """
    if node.role in (POOL, LEAVE):
        return True
    is_single = graph.tensors[node.output].shape[1:3] == (1, 1)
    return is_single and node.operator.name not in (*CONVOLUTIONS, "FULLY_CONNECTED")


def pools_whole_maps(graph: FileGraph, operator: FileOperator) -> bool:
    """Returns whether a reduction is over height and width, or over channels alone."""
    return _axes(graph, operator) in ({1, 2}, {3})


def _channels_first(graph: FileGraph, nodes: list[Node]) -> set[int]:
    """Returns the tensors that XNNPACK lays out channels first."""
    count = range(len(nodes))
    # The result of a pooling that drops its axes passes through a reshape of XNNPACK's own.
    makers = {
        node.output: number
        for number, node in enumerate(nodes)
        if node.role != POOL or len(graph.tensors[node.output].shape) == 4
    }
    external = {*graph.inputs, *graph.outputs}
    leader, spoiled = list(count), [False] * len(nodes)
    takes = [node.role in (INSIDE, POOL, LEAVE) and node.is_float for node in nodes]
    gives = [node.role in (ENTER, INSIDE, POOL) and node.is_float for node in nodes]

    def join(number: int) -> bool:
        changed = False
        for index in nodes[number].reads:
            maker = makers.get(index)
            if index in external or maker is None or not gives[maker] or spoiled[maker]:
                spoiled[number] = True
            elif leader[maker] != leader[number]:
                leader[maker] = leader[number] = max(leader[maker], leader[number])
                changed = True
        return changed

    # A sum, as all are to be joined.
    changed = sum(join(number) for number in count if nodes[number].role in (POOL, LEAVE) and takes[number])
    if not changed:
        return set()
    # From here on groups that do not reach an end are changed all the same.
    while changed:
        changed = sum(join(number) for number in count if takes[number] and not spoiled[number])
    for number in count:
        spoiled[leader[number]] |= spoiled[number]

    wanted, readers = _count_readers(graph, nodes, [takes[each] and not spoiled[leader[each]] for each in count])
    for number in count:
        if takes[number] and not spoiled[leader[number]]:
            spoiled[leader[number]] |= any(wanted[index] != readers[index] for index in nodes[number].reads)

    kept = [number for number in count if not spoiled[leader[number]]]
    first: set[int] = set()
    for number in kept:
        group = [nodes[each] for each in kept if leader[each] == leader[number]]
        weights, zeros = sum(each.weights for each in group), sum(each.zeros for each in group)
        if takes[number] and 3 * zeros > 2 * weights:
            first.update(nodes[number].reads)
    return first


def _count_readers(graph: FileGraph, nodes: list[Node], willing: list[bool]) -> tuple[dict[int, int], dict[int, int]]:
    """Returns how often willing nodes read each tensor, and how many nodes do; an output of the model is read once."""
    wanted: dict[int, int] = {}
    readers = dict.fromkeys(graph.outputs, 1)
    for node, will in zip(nodes, willing, strict=True):
        for index in node.reads if will else ():
            wanted[index] = wanted.get(index, 0) + 1
        for index in set(node.reads):
            readers[index] = readers.get(index, 0) + 1
    return wanted, readers


def _fused_pads(graph: FileGraph) -> Iterator[FileOperator]:
    """Yields the PADs of height and width whose result only an unpadded convolution reads."""
    for pad in graph.operators:
        if pad.name != "PAD" or pad.outputs[0] in graph.outputs or _pad_sides(graph, pad) is None:
            continue
        readers = [operator for operator in graph.operators if pad.outputs[0] in operator.inputs]
        is_convolution = len(readers) == 1 and readers[0].name in CONVOLUTIONS
        if is_convolution and readers[0].inputs[0] == pad.outputs[0] and readers[0].options.padding != _SAME:
            yield pad


def _pad_sides(graph: FileGraph, pad: FileOperator) -> Padding | None:
    sides = graph.tensors[pad.inputs[1]].values
    if sides is None or sides.shape != (4, 2) or sides[0].any() or sides[3].any():
        return None
    (top, bottom), (left, right) = sides[1:3].tolist()
    return top, bottom, left, right


def _padding(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> Padding | None:
    """Returns top, bottom, left and right of a convolution; None where they follow from the size of the input."""
    options = operator.options
    if options.padding != _SAME:
        return (0, 0, 0, 0) if pad is None else _pad_sides(graph, pad)
    if (options.strideH, options.strideW) != (1, 1):
        return None
    height, width = graph.tensors[operator.inputs[1]].shape[1:3]
    rows, columns = (height - 1) * options.dilationHFactor, (width - 1) * options.dilationWFactor
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def _found(kernel: tuple[int, int], options: object, padding: Padding | None, *more: str) -> str:
    stride = (options.strideH, options.strideW)  # type: ignore[attr-defined]
    dilation = (options.dilationHFactor, options.dilationWFactor)  # type: ignore[attr-defined]
    parts = [f"kernel {kernel[0]}x{kernel[1]}", f"stride {stride[0]}" if len(set(stride)) == 1 else f"stride {stride}"]
    if padding is None:
        parts.append("padding 'same'")
    elif any(padding):
        parts.append(f"padding {padding[0]}" if len(set(padding)) == 1 else f"padding {padding}")
    else:
        parts.append("no padding")
    if dilation != (1, 1):
        parts.append(f"dilation {dilation}")
    return ", ".join([*parts, *more])


def _convolution(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    options = operator.options
    _, height, width, inputs = graph.tensors[operator.inputs[1]].shape
    groups = graph.tensors[operator.inputs[0]].shape[3] // inputs
    padding = _padding(graph, operator, pad)
    more = [f"{inputs} input channels", *([f"{groups} groups"] if groups > 1 else [])]
    found = _found((height, width), options, padding, *more)
    stride = (options.strideH, options.strideW)
    if groups > 1 or (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return NOWHERE, found
    if (height, width) == (1, 1) and stride == (1, 1) and padding == (0, 0, 0, 0):
        return INSIDE, found
    if (height, width, inputs) == (3, 3, 3) and stride == (2, 2) and padding == (1, 1, 1, 1):
        return ENTER, found
    return NOWHERE, found


def _depthwise(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    options = operator.options
    _, height, width, _ = graph.tensors[operator.inputs[1]].shape
    padding = _padding(graph, operator, pad)
    multiplier = options.depthMultiplier
    found = _found((height, width), options, padding, *([f"multiplier {multiplier}"] if multiplier != 1 else []))
    is_plain = multiplier == 1 and (options.dilationHFactor, options.dilationWFactor) == (1, 1)
    is_known = (options.strideH, options.strideW) in ((1, 1), (2, 2)) and (height, width) in ((3, 3), (5, 5))
    return (INSIDE if is_plain and is_known and padding == (height // 2,) * 4 else NOWHERE), found


def _dense(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    # What is stored in blocks is not unpacked, and stays with TFLite's own kernel.
    is_known = _keeps_maps(graph, operator) and not graph.tensors[operator.inputs[1]].is_sparse
    return (INSIDE if is_known else NOWHERE), "a dense layer"


def _binary(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    given = [graph.tensors[index] for index in operator.inputs]
    stored = any(graph.constant(index) is not None for index in operator.inputs)
    if any(len(each.shape) != 4 for each in given) or (stored and sum(side > 1 for side in given[0].shape) > 1):
        return NOWHERE, "one side is a constant" if stored else "not of two feature maps"
    return INSIDE, "of two feature maps"


def _resize(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    _, height, width, _ = graph.tensors[operator.inputs[0]].shape
    return (INSIDE if height > 1 and width > 1 else NOWHERE), f"of {height}x{width} maps"


def _unary(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    return (INSIDE if _keeps_maps(graph, operator) else NOWHERE), "an activation"


def _limit(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    # With a number on one side it is an activation.
    is_unary = any(graph.constant(index) is not None and graph.tensors[index].size == 1 for index in operator.inputs)
    return (INSIDE if is_unary and _keeps_maps(graph, operator) else NOWHERE), "which knows no sparse kernels"


def _keeps_maps(graph: FileGraph, operator: FileOperator) -> bool:
    return all(len(graph.tensors[index].shape) == 4 for index in (operator.inputs[0], operator.outputs[0]))


def _reduction(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    role = POOL if len(graph.tensors[operator.inputs[0]].shape) == 4 else NOWHERE
    return role, f"over axes {sorted(_axes(graph, operator))}"


def _axes(graph: FileGraph, operator: FileOperator) -> set[int]:
    values = graph.tensors[operator.inputs[1]].values
    rank = len(graph.tensors[operator.inputs[0]].shape)
    return set() if values is None or not rank else {int(axis) % rank for axis in values.reshape(-1)}


def _leave(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    return LEAVE, "depth to space"


def _nowhere(graph: FileGraph, operator: FileOperator, pad: FileOperator | None) -> tuple[str, str]:
    return NOWHERE, "which knows no sparse kernels"


_JUDGES: MappingProxyType[str, Callable[[FileGraph, FileOperator, FileOperator | None], tuple[str, str]]] = (
    MappingProxyType(
        {
            "CONV_2D": _convolution,
            "DEPTHWISE_CONV_2D": _depthwise,
            "FULLY_CONNECTED": _dense,
            "ADD": _binary,
            "MUL": _binary,
            "MAXIMUM": _limit,
            "MINIMUM": _limit,
            "RESIZE_BILINEAR": _resize,
            "MEAN": _reduction,
            "SUM": _reduction,
            "DEPTH_TO_SPACE": _leave,
            **dict.fromkeys(_UNARY.split(), _unary),
        }
    )
)
