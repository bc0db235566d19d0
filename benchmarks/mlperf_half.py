"""The trained networks of MLPerf Tiny at half of their multiplications, as int8 files for microcontrollers.

    python -m benchmarks.mlperf_half

Half of the MACs leave by structured SWD, with what real data there is: image classification trains on CIFAR-10 (JPEG
copy) with its labels; visual wake words learns from the whole network's answers on the same photographs, scaled up,
as their labels say nothing of persons; for keyword spotting there is no recording, so that channels leave once, without
training, and only sizes are told. Writes `benchmarks/results/mlperf_half.jsonl` and a table; resumable.
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
from benchmarks import mlperf_tiny
from benchmarks.cifar10_jpeg import load_cifar10_jpeg
from benchmarks.exactness import random_images
from benchmarks.journal import Journal
from benchmarks.tables import ResultTable, write_markdown
from tfmot_swd import Budget, export_tflite, profile
from tfmot_swd.export.micro import run_micro, write_c_source

RESULTS = Path(__file__).parent / "results"
SHARE = 0.5
SEED = 0


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


def train(subject: Subject, model: keras.Model) -> tuple[keras.Model, np.ndarray, dict[str, float]]:
    """Returns the smaller network, representative data, and how many answers are right: labels', or the whole net's."""
    data = load_cifar10_jpeg(train_limit=subject.images)
    x, test = (
        photographs(each, subject.side) for each in (data.train_x, data.test_x[:: 5 if subject.distilled else 1])
    )
    x, test = (to_float(each, subject.name) for each in (x, test))
    teacher = model.predict(x, batch_size=250, verbose=0)
    targets = teacher if subject.distilled else np.eye(10, dtype=np.float32)[data.train_y]
    answers = model.predict(test, batch_size=250, verbose=0)
    right = answers.argmax(axis=1) if subject.distilled else data.test_y
    batch = 64
    steps = subject.epochs * (len(x) // batch)
    schedule = tfmot_swd.StructuredDecay(Budget(macs=SHARE), steps)
    pruned = tfmot_swd.prune_selective_decay(model, schedule)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    pruned.compile(keras.optimizers.Adam(rate), "categorical_crossentropy")
    flow = tf.data.Dataset.from_tensor_slices((x, targets)).shuffle(len(x), seed=SEED).batch(batch, drop_remainder=True)
    pruned.fit(flow, epochs=subject.epochs, callbacks=[tfmot_swd.UpdatePruningStep()], verbose=2)
    small = tfmot_swd.strip_pruning(pruned)
    after = small.predict(test, batch_size=250, verbose=0)
    shares = {
        "whole": float((answers.argmax(axis=1) == right).mean()),
        "half": float((after.argmax(axis=1) == right).mean()),
        "images": len(test),
    }
    return small, x[:200], shares


def cut_once(model: keras.Model) -> tuple[keras.Model, np.ndarray]:
    """Returns a network without its smallest channels, untrained, and made-up data of its shape."""
    fitted = tfmot_swd.fit_budget(model, tfmot_swd.channel_scores(model), Budget(macs=SHARE))
    x = random_images(model.input_shape[1:], np.random.default_rng(SEED), 100)
    return tfmot_swd.remove_channels(model, fitted.keep), x


def measure(subject: Subject) -> dict[str, Any]:
    keras.utils.set_random_seed(SEED)
    model = keras.models.load_model(mlperf_tiny.cache() / f"{subject.name}.h5", compile=False)
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
    *("arena, whole", "arena, half", "right, whole %", "right, half %"),
)


def table_of(journal: Journal) -> ResultTable:
    rows = []
    titles = {subject.name: subject.title + (", distilled" if subject.distilled else "") for subject in SUBJECTS}
    for record in journal.records():
        result = record["result"]
        whole, half, right = result["whole"], result["half"], result["right"]
        rows.append(
            (
                titles[record["key"]["network"]],
                f"{whole['macs'] / 1e6:.2f} M → {half['macs'] / 1e6:.2f} M",
                f"{whole['parameters']:,} → {half['parameters']:,}",
                f"{result['reference_bytes']:,}",
                *(f"{each['int8_bytes']:,}" for each in (whole, half)),
                *(f"{each['arena_bytes']:,}" for each in (whole, half)),
                *(f"{100 * right[each]:.1f}" if right else "no data" for each in ("whole", "half")),
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
    table = table_of(journal)
    console.print(table)
    write_markdown(RESULTS / "mlperf_half.md", [table])


if __name__ == "__main__":
    app.run(main)
