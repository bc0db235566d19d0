"""The choice, by name, of the layers that are pruned."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection
from typing import Any

from tfmot_swd._compat import keras


@dataclasses.dataclass(frozen=True)
class LayerChoice:
    """Which layers of a model may be pruned.

    A name is that of a layer ("conv1"), its path ("backbone/conv1"), or that of a model inside the model, which stands
    for all layers in it ("backbone").

    Args:
      skip: names of layers that stay whole.
      only: names of the layers that may be pruned; None for all. `skip` leaves some of them out again.

    Raises:
      TypeError: one of them is no list, such as the name itself.
    """

    skip: Collection[str] = ()
    only: Collection[str] | None = None

    def __post_init__(self) -> None:
        _check_list("skip", self.skip)
        if self.only is not None:
            _check_list("only", self.only)

    def check(self, model: Any) -> None:
        """Raises a ValueError that names what the model does not have; layers without weights may be named."""
        known = {name for path, layer in _paths(model) for name in (path, layer.name)}
        for name, given in (("skip", self.skip), ("only", self.only or ())):
            unknown = sorted({each for each in given if each not in known}, key=str)
            if unknown:
                near = [match for each in unknown for match in difflib.get_close_matches(str(each), sorted(known), 1)]
                hint = f": did you mean {', '.join(near)}?" if near else "."
                received = ", ".join(map(str, unknown))
                raise ValueError(f"{name} names layers that the model does not have{hint} Received: {received}")
        if self.only is not None and not self.only:
            raise ValueError(
                "only must name the layers that may be pruned, or be None for all. Received: an empty list"
            )

    def allows(self, path: str) -> bool:
        """Whether the layer at a path may be pruned."""
        return (self.only is None or _is_named(path, self.only)) and not _is_named(path, self.skip)


def _is_named(path: str, names: Collection[str]) -> bool:
    parts = path.split("/")
    return any(part in names or "/".join(parts[: depth + 1]) in names for depth, part in enumerate(parts))


def _paths(model: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for layer in model.layers:
        found.append((prefix + layer.name, layer))
        if isinstance(layer, keras.Model):
            found += _paths(layer, f"{prefix}{layer.name}/")
    return found


def _check_list(name: str, given: Any) -> None:
    if isinstance(given, str) or not isinstance(given, Collection):
        raise TypeError(f"{name} must be a list of names of layers, as ['conv']. Received: {given!r}")
