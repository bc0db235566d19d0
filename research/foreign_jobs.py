"""Whole jobs on networks of packages: half of the MACs pruned in a short training, stripped, and exported.

    python -m research.foreign_jobs                    # all jobs, within half an hour on one core
    python -m research.foreign_jobs --foreign_report

A detector, a U-Net, two image transformers, a ResNeSt and a TCN for audio, as their packages build them
(`research.published_packages`), train for a few epochs on generated data: dense, by structured SWD, and by RPGP. The
losses tell that a training works, and nothing of what accuracy these networks would keep. The pruned network is
stripped, must predict what it predicted before, and goes into files of float32 and int8 that are compared with Keras.
Resumable: one line a job in `research/results/foreign_jobs.jsonl`, also where it failed, with the step and the message.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import app, flags
from rich.console import Console

import tfmot_swd
from research import child
from research.exactness import largest_difference, outputs_of, random_images
from research.journal import Journal
from research.published_packages import DIRECTORY, VERSIONS, Network, add_to_path, install
from research.tables import ResultTable, write_markdown

RESULTS = Path(__file__).parent / "results"
SEED = 0
MACS = 0.5
CLASSES = 4
SAMPLES, BATCH, EPOCHS = 128, 16, 5
# Of the epochs in which pruning goes on; the last one trains what is left.
PRUNING_EPOCHS = 4
# RPGP takes convolutions alone unless told otherwise; of LeViT, whose blocks are dense layers, that is too little.
METHODS = ("dense", "structured SWD", "RPGP", "RPGP, all layers")
RECIPES = ("float32", "int8")
_PATIENCE_SECONDS = 3600.0

JOBS = flags.DEFINE_list("foreign_jobs", None, "which jobs; all by default")
REPORT = flags.DEFINE_bool("foreign_report", False, "only make the table of what is there")
CODE = flags.DEFINE_string("foreign_code", "after", "name of the state of our code")
PACKAGES = flags.DEFINE_string("foreign_packages", str(DIRECTORY), "directory in which the packages are installed")


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained, and on what.

    Args:
      title: of its rows.
      network: ends in logits, or in raw values of a detector.
      data: network → inputs and targets.
      loss: of the training.
      learning_rate: of SGD with momentum.
    """

    title: str
    network: Network
    data: Callable[[keras.Model], tuple[np.ndarray, np.ndarray]]
    loss: Callable[[], keras.losses.Loss]
    learning_rate: float = 0.02


def classified_images(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns images with stripes, the class being their direction."""
    rng = np.random.default_rng(SEED)
    height, width, channels = model.input_shape[1:]
    y = rng.integers(CLASSES, size=SAMPLES)
    rows, columns = np.mgrid[:height, :width]
    angles = (np.pi * y / CLASSES)[:, None, None]
    phases = rng.uniform(0, 2 * np.pi, (SAMPLES, 1, 1))
    stripes = np.sin(0.5 * (np.cos(angles) * rows + np.sin(angles) * columns) + phases)[..., None]
    return (stripes + 0.3 * rng.normal(size=(SAMPLES, height, width, channels))).astype(np.float32), y


def segmented_images(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and, for each of their pixels, which third of brightness it is in before noise."""
    rng = np.random.default_rng(SEED)
    shape = model.input_shape[1:]
    x = (random_images(shape, rng, SAMPLES) - 128) / 64
    smooth = tf.nn.avg_pool2d(x, 5, 1, "SAME").numpy().mean(-1)
    return x, np.digitize(smooth, np.quantile(smooth, (1 / 3, 2 / 3)))


def taught_images(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and what the network says of them before any training, as a detector's targets are many."""
    x = (random_images(model.input_shape[1:], np.random.default_rng(SEED), SAMPLES) - 128) / 64
    return x, model.predict(x, batch_size=BATCH, verbose=0)


def classified_sounds(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns sequences of bands as of a spectrogram, the class being how fast a tone rises through them."""
    rng = np.random.default_rng(SEED)
    steps, bands = model.input_shape[1:]
    y = rng.integers(CLASSES, size=SAMPLES)
    place = (np.arange(steps)[None] * (y[:, None] + 1) / 16 + rng.uniform(0, bands, (SAMPLES, 1))) % bands
    distance = np.abs(np.arange(bands)[None, None] - place[..., None])
    x = np.exp(-(np.minimum(distance, bands - distance) ** 2))
    return (x + 0.2 * rng.normal(size=x.shape)).astype(np.float32), y


def _by_class() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


_ATTENTION = "keras-cv-attention-models"
_IMAGES = (64, 64, 3)
ALL = {
    job.title: job
    for job in (
        Job(
            "detector (YOLOX Nano)",
            Network(_ATTENTION, "yolox.YOLOXNano", _IMAGES, {"num_classes": CLASSES}),
            taught_images,
            keras.losses.MeanSquaredError,
        ),
        Job(
            "U-Net",
            Network("keras-unet-collection", "unet_2d", (32, 32, 3), {"filter_num": [8, 16, 32, 64]}),
            segmented_images,
            _by_class,
        ),
        Job(
            "MobileViT XXS",
            Network(_ATTENTION, "mobilevit.MobileViT_XXS", _IMAGES, {"num_classes": CLASSES}),
            classified_images,
            _by_class,
        ),
        Job(
            "LeViT 128S",
            Network(_ATTENTION, "levit.LeViT128S", _IMAGES, {"num_classes": CLASSES, "use_distillation": False}),
            classified_images,
            _by_class,
            # At 0.02 the dense training diverged; so it does at this rate.
            learning_rate=0.002,
        ),
        Job(
            "ResNeSt",
            Network(
                _ATTENTION,
                "resnest.ResNest",
                _IMAGES,
                {"num_classes": CLASSES, "num_blocks": [1, 1, 1, 1], "stem_width": 32},
            ),
            classified_images,
            _by_class,
        ),
        Job(
            "TCN for audio",
            Network("keras-tcn", "TCN", (64, 16), {"nb_filters": 32, "dilations": (1, 2, 4, 8)}),
            classified_sounds,
            _by_class,
        ),
    )
}


def run(job: Job, method: str) -> dict[str, Any]:
    """Returns what the journal keeps of a job: what came of each step, up to one that failed."""
    found: dict[str, Any] = {"seconds": {}}
    start = time.process_time()
    step = "build"
    try:
        keras.utils.set_random_seed(SEED)
        model = job.network.build()
        x, y = job.data(model)
        found |= {"macs": tfmot_swd.profile(model).macs, "parameters": model.count_params()}
        step = "wrap"
        trained = _wrapped(model, method)
        step = "train"
        trained.compile(keras.optimizers.SGD(job.learning_rate, momentum=0.9, global_clipnorm=1.0), job.loss())
        found["loss_before"] = trained.evaluate(x, y, batch_size=BATCH, verbose=0)
        callbacks = [] if method == "dense" else [tfmot_swd.UpdatePruningStep()]
        trained.fit(x, y, batch_size=BATCH, epochs=EPOCHS, callbacks=callbacks, verbose=0)
        found["loss_after"] = trained.evaluate(x, y, batch_size=BATCH, verbose=0)
        step = "strip"
        small = trained if method == "dense" else tfmot_swd.strip_pruning(trained)
        found |= {"small_macs": tfmot_swd.profile(small).macs, "small_parameters": small.count_params()}
        found["strip_difference"] = largest_difference(outputs_of(trained, x[:32]), outputs_of(small, x[:32]))
        found["files"] = {recipe: _exported(small, recipe, x) for recipe in RECIPES}
    except Exception as error:
        found["failed"] = {"step": step, "message": _told(error)}
    found["seconds"] = time.process_time() - start
    return found


def _wrapped(model: keras.Model, method: str) -> keras.Model:
    budget = tfmot_swd.Budget(macs=MACS)
    if method == "structured SWD":
        schedule = tfmot_swd.StructuredDecay(budget, end_step=PRUNING_EPOCHS * SAMPLES // BATCH)
        return tfmot_swd.prune_selective_decay(model, schedule)
    if method.startswith("RPGP"):
        rate = tfmot_swd.ProgressiveRate(budget, epochs=PRUNING_EPOCHS)
        layers = "all" if method.endswith("all layers") else "convolutions"
        return tfmot_swd.prune_progressive_gradient(model, rate, criterion="rpgp", layers=layers)
    return model


def _exported(model: keras.Model, recipe: str, x: np.ndarray) -> dict[str, Any]:
    """Returns what the proof of a file says, or why there is none."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            result = tfmot_swd.export_tflite(
                model, Path(directory) / "job.tflite", recipe, representative_data=x[:96], check_data=x[96:]
            )
        except Exception as error:
            return {"error": _told(error)}
    return {
        "bytes": result.bytes,
        "worst_difference": result.worst_difference,
        "mean_difference": result.mean_difference,
        "agreement": result.agreement,
    }


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def key_of(job: Job, method: str) -> dict[str, Any]:
    """Returns what identifies a run."""
    network = job.network
    rate = {} if job.learning_rate == Job.learning_rate else {"learning_rate": job.learning_rate}
    return {
        **rate,
        "job": job.title,
        "package": network.package,
        "version": VERSIONS[network.package],
        "network": network.name,
        "options": dict(network.options),
        "input": list(network.shape),
        "method": method,
        "macs": MACS,
        "epochs": EPOCHS,
        "samples": SAMPLES,
        "seed": SEED,
        "code": CODE.value,
    }


HEADING = (
    *("job", "code", "method", "MACs, M", "parameters, k", "loss, first and last", "strip", "float32", "int8"),
    *("CPU seconds", "failed"),
)


def table_of(records: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Returns a row for each job."""
    rows = []
    for record in records:
        key, result = record["key"], record["result"]
        failed = result.get("failed")
        rows.append(
            (
                key["job"],
                key["code"],
                key["method"],
                _change(result, "macs", 1e6),
                _change(result, "parameters", 1e3),
                " → ".join(f"{result[each]:.3g}" for each in ("loss_before", "loss_after") if result.get(each)),
                _difference_text(result.get("strip_difference")),
                *(_file_text(result.get("files", {}).get(recipe)) for recipe in RECIPES),
                f"{result['seconds']:.0f}",
                f"{failed['step']}: {_cell(failed['message'])}" if failed else "",
            )
        )
    whole = sum(_is_whole(record["result"]) for record in records)
    title = f"{whole} of {len(records)} jobs went through, half of the MACs and both files"
    note = (
        "MACs and parameters of the network and of what is left; strip: how predictions changed, as a share of their "
        "scale; files: mean difference from Keras, the share of samples in which they name the same class, and size. "
        "LeViT trains at a learning rate of 0.002, at which its dense training diverges as at the others' 0.02. RPGP "
        "takes convolutions alone by default; where those are too few for the budget, wrapping says so."
    )
    return ResultTable(title, HEADING, tuple(rows), left=(*HEADING[:3], "failed"), notes=(note,))


def _is_whole(result: Mapping[str, Any]) -> bool:
    return "failed" not in result and all("error" not in file for file in result["files"].values())


def _change(result: Mapping[str, Any], name: str, unit: float) -> str:
    return " → ".join(f"{result[each] / unit:.3g}" for each in (name, f"small_{name}") if each in result)


def _difference_text(difference: float | None) -> str:
    """Returns a difference for a table; outputs that are not finite have none."""
    return "" if difference is None else f"{difference:.0e}"


def _file_text(file: Mapping[str, Any] | None) -> str:
    if file is None:
        return ""
    if "error" in file:
        return f"FAILED: {_cell(file['error'])}"
    agreement = "" if file["agreement"] is None else f", {file['agreement']:.0%}"
    return f"{file['mean_difference']:.0e}{agreement}, {file['bytes'] / 1000:.0f} kB"


def _cell(text: str) -> str:
    """Returns the beginning of a message, in one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")[:200]


def main(_: list[str]) -> None:
    if os.environ.get("TF_USE_LEGACY_KERAS") != "1":
        # Only before its import can TensorFlow be told to give tf_keras for `tensorflow.keras`.
        command = [sys.executable, "-m", "research.foreign_jobs", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"TF_USE_LEGACY_KERAS": "1"})
    journal = Journal(RESULTS / "foreign_jobs.jsonl")
    console = Console(width=200)
    if not REPORT.value:
        install(Path(PACKAGES.value))
        add_to_path(Path(PACKAGES.value))
        for title in JOBS.value or ALL:
            for method in METHODS if title.startswith("LeViT") else METHODS[:3]:
                key = key_of(ALL[title], method)
                if not journal.done(key):
                    try:
                        result = child.measure_forked(functools.partial(run, ALL[title], method), _PATIENCE_SECONDS)
                    except RuntimeError as error:
                        result = {"seconds": 0.0, "failed": {"step": "process", "message": _told(error)}}
                    journal.append(key, result)
                    console.print(f"{title}, {method}: {result.get('failed', 'done')}", markup=False)
    if journal.records():
        table = table_of(journal.records())
        written = write_markdown(RESULTS / "foreign_jobs.md", [table])
        console.print(f"{table.title}\nWritten: {written.name}", markup=False)


if __name__ == "__main__":
    app.run(main)
