"""Which settings of SelectiveDecay stand in short runs: two nets, two run lengths, on the validation split.

    python -m research.default_search             # --search_report prints what is there

Nets, data and lengths are those of accuracy_at_rate.py, and a shorter one. Resumable, most telling settings first:
`research/results/default_search.jsonl`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

from examples.datasets import ImageData
from examples.networks import NETWORKS
from examples.training import Recipe, train, train_selective
from research.data import load
from research.journal import Journal
from tfmot_swd import SelectiveDecay

RESULTS = Path(__file__).parent / "results" / "default_search.jsonl"

# What differs from the default. "rate" stands for the final rate.
CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "start 0.01": {"shrink_min": 0.01},
    "start 0.0001": {"shrink_min": 1e-4},
    "begin at 1/4": {"begin": 0.25},
    "ramp to 0.8": {"ramp": 0.8},
    "ramp to 1/2": {"ramp": 0.5},
    "target fixed": {"ramp": 0.0},
    "hard from the start": {"shrink_min": 1e4},
    "gentle to the end": {"shrink_max": 10.0},
    "a from 0.1 to 1e7": {"mu": 5e-4, "a_min": 0.1, "a_max": 1e7},
}
REFERENCE = "global_gradual"


@dataclasses.dataclass(frozen=True)
class Case:
    """A net, its data and the length of a run."""

    dataset: str
    network: str
    train_limit: int
    epochs: int
    rate: float
    augment: bool


CASES = (
    Case("fashion_mnist", "fashion_net", 20_000, 10, 0.98, False),
    Case("cifar10_jpeg", "resnet8", 8_000, 10, 0.98, True),
    Case("fashion_mnist", "fashion_net", 20_000, 10, 0.999, False),
    Case("fashion_mnist", "fashion_net", 20_000, 4, 0.98, False),
)
SEEDS = flags.DEFINE_integer("search_seeds", 1, "how many seeds")
REPORT_ONLY = flags.DEFINE_bool("search_report", False, "only print the table of what is there")


def keys() -> Iterator[dict[str, Any]]:
    for seed in range(SEEDS.value):
        for candidate in (*CANDIDATES, REFERENCE):
            for case in CASES:
                yield {**dataclasses.asdict(case), "candidate": candidate, "seed": seed}


def run(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Trains one setting and returns its accuracy on the validation split."""
    recipe = Recipe(
        key["epochs"], batch_size=64, augment=key["augment"], validation_freq=key["epochs"], seed=key["seed"]
    )

    def build() -> Any:
        return NETWORKS[key["network"]](data.input_shape, data.num_classes, weight_decay=recipe.weight_decay)

    if key["candidate"] == REFERENCE:
        trained = train(REFERENCE, build, data, recipe, key["rate"])
        return {"validation_accuracy": trained.validation_accuracy}
    changes = dict(CANDIDATES[key["candidate"]])
    if changes.get("ramp") == 0.0:
        changes["initial_sparsity"] = key["rate"]
    begin = changes.pop("begin", 0.0)

    def schedule(steps: int) -> SelectiveDecay:
        return SelectiveDecay(key["rate"], end_step=steps, begin_step=int(begin * steps), **changes)

    trained = train_selective(schedule, build, data, recipe, key["rate"])
    step = trained.final_step
    before = step.before["accuracy"] if step is not None and step.before else None
    return {"validation_accuracy": trained.validation_accuracy, "before_cut": before}


def print_table(journal: Journal, console: Console) -> None:
    table = Table(title="Validation accuracy in % (→ where the final pruning step changes it by more than 0.1 point)")
    table.add_column("setting")
    for case in CASES:
        table.add_column(f"{case.network}, {case.rate:.1%}, {case.epochs} epochs", justify="right")
    for candidate in (*CANDIDATES, REFERENCE):
        cells = []
        for case in CASES:
            wanted = {**dataclasses.asdict(case), "candidate": candidate}
            found = [record["result"] for record in journal.records() if {**record["key"], **wanted} == record["key"]]
            after = np.mean([result["validation_accuracy"] or 0.0 for result in found]) if found else np.nan
            before = [result["before_cut"] for result in found if result.get("before_cut") is not None]
            jump = before and abs(np.mean(before) - after) > 0.001
            cells.append("" if not found else f"{100 * np.mean(before):.2f} → " * bool(jump) + f"{100 * after:.2f}")
        table.add_row(candidate, *cells)
    console.print(table)


def main(_: list[str]) -> None:
    console, journal = Console(width=150), Journal(RESULTS)
    if not REPORT_ONLY.value:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        data: dict[str, ImageData] = {}
        for key in keys():
            if journal.done(key):
                continue
            if key["dataset"] not in data:
                data[key["dataset"]] = load(key["dataset"], key["train_limit"])
            journal.append(key, run(key, data[key["dataset"]]))
            console.print(f"{key['candidate']}, {key['network']}, {key['epochs']} epochs")
    print_table(journal, console)


if __name__ == "__main__":
    app.run(main)
