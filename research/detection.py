"""Detectors that lose filters while they train: precision, size, MACs and time of training, by method and rate.

    python -m research.detection                     # the runs
    python -m research.detection --detection_width=32 --detection_rates=0.5 --detection_methods=dense,rpgp
    python -m research.detection --detection_epochs=16 --detection_rates=0.5 --detection_methods=rpgp
    python -m research.detection --detection_times   # afterwards, on an idle machine
    python -m research.detection --detection_report

Resumable: each finished run is one line of `research/results/detection.jsonl`, the most telling rates first. Scenes
are composed from Fashion-MNIST (`examples.detection_data`). Choices are made on the validation scenes; the test scenes
are scored once, at the end of each run, from the Keras model and from its int8 file. All methods train for as many
epochs, but for rows that name another number: what a method does with the time that its cheaper epochs leave it. They
keep multiples of eight filters, so that at 30 % a quarter of them leave and at 70 % two thirds; structured SWD is held
within the parameters and the MACs of that net. Processor seconds tell of training alone, whatever else runs on the
machine. Times are those of TFLite files on one thread, of networks of the same sizes, all in turn
(`detection_times.jsonl`).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console

from examples.detection_data import DetectionData, FashionScenes, load_scenes
from examples.detection_decoding import Precision, precision
from examples.detection_network import detector
from examples.detection_training import DECAY_FREQUENCY, FILTER_METHODS, TrainedDetector, detect, train
from examples.job import Recipe
from research.cases import Results, mean, panel_of, results_of, run_missing, sizes_of, times_of, use_one_thread
from research.journal import Journal
from research.sized import of_sizes
from research.tables import ResultTable, draw_panels, write_markdown
from tfmot_swd import profile
from tfmot_swd.tflite import export_tflite
from tfmot_swd.tflite.latency import measure_latency

RESULTS = Path(__file__).parent / "results"
LABELS = {
    "dense": "dense",
    "rpgp": "RPGP, all hard",
    "pgp": "PGP, all hard",
    "weight_taylor": "weight Taylor, all hard",
    "psfp": "PSFP",
    "psfp_clipped": "PSFP, gradients clipped",
    "l1_once": "L1 once + fine-tune",
    "structured": "structured SWD",
    "small_dense": "dense, same widths",
}
METHODS = ("dense", "rpgp", "structured", "l1_once", "psfp_clipped", "small_dense", "psfp", "weight_taylor")
# In the order in which they are worth running.
RATES = (0.5, 0.7, 0.3)
SCENES, ROUND_TO, CALIBRATED = 8000, 8, 300
RECIPE = Recipe(epochs=12, batch_size=32, learning_rate=0.005, weight_decay=1e-4, validation_freq=12)
WIDTHS = (16, 32, 64)
TIMED = ("float32", "int8")

SEEDS = flags.DEFINE_integer("detection_seeds", 1, "how many seeds")
RATES_FLAG = flags.DEFINE_list("detection_rates", list(map(str, RATES)), "only these rates")
WIDTH = flags.DEFINE_integer("detection_width", WIDTHS[0], "filters of the first convolution")
EPOCHS = flags.DEFINE_integer("detection_epochs", RECIPE.epochs, "epochs of a training")
METHODS_FLAG = flags.DEFINE_list("detection_methods", list(METHODS), "which methods")
TIMES = flags.DEFINE_bool("detection_times", False, "time networks of the sizes that are there")
REPORT = flags.DEFINE_bool("detection_report", False, "only print and write the table of what is there")


def recipe_of(epochs: int, seed: int = 0) -> Recipe:
    return dataclasses.replace(RECIPE, epochs=epochs, validation_freq=epochs, seed=seed)


def shared(width: int, epochs: int = RECIPE.epochs) -> dict[str, Any]:
    """Returns what the keys of all runs of a detector have in common."""
    recipe = {name: value for name, value in dataclasses.asdict(recipe_of(epochs)).items() if name != "seed"}
    data = {"data": f"fashion_scenes {FashionScenes.VERSION}", "scenes": SCENES}
    return {**data, "round_to": ROUND_TO, "width": width, **recipe}


def key_of(width: int, epochs: int, method: str, rate: float, seed: int) -> dict[str, Any]:
    """Returns what identifies a run: all that decides it."""
    settings = dataclasses.asdict(FILTER_METHODS[method]) if method in FILTER_METHODS else {}
    if method == "structured":
        settings = {"frequency": DECAY_FREQUENCY}
    return {**shared(width, epochs), "method": method, "settings": settings, "rate": rate, "seed": seed}


def title_of(width: int) -> str:
    return f"Detector of width {width} on scenes from Fashion-MNIST: {SCENES:,} scenes, {RECIPE.epochs} epochs"


def keys() -> Iterator[dict[str, Any]]:
    """Yields the keys of all runs that are asked for, the most telling first."""
    for seed in range(SEEDS.value):
        if "dense" in METHODS_FLAG.value:
            yield key_of(WIDTH.value, EPOCHS.value, "dense", 0.0, seed)
        for rate in map(float, RATES_FLAG.value):
            for method in METHODS_FLAG.value:
                if method != "dense":
                    yield key_of(WIDTH.value, EPOCHS.value, method, rate, seed)


def run(key: dict[str, Any], data: DetectionData) -> dict[str, Any]:
    """Trains one run and returns what the journal keeps of it."""
    recipe = recipe_of(key["epochs"], key["seed"])

    def build() -> Any:
        return detector(data.input_shape, len(data.classes), recipe.weight_decay, width=key["width"])

    trained = train(key["method"], build, data, recipe, key["rate"], round_to=ROUND_TO)
    size = profile(trained.model)
    file_bytes, from_file = int8_file(trained, data)
    scores = {
        "validation": trained.validation,
        "test": precision(detect(trained.model, data, data.test), data.test),
        "int8_test": from_file,
    }
    return {
        **{
            f"{name}_{field}": value
            for name, each in scores.items()
            for field, value in dataclasses.asdict(each).items()
        },
        "parameters": size.parameters,
        "macs": size.macs,
        "activation_bytes": size.activation_bytes,
        "int8_bytes": file_bytes,
        "sizes": [int(each.shape[-1]) for each in trained.model.weights if len(each.shape) > 1],
        "seconds": trained.seconds,
        "processor_seconds": trained.processor_seconds,
        "cut": None if trained.final_step is None else dataclasses.asdict(trained.final_step),
    }


def int8_file(trained: TrainedDetector, data: DetectionData) -> tuple[int, Precision]:
    """Returns the bytes of the int8 file, and the precision of what is decoded from its outputs."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.tflite"
        export_tflite(trained.model, path, "int8", data.to_float(data.train[:CALIBRATED]))
        content = path.read_bytes()
    return len(content), precision(detect(content, data, data.test), data.test)


def times_journal() -> Journal:
    return Journal(RESULTS / "detection_times.jsonl")


def measure_times(journal: Journal, width: int, console: Console) -> None:
    """Times the files of all networks of a width in turn, unless these very networks have been timed."""
    sizes = sizes_of(results_of(journal, shared(width)))
    key = {"width": width, "sizes": sizes}
    if not sizes or times_journal().done(key):
        return
    data = load_scenes(train_limit=CALIBRATED)
    whole = detector(data.input_shape, len(data.classes), width=width)
    files = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.tflite"
        for name, left in sizes.items():
            for recipe in TIMED:
                export_tflite(of_sizes(whole, left), path, recipe, data.to_float(data.train))
                files[f"{name} {recipe}"] = path.read_bytes()
    latencies = measure_latency(files, threads=(1,), rounds=100)
    times_journal().append(key, {"milliseconds": {each.name: each.median_ms for each in latencies}})
    console.print(f"{len(files)} files timed")


HEADING = (
    *("rate asked", "method", "mAP@[.5:.95], %", "mAP@.5, %", "parameters", "MACs", "training, s", "of dense"),
    *("int8: mAP@[.5:.95], %", "int8 bytes", *(f"{recipe}, ms" for recipe in TIMED)),
)


def with_longer(journal: Journal, width: int) -> tuple[Results, dict[str, str]]:
    """Returns the results of a width and the labels of their methods; a method trained for longer is one of its own."""
    found, labels = results_of(journal, shared(width)), dict(LABELS)
    for epochs in sorted({record["key"]["epochs"] for record in journal.records()} - {RECIPE.epochs}):
        for (method, rate), runs in results_of(journal, shared(width, epochs)).items():
            longer = f"{method}, {epochs} epochs"
            found[longer, rate], labels[longer] = runs, f"{LABELS[method]}, {epochs} epochs"
    return found, labels


def table_of(journal: Journal, width: int) -> ResultTable:
    """Returns a row for each method, rate and number of epochs that has a result."""
    rows = []
    found, labels = with_longer(journal, width)
    times = times_of(times_journal(), sizes_of(results_of(journal, shared(width))))
    dense = found.get(("dense", 0.0))
    for (method, rate), runs in sorted(found.items(), key=lambda item: list(labels).index(item[0][0])):
        seeds = f" ({len(runs)})" if len(runs) > 1 else ""
        named = [f"{method.partition(',')[0]} {rate:g} {recipe}" for recipe in TIMED]
        rows.append(
            (
                f"{rate:.0%}",
                labels[method] + seeds,
                *(f"{100 * mean(runs, field):.2f}" for field in ("test_mean", "test_at_half")),
                f"{mean(runs, 'parameters'):,.0f}",
                f"{mean(runs, 'macs') / 1e6:.2f} M",
                f"{mean(runs, 'processor_seconds'):.0f}",
                f"{mean(runs, 'processor_seconds') / mean(dense, 'processor_seconds'):.2f}" if dense else "",
                f"{100 * mean(runs, 'int8_test_mean'):.2f}",
                f"{mean(runs, 'int8_bytes'):,.0f}",
                *(f"{times[each]:.3f}" if each in times else "" for each in named),
            )
        )
    ordered = tuple(sorted(rows, key=lambda row: int(row[0].rstrip("%"))))
    return ResultTable(title_of(width), HEADING, ordered, left=("method",))


def main(_: list[str]) -> None:
    console = Console(width=170)
    journal = Journal(RESULTS / "detection.jsonl")
    if TIMES.value:
        for width in WIDTHS:
            measure_times(journal, width, console)
    elif not REPORT.value:
        use_one_thread()
        data = load_scenes(train_limit=SCENES)
        run_missing(journal, keys(), lambda key: run(key, data), console, "test_mean")
    widths = [width for width in WIDTHS if results_of(journal, shared(width))]
    tables = [table_of(journal, width) for width in widths]
    console.print(*tables)
    written = write_markdown(RESULTS / "detection.md", tables)
    score, unit = ("test_mean", "test mAP@[.5:.95] (%)"), (1e6, "million MACs")
    panels = [
        panel_of(
            f"Detector of width {width}, scenes from Fashion-MNIST",
            *with_longer(journal, width),
            "macs",
            unit,
            "rpgp",
            score,
        )
        for width in widths
    ]
    drawn = draw_panels(RESULTS / "detection.png", panels)
    console.print(f"Written: {written.name}, {drawn.name}")


if __name__ == "__main__":
    app.run(main)
