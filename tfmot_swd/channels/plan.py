"""Plans of structured pruning: the groups whose filters are ranked, and those that stay unpruned, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from rich.table import Table

from tfmot_swd.channels.groups import (
    ChannelGroup,
    ChannelGroups,
    Member,
    layer_names,
    sum_of_barriers,
    trace_groups,
)
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View, counted
from tfmot_swd.keras2.compat import keras, master_variable, variables_of
from tfmot_swd.keras2.graph import GraphCall, propagate
from tfmot_swd.keras2.layer_choice import ChosenLayers, LayerChoice
from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.keras3.door import opened
from tfmot_swd.layers.record import CONSUME
from tfmot_swd.layers.registry import makes_filters

LAYERS = ("convolutions", "all")
FROZEN = "frozen"


@dataclasses.dataclass(frozen=True)
class ChannelRow:
    """One group of a `ChannelPlan`.

    Args:
      group: name of the group.
      channels: the number of its channels.
      scored: the weights whose filters are ranked, that of the layer nearest to the input first; empty for a group that
        stays unpruned.
      reason: why it stays unpruned; "" for a ranked group. A "frozen" group is wrapped all the same, and its channels
        can be removed once its layers are trainable.
      frozen: names of the layers among its makers that are not trained, for which a "frozen" group waits.
    """

    group: str
    channels: int
    scored: tuple[Member, ...]
    reason: str
    frozen: tuple[str, ...] = ()

    def told(self) -> str:
        """Returns the reason as the table shows it."""
        return "frozen: ranked once trainable" if self.reason == FROZEN else self.reason


@dataclasses.dataclass(frozen=True)
class ChannelPlan(Printable):
    """The groups that structured pruning would rank, and the others with the reason; prints as a table.

    Args:
      groups: the groups of the model.
      rows: one per group; `full()` prints all of them.
    """

    groups: ChannelGroups = dataclasses.field(repr=False)
    rows: tuple[ChannelRow, ...]

    @property
    def ranked(self) -> tuple[ChannelRow, ...]:
        """The groups that are ranked while layers are trainable or frozen as now."""
        return tuple(row for row in self.rows if not row.reason)

    @property
    def wrapped(self) -> tuple[ChannelRow, ...]:
        """The groups that are ranked now, or once their layers are trainable."""
        return tuple(row for row in self.rows if row.reason in ("", FROZEN))

    @property
    def frozen_layers(self) -> tuple[str, ...]:
        """The names of the layers that would have to be trainable for all of `wrapped` to be ranked."""
        return tuple(dict.fromkeys(name for row in self.rows if row.reason == FROZEN for name in row.frozen))

    def summary(self) -> str:
        """Returns the groups and layers that stay unpruned and why, in one line."""
        left = [f"{row.group} ({row.reason})" for row in self.rows if row.reason]
        left += [f"{barrier.layer} ({'; '.join(barrier.reasons)})" for barrier in self.groups.barriers]
        return ", ".join(left) or "a model without groups of channels"

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        title = f"{sum(row.channels for row in self.ranked):,} channels are ranked"
        waiting = sum(row.channels for row in self.rows if row.reason == FROZEN)
        if waiting:
            title += f"; {waiting:,} more once their layers are trainable"
        table = ResultTable(title)
        table.add_column("group", overflow="fold")
        table.add_column("channels", justify="right")
        table.add_column("ranked by", overflow="fold")
        table.add_column("stays whole because", overflow="fold")
        rows, other_rows = view.split(self.rows, lambda row: (bool(row.reason), row.channels))
        for row in rows:
            table.add_row(
                row.group, f"{row.channels:,}", layer_names((member.layer for member in row.scored), view), row.told()
            )
        if other_rows:
            channels = sum(row.channels for row in other_rows)
            reasons = counted(row.told() for row in other_rows)
            table.add_row(f"and {len(other_rows)} more", f"{channels:,}", "", reasons)
        barriers, other_barriers = view.split(self.groups.barriers, lambda barrier: barrier.total_channels)
        for barrier in barriers:
            table.add_row(barrier.layer, f"{barrier.total_channels:,}", "", "; ".join(barrier.reasons), style="dim")
        if other_barriers:
            channels, (_, reasons) = (
                sum(each.total_channels for each in other_barriers),
                sum_of_barriers(other_barriers),
            )
            table.add_row(f"and {len(other_barriers)} more", f"{channels:,}", "", reasons, style="dim")
        table.explain(
            view.note(rows, other_rows, "groups, those that stay whole and the largest"),
            view.note(barriers, other_barriers, "layers whose channels stay, the largest"),
        )
        return (table,)


def plan_channels(
    model: Any,
    *,
    layers: str = "convolutions",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
) -> ChannelPlan:
    """Returns the groups of channels that structured pruning ranks with the same arguments, and those that it does not.

    Look at it before a training with `prune_progressive_gradient`, or with a `StructuredDecay` (`layers="all"`).

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, nested models included.
      layers: "convolutions" ranks the filters of convolutions, as published; "all" every group of channels that can
        be removed, including units of dense and recurrent layers and attention heads.
      skip: names or paths of layers, or of nested models; the channels that they make or act on stay.
      only: names or paths likewise; all channels stay that any other layer makes, alone or together with these.

    Raises:
      TypeError: not a model of tf_keras or Keras 3; `skip` or `only` is not a collection of names.
      ValueError: the model is subclassed or not built; `layers` is unknown; `skip` or `only` names a layer that the
        model does not have.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Conv2D(4, 3, input_shape=(8, 8, 1), name="conv"),
    ...                         keras.layers.Flatten(), keras.layers.Dense(2)])
    >>> [(row.group, row.channels) for row in plan_channels(net).ranked]
    [('conv', 4)]
    """
    opened_model = opened(model)
    check_keras_model(opened_model)
    keras3 = None if opened_model is model else model
    return channel_plan(opened_model, layers=layers, skip=skip, only=only, keras3=keras3)


def channel_plan(
    model: Any, *, layers: str, skip: Collection[str], only: Collection[str] | None, keras3: Any = None
) -> ChannelPlan:
    """Returns what `plan_channels` does, for a model that `check_keras_model` has passed already.

    Args:
      model: the tf_keras model.
      layers, skip, only: as for `plan_channels`.
      keras3: the Keras 3 model that it was converted from, if it was.
    """
    if layers not in LAYERS:
        raise ValueError(f"layers must be one of {', '.join(LAYERS)}. Received: {layers!r}")
    choice = LayerChoice(skip, only)
    groups = trace_groups(model, keras3=keras3)
    chosen = choice.of(model)
    by_path = {record.path: record.layer for record in groups.trace.records.values()}
    distance: dict[str, int] = {}
    _measure_distances(model, 0, "", distance)
    variables = {id(each): each for each in variables_of(model)}
    trained = {id(each) for each in map(master_variable, model.trainable_weights)}
    rows = [_row(group, by_path, chosen, layers, distance, variables, trained) for group in groups.values()]
    return ChannelPlan(groups, tuple(rows))


def makers_of(group: ChannelGroup, variables: Mapping[int, Any]) -> list[Member]:
    """Returns the weights among `variables` whose slices are the filters of a group, without biases."""
    # A bias makes no channel by itself; that of attention or of a GRU has two axes.
    return [
        member
        for member in group.producers
        if member.variable_id in variables
        and len(variables[member.variable_id].shape) > 1
        and member.weight.split(".")[-1] != "bias"
    ]


def is_frozen(group: ChannelGroup, trained: Collection[int]) -> bool:
    """Returns whether the channels of a group stay, as a weight that makes them is not trained.

    Args:
      group: of a model.
      trained: the identities of the model's trained variables, by which a layer that is unfrozen inside a frozen model
        is frozen, as for Keras.
    """
    return any(member.variable_id not in trained for member in group.producers)


def _row(
    group: ChannelGroup,
    by_path: dict[str, Any],
    chosen: ChosenLayers,
    layers: str,
    distance: dict[str, int],
    variables: dict[int, Any],
    trained: Collection[int],
) -> ChannelRow:
    able = makers_of(group, variables)
    if layers == "convolutions":
        able = [member for member in able if makes_filters(by_path[member.layer])]
    frozen = tuple(dict.fromkeys(each.layer for each in group.producers if each.variable_id not in trained))
    reason = ""
    if not _is_chosen(group, chosen):
        reason = "left out by name"
    elif not able:
        reason = "no convolution makes it" if layers == "convolutions" else "nothing makes it that can be ranked"
    elif group.size < 2:
        reason = "only one channel"
    elif frozen:
        reason = FROZEN
    ordered = sorted(able, key=lambda member: distance[member.layer])
    return ChannelRow(group.name, group.size, tuple(ordered) if reason in ("", FROZEN) else (), reason, frozen)


def _is_chosen(group: ChannelGroup, chosen: ChosenLayers) -> bool:
    acting = (member for member in group.members if member.role != CONSUME)
    return all(each.layer not in chosen.skipped for each in acting) and all(
        chosen.allows(each.layer) for each in group.producers
    )


def _measure_distances(model: Any, start: int, prefix: str, distance: dict[str, int]) -> int:
    """Collects the largest number of layer calls from an input to each layer in `distance`, by path; returns the
    largest.

    Of the layers that an addition joins, the stem or the convolution of the shortcut is nearest to the input, and
    leads.
    """
    largest = start

    def visit(call: GraphCall, known: dict[int, int]) -> list[int]:
        nonlocal largest
        place = max((known[id(tensor)] for tensor in call.inputs), default=start)
        path = prefix + call.layer.name
        if isinstance(call.layer, keras.Model):
            place = _measure_distances(call.layer, place, f"{path}/", distance)
        else:
            place += 1
        largest = max(largest, place)
        # The first call of a shared layer counts.
        distance.setdefault(path, place)
        return [place] * len(call.outputs)

    propagate(model, [start] * len(model.inputs), visit)
    return largest
