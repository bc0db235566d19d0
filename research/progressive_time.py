"""What removing filters during training saves of its time, and what scoring them costs: against dense training.

    python -m research.progressive_time              # on an otherwise idle machine
    python -m research.progressive_time --report     # tables of what is there

Two trainings go side by side, an epoch of each in turn, so that a slow moment of the machine falls on both; removals
and the new traces after them are in their epochs. The step of RPGP is timed before any filter leaves, one step of each
in turn. Resumable: `research/results/progressive_time.jsonl`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from absl import app, flags
from rich.console import Console
from rich.table import Table

import tfmot_swd
from examples.datasets import ImageData
from examples.filter_methods import FILTER_TABLE, schedule_of
from examples.job import Recipe
from examples.networks import NETWORKS, resnet20
from examples.training import ImageJob
from research.data import load
from research.journal import Journal
from research.step_overhead import stepper
from research.turns import epoch_of, in_turn

RESULTS = Path(__file__).parent / "results" / "progressive_time.jsonl"
BATCH, EPOCHS, IMAGES = 128, 9, 12_800
# (network, dataset)
CASES = (("vgg8", "cifar10_jpeg"), ("resnet20", "cifar10_jpeg"))
# (rate, multiple that the number of filters is rounded up to, share of the weak ones that leave at once)
RATES = ((0.5, 8, 1.0), (0.9, 8, 1.0), (0.5, 8, 0.5), (0.9, 8, 0.5), (0.5, 1, 0.5))
WIDTHS = (16, 14, 13, 12, 10, 9, 8, 7, 6, 4)
STEP_CASES = (("lenet5", 120), ("fashion_net", 60), ("vgg8", 30), ("resnet20", 24), ("mobilenet_v1", 60))

REPORT = flags.DEFINE_bool("report", False, "only print the tables of what is there")


def compiled(model: keras.Model) -> keras.Model:
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def measure_training(network: str, data: ImageData, rate: float, round_to: int, hard_share: float) -> dict[str, Any]:
    """Returns seconds of each epoch, dense and with RPGP, and the sizes that it went through.

    Seconds of the processor do not see what else the machine does, or that it is slowed down.
    """
    recipe = Recipe(EPOCHS, BATCH)

    def build() -> keras.Model:
        return NETWORKS[network](data.input_shape, data.num_classes, weight_decay=recipe.weight_decay)

    keras.utils.set_random_seed(0)
    schedule = schedule_of(FILTER_TABLE["rpgp_geometric"], rate, EPOCHS)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    pruned = compiled(tfmot_swd.prune_progressive_gradient(build(), schedule, round_to=round_to, hard_share=hard_share))
    job = ImageJob(build(), recipe, rate, [], round_to, data)
    ways = {
        "dense": epoch_of(compiled(job.model), job.stream, []),
        "rpgp": epoch_of(pruned, job.stream, [callback]),
    }
    times = in_turn(ways, EPOCHS)
    small = tfmot_swd.strip_pruning(pruned)
    return {
        **times,
        "macs": [tfmot_swd.profile(job.model).macs, tfmot_swd.profile(small).macs],
        "parameters": [job.model.count_params(), small.count_params()],
        "activation_bytes": [tfmot_swd.profile(each).activation_bytes for each in (job.model, small)],
    }


def measure_step(network: str, steps: int) -> dict[str, Any]:
    """Returns seconds of a step, dense and with RPGP's scores, and the median ratio of the pairs."""
    shape = (28, 28, 1) if network in ("lenet5", "fashion_net") else (32, 32, 3)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(BATCH, *shape)).astype(np.float32), rng.integers(0, 10, BATCH)
    models = {"dense": compiled(NETWORKS[network](shape, 10, weight_decay=5e-4))}
    wrapped = tfmot_swd.prune_progressive_gradient(models["dense"], tfmot_swd.ProgressiveRate(0.5, 10))
    models["rpgp"] = compiled(wrapped)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    callback.set_model(models["rpgp"])
    callback.on_train_begin()
    run = {name: stepper(model, x, y) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in run}
    for step in range(steps + 3):
        for name in list(run)[:: 1 if step % 2 else -1]:
            start = time.perf_counter()
            run[name]()
            if step >= 3:
                times[name].append(time.perf_counter() - start)
    dense, scored = np.array(times["dense"]), np.array(times["rpgp"])
    return {"seconds": {"dense": float(np.median(dense))}, "ratio": float(np.median(scored / dense)), "steps": steps}


def measure_width(width: int) -> dict[str, Any]:
    """Returns the median seconds of a step of a dense ResNet-20 of this width."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(BATCH, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, BATCH)
    run = stepper(compiled(resnet20((32, 32, 3), 10, weight_decay=5e-4, width=width)), x, y)
    seconds = []
    for _ in range(11):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"seconds": float(np.median(seconds[3:]))}


def print_tables(journal: Journal, console: Console) -> None:
    trainings = Table(title=f"Time of training with RPGP as a share of dense training, {EPOCHS} epochs")
    for heading in (
        "network",
        "data",
        "filters removed",
        "rounded to",
        "leave at once",
        "dense s",
        "share",
        "of processor",
        "last epoch",
        "MACs left",
    ):
        trainings.add_column(heading, justify="left" if heading in ("network", "data") else "right")
    steps = Table(title="One step with RPGP's scores, ratio to a dense one (median of pairs)")
    for heading in ("network", "dense ms", "ratio"):
        steps.add_column(heading, justify="left" if heading == "network" else "right")
    widths = Table(title="A step of a dense ResNet-20 by the width of its first stage")
    for heading in ("width", "ms"):
        widths.add_column(heading, justify="right")
    for record in journal.records():
        key, result = record["key"], record["result"]
        if key["what"] == "width":
            widths.add_row(str(key["width"]), f"{1000 * result['seconds']:.0f}")
            continue
        if key["what"] == "step":
            steps.add_row(key["network"], f"{1000 * result['seconds']['dense']:.1f}", f"{result['ratio']:.3f}")
            continue
        trainings.add_row(
            key["network"],
            key["dataset"],
            f"{key['rate']:.0%}",
            str(key["round_to"]),
            f"{key['hard_share']:.0%}",
            f"{sum(result['seconds']['dense']):.1f}",
            *(
                f"{sum(each['rpgp']) / sum(each['dense']):.3f}" if each else ""
                for each in (result["seconds"], result.get("processor_seconds"))
            ),
            f"{result['seconds']['rpgp'][-1] / result['seconds']['dense'][-1]:.3f}",
            f"{result['macs'][1] / result['macs'][0]:.1%}",
        )
    console.print(trainings)
    console.print(steps)
    console.print(widths)


def main(_: list[str]) -> None:
    journal, console = Journal(RESULTS), Console(width=130)
    if not REPORT.value:
        for network, count in STEP_CASES:
            key: dict[str, Any] = {"what": "step", "network": network, "batch": BATCH}
            if not journal.done(key):
                journal.append(key, measure_step(network, count))
                console.print(f"Timed a step of {network}")
        for width in WIDTHS:
            key = {"what": "width", "width": width, "batch": BATCH}
            if not journal.done(key):
                journal.append(key, measure_width(width))
        for rate, round_to, hard_share in RATES:
            for network, dataset in CASES:
                key = {"what": "training", "network": network, "dataset": dataset, "images": IMAGES}
                key |= {"batch": BATCH, "epochs": EPOCHS, "rate": rate, "round_to": round_to, "hard_share": hard_share}
                if not journal.done(key):
                    journal.append(key, measure_training(network, load(dataset, IMAGES), rate, round_to, hard_share))
                    console.print(f"Timed {network} on {dataset} at {rate:.0%}, rounded to {round_to}")
    print_tables(journal, console)


if __name__ == "__main__":
    app.run(main)
