"""The trained networks of MLPerf Tiny at half of their multiplications, as int8 files for microcontrollers.

    python -m research.mlperf_half

Half of the MACs leave by structured SWD, with what real data there is: image classification trains on CIFAR-10 (JPEG
copy) with its labels, beside the whole network trained likewise; visual wake words learns from the whole network's
answers on the same photographs, scaled up, as their labels say nothing of persons; for keyword spotting there is no
recording, so that channels leave once, without training, and only sizes are told. Writes
`research/results/mlperf_half.jsonl` and a table; resumable.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import app
from rich.console import Console

import tfmot_swd
from research import mlperf_tiny
from research.cifar10_jpeg import load_cifar10_jpeg
from research.exactness import random_images
from research.journal import Journal
from research.tables import ResultTable, write_markdown
from tfmot_swd import Budget, export_tflite, profile
from tfmot_swd.tflite.micro import run_micro, write_c_source

RESULTS = Path(__file__).parent / "results"
SHARE = 0.5
SEED = 0
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network and how it trains.

    Args:
      name: of its file.
      title: of its row.
      images: of CIFAR-10 to train on; 0 for none.
      side: of the images, scaled to that.
      epochs: of training.
      distilled: whether targets are the whole network's answers; labels otherwise.
    """

    name: str
    title: str
    images: int = 0
    side: int = 0
    epochs: int = 0
    distilled: bool = False


SUBJECTS = (
    Subject("image_classification", "ResNet-8", 20_000, 32, 8),
    Subject("visual_wake_words", "MobileNetV1 0.25", 8_000, 96, 4, distilled=True),
    Subject("keyword_spotting", "DS-CNN"),
)


def photographs(images: np.ndarray, side: int) -> np.ndarray:
    """Returns uint8 images (N, side, side, 3), scaled bilinearly."""
    if images.shape[1] == side:
        return images
    scaled = [
        tf.image.resize(images[start : start + 500], (side, side)).numpy() for start in range(0, len(images), 500)
    ]
    return np.concatenate(scaled).astype(np.uint8)


def to_float(images: np.ndarray, network: str) -> np.ndarray:
    """Returns images in the range that a network was trained with."""
    pixels = images.astype(np.float32)
    return (pixels - 128) / 128 if network == "image_classification" else pixels


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a network is trained and judged on: images in its range, targets, test images and their right classes."""

    x: np.ndarray
    targets: np.ndarray
    test: np.ndarray
    right: np.ndarray

    def share(self, model: keras.Model) -> float:
        """Returns how many test images a network answers rightly."""
        return float((model.predict(self.test, batch_size=250, verbose=0).argmax(axis=1) == self.right).mean())


def lesson_of(subject: Subject, model: keras.Model) -> Lesson:
    data = load_cifar10_jpeg(train_limit=subject.images)
    every = 5 if subject.distilled else 1
    x, test = (photographs(each, subject.side) for each in (data.train_x, data.test_x[::every]))
    x, test = (to_float(each, subject.name) for each in (x, test))
    if not subject.distilled:
        return Lesson(x, np.eye(10, dtype=np.float32)[data.train_y], test, data.test_y)
    targets, answers = (model.predict(each, batch_size=250, verbose=0) for each in (x, test))
    return Lesson(x, targets, test, answers.argmax(axis=1))


def fit(subject: Subject, model: keras.Model, lesson: Lesson, callbacks: list[keras.callbacks.Callback]) -> None:
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps_of(subject, lesson))
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy")
    pairs = tf.data.Dataset.from_tensor_slices((lesson.x, lesson.targets))
    flow = pairs.shuffle(len(lesson.x), seed=SEED).batch(BATCH, drop_remainder=True)
    model.fit(flow, epochs=subject.epochs, callbacks=callbacks, verbose=2)


def steps_of(subject: Subject, lesson: Lesson) -> int:
    return subject.epochs * (len(lesson.x) // BATCH)


def train(subject: Subject, model: keras.Model) -> tuple[keras.Model, np.ndarray, dict[str, float]]:
    """Returns the smaller network, representative data, and how many answers are right: labels', or the whole net's."""
    lesson = lesson_of(subject, model)
    schedule = tfmot_swd.StructuredDecay(Budget(macs=SHARE), steps_of(subject, lesson))
    pruned = tfmot_swd.prune_selective_decay(model, schedule)
    fit(subject, pruned, lesson, [tfmot_swd.UpdatePruningStep()])
    small = tfmot_swd.strip_pruning(pruned)
    shares = {"whole": lesson.share(model), "half": lesson.share(small), "images": len(lesson.test)}
    return small, lesson.x[:200], shares


def tune(subject: Subject, model: keras.Model) -> dict[str, float]:
    """Trains the whole network as the pruned one is, so that the two can be compared: it never saw these copies."""
    lesson = lesson_of(subject, model)
    fit(subject, model, lesson, [])
    return {"right": lesson.share(model)}


def cut_once(model: keras.Model) -> tuple[keras.Model, np.ndarray]:
    """Returns a network without its smallest channels, untrained, and made-up data of its shape."""
    fitted = tfmot_swd.costs.fit_budget(model, tfmot_swd.channels.channel_scores(model), Budget(macs=SHARE))
    x = random_images(model.input_shape[1:], np.random.default_rng(SEED), 100)
    return tfmot_swd.channels.remove_channels(model, fitted.keep), x


def whole(subject: Subject) -> keras.Model:
    keras.utils.set_random_seed(SEED)
    return mlperf_tiny.network(subject.name)


def measure(subject: Subject) -> dict[str, Any]:
    model = whole(subject)
    shares: dict[str, float] | None = None
    if subject.images:
        small, x, shares = train(subject, model)
    else:
        small, x = cut_once(model)
    result: dict[str, Any] = {"right": shares}
    with tempfile.TemporaryDirectory() as directory:
        for name, each in (("whole", model), ("half", small)):
            path = Path(directory) / f"{name}.tflite"
            exported = export_tflite(each, path, "int8", x, x)
            ran = run_micro(path.read_bytes(), {each.input_names[0]: x[:20]})
            source = write_c_source(path, Path(directory) / f"{name}.c")
            found = profile(each)
            result[name] = {
                "parameters": found.parameters,
                "macs": found.macs,
                "int8_bytes": exported.bytes,
                "arena_bytes": ran.arena_bytes,
                "agreement": exported.agreement,
                "operators": list(source.operators),
            }
    result["reference_bytes"] = mlperf_tiny.reference_file(subject.name).stat().st_size
    return result


HEADING = (
    *("network", "MACs", "parameters", "reference file", "int8 file, whole", "int8 file, half"),
    *("arena, whole", "arena, half", "right, whole %", "whole, trained on %", "half %"),
)


def table_of(journal: Journal) -> ResultTable:
    rows = []
    titles = {subject.name: subject.title + (", distilled" if subject.distilled else "") for subject in SUBJECTS}
    tuned = {each["key"]["network"]: each["result"]["right"] for each in journal.records() if "whole" in each["key"]}
    for record in journal.records():
        if "whole" in record["key"]:
            continue
        result, name = record["result"], record["key"]["network"]
        whole, half, right = result["whole"], result["half"], result["right"]
        rows.append(
            (
                titles[name],
                f"{whole['macs'] / 1e6:.2f} M → {half['macs'] / 1e6:.2f} M",
                f"{whole['parameters']:,} → {half['parameters']:,}",
                f"{result['reference_bytes']:,}",
                *(f"{each['int8_bytes']:,}" for each in (whole, half)),
                *(f"{each['arena_bytes']:,}" for each in (whole, half)),
                f"{100 * right['whole']:.1f}" if right else "no data",
                f"{100 * tuned[name]:.1f}" if name in tuned else "",
                f"{100 * right['half']:.1f}" if right else "no data",
            )
        )
    return ResultTable("MLPerf Tiny at half of the multiplications", HEADING, tuple(rows), left=("network",))


def main(_: list[str]) -> None:
    console = Console(width=170)
    mlperf_tiny.fetch(mlperf_tiny.cache())
    journal = Journal(RESULTS / "mlperf_half.jsonl")
    for subject in SUBJECTS:
        key = {"network": subject.name, **dataclasses.asdict(subject), "share": SHARE, "seed": SEED}
        if not journal.done(key):
            journal.append(key, measure(subject))
        if subject.images and not subject.distilled and not journal.done({**key, "whole": True}):
            journal.append({**key, "whole": True}, tune(subject, whole(subject)))
    table = table_of(journal)
    console.print(table)
    write_markdown(RESULTS / "mlperf_half.md", [table])


if __name__ == "__main__":
    app.run(main)
