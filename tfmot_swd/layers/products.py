"""Products of two tensors that sum over axes of theirs: tf.matmul, tf.einsum, tf.tensordot and the layer Dot.

One rule for all of them, which writes each as an einsum: a letter for each axis of the factors and of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels
from tfmot_swd.layers.record import NoRule
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.layers.sample import CallShapes

Found = Labels | list[Labels]

# The first of the letters that no equation has.
_UNUSED = 0x391
_TWO_AXES = "a product with channels on two axes"


def contracted(call: LayerCall, factors: Sequence[Labels], terms: Sequence[str], result: str) -> Found:
    """Passes channels through an einsum of one or two tensors.

    Channels on an axis that both factors have are tied, index by index. Those on an axis of the result are passed on;
    where the result would have channels on two axes, those on the shorter one stay. Those on an axis that is summed
    over are read by the product itself: removing one of them drops a term of the sum.

    Args:
      call: the call, of one output.
      factors: labels of the tensors.
      terms: the letters of the axes of each factor.
      result: the letters of the axes of the result.
    """
    if any(len(set(term)) < len(term) for term in (*terms, result)):
        return call.barrier("a product along the diagonal of a tensor has no rule")
    if any(len(labels.varying) > 1 for labels in factors):
        return call.barrier("a product of a tensor with channels on several axes has no rule")
    pairs = list(zip(factors, terms, strict=True))
    lines: dict[str, np.ndarray] = {}
    for labels, term in pairs:
        for axis in labels.varying:
            ids = lines.setdefault(term[axis], labels.along(axis))
            call.ties.tie(ids, labels.along(axis))
    if (len(factors) == 1 and lines.keys() - set(result)) or _sums_one_factor(terms, lines, result):
        return call.barrier("a reduction over channels")
    for labels, term in pairs:
        held = [letter for letter in lines if letter in term and labels.shape[term.index(letter)] != 1]
        for letter in held:
            # An axis cannot get smaller where this factor has no channels on it.
            if not labels.varying:
                call.ties.tie(lines[letter], labels.ids)
            elif term.index(letter) not in labels.varying:
                call.ties.pin(lines[letter], f"{call.record.path}: {_TWO_AXES}")
        if not held:
            call.ties.pin(labels.ids, f"{call.record.path}: one channel acts on all of another tensor")
    passed = sorted((letter for letter in lines if letter in result), key=lambda letter: len(lines[letter]))
    for letter in passed[:-1]:
        call.ties.pin(lines[letter], f"{call.record.path}: {_TWO_AXES}")
    if len(factors) == 2:
        _declare(call, pairs, lines, result)
    if not passed:
        return no_channels(call)
    return call.output(lines[passed[-1]], result.index(passed[-1]))


def no_channels(call: LayerCall, index: int = 0) -> Labels:
    """Returns the labels of an output without channels, such as scores of queries and keys."""
    shape = call.output_shapes[index]
    return Labels(call.ties.new_pinned(f"{call.record.path}: sums over channels").reshape((1,) * len(shape)), shape)


def _sums_one_factor(terms: Sequence[str], lines: dict[str, np.ndarray], result: str) -> bool:
    """Returns whether an axis with channels is summed over that only one factor has."""
    return any(letter not in result and not all(letter in term for term in terms) for letter in lines)


def _declare(call: LayerCall, pairs: Sequence[tuple[Labels, str]], lines: dict[str, np.ndarray], result: str) -> None:
    """Declares which channels a product of two factors reads, and the sizes that its cost is proportional to."""
    axes = tuple(lines.values())
    for letter in [letter for letter in lines if letter not in result]:
        summed = [(labels, term.index(letter)) for labels, term in pairs if term.index(letter) in labels.varying]
        call.multiply(*axes, summed=summed)
        # The product costs once, whatever it sums over.
        axes = ()
    if axes:
        call.multiply(*axes)


def _factor(call: LayerCall, given: Any) -> Labels:
    """Returns the labels of a factor; all channels of a constant stay."""
    if isinstance(given, Labels):
        return given
    if not isinstance(given, np.ndarray | tf.Tensor):
        raise NoRule("a product with anything but tensors and constants has no rule")
    shape = tuple(np.shape(given))
    return Labels(call.ties.new_pinned(f"{call.record.path}: a constant").reshape((1,) * len(shape)), shape)


def _letters(count: int, start: int = 0) -> str:
    """Returns letters that no equation has."""
    return "".join(chr(_UNUSED + start + place) for place in range(count))


def _matmul(call: LayerCall) -> Found:
    given, factors, terms = call.arguments, [], []
    for name, own in (("a", "ij"), ("b", "jk")):
        labels = _factor(call, given[name])
        if given.get(f"transpose_{name}") or given.get(f"adjoint_{name}"):
            own = own[::-1]
        # Axes of a batch are aligned at the right.
        factors.append(labels)
        terms.append(_letters(labels.rank - 2)[::-1] + own)
    batch = max(terms, key=len)[:-2]
    return contracted(call, factors, terms, f"{batch}ik")


def _einsum(call: LayerCall) -> Found:
    equation, given = call.arguments["equation"], call.arguments["inputs"]
    if not isinstance(equation, str) or len(given) > 2:
        return call.barrier("an einsum of three or more tensors has no rule")
    factors = [_factor(call, each) for each in given]
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        single = sorted(letter for letter in set(left) - set(".,") if left.count(letter) == 1)
        result = ("..." if "..." in left else "") + "".join(single)
    spread = [labels.rank - len(term.replace("...", "")) for labels, term in zip(factors, terms, strict=True)]
    # The axes behind an ellipsis are aligned at the right.
    terms = [term.replace("...", _letters(count)[::-1]) for term, count in zip(terms, spread, strict=True)]
    return contracted(call, factors, terms, result.replace("...", _letters(max(spread))[::-1]))


def _tensordot(call: LayerCall) -> Found:
    axes = call.arguments["axes"]
    factors = [_factor(call, call.arguments[name]) for name in "ab"]
    if any(isinstance(each, Labels) for each in tf.nest.flatten(axes)):
        return call.barrier("a product along computed axes has no rule")
    first = factors[0].rank
    if np.ndim(axes) == 0:
        summed = [range(first - int(axes), first), range(int(axes))]
    else:
        summed = [np.atleast_1d(each).tolist() for each in axes]
    return _along(call, factors, summed, batched=False)


def _along(call: LayerCall, factors: list[Labels], axes: Sequence[Sequence[int]], *, batched: bool) -> Found:
    """Passes channels through a product that sums over one or more axes of each factor.

    Args:
      call: the call.
      factors: labels of the two tensors.
      axes: those of each factor that are summed over, in the same order.
      batched: whether both have the same first axis, which is also that of the result.
    """
    first, second = (labels.rank for labels in factors)
    terms = [list(_letters(first)), list(_letters(second, first))]
    for one, other in zip(*axes, strict=True):
        terms[1][other] = terms[0][one]
    if batched:
        terms[1][0] = terms[0][0]
    gone = {terms[0][axis] for axis in axes[0]}
    result = "".join(dict.fromkeys(letter for term in terms for letter in term if letter not in gone))
    # A product of two vectors of each sample has an axis of size one.
    result += _letters(len(call.output_shape) - len(result), first + second)
    return contracted(call, factors, ["".join(term) for term in terms], result)


def _dot(call: LayerCall) -> Found:
    if len(call.inputs) != 2:
        return call.barrier("a product of other than two tensors has no rule")
    axes = call.layer.axes if isinstance(call.layer.axes, list | tuple) else [call.layer.axes] * 2
    axes = [axis % labels.rank for axis, labels in zip(axes, call.inputs, strict=True)]
    if call.layer.normalize and any(axis in each.varying for axis, each in zip(axes, call.inputs, strict=True)):
        return call.barrier("a product of normalized tensors looks across channels")
    return _along(call, call.inputs, [[axis] for axis in axes], batched=True)


def _dot_macs(layer: Any, call: CallShapes) -> int:
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    return math.prod(call.outputs[0]) * call.operands(layer)[0][axis]


# The rules of functions below `tf.` that multiply two tensors, by name.
PRODUCTS: dict[str, Callable[[LayerCall], Found]] = {
    "linalg.matmul": _matmul,
    "einsum": _einsum,
    "tensordot": _tensordot,
}
register_layer(keras.layers.Dot, channels=_dot, macs=_dot_macs)
