"""Removal of channels: a plan to inspect, and the smaller model."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from tfmot_swd.channels.agreement import check_agreement
from tfmot_swd.channels.approximation import settle_approximation
from tfmot_swd.channels.criteria import ChannelCriterion, resolve_criterion
from tfmot_swd.channels.groups import ChannelGroups, channel_groups, groups_of, sum_of_barriers
from tfmot_swd.channels.rebuild import rebuild
from tfmot_swd.channels.scores import group_scores
from tfmot_swd.io.deprecation import renamed_arguments, warn_deprecated
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View, counted
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras3.door import to_keras3
from tfmot_swd.layers.record import CONSUME

Keep = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RemovalRow:
    """One group of a `RemovalPlan`.

    Args:
      group: name of the group.
      channels: the number of its channels.
      remaining_channels: the number of those that are kept.
      reason: why more are kept than requested; "" where none are.
    """

    group: str
    channels: int
    remaining_channels: int
    reason: str

    @property
    def kept(self) -> int:
        """Deprecated: `remaining_channels`."""
        warn_deprecated("RemovalRow.kept", "remaining_channels")
        return self.remaining_channels


@dataclasses.dataclass(frozen=True)
class RemovalPlan(Printable):
    """The channels to remove and to keep; prints as a table, and `apply()` makes the smaller model.

    The plan of a Keras 3 model holds a conversion of it, with the weights that it had when the plan was made.

    Args:
      groups: the groups of the model.
      stays: bool by channel id of the trace, true where a channel is kept.
      rows: one per group.
      added_bias: identity of a layer → removed constants folded into its bias, float64, of the full size.
      keeps_predictions: whether the removed channels do not affect predictions, which `apply` then verifies.
    """

    groups: ChannelGroups
    stays: np.ndarray = dataclasses.field(repr=False)
    rows: tuple[RemovalRow, ...]
    added_bias: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)
    keeps_predictions: bool = False

    @property
    def removed_channels(self) -> int:
        """The number of channels that are removed."""
        return sum(row.channels - row.remaining_channels for row in self.rows)

    @property
    def removed(self) -> int:
        """Deprecated: `removed_channels`."""
        warn_deprecated("RemovalPlan.removed", "removed_channels")
        return self.removed_channels

    def keep(self) -> dict[str, np.ndarray]:
        """Returns the keep-mask of each group, as `remove_channels` takes it."""
        return {group.name: self.stays[group.ids] for group in self.groups.values()}

    def apply(self, *, keras2: bool = False) -> Any:
        """Returns the smaller model; the model of the plan is unchanged.

        Where groups were found with `approximate=True`, the error is measured and a `PruningWarning` has it.

        Args:
          keras2: whether the result for a Keras 3 model is a tf_keras model; by default it is a Keras 3 model too.

        Raises:
          RuntimeError: a channel rule is wrong: a layer does not have the planned output shape, or with
            `keeps_predictions` the predictions for random inputs differ.
        """
        rebuilt = rebuild(self.groups.model, self.groups.trace, self.stays, self.added_bias)
        smaller = rebuilt.model
        if self.keeps_predictions and self.removed_channels:
            check_agreement(self.groups.model, smaller)
        elif self.groups.trace.approximate:
            settle_approximation(self.groups.model, self.groups.trace, self.stays, rebuilt)
        return smaller if keras2 or self.groups.keras3 is None else to_keras3(smaller)

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        total = sum(row.channels for row in self.rows)
        table = ResultTable(f"{self.removed_channels:,} of {total:,} channels go")
        table.add_column("group", overflow="fold")
        for heading in ("channels", "kept"):
            table.add_column(heading, justify="right")
        table.add_column("remark", overflow="fold")
        table.add_row("total", *_counts(self.rows), end_section=True)
        rows, other_rows = view.split(self.rows, lambda row: (bool(row.reason), row.channels - row.remaining_channels))
        for row in rows:
            table.add_row(row.group, *_counts([row]), row.reason)
        if other_rows:
            remark = counted(row.reason for row in other_rows)
            table.add_row(f"and {len(other_rows)} more", *_counts(other_rows), remark)
        barriers, other_barriers = view.split(self.groups.barriers, lambda barrier: barrier.channels)
        for barrier in barriers:
            stay = f"{barrier.channels:,}"
            table.add_row(barrier.layer, f"{barrier.total_channels:,}", stay, "; ".join(barrier.reasons), style="dim")
        if other_barriers:
            channels, (staying, reasons) = (
                sum(each.total_channels for each in other_barriers),
                sum_of_barriers(other_barriers),
            )
            table.add_row(f"and {len(other_barriers)} more", f"{channels:,}", f"{staying:,}", reasons, style="dim")
        table.explain(
            view.note(rows, other_rows, "groups, those with a remark and those that lose most"),
            view.note(barriers, other_barriers, "layers whose channels stay, the largest"),
        )
        return (table,)


def _counts(rows: Sequence[RemovalRow]) -> tuple[str, str]:
    return f"{sum(row.channels for row in rows):,}", f"{sum(row.remaining_channels for row in rows):,}"


@renamed_arguments(protect="skip")
def plan_removal(
    model: Any,
    keep: Keep,
    *,
    round_to: int = 1,
    minimum: int = 1,
    skip: Collection[str] = (),
    groups: ChannelGroups | None = None,
    check: bool = True,
    criterion: str | ChannelCriterion = "filter_norm",
) -> RemovalPlan:
    """Returns the plan that `remove_channels` follows with the same arguments.

    Print it to see which channels are removed, and `apply()` it to get the model.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model.
      keep: group name → bool array of the group's size, true where a channel is kept. Other groups are kept whole.
      round_to: the number of channels kept of each group is rounded up to a multiple of this, at most to its size; the
        most important channels by `criterion` are added.
      minimum: the least number of channels kept of each group.
      skip: names or paths of layers, or of models inside the model, as in `plan_channels`; all channels stay that these
        layers make or act on, as batch norm does.
      groups: `channel_groups(model)`, where known, which saves a trace of the graph of a tf_keras model.
      check: whether a tensor left without channels is an error.
      criterion: of weights alone, see `channel_scores`; by default the L2 norm of filters and biases.

    Raises:
      TypeError, ValueError: as `channel_groups`; an unknown group or layer; a mask of the wrong length; a tensor
        without any channel left; an unknown criterion, or one that needs gradients.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> plan = plan_removal(net, {"hidden": [True, False, False]}, round_to=2)
    >>> [(row.group, row.channels, row.remaining_channels, row.reason) for row in plan.rows]
    [('hidden', 3, 2, '1 asked; rounded up')]
    """
    by = resolve_criterion(criterion, of_weights=True, saved=False)
    if min(round_to, minimum) < 1:
        raise ValueError(f"round_to and minimum must be 1 or more. Received: {round_to} and {minimum}")
    if not isinstance(keep, Mapping):
        raise TypeError(f"keep must be a dictionary of masks by group. Received: {type(keep).__name__}")
    groups = groups_of(model, groups)
    _check_names(groups, keep)
    skipped = LayerChoice(skip).of(groups.model).skipped
    stays = np.ones(len(groups.trace.classes.root), bool)
    rows = []
    for group in groups.values():
        mask = _mask(group, keep.get(group.name))
        if mask is not None and not mask.any():
            raise ValueError(
                "At least one channel of each group must stay, as a layer without channels computes nothing: set one "
                "entry of the mask, or remove the layer. "
                f"Received: keep[{group.name!r}] with no channel of {group.size}"
            )
        reason = ""
        if mask is None:
            mask = np.ones(group.size, bool)
        elif any(member.layer in skipped and member.role != CONSUME for member in group.members):
            mask, reason = np.ones(group.size, bool), "left out by name"
        else:
            wanted = int(mask.sum())
            rounded = -(-wanted // round_to) * round_to
            least = min(max(rounded, minimum), group.size)
            if least > wanted:
                mask = _with_more(groups.model, group, mask, least - wanted, by)
                reason = f"{wanted} asked; " + (f"at least {minimum} stay" if minimum > rounded else "rounded up")
        stays[group.ids] = mask
        rows.append(RemovalRow(group.name, group.size, int(mask.sum()), reason))
    stays = stays[groups.trace.classes.root]
    plan = RemovalPlan(groups, stays, tuple(rows))
    if check:
        check_nothing_empty(groups, stays)
    return plan


@renamed_arguments(protect="skip")
def remove_channels(
    model: Any,
    keep: Keep,
    *,
    round_to: int = 1,
    minimum: int = 1,
    skip: Collection[str] = (),
    criterion: str | ChannelCriterion = "filter_norm",
    approximate: bool = False,
    keras2: bool = False,
) -> Any:
    """Returns a smaller plain Keras model without the channels that `keep` leaves out; `model` is unchanged.

    It computes what `model` computes with every weight slice that reads such a channel set to zero, and with every
    product of two tensors, such as attention's of queries and keys, summed over the other channels alone; exactly,
    unless `approximate` is true. Other arguments and errors are those of `plan_removal`.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model.
      keep, round_to, minimum, skip, criterion: as for `plan_removal`.
      approximate: as for `channel_groups`, whose group names `keep` then has.
      keras2: whether the result for a Keras 3 model is a tf_keras model.

    Returns:
      A tf_keras model for a tf_keras model, a Keras 3 model for a Keras 3 model unless `keras2` is true.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> remove_channels(net, {"hidden": [True, False, True]}).get_layer("hidden").units
    2
    """
    groups = channel_groups(model, approximate=True) if approximate else None
    options: dict[str, Any] = {"round_to": round_to, "minimum": minimum, "skip": skip, "criterion": criterion}
    return plan_removal(model, keep, groups=groups, **options).apply(keras2=keras2)


def check_nothing_empty(groups: ChannelGroups, stays: np.ndarray) -> None:
    """Raises a ValueError if a weight or a tensor between two layers would have no channel left."""
    for cut in groups.trace.cuts:
        if not stays[cut.ids].any():
            raise ValueError(
                f"Nothing would be left of {cut.weight!r} of layer {cut.layer!r}: keep at least one of the channels "
                f"that it has slices for. Received: a keep-mask without any of its {len(cut.ids)} channels"
            )
    for labels in groups.trace.tensors():
        if not stays[labels.ids].any():
            raise ValueError(
                "A tensor inside the model would have no channel left (part of a split or a slice): keep at least "
                f"one of them. Received: a keep-mask without any channel of a tensor of shape {labels.shape}"
            )


def _check_names(groups: ChannelGroups, keep: Keep) -> None:
    unknown = [name for name in keep if name not in groups]
    if unknown:
        barrier = next((barrier for barrier in groups.barriers if barrier.layer == unknown[0]), None)
        member = next((g.name for g in groups.values() if any(m.layer == unknown[0] for m in g.producers)), None)
        hint = f"the groups are {', '.join(groups) or 'none'}"
        if barrier is not None:
            hint = f"its channels must stay ({'; '.join(barrier.reasons)})"
        elif member is not None:
            hint = f"its channels belong to the group {member!r}"
        raise ValueError(f"There is no such group: {hint}. Received: keep[{unknown[0]!r}]")


def _mask(group: Any, given: Any) -> np.ndarray | None:
    if given is None:
        return None
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape != (group.size,):
        raise ValueError(
            f"keep[{group.name!r}] must be a bool array of length {group.size}, true where a channel stays. "
            f"Received: {mask.dtype} of shape {mask.shape}"
        )
    return mask


def _with_more(model: Any, group: Any, mask: np.ndarray, count: int, criterion: ChannelCriterion) -> np.ndarray:
    """Returns `mask` with `count` more channels, those with the largest scores."""
    variables = {id(each): each for each in variables_of(model)}
    scores = np.where(mask, -np.inf, group_scores(group, variables, criterion))
    more = mask.copy()
    more[np.argsort(-scores, kind="stable")[:count]] = True
    return more
