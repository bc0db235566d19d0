"""What a pruned training step costs: Selective Weight Decay and TFMOT's wrapper against plain `fit`.

    python -m research.step_overhead              # on an otherwise idle machine

The same model is trained three times side by side, one step of each in turn, so that a slow moment of the
machine falls on all three; the figure is the median of the ratios step by step. The threshold alone is timed
against `tf.sort` and `tf.math.top_k`. Resumable: one line a network in `research/results/step_overhead.jsonl`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from absl import app
from rich.console import Console
from rich.table import Table

import tfmot_swd
from examples.networks import NETWORKS
from research.journal import Journal
from research.turns import steps_in_turn
from tfmot_swd.pruning.thresholds import kth_magnitude

RESULTS = Path(__file__).parent / "results" / "step_overhead.jsonl"
RATE = 0.9
# All stand in the middle of a run of this many updates: the target climbs, the decay is at work.
RUN, MIDDLE = 8_000, 4_000


def dense_25m(input_shape: tuple[int, ...], num_classes: int, weight_decay: float) -> keras.Model:
    """A convolutional net of about 25 million parameters, most of them in 512-channel convolutions."""
    decay = keras.regularizers.L2(weight_decay / 2)
    inputs = keras.Input(input_shape)
    x = inputs
    for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 6)):
        for _ in range(count):
            x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, kernel_regularizer=decay)(x)
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, kernel_regularizer=decay)(x))


def mobilenet(input_shape: tuple[int, ...], num_classes: int, weight_decay: float) -> keras.Model:
    return NETWORKS["mobilenet_v1"](input_shape, num_classes, weight_decay=weight_decay, alpha=1.0)


# name: (builder, input shape, classes, batch size, steps of each)
CASES: dict[str, tuple[Callable[..., keras.Model], tuple[int, int, int], int, int, int]] = {
    "LeNet-5": (NETWORKS["lenet5"], (28, 28, 1), 10, 128, 200),
    "Fashion net": (NETWORKS["fashion_net"], (28, 28, 1), 10, 128, 120),
    "ResNet-20/16": (NETWORKS["resnet20"], (32, 32, 3), 10, 128, 32),
    "MobileNetV1 at 224": (mobilenet, (224, 224, 3), 1000, 32, 8),
    "VGG-like, 25 M": (dense_25m, (32, 32, 3), 10, 128, 10),
}


# TFMOT refreshes its masks by a full sort of every tensor: seconds a step here.
SLOW_SORTS = ("MobileNetV1 at 224", "VGG-like, 25 M")


def wrapped(kind: str, model: keras.Model) -> keras.Model:
    """Returns `model`, or its wrapped form, compiled."""
    if kind == "swd":
        model = tfmot_swd.prune_selective_decay(model, tfmot_swd.SelectiveDecay(RATE, end_step=RUN))
    elif kind == "structured":
        model = tfmot_swd.prune_selective_decay(model, tfmot_swd.StructuredDecay(RATE, end_step=RUN))
    elif kind.startswith("tfmot"):
        frequency = int(kind.removeprefix("tfmot/"))
        schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, RATE, 0, RUN, frequency=frequency)
        model = tfmot.sparsity.keras.prune_low_magnitude(model, schedule)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    callback = {"s": tfmot_swd.UpdatePruningStep(partial_fit=True), "t": tfmot.sparsity.keras.UpdatePruningStep()}
    if kind != "dense":
        callback[kind[0]].set_model(model)
        callback[kind[0]].on_train_begin()
        for layer in model.layers:
            if hasattr(layer, "pruning_step"):
                layer.pruning_step.assign(MIDDLE)
    return model


def stepper(model: keras.Model, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """Returns what trains one step, by the very function that `fit` calls."""
    function = model.make_train_function()
    iterator = iter(tf.data.Dataset.from_tensors((tf.constant(x), tf.constant(y))).repeat())
    return lambda: function(iterator)["loss"].numpy()


def kinds_of(name: str) -> tuple[str, ...]:
    """Returns what is timed beside a dense step of whole weights."""
    return ("swd", "tfmot/100") if name in SLOW_SORTS else ("swd", "tfmot/100", "tfmot/1")


def measure_steps(name: str, others: tuple[str, ...]) -> dict[str, Any]:
    """Returns seconds a step of each kind, and the median ratio to the dense step beside it."""
    build, shape, classes, batch, steps = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *shape)).astype(np.float32)
    y = rng.integers(0, classes, batch)
    kinds = ("dense", *others)
    parameters = 0
    run = {}
    for kind in kinds:
        model = build(shape, classes, weight_decay=5e-4)
        parameters = model.count_params()
        run[kind] = stepper(wrapped(kind, model), x, y)
    return {"parameters": parameters, "batch": batch, "steps": steps, **steps_in_turn(run, steps)}


def measure_threshold(count: int) -> dict[str, Any]:
    """Returns the median seconds of the threshold of `count` weights, by four ways that agree to the bit."""
    weights = tf.Variable(tf.random.stateless_normal([count], (1, 2)) * 0.05)
    k = int(RATE * count)
    guess = kth_magnitude([weights], k) * 1.0005
    ways = {
        "warm (as in training)": lambda: kth_magnitude([weights], k, guess=guess),
        "histogram passes": lambda: kth_magnitude([weights], k),
        "counting passes, by XLA": lambda: kth_magnitude([weights], k, static=True),
        "tf.sort": lambda: tf.sort(tf.abs(weights))[k],
        "tf.math.top_k": lambda: tf.math.top_k(tf.abs(weights), count - k)[0][-1],
    }
    functions = {name: tf.function(way, jit_compile="XLA" in name) for name, way in ways.items()}
    answers = {float(function()) for function in functions.values()}
    if len(answers) != 1:
        raise RuntimeError(f"The thresholds differ. Received: {answers}")
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(15):
        for name, function in functions.items():
            start = time.perf_counter()
            function().numpy()
            times[name].append(time.perf_counter() - start)
    return {"weights": count, "seconds": {name: float(np.median(values)) for name, values in times.items()}}


def print_tables(journal: Journal, console: Console) -> None:
    steps = Table(title="One training step, ratio to plain fit (median of pairs)")
    for heading in ("network", "parameters", "batch", "dense ms", "SWD", "TFMOT every 100", "TFMOT every step"):
        steps.add_column(heading, justify="left" if heading == "network" else "right")
    structured = Table(title="One step of structured SWD, ratio to plain fit (median of pairs)")
    for heading in ("network", "dense ms", "structured SWD"):
        structured.add_column(heading, justify="left" if heading == "network" else "right")
    thresholds = Table(title="One exact global threshold, ms (median)")
    thresholds.add_column("weights", justify="right")
    for record in journal.records():
        result = record["result"]
        if "structured" in result.get("ratio", {}):
            row = f"{1000 * result['seconds']['dense']:.1f}", f"{result['ratio']['structured']:.3f}"
            structured.add_row(record["key"]["case"], *row)
            continue
        if "ratio" in result:
            ratios = [result["ratio"].get(kind) for kind in ("swd", "tfmot/100", "tfmot/1")]
            steps.add_row(
                record["key"]["case"],
                f"{result['parameters']:,}",
                str(result["batch"]),
                f"{1000 * result['seconds']['dense']:.1f}",
                *("" if ratio is None else f"{ratio:.3f}" for ratio in ratios),
            )
            continue
        if len(thresholds.columns) == 1:
            for name in result["seconds"]:
                thresholds.add_column(name, justify="right")
        cells = [f"{1000 * seconds:.2f}" for seconds in result["seconds"].values()]
        thresholds.add_row(f"{result['weights']:,}", *cells)
    console.print(steps)
    console.print(structured)
    console.print(thresholds)


def main(_: list[str]) -> None:
    journal = Journal(RESULTS)
    console = Console(width=130)
    for count in (60_000, 420_000, 4_000_000):
        key = {"case": "threshold", "weights": count}
        if not journal.done(key):
            journal.append(key, measure_threshold(count))
    for name in CASES:
        of_weights: dict[str, Any] = {"case": name}
        of_channels: dict[str, Any] = {"case": name, "of": "channels"}
        for key, others in ((of_weights, kinds_of(name)), (of_channels, ("structured",))):
            if not journal.done(key):
                console.print(f"Timing {name}, {', '.join(others)} ...")
                journal.append(key, measure_steps(name, others))
    print_tables(journal, console)


if __name__ == "__main__":
    app.run(main)
