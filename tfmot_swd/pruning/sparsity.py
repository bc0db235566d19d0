"""Sparsity of a model: non-zero weights by layer and in total."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from tfmot_swd.io.deprecation import renamed_attribute
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.keras2.layer_weights import elements, kernels_of, layers_with_weights, weights_inside
from tfmot_swd.keras2.validation import check_is_built, check_is_model
from tfmot_swd.keras2.weight_values import nonzeros
from tfmot_swd.keras3.door import opened
from tfmot_swd.layers.prunable import counted_weights


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """Counts of one layer: parameters, prunable weights and kernel weights, and the non-zero ones of each.

    Args:
      layer: its name; layers of nested models are written model/layer.
      parameters, nonzero_parameters: all weights, moving statistics and biases included.
      prunable_weights, nonzero_prunable_weights: those that a pruning rate counts.
      kernels, nonzero_kernels: entries of matrices, convolution kernels and embeddings, prunable or not.
    """

    layer: str
    parameters: int
    nonzero_parameters: int
    prunable_weights: int
    nonzero_prunable_weights: int
    kernels: int
    nonzero_kernels: int

    nonzero = renamed_attribute("nonzero_parameters")
    counted = renamed_attribute("prunable_weights")
    counted_nonzero = renamed_attribute("nonzero_prunable_weights")
    kernels_nonzero = renamed_attribute("nonzero_kernels")


@dataclasses.dataclass(frozen=True)
class SparsityReport(Printable):
    """Non-zero counts of a model, over its prunable weights, its kernel weights and all its parameters.

    A pruning rate is a share of the prunable weights. They lack kernel weights of no known kind, such as those that a
    custom layer owns itself: where these are many, a high rate prunes little of the model. The parameters include
    batch norm and biases, at extreme rates a large part of the non-zero ones. Prints as a table, `full()` with all
    layers.

    Args:
      layers: counts of each layer that owns weights, in call order.
    """

    layers: tuple[LayerSparsity, ...]

    pool = renamed_attribute("prunable_weights")
    pool_kept = renamed_attribute("nonzero_prunable_weights")
    kernels_kept = renamed_attribute("nonzero_kernels")
    parameters_kept = renamed_attribute("nonzero_parameters")

    @property
    def prunable_weights(self) -> int:
        """Number of weights that a pruning rate counts."""
        return sum(row.prunable_weights for row in self.layers)

    @property
    def nonzero_prunable_weights(self) -> int:
        """Number of prunable weights that are not zero."""
        return sum(row.nonzero_prunable_weights for row in self.layers)

    @property
    def kernels(self) -> int:
        """Number of kernel weights: every matrix, convolution kernel and embedding, pruned or not."""
        return sum(row.kernels for row in self.layers)

    @property
    def nonzero_kernels(self) -> int:
        """Number of kernel weights that are not zero."""
        return sum(row.nonzero_kernels for row in self.layers)

    @property
    def parameters(self) -> int:
        """Number of all parameters, moving statistics included."""
        return sum(row.parameters for row in self.layers)

    @property
    def nonzero_parameters(self) -> int:
        """Number of parameters that are not zero."""
        return sum(row.nonzero_parameters for row in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        return {
            "prunable_weights": self.prunable_weights,
            "nonzero_prunable_weights": self.nonzero_prunable_weights,
            "kernels": self.kernels,
            "nonzero_kernels": self.nonzero_kernels,
            "parameters": self.parameters,
            "nonzero_parameters": self.nonzero_parameters,
            "layers": [dataclasses.asdict(row) for row in self.layers],
        }

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        counts = ", ".join(
            f"{nonzero:,} of {size:,} {what} ({nonzero / max(size, 1):.2%})"
            for nonzero, size, what in (
                (self.nonzero_prunable_weights, self.prunable_weights, "prunable weights"),
                (self.nonzero_kernels, self.kernels, "kernel weights"),
                (self.nonzero_parameters, self.parameters, "parameters"),
            )
        )
        table = ResultTable(f"Not zero: {counts}")
        table.add_column("layer", overflow="fold")
        for heading in ("parameters", "non-zero", "prunable", "non-zero share"):
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
    """Returns the cells of some layers together: parameters, non-zero ones, prunable weights, their non-zero share."""
    parameters, nonzero, prunable, kept = (
        sum(getattr(row, name) for row in rows)
        for name in ("parameters", "nonzero_parameters", "prunable_weights", "nonzero_prunable_weights")
    )
    shares = (f"{prunable:,}", f"{kept / prunable:.2%}") if prunable else ("", "")
    return (f"{parameters:,}", f"{nonzero:,}", *shares)


def sparsity_report(model: Any) -> SparsityReport:
    """Returns how many weights of a model are zero and how many are not, by layer and in total.

    Takes stripped, wrapped and quantization-aware models alike: masks, step counters and ranges of wrappers are not
    counted, and a weight that layers share counts once.

    Args:
      model: a built tf_keras model, or a built Keras 3 Sequential or Functional model.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3.
      ValueError: it is not built; a Keras 3 model is subclassed.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(2,), kernel_initializer="zeros")])
    >>> sparsity_report(net).nonzero_prunable_weights
    0
    """
    model = opened(model)
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
        nonzero_parameters=_nonzero(weights),
        prunable_weights=elements(counted),
        nonzero_prunable_weights=_nonzero(counted),
        kernels=elements(kernels),
        nonzero_kernels=_nonzero(kernels),
    )


def _nonzero(weights: list[Any]) -> int:
    return sum(nonzeros(weight) for weight in weights)
