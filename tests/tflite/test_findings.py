"""How an operator of a file is named to the user."""

from tfmot_swd.tflite.findings import place
from tfmot_swd.tflite.graph import FileGraph, FileOperator


def test_an_operator_without_outputs_has_a_place_too():
    operator = FileOperator(3, "ASSIGN_VARIABLE", (0, 1), (), None)
    assert place(FileGraph((), (operator,), (), ()), operator) == "operator 3 ASSIGN_VARIABLE"
