"""How many weights a model has left, counted both ways."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from rich.table import Table

from tfmot_swd._compat import variables_of
from tfmot_swd.plan import layers_with_weights
from tfmot_swd.prunable import counted_weights
from tfmot_swd.pruning_wrapper import PruningWrapper
from tfmot_swd.tables import as_text


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """Counts of one layer: all its weights, those the rate counts, and the non-zeros of both."""

    layer: str
    parameters: int
    nonzero: int
    counted: int
    counted_nonzero: int


@dataclasses.dataclass(frozen=True)
class SparsityReport:
    """Both counts of what is kept: of the pool, as the rate means it, and of all parameters.

    They differ because batch norm and most biases are not in the pool: at extreme rates they are a
    large part of what is left. Prints as a table.
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
            "parameters": self.parameters,
            "parameters_kept": self.parameters_kept,
            "layers": [dataclasses.asdict(row) for row in self.layers],
        }

    def __rich__(self) -> Table:
        table = Table(
            title=f"{self.pool_kept:,} of {self.pool:,} prunable weights kept "
            f"({self.pool_kept / max(self.pool, 1):.2%}), {self.parameters_kept:,} of "
            f"{self.parameters:,} parameters ({self.parameters_kept / max(self.parameters, 1):.2%})"
        )
        table.add_column("layer", overflow="fold")
        for heading in ("parameters", "non-zero", "prunable", "kept"):
            table.add_column(heading, justify="right")
        for row in self.layers:
            kept = f"{row.counted_nonzero / row.counted:.2%}" if row.counted else ""
            counted = f"{row.counted:,}" if row.counted else ""
            table.add_row(row.layer, f"{row.parameters:,}", f"{row.nonzero:,}", counted, kept)
        return table

    def __str__(self) -> str:
        return as_text(self.__rich__())


def sparsity_report(model: Any) -> SparsityReport:
    """Returns what is left of a model, stripped or still wrapped (masks and clocks not counted).

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(2,), kernel_initializer="zeros")])
    >>> sparsity_report(net).pool_kept
    0
    """
    rows = []
    for name, layer in layers_with_weights(model):
        inner = layer.layer if isinstance(layer, PruningWrapper) else layer
        weights, counted = variables_of(inner), counted_weights(inner)
        rows.append(
            LayerSparsity(
                layer=name,
                parameters=_size(weights),
                nonzero=_nonzero(weights),
                counted=_size(counted),
                counted_nonzero=_nonzero(counted),
            )
        )
    return SparsityReport(tuple(rows))


def _size(weights: list[Any]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _nonzero(weights: list[Any]) -> int:
    return sum(int(np.count_nonzero(weight.numpy())) for weight in weights)
