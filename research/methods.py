"""Pruning methods by name: a case's training and a setting in, a pruned model out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tf_keras as keras

import tfmot_swd
from research import channel_methods
from research.case import Training
from research.magnitude import global_gradual, once_and_restart, tfmot_gradual
from research.straight_through import ForwardPruning, StraightThrough

Setting = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a method made: the pruned model, and what it says beside it."""

    model: keras.Model
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def _dense(training: Training, rate: float, **setting: Any) -> Trained:
    model = training.build()
    training.fit(model)
    return Trained(model)


def _selective(training: Training, schedule: Any, remove_channels: bool = False) -> Trained:
    pruned = tfmot_swd.prune_selective_decay(training.build(), schedule)
    callback = tfmot_swd.UpdatePruningStep(validation_data=training.validation)
    training.fit(pruned, [callback])
    report = callback.final_step
    if report is None:
        raise RuntimeError(f"The final pruning step was not made. Received: {schedule}")
    facts = {"largest_removed": report.largest_removed, "before": report.before, "after": report.after}
    return Trained(tfmot_swd.strip_pruning(pruned, remove_channels=remove_channels), facts)


def _swd(training: Training, rate: float, **setting: Any) -> Trained:
    return _selective(training, tfmot_swd.SelectiveDecay(rate, training.steps, **setting))


def _swd_paper(training: Training, rate: float, **setting: Any) -> Trained:
    schedule = tfmot_swd.SelectiveDecay.paper(rate, training.steps, mu=training.case.weight_decay, **setting)
    return _selective(training, schedule)


def _forward(training: Training, rate: float, **setting: Any) -> Trained:
    network = training.build()
    model = StraightThrough(network.input, network.output, name=network.name)
    model.configure(ForwardPruning(**setting), rate, training.steps)
    training.fit(model)
    model.finish()
    return Trained(model)


def _st3(training: Training, rate: float, **setting: Any) -> Trained:
    return _forward(training, rate, power=1.0, **setting)


def _feather(training: Training, rate: float, **setting: Any) -> Trained:
    scale = 0.5 if rate > 0.95 else 1.0
    return _forward(training, rate, **{"power": 3.0, "gradient_scale": scale, **setting})


def _gradual(training: Training, rate: float, **setting: Any) -> Trained:
    return Trained(global_gradual(training, rate, **setting))


def _lamp(training: Training, rate: float, **setting: Any) -> Trained:
    return Trained(global_gradual(training, rate, criterion="lamp", **setting))


def _bimp(training: Training, rate: float, **setting: Any) -> Trained:
    return Trained(once_and_restart(training, rate, **setting))


def _tfmot(training: Training, rate: float, **setting: Any) -> Trained:
    return Trained(tfmot_gradual(training, rate, **setting))


def _structured(training: Training, rate: float, **setting: Any) -> Trained:
    schedule = tfmot_swd.StructuredDecay(channel_methods.budget_of(rate), training.steps, **setting)
    return _selective(training, schedule, remove_channels=True)


def _progressive(training: Training, rate: float, **setting: Any) -> Trained:
    return Trained(channel_methods.progressive(training, rate, **setting))


def _channels_once(training: Training, rate: float, **setting: Any) -> Trained:
    return Trained(channel_methods.once(training, rate, **setting))


METHODS: dict[str, Callable[..., Trained]] = {
    "dense": _dense,
    "swd": _swd,
    "swd_paper": _swd_paper,
    "forward": _forward,
    "st3": _st3,
    "feather": _feather,
    "global_gradual": _gradual,
    "lamp_gradual": _lamp,
    "bimp": _bimp,
    "tfmot": _tfmot,
    "structured": _structured,
    "progressive": _progressive,
    "channels_once": _channels_once,
}
