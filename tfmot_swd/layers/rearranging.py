"""TensorFlow operators that move elements of a tensor without computing: tf.concat, tf.reshape, tf.gather, tf.stack…"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.layers import structure
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.merging import joined
from tfmot_swd.layers.record import Kept, NoRule

Found = Labels | list[Labels]


def _concat(call: LayerCall) -> Found:
    """Joins channels; those of a constant stay."""
    values = call.arguments["values"]
    if not isinstance(values, list | tuple):
        return call.barrier("concatenation of what is no list of tensors has no rule")
    parts = [each if isinstance(each, Labels) else _constant(call, each) for each in values]
    return joined(call, parts, int(call.arguments.get("axis", 0)), call.output_shape)


def _constant(call: LayerCall, value: Any) -> Labels:
    """Returns the labels of a constant among tensors of the model: it keeps its size."""
    shape = np.shape(value)
    ids = call.ties.new_pinned(f"{call.record.path}: a constant of fixed size")
    return Labels(ids.reshape((1,) * len(shape)), shape)


def _split(call: LayerCall) -> Found:
    axis = int(call.arguments.get("axis", 0)) % call.operand.rank
    if axis not in call.operand.varying:
        return [call.same(call.operand, index) for index in range(len(call.output_shapes))]
    sizes = [shape[axis] for shape in call.output_shapes]
    if len(call.operand.varying) > 1 or None in sizes:
        return call.barrier("a split of channels on several axes, or into parts of unknown size")
    parts = np.split(call.operand.along(axis), np.cumsum(sizes)[:-1])  # type: ignore[arg-type]

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        arguments["num_or_size_splits"] = [kept.count(part) for part in parts]

    call.edit_arguments(edit)
    return [call.output(part, axis, index) for index, part in enumerate(parts)]


def _stack(call: LayerCall) -> Found:
    """Ties the tensors element by element: one axis more, along which channels are the same."""
    axis = int(call.arguments.get("axis", 0)) % len(call.output_shape)
    ids = call.packed(call.arguments["values"]).ids
    return Labels(np.moveaxis(ids, 0, axis), call.output_shape)


def _unstack(call: LayerCall) -> Found:
    labels = call.operand
    axis = int(call.arguments.get("axis", 0)) % labels.rank
    if axis in labels.varying:
        return call.barrier("each channel becomes a tensor of its own")
    ids = np.take(labels.ids, 0, axis)
    return [Labels(ids, shape) for shape in call.output_shapes]


def _gather(call: LayerCall) -> Found:
    """Takes channels at constant indices, which are renumbered; along other axes any indices will do."""
    labels, indices = call.arguments["params"], call.arguments["indices"]
    if not isinstance(labels, Labels):
        return call.barrier("values of a constant at computed indices have no rule")
    axis = call.arguments.get("axis")
    axis = int(0 if axis is None else axis) % labels.rank
    if call.arguments.get("batch_dims"):
        return call.barrier("tf.gather with batch_dims has no rule")
    if axis in labels.varying:
        return _gather_channels(call, labels, np.asarray(_constant_indices(indices)), axis)
    if isinstance(indices, Labels):
        call.ties.pin(indices.ids, f"{call.record.path}: used as indices")
    rank = indices.rank if isinstance(indices, Labels) else np.ndim(indices)
    before, after = labels.ids.shape[:axis], labels.ids.shape[axis + 1 :]
    return Labels(labels.ids.reshape((*before, *(1,) * rank, *after)), call.output_shape)


def _constant_indices(indices: Any) -> Any:
    if any(isinstance(each, Labels) for each in tf.nest.flatten(indices)):
        raise NoRule("channels at computed indices have no rule")
    return indices


def _gather_channels(call: LayerCall, labels: Labels, indices: np.ndarray, axis: int) -> Found:
    if labels.varying != (axis,) or indices.ndim > 1:
        return call.barrier("indices of several axes have no rule along the channels")
    line = labels.along(axis)
    if indices.ndim == 0:
        one_channel_stays(call, line[int(indices)])
    kept_indices(call, "indices", line, indices)
    return Labels(np.take(labels.ids, indices, axis), call.output_shape)


def one_channel_stays(call: LayerCall, channel: np.ndarray) -> None:
    """Pins a channel that an operator takes by its number, without leaving an axis on which it could be missing."""
    call.ties.pin(channel, f"{call.record.path}: takes this one channel")


def kept_indices(call: LayerCall, name: str, line: np.ndarray, indices: np.ndarray) -> None:
    """Declares that an argument has the indices of these channels, which are renumbered among the kept ones."""

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        stays = kept.mask(line)
        found = (np.cumsum(stays) - 1)[indices[stays[indices]] if indices.ndim else indices]
        like = arguments[name]
        arguments[name] = tf.constant(found, like.dtype) if isinstance(like, tf.Tensor) else found.tolist()

    call.edit_arguments(edit)


def _tile(call: LayerCall) -> Found:
    labels, multiples = call.operand, call.arguments["multiples"]
    if isinstance(multiples, Labels):
        return call.barrier("computed multiples have no rule")
    multiples = list(multiples) if isinstance(multiples, list | tuple) else np.asarray(multiples).tolist()
    ids = labels.ids
    for axis in labels.varying:
        if isinstance(multiples[axis], Labels):
            return call.barrier("computed multiples have no rule")
        ids = np.concatenate([ids] * int(multiples[axis]), axis)
    return Labels(ids, call.output_shape)


def _repeat(call: LayerCall) -> Found:
    labels, repeats, axis = call.operand, call.arguments["repeats"], call.arguments.get("axis")
    if axis is None:
        return call.barrier("repeats of a flattened tensor have no rule")
    axis = int(axis) % labels.rank
    if axis not in labels.varying:
        return call.same(labels)
    if isinstance(repeats, Labels) or np.size(repeats) != 1:
        return call.barrier("another number of repeats for each channel has no rule")
    return Labels(np.repeat(labels.ids, int(np.reshape(repeats, ())), axis), call.output_shape)


def _with_shape(call: LayerCall) -> Found:
    """Gives a tensor the shape of an argument, as tf.broadcast_to and tf.ensure_shape do."""
    labels, shape = call.operand, call.arguments["shape"]
    if isinstance(shape, Labels):
        return call.barrier("a computed shape has no rule")
    more = len(call.output_shape) - labels.rank
    found = Labels(labels.ids.reshape((1,) * more + labels.ids.shape), call.output_shape)
    sized_by_channels(call, found)
    return found


def sized_by_channels(call: LayerCall, found: Labels) -> None:
    """Declares that argument `shape` is that of these labels; computed sizes in it, and -1, are unchanged."""

    def edit(arguments: dict[str, Any], kept: Kept) -> None:
        given = arguments["shape"]
        given = np.asarray(given).tolist() if isinstance(given, tf.Tensor | np.ndarray) else list(given)
        arguments["shape"] = list(structure.smaller_shape(given, found, kept))

    call.edit_arguments(edit)


def _reverse(call: LayerCall) -> Found:
    axes = [int(axis) % call.operand.rank for axis in np.atleast_1d(call.arguments["axis"])]
    return Labels(np.flip(call.operand.ids, tuple(axes)), call.output_shape)


def _roll(call: LayerCall) -> Found:
    axes = {int(axis) % call.operand.rank for axis in np.atleast_1d(call.arguments["axis"])}
    if axes & set(call.operand.varying):
        return call.barrier("a roll along the channels has no rule")
    return call.same(call.operand)


def _depth_to_space(call: LayerCall) -> Found:
    """Ties the channels that become places of one channel: input channel b · channels + c is channel c at place b."""
    labels = call.operand
    if not labels.varying:
        return call.same(labels)
    blocks = call.channels(labels, -1).reshape(int(call.arguments["block_size"]) ** 2, -1)
    call.ties.tie_along(blocks, 0)
    return call.output(blocks[0], -1)


def _space_to_depth(call: LayerCall) -> Found:
    labels = call.operand
    if not labels.varying:
        return call.same(labels)
    return call.output(np.tile(call.channels(labels, -1), int(call.arguments["block_size"]) ** 2), -1)


def _reshape(call: LayerCall) -> Found:
    if isinstance(call.arguments["shape"], Labels):
        return call.barrier("a reshape to a computed shape")
    found = structure.reshaped(call, call.operand, call.output_shape)
    sized_by_channels(call, found)
    return found


def _transpose(call: LayerCall) -> Found:
    order = call.arguments.get("perm")
    order = tuple(reversed(range(call.operand.rank))) if order is None else tuple(int(each) for each in order)
    return structure.transposed(call.operand, order)


def _squeeze(call: LayerCall) -> Found:
    labels, axis = call.operand, call.arguments.get("axis")
    if axis is None or not np.size(axis):
        gone = {each for each, size in enumerate(labels.shape) if size == 1}
    else:
        gone = {each % labels.rank for each in np.atleast_1d(axis).tolist()}
    if not gone:
        return call.barrier("a squeeze that finds nothing might find channels where one stays")
    # Without axes given, the channels would go too where one stays.
    call.edit_arguments(lambda arguments, kept: arguments.__setitem__("axis", sorted(gone)))
    return without_axes(labels, gone, call.output_shape)


def without_axes(labels: Labels, gone: set[int], shape: Sequence[int | None]) -> Labels:
    """Returns labels without some axes, along which the channel does not change."""
    return Labels(
        labels.ids.reshape([size for axis, size in enumerate(labels.ids.shape) if axis not in gone]), tuple(shape)
    )


def _expand_dims(call: LayerCall) -> Found:
    return Labels(np.expand_dims(call.operand.ids, int(call.arguments["axis"])), call.output_shape)


REARRANGING: dict[str, Callable[[LayerCall], Found]] = {
    "concat": _concat,
    "split": _split,
    "stack": _stack,
    "unstack": _unstack,
    "gather": _gather,
    "tile": _tile,
    "repeat": _repeat,
    "broadcast_to": _with_shape,
    "ensure_shape": _with_shape,
    "reverse": _reverse,
    "roll": _roll,
    "nn.depth_to_space": _depth_to_space,
    "nn.space_to_depth": _space_to_depth,
    "reshape": _reshape,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "expand_dims": _expand_dims,
}
