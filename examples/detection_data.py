"""Detection data as arrays: scenes composed from Fashion-MNIST items, or a detection set of tensorflow_datasets.

```python
data = load_scenes("fashion_scenes", train_limit=4000)
model = detector(data.input_shape, len(data.classes))
```
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from examples import datasets
from examples.datasets import Pixels, load_images, pixel_statistics, to_float

CANVAS = 96
ITEMS = (2, 6)
CLASSES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
# Side in pixels of the square that an item of 28 pixels is resized to.
SIDES = (24, 60)
# Of each item at least this share stays visible.
VISIBLE = 0.6
CLUTTER = (4, 10)
# Darker than this counts as outside of an item.
_EDGE = 40
_TRIES = 12


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Images and what is to be found on them.

    Args:
      images: uint8 (N, height, width, channels).
      boxes: float32 (N, M, 4), top, left, bottom and right side in pixels; zeros beyond the last object.
      labels: int64 (N, M); -1 beyond the last object.
    """

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> Scenes:
        return Scenes(self.images[part], self.boxes[part], self.labels[part])


@dataclasses.dataclass(frozen=True)
class DetectionData:
    """Scenes in three splits, and the names of the classes."""

    name: str
    classes: tuple[str, ...]
    train: Scenes
    validation: Scenes
    test: Scenes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    @functools.cached_property
    def pixels(self) -> Pixels:
        """Mean and standard deviation by channel of the training images."""
        return pixel_statistics(self.train.images)

    def to_float(self, scenes: Scenes) -> np.ndarray:
        """Returns the images of a split, standardized by the statistics of the training split; float32."""
        return to_float(scenes.images, *self.pixels)


def load_scenes(
    name: str = "fashion_scenes",
    data_dir: str | Path | None = None,
    size: int = CANVAS,
    train_limit: int | None = None,
) -> DetectionData:
    """Loads a detection set of `tensorflow_datasets`, preparing it first where that was not done yet.

    Objects that VOC marks as difficult are learnt and counted as all others are, which published scores leave out.

    Args:
      name: "fashion_scenes", "fashion_scenes/tiny", or a set whose objects have boxes and labels, as "voc/2007".
      data_dir: where datasets are prepared; `~/tensorflow_datasets` by default.
      size: images of another height or width are resized to this, and so are their boxes.
      train_limit: how many scenes to train on; all by default.

    Raises:
      ValueError: the set has no objects with boxes and labels, lacks a split or the objects of one; a limit below 1.
      DatasetUnavailableError: it is not prepared, and there is no way to get it.
    """
    if train_limit is not None and train_limit < 1:
        raise ValueError(f"train_limit must be 1 or more, or None. Received: {train_limit}")
    builder = tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
    label = _label_of(builder.info.features)
    if label is None:
        raise ValueError(
            "name must be a dataset of images with objects, each with a bbox and a label. "
            f"Received: {name!r} with {builder.info.features}"
        )
    with datasets.quiet():
        prepared = builder.is_prepared()
    if not prepared:
        datasets.prepare(builder)
    missing = {"train", "validation", "test"} - set(builder.info.splits)
    if missing:
        raise ValueError(
            "name must be a dataset with the splits train, validation and test. "
            f"Received: {name!r} without {', '.join(sorted(missing))}"
        )
    splits = [builder.as_dataset(split=split) for split in ("train", "validation", "test")]
    # Of fewer scenes than the limit it takes all.
    splits[0] = splits[0].take(-1 if train_limit is None else train_limit)
    scenes = [_read(split, size) for split in splits]
    for split, found in zip(("train", "validation", "test"), scenes, strict=True):
        if not (found.labels >= 0).any():
            raise ValueError(
                "name must be a dataset whose objects are known in every split, as voc/2007 and not voc/2012. "
                f"Received: {name!r} with {len(found)} images and no object in {split}"
            )
    return DetectionData(name, tuple(label.names), *scenes)


def _label_of(features: Any) -> Any:
    """Returns the feature of the objects' labels; None where the objects are none as we read them."""
    objects = dict(features).get("objects")
    inner = dict(getattr(objects, "feature", None) or {})
    has_boxes = "image" in features and isinstance(inner.get("bbox"), tfds.features.BBoxFeature)
    label = inner.get("label")
    return label if has_boxes and isinstance(label, tfds.features.ClassLabel) else None


def _read(stream: tf.data.Dataset, size: int) -> Scenes:
    def resized(example: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image, objects = example["image"], example["objects"]
        if image.shape[:2] != (size, size):
            image = tf.cast(tf.round(tf.image.resize(image, (size, size), antialias=True)), tf.uint8)
        return image, objects["bbox"] * float(size), objects["label"]

    padding = tf.constant(0, tf.uint8), 0.0, tf.constant(-1, tf.int64)
    whole = stream.map(resized, num_parallel_calls=tf.data.AUTOTUNE)
    return Scenes(*next(whole.padded_batch(whole.cardinality(), padding_values=padding).as_numpy_iterator()))


@dataclasses.dataclass
class SceneCounts(tfds.core.BuilderConfig):
    """How many scenes of each split are composed."""

    train: int = 0
    validation: int = 0
    test: int = 0


class FashionScenes(tfds.core.GeneratorBasedBuilder):
    """Items of Fashion-MNIST in several sizes on a canvas, over one another, among clutter.

    The items of the validation and test scenes are in no training scene: the splits are made of those of
    `examples.datasets.load_images`. The same scenes come at every preparation.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        SceneCounts(name="whole", train=8000, validation=1000, test=2000),
        SceneCounts(name="tiny", train=96, validation=24, test=24),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        objects = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=list(CLASSES))}
        features = {
            "image": tfds.features.Image(shape=(CANVAS, CANVAS, 1)),
            "objects": tfds.features.Sequence(objects),
        }
        # A builder outside a package has no files of descriptions that `create_dataset_info` could read.
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, _: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        items = load_images("fashion_mnist", self._data_dir_root)
        # Loading brings them back, in the middle of a preparation that may be without.
        tfds.disable_progress_bar()
        counts = self.builder_config
        return {
            "train": self._generate_examples(items.train_x, items.train_y, counts.train, 0),
            "validation": self._generate_examples(items.validation_x, items.validation_y, counts.validation, 1),
            "test": self._generate_examples(items.test_x, items.test_y, counts.test, 2),
        }

    def _generate_examples(
        self, x: np.ndarray, y: np.ndarray, count: int, seed: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        rng = np.random.default_rng(seed)
        for index in range(count):
            image, boxes, labels = compose(x, y, rng)
            sides = [tfds.features.BBox(*map(float, box / CANVAS)) for box in boxes]
            objects = [{"bbox": box, "label": int(label)} for box, label in zip(sides, labels, strict=True)]
            yield index, {"image": image, "objects": objects}


def compose(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Composes one scene of random items.

    Args:
      x: items, uint8 (N, height, width, 1), black around.
      y: their classes, int (N,).
      rng: decides everything.

    Returns:
      The image, uint8 (96, 96, 1); boxes, float32 (M, 4), top, left, bottom and right side in pixels, tight around
      each whole item; classes, int64 (M,). Items stand in the order in which they were laid down.
    """
    canvas = _background(rng)
    for _ in range(rng.integers(*CLUTTER, endpoint=True)):
        _scrap(canvas, x, rng)
    # Which item is seen at a pixel; how many pixels each has.
    owner, areas = np.full(canvas.shape, -1), np.zeros(0)
    boxes: list[tuple[int, ...]] = []
    labels: list[int] = []
    for index in rng.integers(len(x), size=rng.integers(*ITEMS, endpoint=True)):
        for _ in range(_TRIES):
            side = round(float(np.exp(rng.uniform(*np.log(SIDES)))))
            item = _resized(x[index, ..., 0], side)[:, :: rng.choice((-1, 1))]
            top, left = rng.integers(CANVAS - side + 1, size=2)
            window = slice(top, top + side), slice(left, left + side)
            mask = item > _EDGE
            left_over = owner.copy()
            left_over[window][mask] = -1
            seen = np.array([(left_over == each).sum() for each in range(len(boxes))])
            if (seen >= VISIBLE * areas).all():
                break
        else:
            continue
        owner = left_over
        owner[window][mask] = len(boxes)
        areas = np.append(areas, mask.sum())
        opaque = np.minimum(item / _EDGE, 1.0)
        canvas[window] = (1 - opaque) * canvas[window] + opaque * item * rng.uniform(0.6, 1.0)
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        boxes.append((top + rows[0], left + columns[0], top + rows[-1] + 1, left + columns[-1] + 1))
        labels.append(y[index])
    image = np.clip(canvas + rng.normal(0, 6, canvas.shape), 0, 255).round().astype(np.uint8)
    return image[..., None], np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def _background(rng: np.random.Generator) -> np.ndarray:
    """Returns a cloudy grey, float (96, 96)."""
    return _resized(rng.uniform(0, 90, (5, 5)), CANVAS)


def _scrap(canvas: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> None:
    """Lays a piece of an item somewhere, too small to tell of what."""
    height, width = rng.integers(4, 12, size=2)
    top, left = (rng.integers(each - size + 1) for each, size in zip(x.shape[1:3], (height, width), strict=True))
    piece = x[rng.integers(len(x)), top : top + height, left : left + width, 0]
    row, column = rng.integers(CANVAS - height + 1), rng.integers(CANVAS - width + 1)
    canvas[row : row + height, column : column + width] = piece * rng.uniform(0.3, 1.0)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    """Returns an image (height, width) as a square, float, interpolated linearly between middles of pixels."""
    rows, columns = (_interpolation(size, side) for size in image.shape)
    return rows @ image @ columns.T


@functools.cache
def _interpolation(size: int, side: int) -> np.ndarray:
    """Returns the matrix (side, size) that interpolates `size` samples at `side` places."""
    places = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(size)), 0)
