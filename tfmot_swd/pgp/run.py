"""Training run of Progressive Gradient Pruning: ranking and removal of filters at the end of each epoch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmot_swd.channels.criteria import Magnitude
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.channels.shrink import shrink_to
from tfmot_swd.keras2 import optimizers
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.layer_weights import own_weights
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pgp.extra_pass import ExtraPass, check_can_pass
from tfmot_swd.pgp.pool import ScorePool
from tfmot_swd.pgp.selection import Decision, decide
from tfmot_swd.pgp.soft_pruning import soft_prune
from tfmot_swd.pgp.status import ProgressiveStatus
from tfmot_swd.pgp.wrapper import PruneProgressiveGradient
from tfmot_swd.pruning.run import PruningRun, RunOptions, mark_pinned, warn_of_frozen
from tfmot_swd.pruning.wrapped_models import collect_wrappers, plain_name, wrapped_graphs
from tfmot_swd.pruning.wrapper import PruningWrapper


class ProgressiveRun(PruningRun):
    """Ranks filters at the end of each epoch, removes the hard ones and sets the soft ones to zero.

    Raises:
      ValueError: the fit is shorter than the schedule; the optimizer is Adafactor; the criterion needs an extra pass,
        and the training data or a loss are missing; a wrapped layer is in two models; another UpdatePruningStep is in
        the same fit.
      TypeError: the training data are not a dataset.
    """

    wrapper_class = PruneProgressiveGradient

    def __init__(self, model: Any, options: RunOptions, params: dict[str, Any]) -> None:
        super().__init__(model, options, params)
        _check_alone(model, params)
        self._graphs = wrapped_graphs(model)
        _check_apart(self._graphs)
        self._holder = _holder(self.optimizer, (model, *self._graphs))
        self._steps: int | None = params.get("steps")
        self._epoch_batches = 0
        self._finished_in_epoch = False
        self._reported = 0
        # Updates skipped under wrappers that have been replaced since.
        self._skipped_before = 0
        self._link()
        if self._pool.settings.criterion.extra_pass and self._pool.epochs < self._pool.schedule.epochs:
            check_can_pass(model, options.training_data, options.training_loss)
        self._check_length()
        self._begun_at = self._updates()
        # With `updates_per_epoch` an epoch may have begun in an earlier fit.
        under_way = int(self._pool.leader.updates_since.numpy())
        self._epoch_begun_at = self._begun_at - under_way
        if not under_way:
            self._pool.begin_epoch()

    @classmethod
    def prune_now(cls, model: Any) -> None:
        finish_now(model)

    @property
    def skipped(self) -> int:
        return self._skipped_before + self._pool.skipped

    @property
    def is_over(self) -> bool:
        return self._pool.epochs >= self._pool.schedule.epochs

    @property
    def wrappers(self) -> list[PruningWrapper]:
        return list(self._pool.wrappers)

    def scalars(self) -> tuple[int, dict[str, float]]:
        if not self.history:
            return 0, {}
        status: ProgressiveStatus = self.history[-1]
        return status.epoch, status.scalars()

    def on_batch_end(self, batch: int) -> None:
        super().on_batch_end(batch)
        self._epoch_batches = batch + 1
        every = self._pool.schedule.updates_per_epoch
        if every is not None:
            # Several epochs may have ended in one call of the training function.
            ended = (self._updates() - self._epoch_begun_at) // every
            self._epoch_begun_at += ended * every
            self._finish_epochs(ended)
            self._pool.leader.updates_since.assign(self._updates() - self._epoch_begun_at)
        elif self._steps is not None and self._epoch_batches >= self._steps and not self._finished_in_epoch:
            # Before fit validates, so that it validates the pruned model.
            self._finish_epochs(1)
            self._finished_in_epoch = True

    def on_test_begin(self) -> None:
        """Does nothing: Keras has already chosen the function that validates."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None) -> None:
        super().on_epoch_end(epoch, logs)
        self._reported += 1
        if self._pool.schedule.updates_per_epoch is None and not self._finished_in_epoch:
            self._finish_epochs(1)
        self._finished_in_epoch = False
        # The length of a generator is known after its first epoch.
        self._steps = self._steps or self._epoch_batches or None
        if logs is not None and self.history:
            logs.update(self.history[-1].logs())

    def on_train_end(self) -> None:
        schedule, done = self._pool.schedule, self._pool.epochs
        if done < schedule.epochs and not self.options.partial_fit:
            updates = self._updates() - self._begun_at
            hint = "Train on"
            if not self._reported:
                hint = "In a custom loop call callback.on_epoch_end(epoch) after each epoch"
            warnings.warn(
                f"Training ended after {done} of {schedule.epochs} epochs of the schedule, so fewer filters were "
                f"removed than requested. {hint}, or call tfmot_swd.prune_now(model) to remove the rest at once. "
                f"Received: {updates} updates, {self._reported} reported ends of epochs",
                PruningWarning,
                stacklevel=3,
            )
        self._unlink_wrappers()
        self._pool.leave()

    def _link(self) -> None:
        mark_pinned(self.model)
        self._pool = ScorePool.of(self.model)
        self._pool.join(self.optimizer)
        self._extra_pass = ExtraPass(self.model, self._pool, self.options.training_loss)
        self._link_wrappers()

    def _updates(self) -> int:
        return int(optimizers.iterations(self._pool.optimizer).numpy())

    def _finish_epochs(self, count: int) -> None:
        pool = self._pool
        epoch = min(pool.epochs + count, pool.schedule.epochs)
        if epoch <= pool.epochs:
            return
        self._optimizer_check.after_epoch()
        if pool.settings.criterion.extra_pass:
            self._extra_pass.over(self.options.training_data, self._steps)
        pool.settle()
        self._warn_of_skipped()
        if not pool.has_seen_enough():
            raise ValueError(
                "The criterion has received no gradient in this epoch, so filters cannot be ranked: a training step "
                "must call the wrapped model with training=True, take the gradient of a loss of its outputs and apply "
                "it with model.optimizer. "
                f"Received: {type(pool.settings.criterion).__name__} and scores that are all zero"
            )
        self._prune(epoch)

    def finish_now(self) -> None:
        """Prunes to the final rate, by the scores of this epoch so far."""
        self._pool.settle()
        self._prune(self._pool.schedule.epochs)

    def _prune(self, epoch: int) -> None:
        self.history.append(prune_after(self.model, self._graphs, self._pool, epoch))
        if self.history[-1].removed:
            # The wrappers and the optimizers have been replaced.
            self.optimizer = self._holder.successor()
            self._watch_optimizer()
            self._skipped_before += self._pool.skipped
            self._link()
        self._pool.begin_epoch()

    def _check_length(self) -> None:
        schedule, epochs = self._pool.schedule, self.params.get("epochs")
        left = schedule.epochs - self._pool.epochs
        every, reach = schedule.updates_per_epoch, epochs
        if every is not None:
            reach = self._steps * epochs // every if self._steps and epochs else None
        if self.options.partial_fit or reach is None or left <= reach:
            return
        raise ValueError(
            f"The schedule has {left} epochs left and this fit {reach}, so fewer filters would be removed than "
            "requested: give ProgressiveRate as many epochs as fit or fewer, or pass "
            "UpdatePruningStep(partial_fit=True) when more fits follow. "
            f"Received: ProgressiveRate(epochs={schedule.epochs}), fit(epochs={epochs})"
        )


def finish_now(model: Any) -> None:
    """Prunes a wrapped model to its final rate, also in the middle of its training."""
    (first, *_) = collect_wrappers(model, PruneProgressiveGradient)
    if first.run is not None:
        first.run.finish_now()
        return
    graphs = wrapped_graphs(model)
    _check_apart(graphs)
    pool = ScorePool.of(model)
    pool.join(optimizers.main_optimizer(model))
    try:
        prune_after(model, graphs, pool, pool.schedule.epochs)
    finally:
        pool.leave()


def prune_after(model: Any, graphs: list[Any], pool: ScorePool, epoch: int) -> ProgressiveStatus:
    """Prunes the graphs of a model to the rate of the schedule after `epoch`, and returns the status."""
    if epoch >= pool.schedule.epochs:
        warn_of_frozen(model, collect_wrappers(model, PruneProgressiveGradient))
    # Scores are reset when an epoch begins, and a file may have been saved then.
    criterion = pool.settings.criterion if pool.has_seen_enough() else Magnitude(1)
    decisions = [decide(graph, pool, criterion, epoch) for graph in graphs]
    threshold = max(decision.threshold for decision in decisions)
    with pool.strategy.scope():
        for wrapper in pool.wrappers:
            wrapper.pruning_step.assign(epoch)
            wrapper.threshold.assign(threshold)
    for graph, decision in zip(graphs, decisions, strict=True):
        soft_prune(graph, pool, decision, [each.optimizer for each in optimizers.held_optimizers(model, *graphs)])
        _remove(model, graph, decision)
    sizes = {
        # Two models may have layers of the same name.
        (f"{graph.name}/" if len(graphs) > 1 else "") + plain_name(name): decision.groups[name].size - len(each.hard)
        for graph, decision in zip(graphs, decisions, strict=True)
        for name, each in decision.selections.items()
    }
    return ProgressiveStatus(
        epoch=epoch,
        rate=1.0 - pool.schedule.share_left(epoch),
        channels=sum(sizes.values()),
        soft_pruned=sum(decision.soft for decision in decisions),
        removed=sum(decision.hard for decision in decisions),
        parameters=_parameters(graphs),
        threshold=threshold,
        sizes=sizes,
        done=epoch >= pool.schedule.epochs,
    )


def _remove(model: Any, graph: Any, decision: Decision) -> None:
    keep = decision.keep()
    if keep:
        shrink_to(plan_removal(graph, keep, groups=decision.groups), trained_by=model)


def _check_alone(model: Any, params: dict[str, Any]) -> None:
    """Raises where another callback prunes in this fit, as each would remove its own selection of filters."""
    (first, *_) = collect_wrappers(model, PruneProgressiveGradient)
    # The run of an interrupted fit, which may still be there, has other params.
    if first.run is not None and first.run.params is params:
        raise ValueError(
            "Filters are removed by one UpdatePruningStep: leave the others out of the callbacks of fit. "
            "Received: two of them, or more"
        )


def _check_apart(graphs: list[Any]) -> None:
    """Raises where a wrapped layer is part of two models that are pruned separately."""
    wrappers = [wrapper for graph in graphs for wrapper in collect_wrappers(graph, PruneProgressiveGradient)]
    shared = sorted({each.name for each in wrappers if sum(each is other for other in wrappers) > 1})
    if shared:
        raise ValueError(
            "Models that share wrapped layers cannot lose channels separately: put them into one Functional "
            f"model, or wrap one of them. Received: {', '.join(shared)} in more than one model"
        )


def _holder(optimizer: Any, models: Sequence[Any]) -> optimizers.HeldOptimizer:
    """Returns the attribute of one of the models that holds the optimizer.

    Raises:
      ValueError: no model holds it, or an optimizer that they hold cannot lose channels. Without this check both would
        show only after the first epoch.
    """
    held = optimizers.held_optimizers(*models)
    for each in held:
        if isinstance(optimizers.unwrap(each.optimizer), keras.optimizers.Adafactor):
            raise ValueError(
                "Adafactor keeps means over whole axes of a weight, which cannot be updated when channels are removed: "
                f"train with another optimizer, such as Adam or SGD. Received: {type(each.optimizer).__name__}"
            )
    found = next((each for each in held if each.optimizer is optimizer), None)
    if found is None:
        raise ValueError(
            "When filters are removed, the optimizer is replaced by one for the smaller model, which the training step "
            "finds only as an attribute of the model: set model.optimizer = optimizer, or model.generator_optimizer = "
            "optimizer, before on_train_begin, and use that attribute in the training step. "
            f"Received: {type(optimizer).__name__} that {models[0].name!r} does not hold"
        )
    return found


def _parameters(graphs: list[Any]) -> int:
    """Returns the number of parameters of the graphs, without the variables of wrappers."""
    return sum(int(np.prod(weight.shape)) for graph in graphs for weight in own_weights(graph))
