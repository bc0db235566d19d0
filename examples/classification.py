"""Trains, prunes, strips, exports, checks and reports an image classifier.

    python -m examples.classification                              # SWD at 98 % beside the dense net
    python -m examples.classification --methods=dense,tfmot,magnitude_once,swd --rate=0.995
    python -m examples.classification --method=pgp --network=vgg8   # filters that leave while it trains
    python -m examples.classification --method=structured --rate=0.9 --network=vgg8   # channels, to a tenth of the size
    python -m examples.classification --dataset=cifar10 --network=resnet20 --augment --epochs=30

Writes to --output_dir: run.png, results.json, a .keras model and a .tflite file for each recipe.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console

from examples.channel_methods import CHANNEL_METHODS
from examples.command_line import check_batches, check_names, quiet_log, show, table, write_results
from examples.datasets import DatasetUnavailableError, ImageData, load_images
from examples.filter_methods import FILTER_METHODS
from examples.networks import NETWORKS
from examples.plots import draw_run
from examples.progress import ProgressLine
from examples.training import METHODS, Recipe, TrainedClassifier, accuracy, train
from tfmot_swd import plan_channels, plan_pruning, profile, sparsity_report
from tfmot_swd.channels import remove_dead_channels
from tfmot_swd.tflite import RECIPES, ExportError, ExportResult, export_tflite
from tfmot_swd.tflite.recipes import DEFAULT_RECIPES

DATASET = flags.DEFINE_string("dataset", "fashion_mnist", "a tensorflow_datasets image classification set")
DATA_DIR = flags.DEFINE_string("data_dir", None, "where tensorflow_datasets keeps its files")
NETWORK = flags.DEFINE_enum("network", "fashion_net", list(NETWORKS), "which network")
METHODS_FLAG = flags.DEFINE_list("methods", ["dense", "swd"], f"any of {', '.join(METHODS)}")
flags.DEFINE_alias("method", "methods")
RATE = flags.DEFINE_float(
    "rate", 0.98, "share of the prunable weights to remove; of all parameters, for structured methods", 0.0, 0.9999
)
FILTER_RATE = flags.DEFINE_float("filter_rate", 0.5, "share of the filters, for methods that remove those", 0.01, 0.99)
EPOCHS = flags.DEFINE_integer("epochs", 8, "epochs of each method", 1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "images an update", 1)
LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.1, "at the beginning; falls to 0 along a cosine", 0.0)
WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 5e-4, "ordinary L2 decay of the kernels", 0.0)
AUGMENT = flags.DEFINE_bool("augment", False, "random crops and mirrors")
TRAIN_LIMIT = flags.DEFINE_integer("train_limit", None, "train on this many images only", 1)
SEED = flags.DEFINE_integer("seed", 0, "of weights, order and augmentation")
RECIPES_FLAG = flags.DEFINE_list("recipes", list(DEFAULT_RECIPES), "TFLite recipes to export")
OUTPUT_DIR = flags.DEFINE_string("output_dir", "classification_output", "where the files go")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trained run, its model without dead channels, the test accuracy of that and its files."""

    run: TrainedClassifier
    small: Any
    test_accuracy: float
    exports: tuple[ExportResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON; paths by file name."""
        run = self.run
        return {
            "method": run.method,
            "rate": run.rate,
            "test_accuracy": self.test_accuracy,
            "validation_accuracy": run.validation_accuracy,
            "final_step": None if run.final_step is None else dataclasses.asdict(run.final_step),
            "sparsity": sparsity_report(run.model).to_dict(),
            "parameters_without_dead_channels": self.small.count_params(),
            "macs": profile(self.small).macs,
            "seconds": run.seconds,
            "history": run.history,
            "statuses": [dataclasses.asdict(status) for status in run.statuses],
            "channels": [dataclasses.asdict(status) for status in run.channels],
            "filters": [dataclasses.asdict(status) for status in run.filters],
            "exports": [{**result.to_dict(), "path": Path(result.path).name} for result in self.exports],
        }


def export_all(method: str, model: Any, data: ImageData, directory: Path, console: Console) -> tuple[ExportResult, ...]:
    """Exports every recipe; one that fails its proof is reported and leaves no file."""
    representative = data.to_float(data.train_x[:500])
    check = (data.to_float(data.test_x), data.test_y)
    results = []
    for name in RECIPES_FLAG.value:
        console.print(f"Exporting {method} as {name} and checking it on {len(data.test_x):,} images ...")
        try:
            path = directory / f"{method}_{name}.tflite"
            results.append(export_tflite(model, path, name, representative, check))
        except ExportError as error:
            console.print(f"[red]{name}: {error}[/red]")
    return tuple(results)


def print_tables(outcomes: list[Outcome], console: Console) -> None:
    """Prints what is left of each model, and what its files weigh and answer."""
    models = table(
        "Trained models",
        *("method", "test accuracy", "weights kept", "parameters left", "million MACs", "validation at the final step"),
        "seconds",
    )
    for outcome in outcomes:
        run, report = outcome.run, sparsity_report(outcome.run.model)
        kept = report.nonzero_prunable_weights
        step = ""
        if run.final_step is not None and run.final_step.before and run.final_step.after:
            step = f"{run.final_step.before['accuracy']:.4f} → {run.final_step.after['accuracy']:.4f}"
        models.add_row(
            run.method,
            f"{outcome.test_accuracy:.4f}",
            f"{kept:,}" + ("" if run.filters or run.channels else f" ({kept / report.prunable_weights:.2%})"),
            f"{outcome.small.count_params():,}",
            f"{profile(outcome.small).macs / 1e6:,.2f}",
            step,
            f"{run.seconds:.0f}",
        )
    show(console, models)
    files = table(
        "TFLite files, checked against Keras on the test images",
        *("method", "recipe", "bytes", "gzip bytes", "accuracy", "same class", "worst diff."),
    )
    for outcome in outcomes:
        for result in outcome.exports:
            files.add_row(
                outcome.run.method,
                result.recipe,
                f"{result.bytes:,}",
                f"{result.gzip_bytes:,}",
                f"{result.accuracy:.4f}",
                f"{result.agreement:.2%}",
                f"{result.worst_difference:.3g}",
            )
    show(console, files)


def main(_: list[str]) -> None:
    check_names(METHODS_FLAG, METHODS)
    check_names(RECIPES_FLAG, RECIPES)
    quiet_log()
    console = Console()
    start = time.perf_counter()
    try:
        data = load_images(DATASET.value, DATA_DIR.value, train_limit=TRAIN_LIMIT.value)
    except (DatasetUnavailableError, ValueError) as error:
        raise SystemExit(str(error)) from error
    check_batches(BATCH_SIZE, len(data.train_x))
    directory = Path(OUTPUT_DIR.value)
    directory.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(
        epochs=EPOCHS.value,
        batch_size=BATCH_SIZE.value,
        learning_rate=LEARNING_RATE.value,
        weight_decay=WEIGHT_DECAY.value,
        augment=AUGMENT.value,
        seed=SEED.value,
    )
    console.print(f"{data.name}: {len(data.train_x):,} images to train, {len(data.validation_x):,} to validate")

    def build() -> Any:
        return NETWORKS[NETWORK.value](data.input_shape, data.num_classes, weight_decay=recipe.weight_decay)

    if any(method.startswith("swd") for method in METHODS_FLAG.value):
        show(console, plan_pruning(build()))
    for methods, layers in ((FILTER_METHODS, "convolutions"), (CHANNEL_METHODS, "all")):
        if any(method in methods for method in METHODS_FLAG.value):
            show(console, plan_channels(build(), layers=layers))
    outcomes = []
    for method in METHODS_FLAG.value:
        rate = FILTER_RATE.value if method in FILTER_METHODS else RATE.value
        title = method if method == "dense" else f"{method} at {rate:.1%}"
        run = train(method, build, data, recipe, rate, (ProgressLine(title, console),))
        small = remove_dead_channels(run.model)
        small.save(directory / f"{method}.keras")
        test_accuracy = accuracy(small, data.to_float(data.test_x), data.test_y)
        outcomes.append(Outcome(run, small, test_accuracy, export_all(method, small, data, directory, console)))
    draw_run(
        [outcome.run for outcome in outcomes],
        len(data.train_x) // recipe.batch_size,
        directory / "run.png",
        f"{data.name}, {NETWORK.value}",
    )
    seconds = time.perf_counter() - start
    made_of = {"dataset": DATASET.value, "network": NETWORK.value}
    write_results(directory / "results.json", recipe, outcomes, seconds, **made_of)
    for outcome in outcomes:
        if outcome.run.statuses:
            show(console, sparsity_report(outcome.run.model))
    print_tables(outcomes, console)
    console.print(f"{seconds:.0f} s. Picture: {directory / 'run.png'}. Everything: {directory / 'results.json'}")


if __name__ == "__main__":
    app.run(main)
