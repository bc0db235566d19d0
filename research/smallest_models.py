"""Smallest networks for one point of accuracy: `workflows.smallest` on three trained ones.

    python -m research.smallest_models              # all three, within an hour on one core
    python -m research.smallest_models --smallest_report

The Fashion net is trained here from nothing. ResNet-8 of MLPerf Tiny came from the original images of CIFAR-10, and
trains on the JPEG copy first. MobileNetV1 0.25 of visual wake words is asked for its own answers on the same
photographs, as their labels say nothing of persons, so its accuracy is agreement with the whole network. What is
decided is decided on the validation split; the test split is scored once, for the whole network and for the result. One
seed. Resumable: one line a network in `research/results/smallest_models.jsonl`; a search that was stopped goes on in
`--work`.
"""

from __future__ import annotations

import dataclasses
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
from examples.training import accuracy
from research import mlperf_tiny
from research.data import load
from research.journal import Journal
from research.mlperf_half import photographs, to_float
from research.tables import ResultTable, write_markdown
from tfmot_swd.costs import profile
from tfmot_swd.workflows import smallest

RESULTS = Path(__file__).parent / "results"
SEED, BATCH, MAX_DROP = 0, 64, 1.0

WORK = flags.DEFINE_string(
    "work", str(Path(tempfile.gettempdir()) / "tfmot_swd_smallest"), "directory of trained networks and searches"
)
REPORT = flags.DEFINE_bool("smallest_report", False, "only make the table of what is there")

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Lesson:
    """Inputs and classes to train on, to decide on, and to score the result on once."""

    train: Pair
    validation: Pair
    test: Pair


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network, its data, and how long it trains.

    Args:
      title: of its row.
      images: how many to train on.
      whole_epochs: of training before the search; 0 for a network that is taken as it came.
      epochs: of each training of the search.
      make: images → (network, data).
    """

    title: str
    images: int
    whole_epochs: int
    epochs: int
    make: Callable[[int], tuple[keras.Model, Lesson]]


def _fashion(images: int) -> tuple[keras.Model, Lesson]:
    data = load("fashion_mnist", images)
    network = NETWORKS["fashion_net"](data.input_shape, data.num_classes, weight_decay=0.0)
    network = keras.Model(network.input, keras.layers.Softmax(name="classes")(network.output))
    splits = ((data.train_x, data.train_y), (data.validation_x, data.validation_y), (data.test_x, data.test_y))
    return network, Lesson(*((data.to_float(x), y) for x, y in splits))


def _resnet(images: int) -> tuple[keras.Model, Lesson]:
    data = load("cifar10_jpeg", images)
    splits = ((data.train_x, data.train_y), (data.validation_x, data.validation_y), (data.test_x, data.test_y))
    name = "image_classification"
    return mlperf_tiny.network(name), Lesson(*((to_float(x, name), y) for x, y in splits))


def _mobilenet(images: int) -> tuple[keras.Model, Lesson]:
    data = load("cifar10_jpeg", images)
    network = mlperf_tiny.network("visual_wake_words")
    parts = []
    for x in (data.train_x, data.validation_x[:2000], data.test_x[::5]):
        pixels = to_float(photographs(x, 96), "visual_wake_words")
        parts.append((pixels, network.predict(pixels, batch_size=250, verbose=0).argmax(axis=1)))
    return network, Lesson(*parts)


SUBJECTS = (
    Subject("Fashion net", 20_000, 10, 5, _fashion),
    Subject("ResNet-8 (MLPerf Tiny)", 20_000, 8, 8, _resnet),
    Subject("MobileNetV1 0.25 (MLPerf Tiny)", 6_000, 0, 4, _mobilenet),
)


def key_of(subject: Subject) -> dict[str, Any]:
    """Returns what identifies a network's line in the journal."""
    settings = {name: value for name, value in dataclasses.asdict(subject).items() if name != "make"}
    return {**settings, "max_drop": MAX_DROP, "batch": BATCH, "seed": SEED}


def compile_whole(model: keras.Model, steps: int) -> None:
    rate = keras.optimizers.schedules.CosineDecay(1e-3, max(steps, 1))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])


def trained(subject: Subject, folder: Path) -> tuple[keras.Model, Lesson]:
    """Returns the whole network, trained and compiled, and its data; trained once a folder."""
    keras.utils.set_random_seed(SEED)
    network, lesson = subject.make(subject.images)
    kept = folder / "whole.weights.h5"
    compile_whole(network, subject.whole_epochs * (len(lesson.train[0]) // BATCH))
    if kept.exists():
        network.load_weights(kept)
    elif subject.whole_epochs:
        network.fit(*lesson.train, batch_size=BATCH, epochs=subject.whole_epochs, verbose=2)
        folder.mkdir(parents=True, exist_ok=True)
        network.save_weights(kept)
    return network, lesson


def measure(subject: Subject) -> dict[str, Any]:
    folder = Path(WORK.value) / subject.title.split(" ")[0]
    network, lesson = trained(subject, folder)
    begun = time.process_time()
    found = smallest(
        network,
        lesson.train,
        lesson.validation,
        max_drop=MAX_DROP,
        epochs=subject.epochs,
        batch_size=BATCH,
        folder=folder / "search",
        seed=SEED,
    )
    seconds = time.process_time() - begun
    costs = [profile(each) for each in (network, found.model)]
    return {
        "met": found.met,
        "validation": [found.baseline, found.trial.metric],
        "test": [accuracy(each, *lesson.test) for each in (network, found.model)],
        "parameters": [each.parameters for each in costs],
        "macs": [each.macs for each in costs],
        "processor_seconds": seconds,
        "trials": [dataclasses.asdict(each) for each in found.trials],
    }


HEADING = (
    *("network", "parameters", "share", "MACs", "validation %", "test %", "test, change in points", "trainings"),
    "processor minutes",
)
NOTES = (
    "The smallest network by parameters whose validation accuracy is at most one point below that of the whole one; "
    "found on the validation split, and scored on the test split once. Structured SWD, Adam, one seed. MobileNetV1: "
    "agreement with the whole network's answers on photographs. A search that was stopped counts its last part alone.",
)


def table_of(journal: Journal) -> ResultTable:
    rows = []
    for record in journal.records():
        result = record["result"]
        (whole, small), (first, last) = result["parameters"], result["macs"]
        rows.append(
            (
                record["key"]["title"],
                f"{whole:,} → {small:,}",
                f"{small / whole:.1%}",
                f"{first / 1e6:.2f} M → {last / 1e6:.2f} M",
                " → ".join(f"{100 * each:.2f}" for each in result["validation"]),
                " → ".join(f"{100 * each:.2f}" for each in result["test"]),
                f"{100 * (result['test'][1] - result['test'][0]):+.2f}",
                str(len(result["trials"])),
                f"{result['processor_seconds'] / 60:.0f}",
            )
        )
    return ResultTable("The smallest network for one point of accuracy", HEADING, tuple(rows), ("network",), NOTES)


def main(_: list[str]) -> None:
    console, journal = Console(width=160), Journal(RESULTS / "smallest_models.jsonl")
    for subject in () if REPORT.value else SUBJECTS:
        if not journal.done(key_of(subject)):
            journal.append(key_of(subject), measure(subject))
    table = table_of(journal)
    console.print(table)
    write_markdown(RESULTS / "smallest_models.md", [table])


if __name__ == "__main__":
    app.run(main)
