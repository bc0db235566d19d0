"""Slices of tensors in Functional models: x[:, 1:3, ..., None, :8]."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfmot_swd.keras2.compat import SlicingOpLambda
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.constants import Moves
from tfmot_swd.layers.labels import Labels, Sizes
from tfmot_swd.layers.record import Kept
from tfmot_swd.layers.registry import register_layer

Found = Labels | list[Labels]


def slicing(call: LayerCall) -> Found:
    """Passes channels through a slice such as x[:, 1:3, ..., None, :8]; along the channels it must be contiguous."""
    given = call.arguments["slice_spec"]
    parts = _parts_of_slice(given, call.operand.rank)
    if parts is None:
        return call.barrier("a slice with computed bounds, or with a list, has no rule")
    if isinstance(call.operand, Sizes):
        return _slice_of_sizes(call, call.operand, parts)
    ids, axis = call.operand.ids, 0
    edits: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for place, part in parts:
        if part is None:
            ids = np.expand_dims(ids, axis)
        elif ids.shape[axis] > 1 and part != slice(None):
            if isinstance(part, int) or part.step not in (None, 1) or len(call.operand.varying) > 1:
                return call.barrier("a slice that takes single channels, or every other one")
            start, stop, _ = part.indices(ids.shape[axis])
            line = call.operand.along(call.operand.varying[0])
            edits[place] = line[:start], line[start:stop]
            ids = np.take(ids, np.arange(start, stop), axis)
        elif isinstance(part, int):
            ids = np.take(ids, 0, axis)
            continue
        axis += 1
    if not ids.size:
        return call.barrier("a slice without elements")

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        several = isinstance(given, list | tuple)
        items = list(arguments["slice_spec"]) if several else [arguments["slice_spec"]]
        for place, (before, inside) in edits.items():
            first = kept.count(before)
            items[place] = _like(items[place], first, first + kept.count(inside))
        arguments["slice_spec"] = tuple(items) if several else items[0]

    if edits:
        call.edit_arguments(edit)
    return Labels(ids, call.output_shape)


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


def _like(item: Any, start: int, stop: int) -> Any:
    if isinstance(item, dict):
        return {**item, "start": start, "stop": stop}
    return slice(start, stop, None)


def _slice_of_sizes(call: LayerCall, sizes: Sizes, parts: list[tuple[int, slice | int | None]]) -> Found:
    index = tuple(np.newaxis if part is None else part for _, part in parts)
    if set(np.arange(sizes.of.rank)[index].reshape(-1).tolist()) & set(sizes.of.varying):
        call.ties.pin(sizes.of.ids, f"{call.record.path}: the number of channels is computed with")
    return Labels(sizes.ids.reshape((1,) * len(call.output_shape)), call.output_shape)


register_layer(SlicingOpLambda, channels=slicing, constants=Moves())
