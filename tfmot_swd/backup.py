"""A pruned training that can be killed: after each epoch everything it needs to go on is on the disk."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfmot_swd._compat import keras
from tfmot_swd.channels.groups import ChannelGroup, channel_groups
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.channels.shrink import shrink_to
from tfmot_swd.optimizers import build, built_on, held_optimizers
from tfmot_swd.progressive.wrapper import PruneProgressiveGradient, ScoredWeight
from tfmot_swd.pruning_wrapper import PruningWrapper, collect_wrappers, wrapped_graphs
from tfmot_swd.weight_paths import weight_at

_NOTE = "training.json"
# TensorFlow prints the values of all variables that it does not find.
_LONGEST_REASON = 300


@dataclasses.dataclass(frozen=True)
class TrainingBackup:
    """The last epoch of a training in a directory: weights, scores, masks, clocks, optimizer state, sizes of channels.

    A new one is written beside the old one and takes its place when it is whole.

    Args:
      directory: of its own; made when it is missing.
    """

    directory: Path

    def save(self, model: Any, epoch: int) -> None:
        """Writes the state of `model` after `epoch` finished epochs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        partial, final = self.directory / "partial", self.directory / f"epoch_{epoch:05d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _checkpoint(model).write(str(partial / "state"))
        trained = list(model.trainable_variables)
        note = {
            "epoch": epoch,
            "training": _training_of(model),
            "filters": [_filters(each) for each in _scored(model)],
            "optimizers": [built_on(each, trained) for each in _optimizers(model)],
        }
        (partial / _NOTE).write_text(json.dumps(note, indent=1))
        if final.exists():
            shutil.rmtree(final)
        os.replace(partial, final)
        for older in self._finished()[:-1]:
            shutil.rmtree(older)

    def restore(self, model: Any) -> int:
        """Brings `model` to the state of the backup, channels that had left included; returns its epoch, 0 for none.

        Args:
          model: wrapped and compiled as it was at the start of the training that was interrupted.

        Raises:
          ValueError: the backup is of another model, or of another way of pruning.
        """
        finished = self._finished()
        if not finished:
            return 0
        path = finished[-1]
        note = json.loads((path / _NOTE).read_text())
        self._check(model, note, path)
        # By variable, as Keras names layers anew in each process.
        kept = dict(zip(map(id, _weights(model)), (set(each["origin"]) for each in note["filters"]), strict=True))
        for graph in wrapped_graphs(model):
            groups = channel_groups(graph)
            keep = {name: mask for name, group in groups.items() if not (mask := _mask(group, kept)).all()}
            if keep:
                shrink_to(plan_removal(graph, keep, groups=groups), trained_by=model)
        trained = list(model.trainable_variables)
        for optimizer, places in zip(_optimizers(model), note["optimizers"], strict=True):
            build(optimizer, trained if places is None else [trained[place] for place in places])
        try:
            _checkpoint(model).read(str(path / "state")).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ValueError(_another(path, f"the weights do not fit: {_brief(error)}")) from error
        logging.info("tfmot_swd goes on after epoch %d, from %s", note["epoch"], path)
        return int(note["epoch"])

    def delete(self) -> None:
        """Removes what was written, and the directory where nothing else is in it."""
        for each in (*self._finished(), self.directory / "partial"):
            shutil.rmtree(each, ignore_errors=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _finished(self) -> list[Path]:
        return sorted(each for each in self.directory.glob("epoch_*") if (each / _NOTE).is_file())

    def _check(self, model: Any, note: dict[str, Any], path: Path) -> None:
        mine = _training_of(model)
        for part, value in note["training"].items():
            if not _agree(value, mine[part]):
                raise ValueError(_another(path, f"{part} was {value}, and is {mine[part]}"))
        now = [_filters(each) for each in _scored(model)]
        if len(now) != len(note["filters"]):
            raise ValueError(
                _another(path, f"{len(note['filters'])} weights with filters that are ranked, and {len(now)}")
            )
        for before, after in zip(note["filters"], now, strict=True):
            at = dict(zip(after["origin"], after["initial"], strict=True))
            if [at.get(place) for place in before["origin"]] != before["initial"]:
                raise ValueError(
                    _another(
                        path,
                        f"filters {before['origin']} of a weight in a group of {max(before['initial'])}, and "
                        f"{len(at)} filters in a group of {max(at.values())} now",
                    )
                )


@dataclasses.dataclass(frozen=True)
class Resumed:
    """What Keras's fit asks for the epoch to begin with, in the place of its own BackupAndRestore.

    Args:
      epoch: how many are finished.
    """

    epoch: int

    def maybe_load_initial_counters_from_ckpt(
        self, steps_per_epoch: int | None, initial_epoch: int, mode: Any
    ) -> tuple[int, int]:
        """Returns (epoch, step)."""
        return max(self.epoch, initial_epoch), 0


def _scored(model: Any) -> list[ScoredWeight]:
    return [each for wrapper in collect_wrappers(model, PruneProgressiveGradient) for each in wrapper.scored]


def _weights(model: Any) -> list[Any]:
    """Returns the variable of each scored weight."""
    wrappers = collect_wrappers(model, PruneProgressiveGradient)
    return [weight_at(wrapper.layer, each.path) for wrapper in wrappers for each in wrapper.scored]


def _filters(scored: ScoredWeight) -> dict[str, list[int]]:
    return {"origin": scored.origin.numpy().tolist(), "initial": scored.initial.numpy().tolist()}


def _mask(group: ChannelGroup, kept: dict[int, set[int]]) -> np.ndarray:
    """Returns the keep-mask of a group, by the filters that are kept of each scored weight."""
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


def _checkpoint(model: Any) -> tf.train.Checkpoint:
    optimizers = {f"optimizer_{index}": each for index, each in enumerate(_optimizers(model))}
    return tf.train.Checkpoint(model=model, **optimizers)


def _training_of(model: Any) -> dict[str, Any]:
    """Returns what must be the same for a training to go on, as JSON says it."""
    wrapper = collect_wrappers(model, PruningWrapper)[0]
    parts: dict[str, Any] = {"schedule": wrapper.pruning_schedule.get_config()}
    settings = getattr(wrapper, "settings", None)
    if settings is not None:
        parts["settings"] = keras.utils.serialize_keras_object(settings)
    parts["optimizer"] = [type(each).__name__ for each in _optimizers(model)]
    found: dict[str, Any] = json.loads(json.dumps(parts))
    return found


def _agree(before: Any, now: Any) -> bool:
    """Whether two settings are the same, those that are newer than the backup left aside."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(name in now and _agree(value, now[name]) for name, value in before.items())
    return bool(before == now)


def _brief(error: Exception) -> str:
    """Returns the beginning of what an error says, on one line."""
    reason = " ".join(str(error).split())
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} ..."


def _another(path: Path, received: str) -> str:
    return (
        f"The backup in {path} is of another training: choose another backup_dir, or remove that one to start anew. "
        f"Received: {received}"
    )
