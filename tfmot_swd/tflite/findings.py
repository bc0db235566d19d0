"""What a check of a file found, and where in the file that is."""

from __future__ import annotations

from dataclasses import dataclass

from tfmot_swd.tflite.graph import FileGraph, FileOperator


@dataclass(frozen=True)
class Finding:
    """One rule that a file breaks.

    Attributes:
        rule: which one, as the check that found it calls it.
        operator: number of the operator in the main subgraph, or None: the rule is about the file as a whole.
        name: that operator's, `"CONV_2D"` and so on; empty where `operator` is None.
        where: the same with the output shape, as `place` writes it; empty where `operator` is None.
        found: what is there instead.
        remedy: what to do, in a sentence.
    """

    rule: str
    operator: int | None
    name: str
    where: str
    found: str
    remedy: str


def place(graph: FileGraph, operator: FileOperator) -> str:
    """Returns where an operator is: its number, its type, the shape it makes and, unless stripped, the name of that."""
    if not operator.outputs:
        # Those that only write a variable or call another subgraph.
        return f"operator {operator.index} {operator.name}"
    output = graph.tensors[operator.outputs[0]]
    sides = "x".join(map(str, output.shape)) or "scalar"
    # The converter joins the names of all that it fused with semicolons.
    name = output.name.partition(";")[0]
    return f"operator {operator.index} {operator.name} -> {sides}" + (f" ({name})" if name else "")
