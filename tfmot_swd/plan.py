"""What would be pruned of a model and what would stay whole, with the reason, before anything is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from rich.table import Table

from tfmot_swd._compat import PruningPolicy, keras, variables_of
from tfmot_swd.prunable import counted_weights, target_weights
from tfmot_swd.tables import as_text
from tfmot_swd.validation import check_keras_model, check_skip


@dataclasses.dataclass(frozen=True)
class PlanRow:
    """One layer that owns weights.

    Args:
      layer: its name; layers of nested models are written model/layer.
      kind: its class name.
      parameters: all its weights, a count.
      counted: those that the pruning rate counts.
      reason: why it stays whole; empty for a layer that is pruned.
      layer_id: identity of the layer object in this process.
    """

    layer: str
    kind: str
    parameters: int
    counted: int
    reason: str
    layer_id: int = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class PruningPlan:
    """The rows of all layers that own weights; prints as a table."""

    rows: tuple[PlanRow, ...]

    @property
    def pruned(self) -> tuple[PlanRow, ...]:
        """The layers that are wrapped."""
        return tuple(row for row in self.rows if not row.reason)

    @property
    def skipped(self) -> tuple[PlanRow, ...]:
        """The layers that stay whole."""
        return tuple(row for row in self.rows if row.reason)

    @property
    def pool_size(self) -> int:
        """The number of weights that the rate is a share of."""
        return sum(row.counted for row in self.pruned)

    def layers(self) -> frozenset[int]:
        """Returns the identities of the layers to wrap."""
        return frozenset(row.layer_id for row in self.pruned)

    def summary(self) -> str:
        """Returns what stays whole, in one line."""
        if not self.skipped:
            return "a model without weights"
        return ", ".join(f"{row.layer} ({row.kind}: {row.reason})" for row in self.skipped)

    def __rich__(self) -> Table:
        table = Table(title=f"{self.pool_size:,} weights counted")
        table.add_column("layer", overflow="fold")
        table.add_column("class")
        table.add_column("parameters", justify="right")
        table.add_column("counted", justify="right")
        table.add_column("stays whole because", overflow="fold")
        for row in self.rows:
            counted = "" if row.reason else f"{row.counted:,}"
            table.add_row(row.layer, row.kind, f"{row.parameters:,}", counted, row.reason)
        return table

    def __str__(self) -> str:
        return as_text(self.__rich__())


def plan_pruning(
    model: Any,
    *,
    targets: str = "kernels",
    skip: Collection[str] = (),
    pruning_policy: PruningPolicy | None = None,
) -> PruningPlan:
    """Returns the plan that `prune_selective_decay` would follow with the same arguments.

    Raises:
      TypeError, ValueError: as `prune_selective_decay`, for the model and for `skip`.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> plan_pruning(net).pool_size
    8
    """
    check_keras_model(model)
    found = list(layers_with_weights(model))
    names = {name for path, layer in found for name in (path, layer.name)}
    check_skip(skip, names)
    rows = []
    for path, layer in found:
        counted = sum(int(np.prod(weight.shape)) for weight in counted_weights(layer))
        skipped = path in skip or layer.name in skip
        reason = _reason(layer, counted, targets, skipped, pruning_policy)
        kind = type(layer).__name__
        rows.append(PlanRow(path, kind, layer.count_params(), counted, reason, id(layer)))
    return PruningPlan(tuple(rows))


def layers_with_weights(model: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yields (path, layer) of every layer that owns weights, nested models followed, each once.

    `seen` holds the identities of the layers yielded so far, and grows.
    """
    seen = set() if seen is None else seen
    for layer in model.layers:
        if id(layer) in seen or not variables_of(layer):
            continue
        seen.add(id(layer))
        if isinstance(layer, keras.Model):
            yield from layers_with_weights(layer, f"{prefix}{layer.name}/", seen)
        else:
            yield prefix + layer.name, layer


def _reason(layer: Any, counted: int, targets: str, skipped: bool, policy: PruningPolicy | None) -> str:
    if skipped:
        return "left out by name"
    if policy is not None and not policy.allow_pruning(layer):
        return f"left out by {type(policy).__name__}"
    if not layer.trainable:
        return "frozen"
    if not counted and not (targets == "all" and target_weights(layer, targets)):
        return "no weights that are pruned in this class"
    return ""
