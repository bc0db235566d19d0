"""Selection by name of the layers to prune."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection
from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import layer_paths


@dataclasses.dataclass(frozen=True)
class LayerChoice:
    """Names of the layers of a model to prune, or to leave unpruned.

    A name is that of a layer ("conv1"), its path ("backbone/conv1"), or that of a nested model, which stands for all
    layers in it ("backbone").

    Args:
      skip: names of layers that are not pruned.
      only: names of the layers that may be pruned; None for all. `skip` takes precedence.

    Raises:
      TypeError: `skip` or `only` is not a collection, but for example a single name.
    """

    skip: Collection[str] = ()
    only: Collection[str] | None = None

    def __post_init__(self) -> None:
        _check_list("skip", self.skip)
        if self.only is not None:
            _check_list("only", self.only)

    def of(self, model: Any) -> ChosenLayers:
        """Returns the selected layers of a model, by path; layers without weights may be named.

        Raises:
          ValueError: the model has no layer of a name (the message suggests a similar one), or `only` is empty.
        """
        known = {name for path, layer in layer_paths(model) for name in (path, layer.name)}
        for name, given in (("skip", self.skip), ("only", () if self.only is None else self.only)):
            unknown = sorted({each for each in given if each not in known}, key=str)
            if unknown:
                near = [match for each in unknown for match in difflib.get_close_matches(str(each), sorted(known), 1)]
                hint = f": did you mean {', '.join(near)}?" if near else "."
                received = ", ".join(map(str, unknown))
                raise ValueError(f"{name} names layers that the model does not have{hint} Received: {received}")
        if self.only is not None and len(self.only) == 0:
            raise ValueError(
                "only must name the layers that may be pruned, or be None for all. Received: an empty list"
            )
        return ChosenLayers(_named(model, self.skip), None if self.only is None else _named(model, self.only))


@dataclasses.dataclass(frozen=True)
class ChosenLayers:
    """Selected layers of one model, by path; a shared layer has several.

    Args:
      skipped: paths of the layers that are not pruned.
      wanted: paths of the layers that may be pruned; None for all.
    """

    skipped: frozenset[str]
    wanted: frozenset[str] | None

    def allows(self, path: str) -> bool:
        """Returns whether the layer at a path may be pruned."""
        return (self.wanted is None or path in self.wanted) and path not in self.skipped


def _named(model: Any, names: Collection[str]) -> frozenset[str]:
    """Returns the paths of all layers with these names or paths, and of all layers in nested models with them."""
    found = list(layer_paths(model))
    chosen = {id(layer) for path, layer in found if path in names or layer.name in names}
    for _, layer in found:
        if id(layer) in chosen and isinstance(layer, keras.Model):
            chosen |= {id(each) for _, each in layer_paths(layer)}
    return frozenset(path for path, layer in found if id(layer) in chosen)


def _check_list(name: str, given: Any) -> None:
    if isinstance(given, str) or not isinstance(given, Collection):
        raise TypeError(f"{name} must be a list of names of layers, as ['conv']. Received: {given!r}")
