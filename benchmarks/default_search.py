"""Which settings of SelectiveDecay stand in short runs: two nets, two run lengths, on the validation split.

    python -m benchmarks.default_search             # --report prints what is there

The images of CIFAR-10 are halved in size here, which makes a run four times cheaper; the accuracies compare
settings with each other and with nothing else. Resumable: `benchmarks/results/default_search.jsonl`.
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

from benchmarks.cifar10_jpeg import load_cifar10_jpeg
from benchmarks.journal import Journal
from examples.datasets import ImageData, load_images
from examples.networks import NETWORKS
from examples.training import Recipe, train, train_selective
from tfmot_swd import SelectiveDecay

RESULTS = Path(__file__).parent / "results" / "default_search.jsonl"

# What differs from the default. "rate" stands for the final rate.
CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "target fixed": {"ramp": 0.0},
    "ramp to 1/2": {"ramp": 0.5},
    "ramp to 0.8": {"ramp": 0.8},
    "hard from the start": {"shrink_min": 1e4},
    "harder start": {"shrink_min": 0.1},
    "gentler start": {"shrink_min": 0.001},
    "gentle to the end": {"shrink_max": 10.0},
    "a from 0.1 to 1e7": {"mu": 5e-4, "a_min": 0.1, "a_max": 1e7},
}
REFERENCE = "global_gradual"


@dataclasses.dataclass(frozen=True)
class Case:
    """A net, its data and the length of a run; updates are 128 images."""

    dataset: str
    network: str
    train_limit: int
    epochs: int
    rate: float
    augment: bool


CASES = tuple(
    Case(dataset, network, limit, epochs, rate, augment)
    for dataset, network, limit, rate, augment, lengths in (
        ("fashion_mnist", "fashion_net", 20_000, 0.995, False, (4, 10)),
        ("cifar10_jpeg_halved", "resnet8", 16_000, 0.98, False, (5, 12)),
    )
    for epochs in lengths
)
SEEDS = flags.DEFINE_integer("search_seeds", 1, "how many seeds")
REPORT_ONLY = flags.DEFINE_bool("search_report", False, "only print the table of what is there")


def halved(images: np.ndarray) -> np.ndarray:
    """Returns uint8 images of half the height and width, each pixel the mean of four."""
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return blocks.mean(axis=(2, 4)).round().astype(np.uint8)


def load(case: Case) -> ImageData:
    if case.dataset == "fashion_mnist":
        return load_images(case.dataset, train_limit=case.train_limit)
    data = load_cifar10_jpeg(train_limit=case.train_limit)
    return dataclasses.replace(
        data,
        train_x=halved(data.train_x),
        validation_x=halved(data.validation_x),
        test_x=halved(data.test_x),
    )


def keys() -> Iterator[dict[str, Any]]:
    for seed in range(SEEDS.value):
        for case in CASES:
            for candidate in (*CANDIDATES, REFERENCE):
                yield {**dataclasses.asdict(case), "candidate": candidate, "seed": seed}


def run(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    recipe = Recipe(key["epochs"], augment=key["augment"], validation_freq=key["epochs"], seed=key["seed"])

    def build() -> Any:
        return NETWORKS[key["network"]](data.input_shape, data.num_classes, weight_decay=recipe.weight_decay)

    if key["candidate"] == REFERENCE:
        trained = train(REFERENCE, build, data, recipe, key["rate"])
        return {"validation_accuracy": trained.validation_accuracy}
    changes = dict(CANDIDATES[key["candidate"]])
    if changes.get("ramp") == 0.0:
        changes["initial_sparsity"] = key["rate"]
    trained = train_selective(
        lambda steps: SelectiveDecay(key["rate"], end_step=steps, **changes), build, data, recipe, key["rate"]
    )
    cut = trained.cut
    before = cut.before["accuracy"] if cut is not None and cut.before else None
    return {"validation_accuracy": trained.validation_accuracy, "before_cut": before}


def print_table(journal: Journal, console: Console) -> None:
    table = Table(title="Validation accuracy in % (→ where the final cut changes it by more than 0.1 point)")
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
        loaded: tuple[str, ImageData] | None = None
        for key in keys():
            if journal.done(key):
                continue
            if loaded is None or loaded[0] != key["dataset"]:
                case = next(case for case in CASES if case.dataset == key["dataset"])
                loaded = key["dataset"], load(case)
            journal.append(key, run(key, loaded[1]))
            console.print(f"{key['candidate']}, {key['network']}, {key['epochs']} epochs")
    print_table(journal, console)


if __name__ == "__main__":
    app.run(main)
