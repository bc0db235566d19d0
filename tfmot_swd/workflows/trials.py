"""Trainings of one job, each kept in a folder with its model, so that none is made twice."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfmot_swd.io.journal import Journal
from tfmot_swd.keras2.compat import keras
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.job import Job
from tfmot_swd.workflows.model_files import read_model, write_model

JOURNAL = "journal.jsonl"
_SUFFIXES = (".keras", ".backup")


def folder_path(name: str, folder: str | os.PathLike[str]) -> Path:
    """Returns the path of a folder, there or not.

    Raises:
      TypeError: it is not a path.
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise TypeError(f"{name} must be the path of a folder. Received: {name}={folder!r}")
    return Path(folder)


def check_folder(name: str, folder: str | os.PathLike[str]) -> Path:
    """Returns a folder for trials: a new one, an empty one, or one of an earlier start.

    Raises:
      TypeError: it is not a path.
      FileExistsError: it holds other files.
      NotADirectoryError: a file has this name.
    """
    place = folder_path(name, folder)
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(f"{name} must be a folder, and this is a file. Received: {name}={str(place)!r}")
    found = sorted(each.name for each in place.iterdir()) if place.exists() else []
    own = [each for each in found if each.startswith(f".{JOURNAL}.") or each.endswith((*_SUFFIXES, ".tmp"))]
    foreign = [each for each in found if each != JOURNAL and each not in own]
    if foreign or (own and JOURNAL not in found and any(each.endswith(".keras") for each in own)):
        raise FileExistsError(
            f"{name} must be a new or empty folder, or that of the same job, which goes on there; nothing in it is "
            f"overwritten. Received: {name}={str(place)!r} with {', '.join((foreign or own)[:5])}"
        )
    return place


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One finished training.

    Args:
      key: what it was made for.
      metric: of its model, on the validation data; nan where that is not finite.
      cost: of its model.
      seconds: that it took; since it was resumed, where it was.
      history: Keras's epoch logs.
      statuses: the states of the method after each epoch, as dictionaries.
      final_step: the report of the final pruning step; None where there is none.
      first_epoch: at which history and statuses begin, from 0; above that where the training was resumed.
      floor: of the metric, that it was made to look for; None outside of a search.
    """

    key: str
    metric: float
    cost: float
    seconds: float
    history: Mapping[str, Any]
    statuses: tuple[Mapping[str, Any], ...]
    final_step: Mapping[str, Any] | None
    first_epoch: int = 0
    floor: float | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TrialRecord:
        # JSON has no NaN.
        metric = float("nan") if row["metric"] is None else row["metric"]
        return cls(**{**row, "metric": metric, "statuses": tuple(row["statuses"])})


class Trials:
    """The trainings of one job.

    Args:
      job: what is trained.
      subject: what else tells these trainings from others, as plain types.
      cost: tf_keras model → its cost.
      folder: where journal and models are kept; None keeps them in memory.
    """

    def __init__(
        self, job: Job, subject: Mapping[str, Any], cost: Callable[[Any], float], folder: Path | None = None
    ) -> None:
        self._job, self._cost, self._folder = job, cost, folder
        path = None if folder is None else folder / JOURNAL
        whole = {} if folder is None else {**job.subject(), **subject}
        self._journal = Journal(path, whole, "pruning job")
        self._models: dict[str, Any] = {}

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """Those that are finished, oldest first."""
        return tuple(map(TrialRecord.from_row, self._journal.rows))

    def run(self, key: str, goal: Goal, floor: float | None = None) -> TrialRecord:
        """Returns the record of a training, made now unless it is there.

        Args:
          key: a name for files that tells the goal from others of the job.
          goal: what the model is to become.
          floor: of a search, kept in the record.
        """
        known = next((each for each in self.records if each.key == key), None)
        if known is not None:
            return known
        begun = time.perf_counter()
        trained = self._job.trained_to(goal, self._place(key, ".backup"))
        row = {
            "key": key,
            "metric": self._job.measured(trained.model),
            "cost": self._cost(trained.model),
            "seconds": round(time.perf_counter() - begun, 1),
            **trained.record(),
            "floor": floor,
        }
        file = self._place(key, ".keras")
        if file is None:
            self._models[key] = trained.model
        else:
            # Before the row, which says that it is there.
            write_model(file, trained.model)
            # That of the last training is mostly the one that is wanted, and one alone takes little memory.
            self._models = {key: trained.model}
        self._journal.append(row)
        return self.records[-1]

    def model(self, key: str) -> keras.Model:
        """Returns the tf_keras model of a finished training.

        Raises:
          ValueError: its file cannot be read.
        """
        if key not in self._models:
            file = self._place(key, ".keras")
            assert file is not None
            return read_model(file, self._job.model)
        return self._models[key]

    def keep(self, key: str | None) -> None:
        """Forgets models in memory but one, where no folder has them."""
        if self._folder is None:
            self._models = {name: model for name, model in self._models.items() if name == key}

    def _place(self, key: str, suffix: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{key}{suffix}"
