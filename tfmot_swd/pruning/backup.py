"""Checkpoint and resume for pruning runs."""

from __future__ import annotations

import dataclasses
import errno
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfmot_swd.channels.groups import ChannelGroup, channel_groups
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.channels.shrink import shrink_to
from tfmot_swd.keras2.optimizers import build, built_on, held_optimizers
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.pruning.backup_directory import BackupDirectory
from tfmot_swd.pruning.backup_metadata import STATE, damaged, difference, model_of, read_note, training_of, write_note
from tfmot_swd.pruning.wrapped_models import collect_wrappers, wrapped_graphs
from tfmot_swd.pruning.wrapper import KeptFilters, PruningWrapper

# TensorFlow prints the values of all variables that it does not find.
_LONGEST_REASON = 300


class TrainingBackup:
    """Backup of a training after its last epoch: all variables of model and wrappers, optimizer state, channel counts.

    A new backup is written beside the old one and replaces it when it is complete. While a training runs, no other one
    can use the directory.

    Args:
      directory: for this backup alone; created when it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._store = BackupDirectory(directory)
        # Describes the model before any channel was removed; None before `begin`.
        self._model: dict[str, Any] | None = None

    def begin(self, model: Any) -> int:
        """Claims the directory for a new training and restores the backup in it; returns its epoch, 0 for none.

        Args:
          model: wrapped and compiled as at the start of the interrupted training.

        Raises:
          OSError: nothing can be written there, or the disk is too full for a backup.
          RuntimeError: another process has its backup there.
          ValueError: as `restore`.
        """
        variables = {id(each): each for each in (*model.variables, *_optimizer_variables(model))}.values()
        self._store.claim(sum(each.dtype.size * each.shape.num_elements() for each in variables))
        self._model = model_of(model, _optimizers(model))
        return self.restore(model)

    def save(self, model: Any, epoch: int) -> None:
        """Writes the state of `model` after `epoch` finished epochs.

        Raises:
          OSError: it cannot be written; the backup before it is as it was.
          RuntimeError: a later training of this process has claimed the directory.
        """
        trained = list(model.trainable_variables)
        note = {
            "epoch": epoch,
            "training": training_of(model, _optimizers(model)),
            "filters": [{"origin": each.origin, "initial": each.initial} for each in _kept_filters(model)],
            "optimizers": [built_on(each, trained) for each in _optimizers(model)],
            "model": self._model,
        }
        with self._store.placed(f"epoch_{epoch:05d}") as place:
            try:
                _checkpoint(model).write(str(place / STATE))
            except tf.errors.OpError as error:
                raise OSError(errno.EIO, f"{type(error).__name__}: {error.message}") from error
            write_note(place, note)

    def restore(self, model: Any) -> int:
        """Restores the backup into `model`, removed channels included; returns its epoch, 0 for none.

        Warns with a `PruningWarning` where settings of the model or optimizer differ from those of that training.

        Args:
          model: wrapped and compiled as at the start of the interrupted training.

        Raises:
          ValueError: the backup is damaged, or of another model or pruning method.
        """
        finished = self._store.finished()
        if not finished:
            return 0
        path = finished[-1]
        note = read_note(path)
        self._check(model, note, path)
        # By variable, as Keras numbers layer names by process.
        weights = [id(each.weight) for each in _kept_filters(model)]
        kept = dict(zip(weights, (set(each["origin"]) for each in note["filters"]), strict=True))
        for graph in wrapped_graphs(model):
            groups = channel_groups(graph)
            keep = {name: mask for name, group in groups.items() if not (mask := _mask(group, kept)).all()}
            if keep:
                shrink_to(plan_removal(graph, keep, groups=groups), trained_by=model)
        trained = list(model.trainable_variables)
        for optimizer, places in zip(_optimizers(model), note["optimizers"], strict=True):
            if places and max(places) >= len(trained):
                raise ValueError(_another(path, f"{max(places) + 1} trained weights or more, and {len(trained)} now"))
            build(optimizer, trained if places is None else [trained[place] for place in places])
        try:
            _checkpoint(model).read(str(path / STATE)).assert_existing_objects_matched()
        except (AssertionError, ValueError) as error:
            raise ValueError(_another(path, f"the weights do not fit: {_brief(error)}")) from error
        except Exception as error:
            # TensorFlow's reader raises IndexError, DecodeError and others besides its own.
            raise ValueError(damaged(path, f"the checkpoint {STATE}, and {type(error).__name__}: {error}")) from error
        logging.info("tfmot_swd resumes after epoch %d, from %s", note["epoch"], path)
        return int(note["epoch"])

    def delete(self) -> None:
        """Removes the backup, and the directory if it is empty then; ends the claim."""
        self._store.delete()

    def _check(self, model: Any, note: dict[str, Any], path: Path) -> None:
        found = difference(note["training"], training_of(model, _optimizers(model)))
        if found:
            raise ValueError(_another(path, found))
        if len(_optimizers(model)) != len(note["optimizers"]):
            raise ValueError(_another(path, f"{len(note['optimizers'])} optimizers, and {len(_optimizers(model))} now"))
        self._check_model(note.get("model"), path)
        now = _kept_filters(model)
        if len(now) != len(note["filters"]):
            raise ValueError(
                _another(path, f"{len(note['filters'])} weights with filters that are ranked, and {len(now)}")
            )
        for before, after in zip(note["filters"], now, strict=True):
            at = dict(zip(after.origin, after.initial, strict=True))
            if [at.get(place) for place in before["origin"]] != before["initial"]:
                raise ValueError(
                    _another(
                        path,
                        f"filters {before['origin']} of a weight in a group of {max(before['initial'])}, and "
                        f"{len(at)} filters in a group of {max(at.values())} now",
                    )
                )

    def _check_model(self, before: dict[str, Any] | None, path: Path) -> None:
        """Raises for other layers or connections, and warns of other settings, such as a learning rate."""
        if before is None or self._model is None:
            return
        for part in ("classes", "connections"):
            found = difference(before.get(part), self._model[part], f"the model's {part}")
            if found:
                raise ValueError(_another(path, found))
        found = difference(before, self._model)
        if found:
            warnings.warn(
                f"The training resumes from the backup in {path} with other settings than it began with; if that is "
                "not meant, choose another backup_dir, or remove that one to start from the beginning. "
                f"Received: {found}",
                PruningWarning,
                stacklevel=2,
            )


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Start epoch for Keras's fit, which asks its own BackupAndRestore for it.

    Args:
      epoch: number of finished epochs.
    """

    epoch: int

    def maybe_load_initial_counters_from_ckpt(
        self, steps_per_epoch: int | None, initial_epoch: int, mode: Any
    ) -> tuple[int, int]:
        """Returns (epoch, step)."""
        return max(self.epoch, initial_epoch), 0


def _kept_filters(model: Any) -> list[KeptFilters]:
    return [each for wrapper in collect_wrappers(model, PruningWrapper) for each in wrapper.kept_filters()]


def _mask(group: ChannelGroup, kept: dict[int, set[int]]) -> np.ndarray:
    """Returns the keep-mask of a group from the remaining filters of each scored weight."""
    ranked, stays = np.zeros((2, group.size), bool)
    for member in group.producers:
        if member.variable_id in kept and len(member.channels) > 1:
            own = member.channels >= 0
            staying = own & np.isin(np.arange(len(member.channels)), list(kept[member.variable_id]))
            ranked[member.channels[own]] = True
            stays[member.channels[staying]] = True
    return stays | ~ranked


def _optimizers(model: Any) -> list[Any]:
    return [each.optimizer for each in held_optimizers(model, *wrapped_graphs(model))]


def _optimizer_variables(model: Any) -> list[Any]:
    """Returns the variables of all optimizers; slots are among them once an optimizer is built."""
    found: list[Any] = []
    for each in _optimizers(model):
        variables = each.variables
        found += variables() if callable(variables) else variables
    return found


def _checkpoint(model: Any) -> tf.train.Checkpoint:
    optimizers = {f"optimizer_{index}": each for index, each in enumerate(_optimizers(model))}
    return tf.train.Checkpoint(model=model, **optimizers)


def _brief(error: Exception) -> str:
    """Returns the beginning of what an error says, on one line."""
    reason = " ".join(str(error).split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} ..."


def _another(path: Path, received: str) -> str:
    return (
        f"The backup in {path} is of another training: choose another backup_dir, or remove that one to start from the "
        f"beginning. Received: {received}"
    )
