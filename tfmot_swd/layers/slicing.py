"""Slices of tensors in Functional models: x[:, 1:3, ..., None, :8]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import SlicingOpLambda
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Moves
from tfmot_swd.layers.labels import Labels, Sizes
from tfmot_swd.layers.rearranging import one_channel_stays
from tfmot_swd.layers.record import Kept, NoRule
from tfmot_swd.layers.registry import register_layer

Found = Labels | list[Labels]
ItemEdit = Callable[[Any, Kept], Any]


def slicing(call: LayerCall) -> Found:
    """Passes channels through a slice such as x[:, 1:3, ..., None, :8], x[..., ::-1] or x[..., 1::2].

    One channel that is taken by its number, as x[..., 3], stays.
    """
    given = call.arguments["slice_spec"]
    parts = _parts_of_slice(given, call.operand.rank)
    if parts is None:
        return call.barrier("a slice with computed bounds, or with a list, has no rule")
    if isinstance(call.operand, Sizes):
        return _slice_of_sizes(call, call.operand, parts)
    ids, axis = call.operand.ids, 0
    edits: dict[int, ItemEdit] = {}
    for place, part in parts:
        if part is None:
            ids = np.expand_dims(ids, axis)
        elif ids.shape[axis] > 1 and part != slice(None):
            if len(call.operand.varying) > 1:
                return call.barrier("a slice of channels that lie on several axes has no rule")
            line = call.operand.along(call.operand.varying[0])
            if isinstance(part, int):
                one_channel_stays(call, line[part])
                edits[place] = _renumbered(line[: part % line.size])
                ids = np.take(ids, part, axis)
                continue
            edits[place] = _slice_of_channels(call, part, line)
            ids = np.take(ids, np.arange(line.size)[part], axis)
        elif isinstance(part, int):
            ids = np.take(ids, 0, axis)
            continue
        axis += 1
    if not ids.size:
        return call.barrier("a slice without elements")

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        several = isinstance(given, list | tuple)
        items = list(arguments["slice_spec"]) if several else [arguments["slice_spec"]]
        for place, change in edits.items():
            items[place] = change(items[place], kept)
        arguments["slice_spec"] = tuple(items) if several else items[0]

    if edits:
        call.edit_arguments(edit)
    return Labels(ids, call.output_shape)


def _renumbered(before: np.ndarray) -> ItemEdit:
    """Returns the edit of a number: that of the kept channels before it."""
    return lambda item, kept: kept.count(before)


def _slice_of_channels(call: LayerCall, part: slice, line: np.ndarray) -> ItemEdit:
    """Returns how a slice along the channels changes with them.

    A contiguous one gets the bounds of what is kept, and one of all channels backwards none. In a strided one, channels
    leave in blocks as long as the stride, so that those that stay keep their place in their block.
    """
    start, stop, step = part.indices(line.size)
    if step == 1:
        before, inside = line[:start], line[start:stop]
        return lambda item, kept: _bounded(item, kept.count(before), kept.count(before) + kept.count(inside))
    if step == -1 and start == line.size - 1 and stop == -1:
        return lambda item, kept: _bounded(item, None, None)
    if not 0 <= start < step or stop < line.size:
        raise NoRule("a strided slice that skips whole blocks of channels at one end, or goes backwards, has no rule")
    for first in range(0, line.size, step):
        call.ties.tie(line[first : first + step], line[first])
    return lambda item, kept: _bounded(item, start, None)


def _parts_of_slice(spec: Any, rank: int) -> list[tuple[int, slice | int | None]] | None:
    """Returns the item of each axis with its place in the spec: a slice, a number, or None for an axis that is added.

    Returns None where the spec has anything else.
    """
    items = list(spec) if isinstance(spec, list | tuple) else [spec]
    found: list[tuple[int, slice | int | None]] = []
    dots = [place for place, item in enumerate(items) if item is Ellipsis] or [len(items)]
    open_axes = rank - sum(item is not None and item is not Ellipsis for item in items)
    if len(dots) > 1 or open_axes < 0:
        return None
    for place, item in enumerate([*items, Ellipsis] if dots[0] == len(items) else items):
        if isinstance(item, dict) and {"start", "stop", "step"} == set(item):
            item = slice(item["start"], item["stop"], item["step"])
        if item is Ellipsis:
            found += [(place, slice(None))] * open_axes
        elif item is None or (isinstance(item, int | np.integer) and not isinstance(item, bool)):
            found.append((place, None if item is None else int(item)))
        elif isinstance(item, slice) and all(
            each is None or isinstance(each, int | np.integer) for each in (item.start, item.stop, item.step)
        ):
            found.append((place, item))
        else:
            return None
    return found


def _bounded(item: Any, start: int | None, stop: int | None) -> Any:
    """Returns a slice, or the dictionary that Keras records for one, with other bounds and the same step."""
    if isinstance(item, dict):
        return {**item, "start": start, "stop": stop}
    return slice(start, stop, item.step)


def _slice_of_sizes(call: LayerCall, sizes: Sizes, parts: list[tuple[int, slice | int | None]]) -> Found:
    index = tuple(np.newaxis if part is None else part for _, part in parts)
    if set(np.arange(sizes.of.rank)[index].reshape(-1).tolist()) & set(sizes.of.varying):
        call.ties.pin(sizes.of.ids, f"{call.record.path}: the number of channels is computed with")
    return Labels(sizes.ids.reshape((1,) * len(call.output_shape)), call.output_shape)


register_layer(SlicingOpLambda, channels=slicing, constants=Moves())
