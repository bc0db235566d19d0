"""How many weights a model has left, counted both ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.keras2.layer_weights import elements, kernels_of, layers_with_weights, weights_inside
from tfmot_swd.keras2.validation import check_is_built, check_is_model
from tfmot_swd.layers.prunable import counted_weights


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """Counts of one layer: all its weights, those the rate counts, its kernel weights, and the non-zeros of each."""

    layer: str
    parameters: int
    nonzero: int
    counted: int
    counted_nonzero: int
    kernels: int
    kernels_nonzero: int


@dataclasses.dataclass(frozen=True)
class SparsityReport(Printable):
    """What is kept of the pool, as the rate means it, of all kernel weights, and of all parameters.

    The pool lacks the kernel weights that pruning does not count, as those that custom layers own themselves: where
    they are many, little of the model is pruned however high the rate. All parameters hold batch norm and biases too,
    at extreme rates a large part of what is left. Prints as a table, `full()` with all layers.
    """

    layers: tuple[LayerSparsity, ...]

    @property
    def pool(self) -> int:
        """Number of weights that the rate counts."""
        return sum(row.counted for row in self.layers)

    @property
    def pool_kept(self) -> int:
        """How many of them are not zero."""
        return sum(row.counted_nonzero for row in self.layers)

    @property
    def kernels(self) -> int:
        """Number of kernel weights: every matrix, convolution kernel and embedding, pruned or not."""
        return sum(row.kernels for row in self.layers)

    @property
    def kernels_kept(self) -> int:
        """How many of them are not zero."""
        return sum(row.kernels_nonzero for row in self.layers)

    @property
    def parameters(self) -> int:
        """Number of all parameters, moving statistics included."""
        return sum(row.parameters for row in self.layers)

    @property
    def parameters_kept(self) -> int:
        """How many of them are not zero."""
        return sum(row.nonzero for row in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        return {
            "pool": self.pool,
            "pool_kept": self.pool_kept,
            "kernels": self.kernels,
            "kernels_kept": self.kernels_kept,
            "parameters": self.parameters,
            "parameters_kept": self.parameters_kept,
            "layers": [dataclasses.asdict(row) for row in self.layers],
        }

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        table = ResultTable(
            f"{self.pool_kept:,} of {self.pool:,} prunable weights kept "
            f"({self.pool_kept / max(self.pool, 1):.2%}), {self.kernels_kept:,} of {self.kernels:,} kernel weights "
            f"({self.kernels_kept / max(self.kernels, 1):.2%}), {self.parameters_kept:,} of "
            f"{self.parameters:,} parameters ({self.parameters_kept / max(self.parameters, 1):.2%})"
        )
        table.add_column("layer", overflow="fold")
        for heading in ("parameters", "non-zero", "prunable", "kept"):
            table.add_column(heading, justify="right")
        table.add_row("total", *_cells(self.layers), end_section=True)
        shown, rest = view.split(self.layers, lambda row: row.parameters)
        for row in shown:
            table.add_row(row.layer, *_cells([row]))
        if rest:
            table.add_row(f"and {len(rest)} more", *_cells(rest))
        table.explain(view.note(shown, rest, "layers, those with most parameters"))
        return (table,)


def _cells(rows: Sequence[LayerSparsity]) -> tuple[str, ...]:
    """Returns the cells of some layers together: parameters, non-zero ones, prunable weights, the share kept."""
    parameters, nonzero, prunable, kept = (
        sum(getattr(row, name) for row in rows) for name in ("parameters", "nonzero", "counted", "counted_nonzero")
    )
    shares = (f"{prunable:,}", f"{kept / prunable:.2%}") if prunable else ("", "")
    return (f"{parameters:,}", f"{nonzero:,}", *shares)


def sparsity_report(model: Any) -> SparsityReport:
    """Returns what is left of a model, stripped or still wrapped, quantization-aware too.

    Masks, clocks and ranges of wrappers are not counted, and a weight that layers share counts once.

    Raises:
      TypeError: `model` is no tf_keras model.
      ValueError: it is not built.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(2,), kernel_initializer="zeros")])
    >>> sparsity_report(net).pool_kept
    0
    """
    check_is_model(model)
    check_is_built(model)
    seen: set[int] = set()
    rows = [_row(name, layer, seen) for name, layer in layers_with_weights(model)]
    own = [each for each in kernels_of(model) if id(each) not in seen]
    if own:
        # What a subclassed model holds itself, outside of any layer.
        rows.append(LayerSparsity(model.name, elements(own), _nonzero(own), 0, 0, elements(own), _nonzero(own)))
    return SparsityReport(tuple(rows))


def _row(name: str, layer: Any, seen: set[int]) -> LayerSparsity:
    weights, counted, kernels = (
        [each for each in map(master_variable, found) if id(each) not in seen]
        for found in (weights_inside(layer), counted_weights(layer), kernels_of(layer))
    )
    seen |= {id(each) for each in weights}
    return LayerSparsity(
        layer=name,
        parameters=elements(weights),
        nonzero=_nonzero(weights),
        counted=elements(counted),
        counted_nonzero=_nonzero(counted),
        kernels=elements(kernels),
        kernels_nonzero=_nonzero(kernels),
    )


def _nonzero(weights: list[Any]) -> int:
    return sum(int(np.count_nonzero(weight.numpy())) for weight in weights)
