"""Pruning plan: the weights of a model that would be pruned, and the layers that would stay dense."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from rich.table import Table

from tfmot_swd.io.deprecation import renamed_attribute
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View, counted
from tfmot_swd.keras2.compat import PruningPolicy, master_variable
from tfmot_swd.keras2.graph import class_name
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.layer_weights import elements, kernels_of, layers_with_weights
from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.keras3.door import opened
from tfmot_swd.layers.prunable import counted_weights, target_weights, uncounted_kernels

FROZEN = "frozen"
UNKNOWN = "no prunable weights known of this class"


@dataclasses.dataclass(frozen=True)
class PlanRow:
    """One layer of a `PruningPlan`; all numbers are counts of scalar weights.

    Args:
      layer: its name; layers of nested models are written model/layer.
      kind: its class name.
      parameters: all its weights.
      eligible_weights: weights of the kinds that a pruning rate counts, in frozen and skipped layers too.
      prunable_weights: the eligible weights that are pruned as the model is now; 0 where the layer stays dense.
      kernels: kernel weights of the layer, pruned or not.
      prunable_kernels: kernel weights among `prunable_weights`, which include biases of dense layers.
      unknown_kernels: kernel weights of no known kind, such as those that a custom layer owns itself; they stay dense.
      reason: why the layer stays dense; empty for a layer that is pruned. A "frozen" layer is wrapped, and pruned once
        it is trainable.
      layer_id: identity of the layer object in this process.
    """

    layer: str
    kind: str
    parameters: int
    eligible_weights: int
    prunable_weights: int
    kernels: int
    prunable_kernels: int
    unknown_kernels: int
    reason: str
    layer_id: int = dataclasses.field(repr=False)

    told = renamed_attribute("explanation")
    counted = renamed_attribute("eligible_weights")
    pool = renamed_attribute("prunable_weights")
    pool_kernels = renamed_attribute("prunable_kernels")
    uncounted = renamed_attribute("unknown_kernels")

    def explanation(self) -> str:
        """Returns why the layer, or a part of its kernel weights, stays dense; empty where all is pruned."""
        reason = "frozen: counts once trainable" if self.reason == FROZEN else self.reason
        if not self.unknown_kernels or self.reason not in ("", FROZEN, UNKNOWN):
            return reason
        dense = f"{self.unknown_kernels:,} kernel weights"
        return f"{reason} ({dense})" if reason else f"{dense}: {UNKNOWN}"


@dataclasses.dataclass(frozen=True)
class PruningPlan(Printable):
    """Plan of a pruning by weights: a row for each layer that owns weights.

    Prints as a table of the largest layers and of those that stay dense for a reason; `full()` shows all of them.
    """

    rows: tuple[PlanRow, ...]

    pool_size = renamed_attribute("prunable_weights")
    pool_kernels = renamed_attribute("prunable_kernels")
    waiting = renamed_attribute("frozen_weights")
    uncounted = renamed_attribute("unknown")

    @property
    def pruned(self) -> tuple[PlanRow, ...]:
        """Rows of the layers that are pruned as the model is now."""
        return tuple(row for row in self.rows if not row.reason)

    @property
    def skipped(self) -> tuple[PlanRow, ...]:
        """Rows of the layers that stay dense as the model is now."""
        return tuple(row for row in self.rows if row.reason)

    @property
    def prunable_weights(self) -> int:
        """Number of weights of which the pruning rate is a share, as the model is now."""
        return sum(row.prunable_weights for row in self.rows)

    @property
    def kernels(self) -> int:
        """Number of kernel weights of the whole model, pruned or not."""
        return sum(row.kernels for row in self.rows)

    @property
    def prunable_kernels(self) -> int:
        """Number of kernel weights among the prunable weights, as the model is now."""
        return sum(row.prunable_kernels for row in self.rows)

    @property
    def frozen_weights(self) -> int:
        """Number of weights that become prunable once their layers are trainable."""
        return sum(row.eligible_weights - row.prunable_weights for row in self.rows if row.layer_id in self.layers())

    @property
    def frozen_layers(self) -> tuple[str, ...]:
        """The names of the layers that are pruned once they are trainable."""
        return tuple(row.layer for row in self.rows if row.reason == FROZEN)

    @property
    def unknown(self) -> tuple[PlanRow, ...]:
        """Rows of the layers with kernel weights of no known kind that were not left out on purpose."""
        return tuple(row for row in self.rows if row.unknown_kernels and row.reason in ("", FROZEN, UNKNOWN))

    def layers(self) -> frozenset[int]:
        """Returns the identities of the layers to wrap: pruned ones, and frozen ones that may be trained later."""
        return frozenset(row.layer_id for row in self.rows if row.reason in ("", FROZEN))

    def summary(self) -> str:
        """Returns the layers that stay dense and the reasons, in one line."""
        if not self.skipped:
            return "a model without weights"
        return ", ".join(f"{row.layer} ({row.kind}: {row.reason})" for row in self.skipped)

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        share = self.prunable_kernels / max(self.kernels, 1)
        title = (
            f"{self.prunable_weights:,} prunable weights: {self.prunable_kernels:,} of {self.kernels:,} kernel weights"
        )
        title += f" ({share:.2%})"
        if self.frozen_weights:
            title += f"; {self.frozen_weights:,} more once their layers are trainable"
        table = ResultTable(title)
        table.add_column("layer", overflow="fold")
        table.add_column("class")
        table.add_column("parameters", justify="right")
        table.add_column("prunable", justify="right")
        table.add_column("stays dense because", overflow="fold")
        table.add_row("total", "", *_counts(self.rows), "", end_section=True)
        # Layers that were left out on purpose, or need attention, come before large ones.
        shown, rest = view.split(self.rows, lambda row: (row.explanation() not in ("", UNKNOWN), row.parameters))
        for row in shown:
            table.add_row(row.layer, row.kind, *_counts([row]), row.explanation())
        if rest:
            table.add_row(f"and {len(rest)} more", "", *_counts(rest), counted(row.explanation() for row in rest))
        table.explain(view.note(shown, rest, "layers, those with a special reason and the largest"))
        return (table,)


def _counts(rows: Sequence[PlanRow]) -> tuple[str, str]:
    """Returns the cells of the parameters and the prunable weights of some rows together."""
    prunable = sum(row.prunable_weights for row in rows)
    return f"{sum(row.parameters for row in rows):,}", f"{prunable:,}" if prunable else ""


def plan_pruning(
    model: Any,
    *,
    targets: str = "kernels",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    pruning_policy: PruningPolicy | None = None,
) -> PruningPlan:
    """Returns the plan that `prune_selective_decay` would follow with the same arguments.

    Use it before a training, to see which layers are left dense and why. The model is not changed.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, nested models included.
      targets: "kernels" or "all", as in `SelectiveDecay`.
      skip, only: names of layers to leave dense, or of those that alone may be pruned.
      pruning_policy: a TFMOT `PruningPolicy`; layers that it does not allow are left dense.

    Raises:
      TypeError, ValueError: as `prune_selective_decay`, for the model, `skip` and `only`.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> plan_pruning(net).prunable_weights
    8
    """
    model = opened(model)
    check_keras_model(model)
    return pruning_plan(model, targets=targets, skip=skip, only=only, pruning_policy=pruning_policy)


def pruning_plan(
    model: Any,
    *,
    targets: str,
    skip: Collection[str],
    only: Collection[str] | None,
    pruning_policy: PruningPolicy | None,
) -> PruningPlan:
    """Returns what `plan_pruning` does, for a model that `check_keras_model` has passed already."""
    chosen = LayerChoice(skip, only).of(model)
    # A weight that layers share counts for the first of them.
    seen: set[int] = set()
    rows = [
        _row(path, layer, targets, not chosen.allows(path), pruning_policy, seen)
        for path, layer in layers_with_weights(model)
    ]
    return PruningPlan(tuple(rows))


def _row(path: str, layer: Any, targets: str, skipped: bool, policy: PruningPolicy | None, seen: set[int]) -> PlanRow:
    def new(weights: list[Any]) -> list[Any]:
        return [each for each in map(master_variable, weights) if id(each) not in seen]

    countable, kernels, uncounted = new(counted_weights(layer)), new(kernels_of(layer)), new(uncounted_kernels(layer))
    trained = {id(master_variable(each)) for each in layer.trainable_weights}
    seen |= {id(each) for each in (*countable, *kernels)}
    reason = _reason(layer, countable, trained, targets, skipped, policy)
    prunable = [] if reason else [each for each in countable if id(each) in trained]
    kernel_ids = {id(each) for each in kernels}
    return PlanRow(
        path,
        class_name(layer),
        layer.count_params(),
        elements(countable),
        elements(prunable),
        elements(kernels),
        elements(each for each in prunable if id(each) in kernel_ids),
        elements(uncounted),
        reason,
        id(layer),
    )


def _reason(
    layer: Any, countable: list[Any], trained: set[int], targets: str, skipped: bool, policy: PruningPolicy | None
) -> str:
    if skipped:
        return "left out by name"
    if policy is not None and not policy.allow_pruning(layer):
        return f"left out by {type(policy).__name__}"
    targeted = target_weights(layer, targets) if targets == "all" else countable
    if not targeted:
        return UNKNOWN
    if not any(id(master_variable(each)) in trained for each in targeted):
        return FROZEN
    return ""
