"""Costs of a model before and after pruning, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmot_swd.costs.profile import profile
from tfmot_swd.io.tables import ResultTable
from tfmot_swd.pruning.sparsity import sparsity_report

Pairs = Mapping[str, tuple[float, float]]


def costs_compared(before: Any, after: Any) -> dict[str, tuple[int, int]]:
    """Returns parameters, weights that are not zero, MACs and activation bytes of two models.

    >>> import tf_keras as keras
    >>> nets = [keras.Sequential([keras.layers.Dense(units, input_shape=(2,))]) for units in (4, 3)]
    >>> costs_compared(*nets)["parameters"]
    (12, 9)
    """
    first, last = (profile(each) for each in (before, after))
    dense, sparse = (sparsity_report(each) for each in (before, after))
    return {
        "parameters": (first.parameters, last.parameters),
        "parameters that are not zero": (dense.nonzero_parameters, sparse.nonzero_parameters),
        "kernel weights that are not zero": (dense.nonzero_kernels, sparse.nonzero_kernels),
        "MACs": (first.macs, last.macs),
        "activation bytes at once": (first.peak_activation_bytes, last.peak_activation_bytes),
    }


def comparison_table(title: str, metrics: Pairs, costs: Pairs) -> ResultTable:
    """Returns a table of pairs (before, after): metrics, then costs with their ratio."""
    table = ResultTable(title)
    for heading in ("", "before", "after", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, pair in metrics.items():
        table.add_row(name, *(f"{value:.4f}" for value in pair), "")
    for name, (first, last) in costs.items():
        table.add_row(name, f"{first:,}", f"{last:,}", f"{last / first:.3f}" if first else "")
    return table
