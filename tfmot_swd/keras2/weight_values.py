"""Values of weights without copies: views of variables, and pieces of large arrays.

`variable.numpy()` copies, and so does each NumPy operation on the result. What looks at all weights of a model, such as
a status or a report, must not take as much memory as the training step it stands beside: it reads views, and computes
on pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

# Elements of a piece: large enough for NumPy to be fast, and 8 MB in float64.
PIECE = 1 << 20


def view_of(weight: Any) -> np.ndarray:
    """Returns the values of a variable, tensor or array, not to be written to; on a CPU without a copy.

    A view of a variable keeps the values that it has now, also when the variable is assigned to later.
    """
    if hasattr(weight, "read_value"):
        weight = weight.read_value()
    # A view of a view, as an array of the caller's stays writeable.
    view = np.asarray(weight).view()
    view.flags.writeable = False
    return view


def pieces(*arrays: Any, size: int = PIECE) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields corresponding pieces of arrays, without a copy, which cover each element of the first array once.

    Args:
      arrays: the first, and others that broadcast to its shape; what `view_of` takes.
      size: largest number of elements of a piece.

    >>> [values.tolist() for (values,) in pieces(np.array([[1, 2], [3, 4]]), size=2)]
    [[[1, 2]], [[3, 4]]]
    """
    first, *others = (view_of(each) for each in arrays)
    # Broadcasting takes no memory.
    together = [first, *(np.broadcast_to(each, first.shape) for each in others)]
    for place in _places(first.shape, size):
        yield tuple(each[place] for each in together)


def _places(shape: Sequence[int], size: int) -> Iterator[tuple[Any, ...]]:
    """Yields indices of at most `size` elements each that together cover an array of this shape."""
    if math.prod(shape) <= size or not shape:
        yield (...,)
        return
    row = math.prod(shape[1:])
    if row <= size:
        step = size // row
        for start in range(0, shape[0], step):
            yield (slice(start, start + step),)
        return
    for index in range(shape[0]):
        for place in _places(shape[1:], size):
            yield (slice(index, index + 1), *place)


def nonzeros(weight: Any) -> int:
    """Returns the number of elements that are not zero."""
    return int(np.count_nonzero(view_of(weight)))


def is_finite(weight: Any) -> bool:
    """Returns whether all elements are finite as float32."""
    with np.errstate(over="ignore"):
        return all(bool(np.isfinite(piece.astype(np.float32, copy=False)).all()) for (piece,) in pieces(weight))


def largest_magnitude(weight: Any) -> float:
    """Returns the largest magnitude, 0.0 of no elements, NaN where one is NaN."""
    return float(np.max([np.abs(piece).max(initial=0.0) for (piece,) in pieces(weight)], initial=0.0))
