"""What would be pruned of a model and what would stay whole, with the reason, before anything is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from rich.table import Table

from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View, counted
from tfmot_swd.keras2.compat import PruningPolicy, master_variable
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.layer_weights import elements, kernels_of, layers_with_weights
from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.layers.prunable import counted_weights, target_weights, uncounted_kernels

FROZEN = "frozen"
UNKNOWN = "no weights that are pruned in this class"


@dataclasses.dataclass(frozen=True)
class PlanRow:
    """One layer that owns weights.

    Args:
      layer: its name; layers of nested models are written model/layer.
      kind: its class name.
      parameters: all its weights, a count.
      counted: those that the pruning rate counts.
      pool: of these, those that are trained as the model is now; 0 where the layer stays whole.
      kernels: kernel weights of the layer, pruned or not.
      pool_kernels: of these, those in `pool`, which holds biases of dense layers too.
      uncounted: kernel weights that nothing is known of, as those that custom layers own themselves; they stay dense.
      reason: why it stays whole; empty for a layer that is pruned. A "frozen" layer is wrapped all the same, and pruned
        once it is trainable.
      layer_id: identity of the layer object in this process.
    """

    layer: str
    kind: str
    parameters: int
    counted: int
    pool: int
    kernels: int
    pool_kernels: int
    uncounted: int
    reason: str
    layer_id: int = dataclasses.field(repr=False)

    def told(self) -> str:
        """Returns the reason, and which kernel weights stay dense without one."""
        reason = "frozen: counts once trainable" if self.reason == FROZEN else self.reason
        if not self.uncounted or self.reason not in ("", FROZEN, UNKNOWN):
            return reason
        dense = f"{self.uncounted:,} kernel weights"
        return f"{reason} ({dense})" if reason else f"{dense}: {UNKNOWN}"


@dataclasses.dataclass(frozen=True)
class PruningPlan(Printable):
    """The rows of all layers that own weights; prints as a table, `full()` with all of them."""

    rows: tuple[PlanRow, ...]

    @property
    def pruned(self) -> tuple[PlanRow, ...]:
        """The layers that are pruned, as the model is now."""
        return tuple(row for row in self.rows if not row.reason)

    @property
    def skipped(self) -> tuple[PlanRow, ...]:
        """The layers that stay whole, as the model is now."""
        return tuple(row for row in self.rows if row.reason)

    @property
    def pool_size(self) -> int:
        """The number of weights that the rate is a share of, as the model is now."""
        return sum(row.pool for row in self.rows)

    @property
    def kernels(self) -> int:
        """The number of kernel weights of the whole model, pruned or not."""
        return sum(row.kernels for row in self.rows)

    @property
    def pool_kernels(self) -> int:
        """How many of the kernel weights are in the pool, as the model is now."""
        return sum(row.pool_kernels for row in self.rows)

    @property
    def waiting(self) -> int:
        """The number of weights that will count once their layers are trainable."""
        return sum(row.counted - row.pool for row in self.rows if row.layer_id in self.layers())

    @property
    def uncounted(self) -> tuple[PlanRow, ...]:
        """The layers with kernel weights that are not counted though nobody chose to leave them whole."""
        return tuple(row for row in self.rows if row.uncounted and row.reason in ("", FROZEN, UNKNOWN))

    def layers(self) -> frozenset[int]:
        """Returns the identities of the layers to wrap: those that are pruned, and frozen ones, which may be later."""
        return frozenset(row.layer_id for row in self.rows if row.reason in ("", FROZEN))

    def summary(self) -> str:
        """Returns what stays whole, in one line."""
        if not self.skipped:
            return "a model without weights"
        return ", ".join(f"{row.layer} ({row.kind}: {row.reason})" for row in self.skipped)

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        share = self.pool_kernels / max(self.kernels, 1)
        title = f"{self.pool_size:,} weights counted: {self.pool_kernels:,} of {self.kernels:,} kernel weights"
        title += f" ({share:.2%})"
        if self.waiting:
            title += f"; {self.waiting:,} more once their layers are trainable"
        table = ResultTable(title)
        table.add_column("layer", overflow="fold")
        table.add_column("class")
        table.add_column("parameters", justify="right")
        table.add_column("counted", justify="right")
        table.add_column("stays whole because", overflow="fold")
        table.add_row("total", "", *_counts(self.rows), "", end_section=True)
        # What somebody chose, or should look at, comes before what is large.
        shown, rest = view.split(self.rows, lambda row: (row.told() not in ("", UNKNOWN), row.parameters))
        for row in shown:
            table.add_row(row.layer, row.kind, *_counts([row]), row.told())
        if rest:
            table.add_row(f"and {len(rest)} more", "", *_counts(rest), counted(row.told() for row in rest))
        table.explain(view.note(shown, rest, "layers, those with a reason of their own and the largest"))
        return (table,)


def _counts(rows: Sequence[PlanRow]) -> tuple[str, str]:
    """Returns the cells of their parameters and of the weights that count."""
    pool = sum(row.pool for row in rows)
    return f"{sum(row.parameters for row in rows):,}", f"{pool:,}" if pool else ""


def plan_pruning(
    model: Any,
    *,
    targets: str = "kernels",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    pruning_policy: PruningPolicy | None = None,
) -> PruningPlan:
    """Returns the plan that `prune_selective_decay` would follow with the same arguments.

    Raises:
      TypeError, ValueError: as `prune_selective_decay`, for the model, `skip` and `only`.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> plan_pruning(net).pool_size
    8
    """
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
    # Layers may share a weight: it counts for the first of them.
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
    pool = [] if reason else [each for each in countable if id(each) in trained]
    kernel_ids = {id(each) for each in kernels}
    return PlanRow(
        path,
        type(layer).__name__,
        layer.count_params(),
        elements(countable),
        elements(pool),
        elements(kernels),
        elements(each for each in pool if id(each) in kernel_ids),
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
