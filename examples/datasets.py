"""Image classification data as arrays, and streams of batches to train on.

```python
data = load_images("fashion_mnist")
stream = batches(data.train_x, data.train_y, batch_size=128, seed=0)
model.fit(stream, validation_data=(data.to_float(data.validation_x), data.validation_y))
```
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from examples import debian_fashion_mnist

_REACHABLE_SECONDS = 5
Pixels = tuple[np.ndarray, np.ndarray]


class DatasetUnavailableError(RuntimeError):
    """The dataset is not on this machine and cannot be brought to it."""


@dataclass(frozen=True)
class ImageData:
    """Images, uint8 `(N, height, width, channels)`, and labels, int64 `(N,)`, in three splits."""

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    num_classes: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        _, height, width, channels = self.train_x.shape
        return height, width, channels

    @cached_property
    def pixels(self) -> Pixels:
        """Mean and standard deviation by channel of the training images; see `pixel_statistics`."""
        return pixel_statistics(self.train_x)

    def to_float(self, x: np.ndarray) -> np.ndarray:
        """Standardizes any split's images by the training split's statistics; float32."""
        return to_float(x, *self.pixels)


def load_images(
    name: str = "fashion_mnist",
    data_dir: str | Path | None = None,
    validation: int = 5000,
    train_limit: int | None = None,
    seed: int = 0,
) -> ImageData:
    """Loads a dataset of `tensorflow_datasets`, preparing it first where that was not done yet.

    Fashion-MNIST also works without the internet on Debian and its relatives, from a package.

    Args:
        name: an image classification dataset with images of one size, such as `"fashion_mnist"` or
            `"cifar10"`.
        data_dir: where datasets are prepared; `~/tensorflow_datasets` by default.
        validation: images taken out of the training split, at random.
        train_limit: how many of the other training images to keep; all by default.
        seed: decides which images validate; the order of the rest, too.

    Raises:
        ValueError: the dataset is not images of one size with a label each, or is too small.
        DatasetUnavailableError: it is not prepared, and there is no way to get it.
    """
    builder = tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
    image, label = (dict(builder.info.features).get(key) for key in ("image", "label"))
    if not (
        isinstance(image, tfds.features.Image)
        and isinstance(label, tfds.features.ClassLabel)
        and None not in image.shape
        and builder.info.supervised_keys == ("image", "label")
    ):
        raise ValueError(
            "`name` must be a dataset of images of one size, with one label each. "
            f"Received: {name!r} with {builder.info.features}"
        )
    with quiet():
        prepared = builder.is_prepared()
    if not prepared:
        prepare(builder)
    if not {"train", "test"} <= set(builder.info.splits):
        raise ValueError(
            "`name` must be a dataset with the splits train and test. "
            f"Received: {name!r} with the splits {sorted(builder.info.splits)}"
        )

    def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
        # Everything is one batch, so the files are read and decoded once and nothing is copied.
        x, y = tfds.as_numpy(builder.as_dataset(split, batch_size=-1, as_supervised=True))
        return x, y

    return split_validation(
        name,
        arrays("train"),
        arrays("test"),
        num_classes=label.num_classes,
        validation=validation,
        train_limit=train_limit,
        seed=seed,
    )


def split_validation(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    num_classes: int,
    validation: int,
    train_limit: int | None = None,
    seed: int = 0,
) -> ImageData:
    """Makes `ImageData` of two splits, each `(images, labels)`; arguments as in `load_images`."""
    train_x, train_y = train
    count = len(train_x)
    if not 0 <= validation < count:
        raise ValueError(f"`validation` must leave some of the {count} training images. Received: {validation}")
    if train_limit is not None and train_limit < 1:
        raise ValueError(f"`train_limit` must be 1 or more, or None. Received: {train_limit}")
    order = np.random.default_rng(seed).permutation(count)
    held_out, kept = order[:validation], order[validation:][:train_limit]
    return ImageData(
        name,
        train_x[kept],
        train_y[kept],
        train_x[held_out],
        train_y[held_out],
        *test,
        num_classes=num_classes,
    )


def pixel_statistics(x: np.ndarray) -> Pixels:
    """Mean and standard deviation of `x / 255` by channel.

    Both are float32 `(channels,)`. A channel that never varies gets the standard deviation 1.
    """
    # Counting the 256 values is exact, and needs no copy of the images as floats.
    counts = np.stack([np.bincount(x[..., c].ravel(), minlength=256) for c in range(x.shape[-1])]).astype(np.float64)
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
    std = np.where(variance > 0, np.sqrt(variance), 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def to_float(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """`(x / 255 - mean) / std`, float32 of the shape of `x`."""
    scale, offset = _scale_and_offset(mean, std)
    return x.astype(np.float32) * scale + offset


def augment(images: tf.Tensor, seed: tf.Tensor, pad: int = 4) -> tf.Tensor:
    """Crops each image at random from itself with a black border, and mirrors every other one.

    Args:
        images: `(N, height, width, channels)` of any dtype, not yet standardized: the border is 0.
        seed: int `(2,)`; the same seed gives the same crops and mirrors.
        pad: width of the border; shifts are uniform over -pad..pad in both directions.

    Returns:
        Images of the same shape and dtype.
    """
    count = tf.shape(images)[0]
    draws = tf.random.stateless_uniform([2, count], seed, maxval=2 * pad + 1, dtype=tf.int32)
    mirror = tf.random.stateless_uniform([count], seed + 1, maxval=2, dtype=tf.int32) == 1
    return crop_and_mirror(images, draws[0], draws[1], mirror, pad)


def crop_and_mirror(images: tf.Tensor, top: tf.Tensor, left: tf.Tensor, mirror: tf.Tensor, pad: int) -> tf.Tensor:
    """Takes image n from row `top[n]` and column `left[n]` of its padded self; then mirrors it.

    Args:
        images: `(N, height, width, channels)`.
        top: int32 `(N,)` in 0..2 * pad, where `pad` means no shift; so is `left`.
        left: see `top`.
        mirror: bool `(N,)`; True swaps left and right.
        pad: border of zeros.
    """
    height, width = images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    rows = top[:, None] + tf.range(height)
    columns = left[:, None] + tf.where(mirror[:, None], tf.range(width - 1, -1, -1), tf.range(width))
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)


def batches(
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    seed: int,
    augment: bool = False,
    pixels: Pixels | None = None,
) -> tf.data.Dataset:
    """A stream to train on, one epoch long: shuffled anew each time, whole batches only.

    Two streams with one seed yield the same sequence of epochs, where TensorFlow's global seed is
    the same, too. The images stay uint8 in memory and become floats one batch at a time.

    Args:
        x: uint8 `(N, height, width, channels)`.
        y: int `(N,)`.
        batch_size: at most N; an epoch has `N // batch_size` batches.
        seed: of shuffling and augmentation.
        augment: crop and mirror at random; see the function `augment`.
        pixels: `(mean, std)` to standardize by; those of `x` by default, as `x` is training data.

    Returns:
        A dataset of `(float32 (batch_size, height, width, channels), int64 (batch_size,))`.
    """
    if len(x) != len(y):
        raise ValueError(f"`x` and `y` must be as long. Received: {len(x)} and {len(y)}")
    if not 1 <= batch_size <= len(x):
        raise ValueError(f"`batch_size` must be in 1..{len(x)}. Received: {batch_size}")
    scale, offset = _scale_and_offset(*(pixels or pixel_statistics(x)))
    images, labels = tf.constant(x), tf.constant(y, tf.int64)

    def batch(index: tf.Tensor, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = tf.gather(images, index)
        if augment:
            chosen = _augment(chosen, tf.stack([draw, 0]))
        return tf.cast(chosen, tf.float32) * scale + offset, tf.gather(labels, index)

    indices = tf.data.Dataset.range(len(x)).shuffle(len(x), seed=seed)
    indices = indices.batch(batch_size, drop_remainder=True)
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    stream = tf.data.Dataset.zip((indices, draws))
    return stream.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


_augment = augment  # `batches` has an argument of that name


def _scale_and_offset(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The one multiplication and one addition that standardize raw pixels."""
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def prepare(builder: Any) -> None:
    """Brings a dataset to this machine, by way of the Debian package where that is the only way."""
    print(f"Preparing {builder.name} in {builder.data_path} (once) ...", flush=True)
    if builder.name == "fashion_mnist" and debian_fashion_mnist.INSTALLED.is_dir():
        _place_fashion_mnist(builder, "not tried")
        _generate(builder)
        return
    problem = _download(builder)
    if problem is None:
        return
    if builder.name != "fashion_mnist":
        raise DatasetUnavailableError(
            f"{builder.name} is not prepared on this machine and cannot be downloaded: prepare it where there is "
            f"a network, or pass the `data_dir` that has it. Received: {problem}"
        )
    print(f"No download ({problem}); taking Debian's package instead ...", flush=True)
    _place_fashion_mnist(builder, problem)
    _generate(builder)


def _download(builder: Any) -> str | None:
    """Downloads and prepares; says what is wrong where that is impossible, within seconds."""
    try:
        # `tensorflow_datasets` itself tries ten times, minutes on a machine that is offline.
        for url in list(builder.url_infos or ())[:1]:
            answer = requests.head(url, timeout=_REACHABLE_SECONDS, allow_redirects=True)
            answer.raise_for_status()
        _generate(builder)
    except (requests.RequestException, tfds.download.DownloadError, NonMatchingChecksumError) as e:
        return type(e).__name__
    return None


def _place_fashion_mnist(builder: Any, problem: str) -> None:
    manual = Path(builder.data_path.parent.parent) / "downloads" / "manual"
    try:
        debian_fashion_mnist.place_files(manual)
    except debian_fashion_mnist.DebianPackageError as error:
        raise DatasetUnavailableError(
            f"fashion_mnist can neither be downloaded nor taken from Debian's package "
            f"{debian_fashion_mnist.PACKAGE}: install that package, or put the published "
            f"files {', '.join(debian_fashion_mnist.FILES)} into {manual}. Received: {problem}; {error}"
        ) from error


def _generate(builder: Any) -> None:
    with quiet():
        builder.download_and_prepare()


@contextmanager
def quiet() -> Iterator[None]:
    """Mutes `tensorflow_datasets`, whose progress bars and warnings fill a screen."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
        tfds.enable_progress_bar()
