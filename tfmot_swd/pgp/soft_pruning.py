"""Soft pruning: weak filters set to zero in the model and in the state of its optimizers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfmot_swd.channels.groups import Member
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.keras2.optimizer_state import slots_of
from tfmot_swd.keras2.optimizers import slot_start
from tfmot_swd.pgp.pool import ScorePool
from tfmot_swd.pgp.selection import Decision
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient, ScoredWeight
from tfmot_swd.pruning.wrapped_models import collect_wrappers


def soft_prune(model: Any, pool: ScorePool, decision: Decision, optimizers: list[Any]) -> None:
    """Sets the soft filters of a decision to zero, resets their optimizer slots, and marks them in the masks.

    Args:
      model: a wrapped Sequential or Functional model.
      pool: its `soft_reset` and `reset_slots` settings say which weights and slots are reset.
      decision: for this model.
      optimizers: slots of their soft-pruned weights return to their initial values.
    """
    variables = {id(each): each for each in variables_of(model)}
    with pool.strategy.scope():
        scored = _scored(model)
        _mark(scored, decision)
        kernels = None if pool.settings.soft_reset == "all" else set(scored)
        pruned = _soft_slices(kernels, decision)
        touched = [variables[variable_id] for variable_id in pruned]
        if not touched:
            return
        slots: dict[int, list[tuple[Any, float]]] = {id(variable): [] for variable in touched}
        for optimizer in optimizers if pool.settings.reset_slots else []:
            for variable, found in slots_of(optimizer, touched).items():
                slots[variable] += [(slot, slot_start(optimizer, slot)) for slot in found]
        for variable in touched:
            own = [(slot, start) for slot, start in slots[id(variable)] if slot.shape == variable.shape]
            for target, start in [(variable, 0.0), *own]:
                value = target.numpy()
                for axis, indices in pruned[id(variable)]:
                    np.moveaxis(value, axis, 0)[indices] = start
                target.assign(value)


def _scored(model: Any) -> dict[int, ScoredWeight]:
    """Returns the scored weights of one graph by the identity of the variable."""
    wrappers = collect_wrappers(model, PruneProgressiveGradient)
    return {id(weight_at(wrapper.layer, each.path)): each for wrapper in wrappers for each in wrapper.scored}


def _soft_slices(kernels: set[int] | None, decision: Decision) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Returns by variable the (axis, indices) of the slices to set to zero, of these kernels or of all variables."""
    found: dict[int, list[tuple[int, np.ndarray]]] = {}
    for member, indices in _slices(decision):
        if kernels is None or member.variable_id in kernels:
            found.setdefault(member.variable_id, []).append((member.axis, indices))
    return found


def _slices(decision: Decision) -> Iterator[tuple[Member, np.ndarray]]:
    """Yields (member, indices on its axis) for each weight that makes soft channels or acts on them."""
    for name, selection in decision.selections.items():
        group = decision.groups[name]
        for member in (*group.producers, *group.followers):
            indices = np.flatnonzero(np.isin(member.channels, selection.soft))
            if len(selection.soft) and len(indices):
                yield member, indices


def _mark(scored: dict[int, ScoredWeight], decision: Decision) -> None:
    masks = {variable_id: np.ones(each.mask.shape, np.float32) for variable_id, each in scored.items()}
    for member, indices in _slices(decision):
        if member.variable_id in scored and scored[member.variable_id].axis == member.axis:
            masks[member.variable_id][indices] = 0.0
    for variable_id, each in scored.items():
        each.mask.assign(masks[variable_id])
