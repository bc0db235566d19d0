"""Groups of coupled channels (dependency groups) of a graph model."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from tfmot_swd.channels.walk import Trace, trace_channels
from tfmot_swd.io.deprecation import warn_deprecated
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View, counted
from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.keras3.door import opened
from tfmot_swd.layers.record import CONSUME, FOLLOW, PRODUCE


@dataclasses.dataclass(frozen=True)
class Member:
    """One axis of one weight whose slices belong to the channels of a group.

    Args:
      layer: path of the layer; layers of nested models are written model/layer.
      weight: attribute of the weight, dots for parts ("cell.kernel").
      axis: of the weight, not negative.
      channels: the group's channel at each index of that axis, int64; -1 where it belongs to another group.
      role: "produce", "follow" or "consume".
      variable_id: identity of the variable in this process.
    """

    layer: str
    weight: str
    axis: int
    channels: np.ndarray
    role: str
    variable_id: int = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class ChannelGroup:
    """A group of coupled channels, pruned by a keep-mask of length `size`.

    Args:
      name: path of the first layer that makes them.
      size: the number of channels that can be removed one by one. All weight slices that must be removed together count
        as one channel: one filter of each layer of a residual sum, or a whole group of a grouped convolution.
      members: axes of weights with slices that belong to the channels, in the order of the graph.
      ids: int64 `(size,)`, class of each channel in the trace.
      multiplied_in: paths of the layers that sum products of the channels with those of another tensor, such as a
        product of queries and keys.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    ids: np.ndarray = dataclasses.field(repr=False)
    multiplied_in: tuple[str, ...] = ()

    def by_role(self, role: str) -> tuple[Member, ...]:
        """Returns the members with a role: "produce", "follow" or "consume"."""
        return tuple(member for member in self.members if member.role == role)

    @property
    def producers(self) -> tuple[Member, ...]:
        """The weights whose slices make the channels."""
        return self.by_role(PRODUCE)

    @property
    def followers(self) -> tuple[Member, ...]:
        """The weights that act on each channel alone: normalization, depthwise convolution."""
        return self.by_role(FOLLOW)

    @property
    def consumers(self) -> tuple[Member, ...]:
        """The weights whose slices read the channels."""
        return self.by_role(CONSUME)


@dataclasses.dataclass(frozen=True)
class Barrier:
    """Channels of a layer that must stay.

    Args:
      layer: path of the layer that makes them.
      channels: the number of channels that must stay.
      total_channels: the number of channels that the layer makes.
      reasons: why they must stay.
    """

    layer: str
    channels: int
    total_channels: int
    reasons: tuple[str, ...]

    @property
    def of(self) -> int:
        """Deprecated: `total_channels`."""
        warn_deprecated("Barrier.of", "total_channels")
        return self.total_channels


class ChannelGroups(Printable, Mapping[str, ChannelGroup]):
    """The groups of a model by name, in the order of the graph, and its barriers; prints as a table.

    A mapping from names to `ChannelGroup`s. `full()` prints all groups, with the names of all layers that make and read
    each.

    Attributes:
      model: the tf_keras model.
      keras3: the Keras 3 model that it was converted from; None where it was given as it is.
      barriers: the layers whose channels must stay.
      trace: channel labels of all tensors and weights, for the functions of this package.
    """

    def __init__(
        self, model: Any, trace: Trace, groups: list[ChannelGroup], barriers: list[Barrier], keras3: Any = None
    ) -> None:
        self.model = model
        self.keras3 = keras3
        self.trace = trace
        self.barriers = tuple(barriers)
        self._groups = {group.name: group for group in groups}

    def __getitem__(self, name: str) -> ChannelGroup:
        return self._groups[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def channels(self) -> int:
        """The number of channels that can be removed; what is all that a tensor has cannot, as a group of one."""
        return sum(self.removable(group) for group in self.values())

    def removable(self, group: ChannelGroup) -> int:
        """Returns how many channels of a group can be removed."""
        return int(np.count_nonzero(~self.trace.is_all_of_a_tensor(group.ids)))

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        table = ResultTable(f"{len(self)} groups, {self.channels:,} channels that can leave")
        table.add_column("group", overflow="fold")
        table.add_column("channels", justify="right")
        table.add_column("made by", overflow="fold")
        table.add_column("read by", overflow="fold")
        groups, other_groups = view.split(list(self.values()), lambda group: group.size)
        for group in groups:
            made = layer_names((member.layer for member in group.producers), view)
            read = layer_names([*(member.layer for member in group.consumers), *group.multiplied_in], view)
            staying = group.size - self.removable(group)
            size = f"{group.size:,}{f', {staying:,} of which must stay' if staying else ''}"
            table.add_row(group.name, size, made, read)
        if other_groups:
            table.add_row(f"and {len(other_groups)} more", f"{sum(group.size for group in other_groups):,}")
        barriers, other_barriers = view.split(self.barriers, lambda barrier: barrier.channels)
        for barrier in barriers:
            table.add_row(barrier.layer, f"{barrier.channels:,} stay", "", "; ".join(barrier.reasons), style="dim")
        if other_barriers:
            stay, reasons = sum_of_barriers(other_barriers)
            table.add_row(f"and {len(other_barriers)} more", f"{stay:,} stay", "", reasons, style="dim")
        table.explain(
            view.note(groups, other_groups, "groups, the largest"),
            view.note(barriers, other_barriers, "layers whose channels stay, the largest"),
        )
        return (table,)


def layer_names(layers: Iterable[str], view: View, most: int = 4) -> str:
    """Returns the names of some layers, each once; in a compact view the first `most` of them."""
    names = list(dict.fromkeys(layers))
    left = 0 if view.most is None else max(len(names) - most, 0)
    return ", ".join(names[: len(names) - left]) + (f" and {left} more" if left else "")


def sum_of_barriers(barriers: Sequence[Barrier]) -> tuple[int, str]:
    """Returns the number of channels that stay at some barriers together, and the reasons with their counts."""
    return sum(barrier.channels for barrier in barriers), counted("; ".join(each.reasons) for each in barriers)


def channel_groups(model: Any, *, approximate: bool = False) -> ChannelGroups:
    """Returns the groups of coupled channels of `model` that can be removed, and the barriers with their reasons.

    Channels are coupled where removing one requires removing the others, as for the filters that a residual sum adds
    up; `remove_channels` takes a keep-mask per group. Every output channel of every layer gets a label, and labels are
    propagated through the graph: addition ties labels position by position, concatenation joins them, normalization
    passes them on, and a layer that reads them records them. A layer class without a channel rule (`register_layer`) is
    a barrier: the channels that reach it stay.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model.
      approximate: whether channels are removable, too, that a normalization takes its statistics over, as the stream of
        a transformer behind `LayerNormalization`. Without some of them the statistics are those of what is left, so
        predictions change beyond what the channels themselves give, and fine-tuning is needed. Removal with these
        groups warns of that, with the error that it has measured; without, it is exact.

    Raises:
      TypeError: not a model of tf_keras or Keras 3.
      ValueError: a subclassed model, or one that is not built.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(8, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> groups = channel_groups(net)
    >>> [(group.name, group.size) for group in groups.values()]
    [('hidden', 8)]
    """
    opened_model = opened(model)
    check_keras_model(opened_model)
    return trace_groups(opened_model, keras3=None if opened_model is model else model, approximate=approximate)


def trace_groups(model: Any, *, keras3: Any = None, approximate: bool = False) -> ChannelGroups:
    """Returns what `channel_groups` does, for a model that `check_keras_model` has passed already.

    Args:
      model: the tf_keras model.
      keras3: the Keras 3 model that it was converted from, if it was.
      approximate: as for `channel_groups`.
    """
    trace = trace_channels(model, approximate=approximate)
    classes = trace.classes
    produced = [cut for cut in trace.cuts if cut.role == PRODUCE]
    group_of: dict[int, int] = {}
    merged: dict[int, list[int]] = {}
    barriers: list[Barrier] = []
    told: set[str] = set()
    for cut in produced:
        stays = classes.is_pinned(cut.ids)
        if stays.any() and cut.layer not in told:
            told.add(cut.layer)
            barriers.append(Barrier(cut.layer, int(stays.sum()), len(stays), classes.reasons(cut.ids)))
        roots = list(dict.fromkeys(classes.of(cut.ids[~stays]).tolist()))
        if not roots:
            continue
        touched = list(dict.fromkeys(group_of[each] for each in roots if each in group_of))
        home = min(touched) if touched else len(group_of)
        members = merged.setdefault(home, [])
        for other in touched:
            if other != home:
                members += merged.pop(other)
        members += [each for each in roots if each not in group_of]
        for each in members:
            group_of[each] = home
    barriers += _unsaid(trace, barriers)
    classes_of = [np.array(roots, np.int64) for _, roots in sorted(merged.items())]
    return ChannelGroups(model, trace, _named_apart(_groups(trace, classes_of)), barriers, keras3)


def _unsaid(trace: Trace, barriers: Sequence[Barrier]) -> list[Barrier]:
    """Returns a barrier for each layer with kernels but without a rule that is the reason of no other barrier.

    Such as the first layer of a model, which no channels reach: nothing would say why its own stay.
    """
    said, found = {reason for barrier in barriers for reason in barrier.reasons}, []
    for record in trace.records.values():
        kernels = [weight for weight in record.layer.trainable_weights if weight.shape.rank >= 2]
        if record.blocked and record.blocked not in said and kernels:
            channels = int(kernels[-1].shape[-1])
            found.append(Barrier(record.path, channels, channels, (record.blocked,)))
    return found


def groups_of(model: Any, groups: ChannelGroups | None) -> ChannelGroups:
    """Returns `groups`, which must be those of this very model, or finds them where they are None.

    Those of a Keras 3 model are found again in any case, as its weights may have changed since it was converted.

    Raises:
      TypeError, ValueError: as `channel_groups`; `groups` are those of another model.
    """
    if groups is None or (groups.keras3 is not None and groups.keras3 is model):
        return channel_groups(model, approximate=groups is not None and groups.trace.approximate)
    if groups.model is not model:
        raise ValueError(
            f"groups must be those of the model itself. Received: groups of {groups.model.name!r} for {model.name!r}"
        )
    return groups


def parts_of(groups: ChannelGroups) -> dict[str, list[np.ndarray]]:
    """Returns the parts of each group that must not be emptied, as arrays of indices within the group.

    A part is what one weight or tensor has of a group, where it has channels of no other: a weight that makes a part of
    a concatenation, or a piece of a split tensor.
    """
    classes = groups.trace.classes
    owner, place = np.full((2, len(classes.root)), -1)
    for number, group in enumerate(groups.values()):
        owner[group.ids] = number
        place[group.ids] = np.arange(group.size)
    names, found = list(groups), {}
    for ids in (*(cut.ids for cut in groups.trace.cuts), *(each.ids for each in groups.trace.tensors())):
        channels = np.unique(classes.of(ids))
        owners = np.unique(owner[channels])
        # What stays, as an input does, or what has another group too, is not empty without them.
        if len(owners) == 1 and owners[0] >= 0 and len(channels) < groups[names[owners[0]]].size:
            found[channels.tobytes()] = (names[owners[0]], np.sort(place[channels]))
    parts: dict[str, list[np.ndarray]] = {}
    for name, places in found.values():
        parts.setdefault(name, []).append(places)
    return parts


def _groups(trace: Trace, classes_of: list[np.ndarray]) -> list[ChannelGroup]:
    """Returns the groups of these classes, in one pass over the cuts: a deep model has thousands of them."""
    group_of, place_of = np.full((2, len(trace.classes.root)), -1)
    for number, roots in enumerate(classes_of):
        group_of[roots] = number
        place_of[roots] = np.arange(len(roots))
    members: list[list[Member]] = [[] for _ in classes_of]
    for cut in trace.cuts:
        found = trace.classes.of(cut.ids)
        owners = group_of[found]
        for number in np.unique(owners[owners >= 0]).tolist():
            channels = np.where(owners == number, place_of[found], -1)
            members[number].append(Member(cut.layer, cut.weight, cut.axis, channels, cut.role, cut.variable_id))
    readers: list[dict[str, None]] = [{} for _ in classes_of]
    for product in (each for products in trace.products.values() for each in products):
        owners = group_of[trace.classes.of(product.sums)]
        for number in np.unique(owners[owners >= 0]).tolist():
            readers[number][product.layer] = None
    return [
        ChannelGroup(
            next(each.layer for each in mine if each.role == PRODUCE), len(roots), tuple(mine), roots, tuple(by)
        )
        for mine, roots, by in zip(members, classes_of, readers, strict=True)
    ]


def _named_apart(groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """Adds the weight, then its axis, to the names of several groups made by one layer, such as attention."""
    for part in ("weight", "axis"):
        count = Counter(group.name for group in groups)
        groups = [
            dataclasses.replace(group, name=f"{group.name}:{getattr(group.producers[0], part)}")
            if count[group.name] > 1
            else group
            for group in groups
        ]
    return groups
