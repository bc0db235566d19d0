"""Check of a pruned model against its budget, after the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.limits import amount_said
from tfmot_swd.keras2.compat import keras
from tfmot_swd.workflows.file_exports import FileExport


def over_budget(budget: Budget | None, whole: Any, pruned: Any) -> str:
    """Returns in words which limit a pruned model exceeds; empty where it is within all that are counted exactly.

    A training ends within its budget unless layers that were frozen kept their channels, or a product of two tensors
    did. Estimated costs, as the bytes of a file, are not looked at: the file says them.

    Args:
      budget: what was asked for; None for a rate.
      whole, pruned: the model before and after, of tf_keras or Keras 3.

    >>> import tf_keras as keras
    >>> nets = [keras.Sequential([keras.layers.Dense(units, input_shape=(2,))]) for units in (4, 3)]
    >>> over_budget(Budget(parameters=0.5), *nets).partition(".")[0]
    'The budget was not met: the model has parameters=9 and was to have 6 at most'
    >>> over_budget(Budget(parameters=0.75), *nets)
    ''
    """
    if budget is None:
        return ""
    exact = [name for name in budget.costs if not budget.cost(name).estimated]
    before, found = (
        {name: budget.cost(name).of(model, budget.input_shape) for name in exact} for model in (whole, pruned)
    )
    limits = budget.limits({**dict.fromkeys(budget.costs, 0), **before})
    over = [name for name in exact if found[name] > limits[name]]
    if not over:
        return ""
    has, allowed = (" and ".join(f"{name}={amount_said(part[name])}" for name in over) for part in (found, limits))
    bound = allowed if len(over) > 1 else allowed.partition("=")[2]
    return (
        f"The budget was not met: the model has {has} and was to have {bound} at most. Warnings of the training say "
        "why, as that of frozen layers, whose channels stay."
    )


def file_over_budget(
    budget: Budget | None, whole: keras.Model, pruned: keras.Model, exports: Sequence[FileExport]
) -> str:
    """Returns in words that a file is larger than a budget in bytes allows, which is an estimate in training.

    Args:
      budget: what was asked for; None for a rate.
      whole, pruned: the tf_keras model before and after.
      exports: the files; without one of the budget's recipe, the bytes of such a file are found by a conversion.
    """
    if budget is None or budget.bytes is None:
        return ""
    size = budget.cost("bytes")
    file = next((each.result.bytes for each in exports if each.result and each.recipe == budget.recipe), None)
    found = int(size.of(pruned)) if file is None else file
    is_share = isinstance(budget.bytes, float) and budget.bytes <= 1
    alone = Budget(bytes=budget.bytes, recipe=budget.recipe)
    limit = alone.limits({"bytes": size.of(whole) if is_share else 0})["bytes"]
    if found <= limit:
        return ""
    asked = budget.bytes * limit / found
    return (
        f"The budget was not met: the {budget.recipe} file has {found:,} bytes of {limit:,}, as its size is estimated "
        f"while the model trains. Ask for less, {f'{asked:.3g}' if is_share else f'{int(asked):,}'}."
    )
