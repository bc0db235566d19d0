"""Adapts a digit classifier to images without labels of another origin, and prunes it while it adapts.

    python -m examples.domain_adaptation                                 # MNIST → UCI digits, MMD, half of the filters
    python -m examples.domain_adaptation --source=uci_digits --target=mnist_5k --alignment=coral
    python -m examples.domain_adaptation --methods=source_only,dense,rpgp,psfp,l1_once --rate=0.7 --seeds=3

Labels of the target are read for the report alone, after all training: nothing is chosen by them, as every training
ends after the same number of epochs and its last state counts. Writes to --output_dir: domain_adaptation.png,
results.json, and of each training a .keras model and an int8 .tflite file.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from absl import app, flags
from rich.console import Console

from examples.command_line import check_batches, check_names, quiet_log, show, write_results
from examples.datasets import DatasetUnavailableError
from examples.domain_data import FILES, load_domain
from examples.domain_methods import METHODS, AdaptationRecipe, run_method
from examples.domain_report import draw, tables_of
from examples.domain_training import ALIGNMENTS
from examples.progress import ProgressLine

_DEFAULTS = AdaptationRecipe()
_DOMAINS = f"{', '.join(FILES)}, or a tensorflow_datasets set of ten classes of 28x28 grey images, as mnist"
SOURCE = flags.DEFINE_string("source", "mnist_5k", f"the domain with labels: {_DOMAINS}")
TARGET = flags.DEFINE_string("target", "uci_digits", "the domain without")
DATA_DIR = flags.DEFINE_string("data_dir", None, "where data are kept; a place in the user's cache by default")
ALIGNMENT = flags.DEFINE_enum("alignment", _DEFAULTS.alignment, list(ALIGNMENTS), "what brings the domains together")
STRENGTH = flags.DEFINE_float("strength", _DEFAULTS.strength, "weight of the alignment", 0.0)
METHODS_FLAG = flags.DEFINE_list(
    "methods", ["source_only", "dense", "rpgp", "psfp_clipped"], f"any of {', '.join(METHODS)}"
)
RATE = flags.DEFINE_float("rate", 0.5, "share of the filters of each convolution to remove", 0.01, 0.99)
EPOCHS = flags.DEFINE_integer("epochs", _DEFAULTS.epochs, "epochs of each method", 1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", _DEFAULTS.batch_size, "images of each domain an update", 2)
LEARNING_RATE = flags.DEFINE_float("learning_rate", _DEFAULTS.learning_rate, "at the beginning; falls to 0", 0.0)
TRAIN_LIMIT = flags.DEFINE_integer("train_limit", None, "train on this many images of each domain only", 1)
SEEDS = flags.DEFINE_integer("seeds", 1, "trainings of each method, from seed 0 on", 1)
OUTPUT_DIR = flags.DEFINE_string("output_dir", "domain_adaptation_output", "where the files go")


def main(_: list[str]) -> None:
    check_names(METHODS_FLAG, METHODS)
    quiet_log()
    console, start = Console(), time.perf_counter()
    try:
        source, target = (load_domain(each.value, DATA_DIR.value, TRAIN_LIMIT.value) for each in (SOURCE, TARGET))
    except (DatasetUnavailableError, ValueError) as error:
        raise SystemExit(str(error)) from error
    check_batches(BATCH_SIZE, min(len(source.train_x), len(target.train_x)))
    directory = Path(OUTPUT_DIR.value)
    directory.mkdir(parents=True, exist_ok=True)
    recipe = AdaptationRecipe(
        epochs=EPOCHS.value,
        batch_size=BATCH_SIZE.value,
        learning_rate=LEARNING_RATE.value,
        alignment=ALIGNMENT.value,
        strength=STRENGTH.value,
    )
    title = f"{source.title} → {target.title}, {recipe.alignment}"
    console.print(
        f"{title}: {len(source.train_x):,} images with labels, {len(target.train_x):,} without; "
        f"{len(target.test_x):,} held out for the report"
    )
    outcomes = []
    for seed in range(SEEDS.value):
        for method in METHODS_FLAG.value:
            name = f"{method}, seed {seed}" if SEEDS.value > 1 else method
            path = directory / f"{method}_{seed}_int8.tflite"
            line = ProgressLine(name, console)
            seeded = dataclasses.replace(recipe, seed=seed)
            outcomes.append(run_method(method, source, target, seeded, RATE.value, path, (line,)))
            outcomes[-1].adapted.model.save(directory / f"{method}_{seed}.keras")
    seconds = time.perf_counter() - start
    draw(outcomes, source, target, title, directory / "domain_adaptation.png")
    made_of = {"source": SOURCE.value, "target": TARGET.value}
    chosen_by = "nothing: the state after the last epoch of a fixed number"
    write_results(directory / "results.json", recipe, outcomes, seconds, chosen_by=chosen_by, **made_of)
    show(console, *tables_of(outcomes, f"{title}, {RATE.value:.0%} of the filters removed"))
    console.print(
        f"{seconds:.0f} s. Picture: {directory / 'domain_adaptation.png'}. Everything: results.json beside it"
    )


if __name__ == "__main__":
    app.run(main)
