"""Checked inputs of a job that trains: model, data, objective and how it is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras3.door import is_keras3_model, opened, to_keras3
from tfmot_swd.pruning.wrapped_models import check_can_wrap
from tfmot_swd.pruning.wrapping import wrap_with
from tfmot_swd.workflows.data import LabelledData, labelled_data
from tfmot_swd.workflows.digests import model_digest
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.objective import Objective, objective_of
from tfmot_swd.workflows.progress import console_of, without_retracing_logs
from tfmot_swd.workflows.training import EVALUATION_BATCH, Trained, Training, prune_in_training


@dataclasses.dataclass(frozen=True)
class Job:
    """What is pruned, on what, for what.

    Args:
      model: a tf_keras model of the job's own, compiled with the objective.
      is_keras3: whether results are models of Keras 3.
      train: to train on.
      validation: to decide on, in batches.
      samples: of the validation data, as they were given.
      objective: the loss and the metric, with a known mode.
      baseline: the metric of the model.
      training: how models are trained.
      console: where progress is shown.
    """

    model: keras.Model
    is_keras3: bool
    train: LabelledData
    validation: LabelledData
    samples: LabelledData
    objective: Objective
    baseline: float
    training: Training
    console: Console

    @property
    def metric(self) -> str:
        """Name of the metric that decides."""
        return str(self.objective.metric)

    def trained_to(self, goal: Goal, backup_dir: Any = None) -> Trained:
        """Returns what `prune_in_training` makes of the model."""
        parts = self.model, goal, self.train, self.validation, self.objective, self.training, self.console
        with without_retracing_logs():
            return prune_in_training(*parts, backup_dir)

    def measured(self, model: keras.Model) -> float:
        """Returns the metric of a tf_keras model, which stays as it is: not compiled, mostly."""
        copy = wrap_with(model, lambda layer, inner: inner)
        self.objective.compile(copy)
        with without_retracing_logs():
            return self.objective.measured(copy, self.validation)

    def returned(self, model: keras.Model) -> Any:
        """Returns a tf_keras model as one of the Keras that the job's was of."""
        return to_keras3(model) if self.is_keras3 else model

    def subject(self) -> dict[str, Any]:
        """Returns what tells this job from others, for its journal.

        Training data in batches may be shuffled and augmented, other each time: of those only the form counts.
        """
        batches = self.train.batches
        form = str(getattr(batches, "element_spec", type(batches).__name__))
        return {
            "model": model_digest(self.model),
            "train": form if self.train.samples is None else self.train.digest(),
            "validation": self.samples.digest(),
            "metric": self.metric,
            "mode": self.objective.mode,
            **self.training.settings(),
        }


def job_of(
    model: Any,
    train: Any,
    validation: Any,
    training: Training,
    metric: Any = None,
    mode: str = "auto",
    verbose: int = 1,
    console: Console | None = None,
    is_keras3: bool | None = None,
) -> Job:
    """Returns a job once its inputs are known to be right; nothing is trained.

    Args:
      model: built and compiled, of either Keras; stays as it is.
      train, validation: as `labelled_data` takes them.
      training: how models are to be trained.
      metric, mode: as `objective_of` takes them.
      verbose: 0 shows nothing.
      console: where progress is shown; standard error by default.
      is_keras3: whether results are to be models of Keras 3; as `model` is by default.

    Raises:
      TypeError, ValueError: as `labelled_data`, `objective_of`, `Objective.settled` and `check_can_wrap`; the model was
        compiled without a loss.
    """
    to_train, held = labelled_data("train", train), labelled_data("validation", validation)
    objective = objective_of(model, metric, mode)
    if objective.compiled.loss is None:
        raise ValueError(
            "The model is compiled without a loss, so it cannot be trained: compile it with loss=... and "
            "metrics=[...]. "
            f"Received: {model.name!r}, with metric={objective.metric!r} and no loss"
        )
    given = opened(model)
    check_can_wrap(given)
    copy = wrap_with(given, lambda layer, inner: inner)
    batches = held.batched(EVALUATION_BATCH)
    objective, baseline = objective.settled(copy, batches)
    origin = is_keras3_model(model) if is_keras3 is None else is_keras3
    shown = console_of(verbose, console)
    return Job(copy, origin, to_train, batches, held, objective, baseline, training, shown)
