"""Weights of a layer by dotted path, as channel rules name them: "kernel", "cell.recurrent_kernel"."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.compat import master_variable


def part_of(layer: Any, path: str) -> tuple[Any, str]:
    """Returns the object inside `layer` that has the weight of a dotted path, and the attribute's name."""
    *parents, name = path.split(".")
    for parent in parents:
        layer = getattr(layer, parent)
    return layer, name


def weight_at(layer: Any, path: str) -> Any:
    """Returns the variable at a dotted path, in full precision."""
    owner, name = part_of(layer, path)
    return master_variable(getattr(owner, name))
