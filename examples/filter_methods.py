"""Methods that remove filters, all made of the same parts, and the dense net that they should beat."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras as keras

import tfmot_swd
from examples.job import Fitted, Job

# Of the epochs, those in which filters leave; the rest fine-tunes.
PRUNING_SHARE = 2 / 3


@dataclasses.dataclass(frozen=True)
class FilterMethod:
    """How one method removes filters; arguments of `prune_progressive_gradient` and `ProgressiveRate`."""

    criterion: str
    curve: str = "exponential"
    hard_share: float = 0.5
    soft_reset: str = "all"
    reset_slots: bool = True
    reduction: str = "leader"
    removal_frequency: int = 1
    pruning_share: float = PRUNING_SHARE
    clipnorm: float | None = None


def schedule_of(method: FilterMethod, rate: float, epochs: int) -> tfmot_swd.ProgressiveRate:
    """Returns the method's schedule in a training of so many epochs."""
    pruning = max(round(method.pruning_share * epochs), 1)
    return tfmot_swd.ProgressiveRate(rate, pruning, method.curve, min(method.removal_frequency, pruning))


def wrapped(method: FilterMethod, job: Job) -> keras.Model:
    """Returns the job's model, ready to lose its filters by a method."""
    return tfmot_swd.prune_progressive_gradient(
        job.model,
        schedule_of(method, job.rate, job.recipe.epochs),
        method.criterion,
        hard_share=method.hard_share,
        soft_reset=method.soft_reset,
        reset_slots=method.reset_slots,
        reduction=method.reduction,
        round_to=job.round_to,
        seed=job.recipe.seed,
    )


def progressive(method: FilterMethod, job: Job) -> Fitted:
    """Trains while filters leave, and returns the model that is left."""
    pruned = wrapped(method, job)
    callback = tfmot_swd.UpdatePruningStep(training_data=job.stream, training_loss=job.training_loss(pruned))
    history = job.fit(pruned, [callback], clipnorm=method.clipnorm)
    return tfmot_swd.strip_pruning(pruned), history, callback


def small_dense(job: Job) -> Fitted:
    """A dense net of the widths that the published schedule ends with, trained from its own random start."""
    schedule = schedule_of(FILTER_TABLE["rpgp"], job.rate, job.recipe.epochs)
    small = afresh(narrow(job.model, schedule.share_left(schedule.epochs), job.round_to))
    return small, job.fit(small, []), None


def narrow(model: keras.Model, share: float, round_to: int = 1) -> keras.Model:
    """Returns the model with the first filters of each convolution that can lose some: a share of them, rounded up."""
    keep = {}
    for row in tfmot_swd.plan_channels(model).ranked:
        left = int(np.ceil(row.channels * share / round_to - 1e-9)) * round_to
        keep[row.group] = np.arange(row.channels) < max(left, 1)
    return tfmot_swd.channels.remove_channels(model, keep)


def afresh(model: keras.Model) -> keras.Model:
    """Returns the same network with weights of its own, drawn for its shapes."""
    return keras.models.clone_model(model)


FILTER_TABLE = {
    "rpgp": FilterMethod("rpgp"),
    "pgp": FilterMethod("pgp"),
    "weight_change": FilterMethod("weight_change"),
    "weight_taylor": FilterMethod("weight_taylor"),
    "psfp": FilterMethod("l2", "psfp", hard_share=0.0, soft_reset="kernel", reset_slots=False),
    "psfp_whole": FilterMethod("l2", "psfp", hard_share=0.0, soft_reset="kernel", reset_slots=False, pruning_share=1.0),
    # Behind batch norm the gradient of a filter that was set to zero is hundreds of times larger.
    "psfp_clipped": FilterMethod("l2", "psfp", hard_share=0.0, soft_reset="kernel", reset_slots=False, clipnorm=1.0),
    "asfp": FilterMethod("l2", "asfp", hard_share=0.0, soft_reset="kernel", reset_slots=False),
    "sfp": FilterMethod("l2", "constant", hard_share=0.0, soft_reset="kernel", reset_slots=False),
    "l1_once": FilterMethod("l1", "once"),
    "rpgp_hard": FilterMethod("rpgp", hard_share=1.0),
    "rpgp_kernel": FilterMethod("rpgp", soft_reset="kernel"),
    "rpgp_mean": FilterMethod("rpgp", reduction="mean"),
    "rpgp_geometric": FilterMethod("rpgp", "geometric"),
    "l2_progressive": FilterMethod("l2"),
}
FILTER_METHODS: dict[str, Callable[[Any], Fitted]] = {
    **{name: functools.partial(progressive, method) for name, method in FILTER_TABLE.items()},
    "small_dense": small_dense,
}
