"""Plain rows for inputs, outputs and operators of a TFLite file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tfmot_swd.tflite.file_macs import operator_macs
from tfmot_swd.tflite.graph import FileGraph
from tfmot_swd.tflite.layout import Port, read_layout


@dataclass(frozen=True)
class OperatorRow:
    """One operator of a file.

    Attributes:
        name: `"CONV_2D"` and so on.
        output_shape: of its first output.
        constant_bytes: of the constants that it reads.
        macs: multiply-accumulates of one run, see `file_macs.operator_macs`; None where the graph does not tell.
    """

    name: str
    output_shape: tuple[int, ...]
    constant_bytes: int
    macs: int | None = None


@dataclass(frozen=True)
class OperatorTotal:
    """Count and MACs of all operators of one type in a file; MACs are None where those of one are unknown."""

    name: str
    count: int
    macs: int | None


@dataclass(frozen=True)
class PortRow:
    """One input or output of a file, as a caller must fill or read it.

    Attributes:
        name: in the signature.
        shape: with the file's batch in front; None where the size is open.
        dtype: of NumPy, `"int8"` for example.
        scale, zero_point: real value = (stored value - zero_point) · scale; None where it is not quantized.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


def operator_rows(graph: FileGraph) -> tuple[OperatorRow, ...]:
    """Returns the operators of a file, in the order of execution."""
    return tuple(
        OperatorRow(
            operator.name,
            graph.tensors[operator.outputs[0]].shape if operator.outputs else (),
            sum(graph.tensors[index].stored_bytes for index in dict.fromkeys(operator.inputs)),
            operator_macs(graph, operator),
        )
        for operator in graph.operators
    )


def operator_totals(rows: Sequence[OperatorRow]) -> tuple[OperatorTotal, ...]:
    """Returns the types of operators, those with the most MACs first; then the most frequent ones.

    >>> rows = [OperatorRow("ADD", (1, 8), 0, 0), OperatorRow("CONV_2D", (1, 8), 9, 72), OperatorRow("ADD", (1,), 0, 0)]
    >>> [(each.name, each.count, each.macs) for each in operator_totals(rows)]
    [('CONV_2D', 1, 72), ('ADD', 2, 0)]
    """
    found = []
    for name, count in Counter(row.name for row in rows).items():
        macs = [row.macs for row in rows if row.name == name]
        known = [each for each in macs if each is not None]
        found.append(OperatorTotal(name, count, sum(known) if len(known) == count else None))
    # What is not known may be the most.
    return tuple(sorted(found, key=lambda each: (each.macs is not None, -(each.macs or 0), -each.count)))


def port_rows(content: bytes) -> tuple[tuple[PortRow, ...], tuple[PortRow, ...]]:
    """Returns the inputs and the outputs of a file, each in the order of their positions.

    Both are empty where NumPy lacks a dtype, which nothing of this package can fill or read.
    """
    try:
        layout = read_layout(content)
    except ValueError:
        return (), ()
    return _rows(layout.inputs), _rows(layout.outputs)


def _rows(ports: Iterable[Port]) -> tuple[PortRow, ...]:
    return tuple(
        PortRow(
            each.name,
            each.sides,
            each.dtype.name,
            each.scale if each.scale else None,
            each.zero_point if each.scale else None,
        )
        for each in ports
    )
