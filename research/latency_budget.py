"""Latency that a table of operators predicts against measured latency, and budgets of latency against those of MACs.

    python -m research.latency_budget                          # on an idle machine, some seven minutes
    python -m research.latency_budget --seconds=20 --rounds=10 --clock=cpu   # a look, also on a busy one
    python -m research.latency_budget --report                 # tables of what is there

`workflows.calibrate` measures operators of this machine; no network takes part. Four networks, whole and with half of
their channels (multiples of 8), are then predicted from their layers, and their float32 and int8 files are timed in
LiteRT at one thread, all in turn. Then each loses channels to half of its MACs and to half of its predicted int8
latency, the weakest by L1 norm in multiples of 8, and these files are timed beside the whole network's. Weights are
random, which dense kernels do not notice. One line a network in `research/results/latency_budget.jsonl`, with the table
that it was predicted from; resumable.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from absl import app, flags
from rich.console import Console

from examples.networks import NETWORKS
from research.exactness import random_images, randomize
from research.journal import Journal
from research.tables import ResultTable, write_markdown
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.channels.removal import plan_removal
from tfmot_swd.costs import Budget, LatencyCost, LatencyTable, fit_budget, profile
from tfmot_swd.pruning.statistics import reestimate_batch_norm
from tfmot_swd.tflite import export_tflite
from tfmot_swd.tflite.latency import tflite_runner, time_in_turn
from tfmot_swd.workflows import calibrate

RESULTS = Path(__file__).parent / "results"
RECIPES = ("float32", "int8")
SHARE, ROUND_TO, SEED = 0.5, 8, 0
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}


def ds_cnn(input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """The keyword spotting network of MLPerf Tiny: a 10x4 convolution and four separable ones of 64 channels."""
    inputs = x = keras.Input(input_shape)
    x = keras.layers.Conv2D(64, (10, 4), strides=2, padding="same")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    for _ in range(4):
        x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.Conv2D(64, 1)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, activation="softmax")(x), name="ds_cnn")


CASES: dict[str, Callable[[], keras.Model]] = {
    "Fashion net at 28": lambda: NETWORKS["fashion_net"]((28, 28, 1), 10),
    "ResNet-8 at 32": lambda: NETWORKS["resnet8"]((32, 32, 3), 10),
    "MobileNetV1 0.25 at 96": lambda: NETWORKS["mobilenet_v1"]((96, 96, 3), 2, alpha=0.25),
    "DS-CNN at 49x10": lambda: ds_cnn((49, 10, 1), 12),
}


def half_of(model: keras.Model) -> keras.Model:
    """Returns the network with half of the channels of each group, in multiples of 8."""
    groups = channel_groups(model)
    rng = np.random.default_rng(SEED)
    keep = {name: rng.permutation(group.size) < max(group.size // 2, 1) for name, group in groups.items()}
    return plan_removal(model, keep, round_to=ROUND_TO, groups=groups).apply()


def within(model: keras.Model, budget: Budget) -> keras.Model | None:
    """Returns the network within a budget, of the channels with the largest L1 norms, in multiples of 8.

    None where the budget cannot be met, as the time of a network does not fall to 0 with its channels.
    """
    try:
        fitted = fit_budget(model, "l1", budget, round_to=ROUND_TO)
    except ValueError as error:
        if "cannot be met" not in str(error):
            raise
        return None
    return plan_removal(model, fitted.keep).apply()


def variants(model: keras.Model, table: LatencyTable) -> dict[str, keras.Model]:
    """Returns the networks to measure, by name."""
    cost = LatencyCost(table, "int8")
    found = {
        "whole": model,
        "half width": half_of(model),
        "half of the MACs": within(model, Budget(macs=SHARE)),
        "half of the latency": within(model, Budget(latency=SHARE, custom_costs={"latency": cost})),
    }
    return {name: each for name, each in found.items() if each is not None}


def least_share(model: keras.Model, table: LatencyTable) -> float:
    """Returns the share of the predicted int8 latency that is left with 8 channels of each group."""
    cost, groups = LatencyCost(table, "int8"), channel_groups(model)
    keep = {name: np.arange(group.size) < ROUND_TO for name, group in groups.items()}
    return cost.of(plan_removal(model, keep, groups=groups).apply()) / cost.of(model)


def measured(models: dict[str, keras.Model], x: np.ndarray, table: LatencyTable, rounds: int, clock: str) -> list[Any]:
    """Returns a row for each network and recipe: predicted and measured microseconds, and their ratio to the whole."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.tflite"
        for recipe in RECIPES:
            contents = {}
            for name, model in models.items():
                # A random network multiplies the rounding to 8 bits as no trained one does.
                tolerance = 1.0 if recipe == "int8" else None
                export_tflite(model, path, recipe, representative_data=x, tolerance=tolerance, min_agreement=0.0)
                contents[name] = path.read_bytes()
            times = 1e6 * time_in_turn([tflite_runner(each) for each in contents.values()], rounds, CLOCKS[clock])
            whole = LatencyCost(table, recipe).of(models["whole"])
            for index, (name, model) in enumerate(models.items()):
                predicted = LatencyCost(table, recipe).of(model)
                found.append(
                    {
                        "variant": name,
                        "recipe": recipe,
                        "macs": profile(model).macs,
                        "predicted_us": predicted,
                        "measured_us": float(np.median(times[:, index])),
                        "low_us": float(np.quantile(times[:, index], 0.1)),
                        "high_us": float(np.quantile(times[:, index], 0.9)),
                        "predicted_ratio": predicted / whole,
                        "measured_ratio": float(np.median(times[:, index] / times[:, 0])),
                    }
                )
    return found


def tables_of(journal: Journal) -> list[ResultTable]:
    """Returns predictions against measurements, and the budgets that were kept."""
    predictions, budgets, errors = [], [], []
    for record in journal.records():
        if "variants" not in record["result"]:
            continue
        rows = record["result"]["variants"]
        whole = {row["recipe"]: row for row in rows if row["variant"] == "whole"}
        for row in rows:
            name = record["key"]["network"]
            if row["variant"] in ("whole", "half width"):
                error = row["predicted_us"] / row["measured_us"] - 1
                errors.append(abs(error))
                times = f"{row['predicted_us']:.1f}", f"{row['measured_us']:.1f}"
                spread = f"{row['low_us']:.1f} to {row['high_us']:.1f}"
                predictions.append((name, row["variant"], row["recipe"], *times, spread, f"{error:+.0%}"))
            elif row["recipe"] == "int8":
                shares = row["macs"] / whole["int8"]["macs"], row["predicted_ratio"], row["measured_ratio"]
                is_met = "yes" if row["measured_ratio"] <= SHARE else "no"
                budgets.append((name, row["variant"], *(f"{each:.3f}" for each in shares), is_met))
        if "half of the latency" not in {row["variant"] for row in rows}:
            least = f"{record['result']['least_share']:.3f} at least"
            budgets.append((record["key"]["network"], "half of the latency", "", least, "", "cannot be met"))
    said = f"median error {np.median(errors):.0%}, largest {max(errors):.0%}" if errors else "nothing measured"
    return [
        ResultTable(
            f"Predicted and measured latency, one thread: {said}",
            ("network", "channels", "recipe", "predicted, µs", "measured, µs", "10 to 90 %", "error"),
            tuple(predictions),
            left=("network", "channels", "recipe"),
        ),
        ResultTable(
            "Budgets of one half, int8 files: shares of the whole network",
            ("network", "budget", "MACs", "predicted latency", "measured latency", "latency halved"),
            tuple(budgets),
            left=("network", "budget", "latency halved"),
        ),
    ]


def table_in(journal: Journal, seconds: float, console: Console) -> LatencyTable:
    """Returns the table in a journal, calibrated now where there is none."""
    found = [record["result"]["table"] for record in journal.records() if "table" in record["result"]]
    if found:
        return LatencyTable.from_dict(found[-1])
    console.print(f"Calibrating for {seconds:g} seconds ...")
    table = calibrate(seconds=seconds, console=console)
    journal.append({"part": "calibration", "seconds": seconds}, {"table": table.to_dict()})
    return table


def main(_: list[str]) -> None:
    journal = Journal(flags.FLAGS.output or RESULTS / "latency_budget.jsonl")
    console = Console(width=150)
    if not flags.FLAGS.report:
        table = table_in(journal, flags.FLAGS.seconds, console)
        console.print(table)
        for name, build in CASES.items():
            key = {"network": name, "seed": SEED, "rounds": flags.FLAGS.rounds, "clock": flags.FLAGS.clock}
            if journal.done(key):
                continue
            console.print(f"Making and timing the files of {name} ...")
            keras.backend.clear_session()
            keras.utils.set_random_seed(SEED)
            model, rng = build(), np.random.default_rng(SEED)
            randomize(model, rng)
            x = random_images(model.input_shape[1:], rng, count=16) / 128 - 1
            reestimate_batch_norm(model, [x])
            models = variants(model, table)
            for each in models.values():
                reestimate_batch_norm(each, [x])
            rows = measured(models, x, table, flags.FLAGS.rounds, flags.FLAGS.clock)
            journal.append(key, {"variants": rows, "least_share": least_share(model, table)})
    tables = tables_of(journal)
    for each in tables:
        console.print(each)
    written = write_markdown(journal.path.with_suffix(".md"), tables)
    console.print(f"Written: {written.name}")


def define_flags() -> None:
    """Defines the flags, which are those of one program and no other."""
    flags.DEFINE_float("seconds", 120.0, "how long operators are measured", lower_bound=1.0)
    flags.DEFINE_integer("rounds", 100, "how many times each file is timed", lower_bound=1)
    flags.DEFINE_enum("clock", "wall", list(CLOCKS), "time on the wall, or of the processor in this thread")
    flags.DEFINE_string("output", None, "another .jsonl file for the results")
    flags.DEFINE_bool("report", False, "only print the tables of what is there")


if __name__ == "__main__":
    define_flags()
    app.run(main)
