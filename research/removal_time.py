"""Seconds of one removal of filters in a training, by part, and what TensorFlow takes for a step of a new network.

A removal is everything between two training steps that would not be there without it: the ranking, the construction of
the smaller model and its optimizer, the trace of its training step and the first run of that, in which TensorFlow
optimizes the graph. The last two are there for any new network: those of a dense one are the least that they can be.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from examples.networks import NETWORKS
from tfmot_swd.channels import shrink
from tfmot_swd.pgp import run as progressive_run

REMOVALS, BATCH = 6, 16
# (name of the part, module, function)
PARTS: tuple[tuple[str, Any, str], ...] = (
    ("ranking", progressive_run, "decide"),
    ("soft pruning", progressive_run, "soft_prune"),
    ("smaller model", shrink, "rebuild"),
    ("its optimizer", shrink, "sliced_optimizer"),
    ("whole", progressive_run, "prune_after"),
)


def measure_removal(network: str, options: dict[str, Any], hard_share: float) -> dict[str, Any]:
    """Returns seconds of the processor of each part of a removal, medians of several, and those of a dense network.

    Seconds of the processor do not see what else the machine does.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(BATCH, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, BATCH)
    stream = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    keras.utils.set_random_seed(0)
    net = NETWORKS[network]((32, 32, 3), 10, weight_decay=5e-4, **options)
    schedule = tfmot_swd.ProgressiveRate(0.5, REMOVALS + 1, "geometric")
    model = compiled(tfmot_swd.prune_progressive_gradient(net, schedule, hard_share=hard_share))
    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    first_steps(model, stream)
    rows = []
    for epoch in range(REMOVALS):
        with timed_parts() as seconds:
            callback.on_epoch_end(epoch)
        whole = seconds.pop("whole")
        seconds["else"] = whole - sum(seconds.values())
        rows.append({**seconds, **first_steps(model, stream)})
        assert callback.history[-1].removed
    dense = compiled(net)
    first_steps(dense, stream)
    floors = []
    for _ in range(REMOVALS):
        dense.train_function = None
        floors.append(first_steps(dense, stream))
    seconds = {part: float(np.median([row[part] for row in rows])) for part in rows[0]}
    return {
        "seconds": seconds,
        "whole": float(np.median([sum(row.values()) for row in rows])),
        "dense": float(np.median([sum(row.values()) for row in floors])),
    }


def compiled(model: keras.Model) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    return model


def first_steps(model: keras.Model, stream: Iterator[Any]) -> dict[str, float]:
    """Returns the seconds of the trace of a model's training step, and those of the first run above those of others."""
    function = model.make_train_function()
    found = {"trace": seconds_of(lambda: function.get_concrete_function(stream))}
    first, *others = [seconds_of(lambda: function(stream)) for _ in range(4)]
    return {**found, "first run": max(first - float(np.median(others)), 0.0)}


def seconds_of(action: Callable[[], Any]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


@contextlib.contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Yields a dictionary that holds, after the block, the seconds that each part has taken in it."""
    seconds = {name: 0.0 for name, _, _ in PARTS}
    originals = [getattr(module, function) for _, module, function in PARTS]

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += time.process_time() - start

        return call

    # What others have left would be collected in one of the parts.
    gc.collect()
    for (name, module, function), original in zip(PARTS, originals, strict=True):
        setattr(module, function, timed(name, original))
    try:
        yield seconds
    finally:
        for (_, module, function), original in zip(PARTS, originals, strict=True):
            setattr(module, function, original)
