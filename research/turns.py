"""Trainings side by side, an epoch or a step of each in turn, so that a slow moment of the machine falls on all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tf_keras as keras

# Steps that are made and not timed.
WARM_UP = 3
# Trains one epoch, of this number, and returns its seconds, on the clock and of the processor.
Epoch = Callable[[int], tuple[float, float]]


def epoch_of(model: keras.Model, stream: Any, callbacks: list[Any]) -> Epoch:
    """Returns what trains a compiled model for one epoch."""

    def train(epoch: int) -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        model.fit(stream, initial_epoch=epoch, epochs=epoch + 1, callbacks=callbacks, verbose=0)
        return time.perf_counter() - start[0], time.process_time() - start[1]

    return train


def in_turn(ways: Mapping[str, Epoch], epochs: int) -> dict[str, dict[str, list[float]]]:
    """Returns `seconds` and `processor_seconds` of each epoch of each way; every other epoch in the other order.

    Seconds of the processor do not see what else the machine does, or that it is slowed down.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for epoch in range(epochs):
        for name in list(ways)[:: 1 if epoch % 2 else -1]:
            for kept, found in zip((seconds[name], processor[name]), ways[name](epoch), strict=True):
                kept.append(found)
    return {"seconds": seconds, "processor_seconds": processor}


def steps_in_turn(ways: Mapping[str, Callable[[], Any]], steps: int) -> dict[str, dict[str, float]]:
    """Returns the median `seconds` of a step of each way, and the median `ratio` to the step of the first beside it.

    The order turns from step to step, so that no way always follows the same other.
    """
    names = list(ways)
    times: dict[str, list[float]] = {name: [] for name in names}
    for step in range(WARM_UP + steps):
        first = step % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            ways[name]()
            if step >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    beside = np.array(times[names[0]])
    return {
        "seconds": {name: float(np.median(values)) for name, values in times.items()},
        "ratio": {name: float(np.median(np.array(values) / beside)) for name, values in times.items()},
    }
