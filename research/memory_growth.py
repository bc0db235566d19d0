"""Resident memory of one process over many trainings, and over many removals of filters in one training.

    python -m research.memory_growth              # 200 trainings of each method, about two hours
    python -m research.memory_growth --report     # the table of what is there

Each row is a process of its own. Plain Keras stands beside the methods: what it keeps is not ours to free. Resumable:
`research/results/memory_growth.jsonl`.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from absl import app, flags
from rich.console import Console
from rich.table import Table

import tfmot_swd
from research.child import measure_apart
from research.journal import Journal
from tfmot_swd.magnitude.entry import prune_magnitude

RESULTS = Path(__file__).parent / "results" / "memory_growth.jsonl"
FITS, REMOVALS, BATCH, STEPS = 200, 30, 8, 2
METHODS: dict[str, Callable[[Any], Any]] = {
    "dense": lambda net: net,
    "SWD": lambda net: tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=2 * STEPS)),
    "structured SWD": lambda net: tfmot_swd.prune_selective_decay(
        net, tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), end_step=2 * STEPS)
    ),
    "PGP": lambda net: tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, 1)),
    "magnitude": lambda net: prune_magnitude(net, tfmot.sparsity.keras.ConstantSparsity(0.5, 0)),
}

REPORT = flags.DEFINE_bool("report", False, "only print the table of what is there")
COUNT = flags.DEFINE_integer("fits", FITS, "trainings in one process")
ONE = flags.DEFINE_string("one", None, "used by this program itself: the case to measure, as JSON")
CHILD = flags.DEFINE_string("child", "", "used by this program itself: write the result of one case here")


def network(filters: int = 8) -> keras.Model:
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(filters, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(STEPS * BATCH, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, STEPS * BATCH)


def compiled(model: keras.Model) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    return model


def measure_fits(method: str, clears: bool, count: int) -> dict[str, Any]:
    """Returns the memory after each of many trainings of a new model each, and the graphs that are left."""
    x, y = data()
    resident = []
    for _ in range(count):
        model = compiled(METHODS[method](network()))
        callbacks = [] if method == "dense" else [tfmot_swd.UpdatePruningStep()]
        model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, callbacks=callbacks)
        del model, callbacks
        if clears:
            keras.backend.clear_session()
        gc.collect()
        resident.append(resident_mib())
    return {"resident_mib": resident, "graphs": graphs_alive()}


def measure_removals(method: str, clears: bool, count: int) -> dict[str, Any]:
    """Returns the memory after each of many removals in one training, at which one filter goes."""
    x, y = data()
    schedule = tfmot_swd.ProgressiveRate((count + 0.5) / (count + 2), count, "linear")
    model = compiled(tfmot_swd.prune_progressive_gradient(network(count + 2), schedule, hard_share=1.0))
    resident: list[float] = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                gc.collect()
                resident.append(resident_mib())

    step = tfmot_swd.UpdatePruningStep()
    model.fit(x, y, batch_size=BATCH, epochs=count + 1, verbose=0, callbacks=[step, Note()])
    return {
        "resident_mib": resident,
        "graphs": graphs_alive(),
        "removals": sum(bool(each.removed) for each in step.history),
    }


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def graphs_alive() -> int:
    gc.collect()
    types = Counter(map(type, gc.get_objects()))
    return sum(types[each] for each in types if issubclass(each, tf.__internal__.FuncGraph))


def keys(count: int) -> list[dict[str, Any]]:
    fits = [
        {"what": "fits", "method": method, "clears": clears, "count": count}
        for clears in (False, True)
        for method in METHODS
    ]
    return [*fits, {"what": "removals", "method": "PGP", "clears": False, "count": REMOVALS}]


def print_table(journal: Journal, console: Console) -> None:
    table = Table(title="Resident memory of one process, MiB")
    for heading in (
        "what",
        "method",
        "clear_session",
        "times",
        "after a tenth",
        "at the end",
        "each time",
        "graphs left",
    ):
        table.add_column(heading, justify="left" if heading in ("what", "method", "clear_session") else "right")
    for record in journal.records():
        key, result = record["key"], record["result"]
        resident = result["resident_mib"]
        tenth = len(resident) // 10
        each = (resident[-1] - resident[tenth]) / (len(resident) - 1 - tenth)
        table.add_row(
            key["what"],
            key["method"],
            "each time" if key["clears"] else "never",
            str(len(resident)),
            f"{resident[tenth]:.0f}",
            f"{resident[-1]:.0f}",
            f"{each:+.2f}",
            str(result["graphs"]),
        )
    console.print(table)


def main(_: list[str]) -> None:
    if CHILD.value:
        key = json.loads(ONE.value)
        measure = measure_fits if key["what"] == "fits" else measure_removals
        Path(CHILD.value).write_text(json.dumps(measure(key["method"], key["clears"], key["count"])))
        return
    journal, console = Journal(RESULTS), Console(width=130)
    for key in keys(COUNT.value) if not REPORT.value else ():
        if not journal.done(key):
            journal.append(key, measure_apart("research.memory_growth", f"--one={json.dumps(key)}"))
            console.print(f"Measured {key}")
    print_table(journal, console)


if __name__ == "__main__":
    app.run(main)
