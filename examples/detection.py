"""Trains, prunes, strips, exports and scores a small object detector, from its Keras model and again from its files.

    python -m examples.detection                                   # RPGP at half of the filters beside the dense net
    python -m examples.detection --methods=dense,weight_taylor,structured --rate=0.7
    python -m examples.detection --dataset=voc/2007 --size=224 --width=32   # where it can be downloaded

Scenes are composed from Fashion-MNIST. Only backbone, neck and the convolutions of the heads lose filters: what the
model puts out keeps its shape. Boxes are chosen among those that overlap outside of the model, so that the files hold
convolutions alone. Writes to --output_dir: scenes.png with boxes before and after, results.json, a .keras model and a
.tflite file for each recipe.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console

from examples.command_line import check_batches, check_names, quiet_log, show, table, write_results
from examples.datasets import DatasetUnavailableError
from examples.detection_data import DetectionData, load_scenes
from examples.detection_decoding import Detections, Precision, precision
from examples.detection_network import STRIDES, detector
from examples.detection_pictures import draw_scenes
from examples.detection_training import METHODS, TrainedDetector, detect, train
from examples.job import Recipe
from examples.progress import ProgressLine
from tfmot_swd import plan_channels, profile
from tfmot_swd.tflite import RECIPES, ExportError, ExportResult, export_tflite

DATASET = flags.DEFINE_string("dataset", "fashion_scenes", "fashion_scenes, or a set with boxes as voc/2007")
DATA_DIR = flags.DEFINE_string("data_dir", None, "where tensorflow_datasets keeps its files")
SIZE = flags.DEFINE_integer("size", 96, "side of the images in pixels, a multiple of 16", 16)
WIDTH = flags.DEFINE_integer("width", 16, "filters of the first convolution; up to eight times as many follow", 1)
METHODS_FLAG = flags.DEFINE_list("methods", ["dense", "rpgp"], f"any of {', '.join(METHODS)}")
flags.DEFINE_alias("method", "methods")
RATE = flags.DEFINE_float("rate", 0.5, "share of the filters to remove", 0.01, 0.99)
ROUND_TO = flags.DEFINE_integer("round_to", 8, "filters kept are a multiple of this, as CPU kernels like them", 1)
EPOCHS = flags.DEFINE_integer("epochs", 12, "epochs of each method", 1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "scenes an update", 1)
LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.005, "at the beginning; falls to 0 along a cosine", 0.0)
WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 1e-4, "ordinary L2 decay of the kernels", 0.0)
TRAIN_LIMIT = flags.DEFINE_integer("train_limit", None, "train on this many scenes only", 1)
SEED = flags.DEFINE_integer("seed", 0, "of weights and order")
RECIPES_FLAG = flags.DEFINE_list("recipes", ["float32", "int8"], f"TFLite recipes to export, of {', '.join(RECIPES)}")
OUTPUT_DIR = flags.DEFINE_string("output_dir", "detection_output", "where the files go")

# Scenes by which an int8 file is calibrated, and compared with Keras.
CALIBRATED = 300


@dataclasses.dataclass(frozen=True)
class ScoredFile:
    """A TFLite file and the precision of what is decoded from its outputs on the test scenes."""

    export: ExportResult
    test: Precision


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trained detector, its precision on the test scenes, what it found there, and its files."""

    run: TrainedDetector
    test: Precision
    found: Detections
    files: tuple[ScoredFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON; paths by file name."""
        run, size = self.run, profile(self.run.model)
        return {
            "method": run.method,
            "rate": run.rate,
            "test": dataclasses.asdict(self.test),
            "validation": dataclasses.asdict(run.validation),
            "parameters": size.parameters,
            "macs": size.macs,
            "seconds": run.seconds,
            "processor_seconds": run.processor_seconds,
            "final_step": None if run.final_step is None else dataclasses.asdict(run.final_step),
            "history": run.history,
            "filters": [dataclasses.asdict(status) for status in run.filters],
            "channels": [dataclasses.asdict(status) for status in run.channels],
            "files": [
                {
                    **each.export.to_dict(),
                    "path": Path(each.export.path).name,
                    "test": dataclasses.asdict(each.test),
                }
                for each in self.files
            ],
        }


def export_all(run: TrainedDetector, data: DetectionData, directory: Path, console: Console) -> tuple[ScoredFile, ...]:
    """Exports every recipe and scores the files; one that fails its proof is reported and leaves no file."""
    representative, check = (data.to_float(each[:CALIBRATED]) for each in (data.train, data.validation))
    files = []
    for name in RECIPES_FLAG.value:
        console.print(f"Exporting {run.method} as {name} and finding what is on {len(data.test):,} scenes ...")
        try:
            path = directory / f"{run.method}_{name}.tflite"
            result = export_tflite(run.model, path, name, representative, check)
        except ExportError as error:
            console.print(f"[red]{name}: {error}[/red]")
            continue
        files.append(ScoredFile(result, precision(detect(path.read_bytes(), data, data.test), data.test)))
    return tuple(files)


def print_tables(outcomes: list[Outcome], console: Console) -> None:
    """Prints what is left of each detector and what it finds, and the same of its files."""
    models = table(
        "Trained detectors, in Keras; mAP over overlaps of .5 to .95",
        *("method", "mAP", "mAP@.5", "parameters", "million MACs", "seconds", "of processor"),
    )
    for outcome in outcomes:
        run, size = outcome.run, profile(outcome.run.model)
        models.add_row(
            run.method,
            f"{outcome.test.mean:.4f}",
            f"{outcome.test.at_half:.4f}",
            f"{size.parameters:,}",
            f"{size.macs / 1e6:,.2f}",
            f"{run.seconds:.0f}",
            f"{run.processor_seconds:.0f}",
        )
    show(console, models)
    files = table(
        "TFLite files, decoded and scored on the test scenes",
        *("method", "recipe", "bytes", "mAP", "mAP@.5", "worst diff."),
    )
    for outcome in outcomes:
        for each in outcome.files:
            files.add_row(
                outcome.run.method,
                each.export.recipe,
                f"{each.export.bytes:,}",
                f"{each.test.mean:.4f}",
                f"{each.test.at_half:.4f}",
                f"{each.export.worst_difference:.3g}",
            )
    show(console, files)


def main(_: list[str]) -> None:
    check_names(METHODS_FLAG, METHODS)
    check_names(RECIPES_FLAG, RECIPES)
    if SIZE.value % STRIDES[-1]:
        raise app.UsageError(f"--size must be a multiple of {STRIDES[-1]}. Received: {SIZE.value}")
    quiet_log()
    console = Console()
    start = time.perf_counter()
    try:
        data = load_scenes(DATASET.value, DATA_DIR.value, SIZE.value, TRAIN_LIMIT.value)
    except (DatasetUnavailableError, ValueError) as error:
        raise SystemExit(str(error)) from error
    check_batches(BATCH_SIZE, len(data.train))
    directory = Path(OUTPUT_DIR.value)
    directory.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(
        epochs=EPOCHS.value,
        batch_size=BATCH_SIZE.value,
        learning_rate=LEARNING_RATE.value,
        weight_decay=WEIGHT_DECAY.value,
        seed=SEED.value,
    )
    console.print(f"{data.name}: {len(data.train):,} scenes to train, {len(data.validation):,} to validate")

    def build() -> Any:
        return detector(data.input_shape, len(data.classes), recipe.weight_decay, width=WIDTH.value)

    if METHODS_FLAG.value != ["dense"]:
        show(console, plan_channels(build()))
    outcomes = []
    for method in METHODS_FLAG.value:
        title = method if method == "dense" else f"{method} at {RATE.value:.0%}"
        progress = ProgressLine(title, console)
        run = train(method, build, data, recipe, RATE.value, round_to=ROUND_TO.value, callbacks=(progress,))
        run.model.save(directory / f"{method}.keras")
        found = detect(run.model, data, data.test)
        files = export_all(run, data, directory, console)
        outcomes.append(Outcome(run, precision(found, data.test), found, files))
    pictured = {each.run.method: each.found for each in outcomes}
    draw_scenes(data.test, pictured, data.classes, directory / "scenes.png")
    seconds = time.perf_counter() - start
    write_results(directory / "results.json", recipe, outcomes, seconds, dataset=DATASET.value)
    print_tables(outcomes, console)
    console.print(f"{seconds:.0f} s. Picture: {directory / 'scenes.png'}. Everything: {directory / 'results.json'}")


if __name__ == "__main__":
    app.run(main)
