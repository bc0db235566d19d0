"""Channel labels of tensors, and ties between channels that must be kept or removed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cached_property

import numpy as np

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Labels:
    """The channel of each element of one tensor.

    Args:
      ids: int64 array of the tensor's rank, batch axis included; of size 1 along axes on which the channel
        does not change. A feature map (batch, 7, 7, 64) has ids of shape (1, 1, 1, 64).
      shape: the tensor's static shape; None for an unknown size.
    """

    ids: np.ndarray
    shape: Shape

    @property
    def rank(self) -> int:
        """The number of axes, batch axis included."""
        return len(self.shape)

    @property
    def varying(self) -> tuple[int, ...]:
        """The axes along which the channel changes."""
        return tuple(axis for axis, size in enumerate(self.ids.shape) if size > 1)

    def along(self, axis: int) -> np.ndarray:
        """Returns the channel at each index of `axis`, `(size,)`, at the first index of all other axes."""
        axis %= self.rank
        line = np.moveaxis(self.ids, axis, -1).reshape(-1, self.ids.shape[axis])[0]
        size = self.shape[axis]
        return np.repeat(line, size) if line.size == 1 and size is not None else line

    def whole(self) -> np.ndarray:
        """Returns the ids of all elements, with unknown sizes as 1."""
        return np.broadcast_to(self.ids, tuple(1 if size is None else size for size in self.shape))

    @classmethod
    def on_axis(cls, ids: np.ndarray, axis: int, shape: Iterable[int | None]) -> Labels:
        """Returns labels that vary along one axis only."""
        shape = tuple(shape)
        sizes = [1] * len(shape)
        sizes[axis] = len(ids)
        return cls(np.asarray(ids, np.int64).reshape(sizes), shape)

    @classmethod
    def compressed(cls, whole: np.ndarray, shape: Iterable[int | None]) -> Labels:
        """Returns labels from the ids of all elements, with size 1 along axes on which these do not change."""
        for axis in range(whole.ndim):
            first = np.take(whole, [0], axis)
            if whole.shape[axis] > 1 and (whole == first).all():
                whole = first
        return cls(np.array(whole), tuple(shape))


@dataclasses.dataclass(frozen=True)
class Sizes(Labels):
    """The labels of `tf.shape`: numbers, some of which depend on the channels of a tensor.

    Args:
      of: the labels of that tensor.
    """

    of: Labels


class Ties:
    """Collects which channels are coupled and which must stay; `resolve` joins them to classes.

    >>> ties = Ties()
    >>> a, b = ties.new(3), ties.new(3)
    >>> ties.tie(a, b)
    >>> ties.pin(a[:1], "model output")
    >>> classes = ties.resolve()
    >>> [bool(classes.root[i] == classes.root[j]) for i, j in zip(a[1:], b[1:])]
    [True, True]
    >>> classes.reasons(b)
    ('model output',)
    """

    def __init__(self) -> None:
        self._count = 0
        self._edges: list[np.ndarray] = []
        self._pins: list[tuple[np.ndarray, str]] = []

    @property
    def count(self) -> int:
        """The number of channels."""
        return self._count

    @property
    def ties_anything(self) -> bool:
        """Whether any two channels have been tied."""
        return any(pairs.size for pairs in self._edges)

    def new(self, count: int) -> np.ndarray:
        """Returns the ids of `count` new channels, int64 `(count,)`."""
        ids = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        return ids

    def new_pinned(self, reason: str) -> np.ndarray:
        """Returns the id of one new channel that must stay, int64 `(1,)`."""
        ids = self.new(1)
        self.pin(ids, reason)
        return ids

    def tie(self, first: np.ndarray, second: np.ndarray) -> None:
        """Ties two arrays of ids element by element, with broadcasting."""
        first, second = np.broadcast_arrays(self._checked(first), self._checked(second))
        pairs = np.stack([first.ravel(), second.ravel()], axis=1)
        self._edges.append(np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0))

    def tie_along(self, ids: np.ndarray, axis: int) -> None:
        """Ties all slices of an array of ids along one axis."""
        self.tie(ids, np.take(ids, [0], axis))

    def pin(self, ids: np.ndarray, reason: str) -> None:
        """Marks channels that must stay, with the reason."""
        self._pins.append((np.unique(self._checked(ids)), reason))

    def are_pinned(self, ids: np.ndarray) -> bool:
        """Returns whether any of these channels itself was marked to stay; of those tied to it nothing is known yet."""
        return any(bool(np.isin(pinned, ids).any()) for pinned, _ in reversed(self._pins))

    def _checked(self, ids: np.ndarray) -> np.ndarray:
        """Returns ids as an array; raises a ValueError where they are no channels."""
        ids = np.asarray(ids)
        if ids.dtype.kind not in "iu" or (ids.size and not 0 <= ids.min() <= ids.max() < self._count):
            raise ValueError(f"Channels are ids that this model's walk has given out. Received: {ids!r}")
        return ids

    def resolve(self) -> Classes:
        """Returns the classes of coupled channels, and those that must stay."""
        reasons: dict[int, dict[str, None]] = {}
        for ids, reason in self._pins:
            for each in ids.tolist():
                reasons.setdefault(each, {})[reason] = None
        parent = list(range(self._count))

        def find(each: int) -> int:
            while parent[each] != each:
                parent[each] = parent[parent[each]]
                each = parent[each]
            return each

        inherited: list[tuple[int, int]] = []
        for pairs in self._edges:
            for first, second in pairs.tolist():
                # A channel that must stay makes those tied to it stay; it does not join them to one class.
                if first in reasons or second in reasons:
                    inherited.append((first, second))
                else:
                    first, second = find(first), find(second)
                    parent[max(first, second)] = min(first, second)
        root = np.array([find(each) for each in range(self._count)], np.int64)
        pinned: dict[int, dict[str, None]] = {}
        for each, why in reasons.items():
            pinned.setdefault(int(root[each]), {}).update(why)
        for first, second in inherited:
            why = {**reasons.get(first, {}), **reasons.get(second, {})}
            for each in (first, second):
                pinned.setdefault(int(root[each]), {}).update(why)
        return Classes(root, {each: tuple(why) for each, why in pinned.items()})


@dataclasses.dataclass(frozen=True)
class Classes:
    """Classes of coupled channels of a model.

    Args:
      root: int64 array, channel id → the id that represents its class.
      pinned: representative → why the class must stay.
    """

    root: np.ndarray
    pinned: dict[int, tuple[str, ...]]

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Returns the class of each channel, by its representative."""
        return self.root[ids]

    def is_pinned(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether each channel must stay, bool."""
        return self._stays[ids]

    @cached_property
    def _stays(self) -> np.ndarray:
        """Whether each channel must stay, by id."""
        pinned = np.zeros(len(self.root), bool)
        pinned[list(self.pinned)] = True
        return pinned[self.root]

    def reasons(self, ids: np.ndarray) -> tuple[str, ...]:
        """Returns the reasons for which channels among these must stay, each once."""
        found = (self.pinned.get(each, ()) for each in dict.fromkeys(self.root[ids].ravel().tolist()))
        return tuple(dict.fromkeys(reason for why in found for reason in why))
