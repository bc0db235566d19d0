from types import SimpleNamespace

import numpy as np
import pytest
import requests
import tensorflow as tf
import tensorflow_datasets as tfds

from examples import datasets, debian_fashion_mnist
from examples.datasets import (
    DatasetUnavailableError,
    augment,
    batches,
    crop_and_mirror,
    load_images,
    pixel_statistics,
    split_validation,
    to_float,
)


def numbered_images(count: int) -> np.ndarray:
    """Images of 4x4x1 whose every pixel is the image's number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 1))


def split(count=10, **options):
    images, labels = numbered_images(count), np.arange(count)
    return split_validation("numbers", (images, labels), (images[:2], labels[:2]), **options)


def test_validation_images_leave_the_training_split():
    data = split(num_classes=10, validation=3)

    assert (len(data.train_x), len(data.validation_x), len(data.test_x)) == (7, 3, 2)
    assert sorted([*data.train_y, *data.validation_y]) == list(range(10))
    np.testing.assert_array_equal(data.train_x[:, 0, 0, 0], data.train_y)
    np.testing.assert_array_equal(data.validation_x[:, 0, 0, 0], data.validation_y)
    assert data.input_shape == (4, 4, 1)


def test_the_seed_alone_decides_who_validates():
    first, again = (split(num_classes=10, validation=3) for _ in range(2))
    other = split(num_classes=10, validation=3, seed=1)

    np.testing.assert_array_equal(first.validation_y, again.validation_y)
    assert list(first.validation_y) != list(other.validation_y)


def test_a_training_limit_leaves_validation_alone():
    full, limited = (split(num_classes=10, validation=3, train_limit=n) for n in (None, 2))

    np.testing.assert_array_equal(limited.validation_y, full.validation_y)
    np.testing.assert_array_equal(limited.train_y, full.train_y[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 10}, r"`validation` .* Received: 10"),
        ({"validation": -1}, r"`validation` .* Received: -1"),
        ({"validation": 1, "train_limit": 0}, r"`train_limit` .* Received: 0"),
    ],
)
def test_impossible_splits_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        split(num_classes=10, **options)


def test_pixel_statistics_by_channel():
    # Channel 0 holds 0 and 255, so its mean and deviation are 1/2; channel 1 never varies.
    x = np.array([[[[0, 51], [255, 51]]]], np.uint8)

    mean, std = pixel_statistics(x)

    np.testing.assert_allclose(mean, [0.5, 0.2], rtol=1e-6)
    np.testing.assert_allclose(std, [0.5, 1.0], rtol=1e-6)
    standard = to_float(x, mean, std)
    assert standard.dtype == np.float32
    np.testing.assert_allclose(standard, [[[[-1, 0], [1, 0]]]], atol=1e-6)


def test_all_splits_are_standardized_by_the_training_split():
    data = split(num_classes=10, validation=3)

    expected = (data.test_x / 255 - np.mean(data.train_x / 255)) / np.std(data.train_x / 255)
    np.testing.assert_allclose(data.to_float(data.test_x), expected, rtol=1e-5)


def test_crop_and_mirror_by_hand():
    image = [[1, 2], [3, 4]]
    images = tf.constant([image] * 4, tf.uint8)[..., None]

    cropped = crop_and_mirror(
        images,
        top=tf.constant([1, 0, 2, 1]),
        left=tf.constant([1, 1, 1, 2]),
        mirror=tf.constant([False, False, True, True]),
        pad=1,
    )

    assert cropped.dtype == tf.uint8
    np.testing.assert_array_equal(
        cropped[..., 0],
        [
            [[1, 2], [3, 4]],  # neither
            [[0, 0], [1, 2]],  # one up in the padded image: the content moves down
            [[4, 3], [0, 0]],  # one down, mirrored
            [[0, 2], [0, 4]],  # one to the right, mirrored
        ],
    )


def test_augment_reaches_every_shift_and_both_hands():
    count = 2000
    image = np.zeros((3, 3, 1), np.uint8)
    image[1, 1] = 1  # marks the shift
    image[1, 2] = 2  # marks the hand
    augmented = augment(tf.constant(np.stack([image] * count)), tf.constant([0, 0]), pad=1).numpy()

    assert augmented.shape == (count, 3, 3, 1)
    at = np.argwhere(augmented[..., 0] == 1)
    assert len(at) == count  # by one pixel, the centre never leaves the image
    shifts, frequencies = np.unique(at[:, 1:], axis=0, return_counts=True)
    np.testing.assert_array_equal(shifts, [[row, col] for row in range(3) for col in range(3)])
    # Nine equally likely shifts: 222 each, with a standard deviation of 14.
    assert frequencies.min() > 222 - 5 * 14
    right = sum(1 for n, row, col in at if col + 1 < 3 and augmented[n, row, col + 1, 0] == 2)
    # Content next to the mark is seen on two shifts in three; half of them are mirrored.
    assert abs(right - count / 3) < 5 * (count * 2 / 9) ** 0.5


def test_augment_depends_on_its_seed_only():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3)), tf.uint8)
    first, again, other = (augment(images, tf.constant([s, 0])).numpy() for s in (5, 5, 6))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def epochs(stream, count=2):
    return [[(x.numpy(), y.numpy()) for x, y in stream] for _ in range(count)]


@pytest.mark.parametrize("augmented", [False, True])
def test_batches_repeat_for_a_seed(augmented):
    x, y = numbered_images(20), np.arange(20)
    first, again = (epochs(batches(x, y, 4, seed=3, augment=augmented)) for _ in range(2))

    for one, two in zip(first, again, strict=True):
        for (x1, y1), (x2, y2) in zip(one, two, strict=True):
            np.testing.assert_array_equal(x1, x2)
            np.testing.assert_array_equal(y1, y2)


def test_batches_shuffle_each_epoch_and_by_seed():
    x, y = numbered_images(20), np.arange(20)
    orders = [
        tuple(np.concatenate([labels for _, labels in epoch]))
        for seed in (0, 1)
        for epoch in epochs(batches(x, y, 4, seed=seed))
    ]

    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(20)) for order in orders)


def test_batches_are_standardized_and_keep_images_with_labels():
    x, y = numbered_images(10), np.arange(10)
    ((first, labels), *rest) = epochs(batches(x, y, 4, seed=0), 1)[0]

    assert len(rest) == 1  # ten images hold two whole batches of four
    assert (first.dtype, labels.dtype, first.shape) == (np.float32, np.int64, (4, 4, 4, 1))
    np.testing.assert_allclose(first[:, 0, 0, 0], (labels - np.mean(y)) / np.std(y), rtol=1e-4, atol=1e-5)


def test_batches_take_given_statistics():
    x, y = numbered_images(4), np.arange(4)
    half, two = np.float32([0.5]), np.float32([2.0])
    ((images, labels),) = epochs(batches(x, y, 4, seed=0, pixels=(half, two)), 1)[0]

    np.testing.assert_allclose(images[:, 0, 0, 0], (labels / 255 - 0.5) / 2, rtol=1e-5)


def test_augmented_epochs_differ():
    # As many batches as images: what differs between epochs is not the order alone.
    x = np.random.default_rng(0).integers(1, 256, (1, 8, 8, 1)).astype(np.uint8)
    (first,), (second,) = epochs(batches(x, np.zeros(1), 1, seed=0, augment=True))

    assert not np.array_equal(first[0], second[0])


@pytest.mark.parametrize("batch_size", [0, 5])
def test_an_impossible_batch_size_is_refused(batch_size):
    with pytest.raises(ValueError, match=rf"1\.\.4\. Received: {batch_size}"):
        batches(numbered_images(4), np.arange(4), batch_size, seed=0)


def test_images_without_labels_are_refused():
    with pytest.raises(ValueError, match="Received: 4 and 3"):
        batches(numbered_images(4), np.arange(3), 2, seed=0)


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """Six training and two test images of 2x2, each filled with its label times ten."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(2, 2, 1)),
            "label": tfds.features.ClassLabel(num_classes=6),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for label in range(count):
            yield label, {"image": np.full((2, 2, 1), 10 * label, np.uint8), "label": label}


def test_any_dataset_of_images_is_prepared_and_loaded(tmp_path, capsys):
    data = load_images("tiny_images", data_dir=tmp_path, validation=2)

    assert (data.name, data.num_classes) == ("tiny_images", 6)
    assert (data.train_x.dtype, data.train_y.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(data.train_x[:, 0, 0, 0], 10 * data.train_y)
    assert sorted([*data.train_y, *data.validation_y]) == list(range(6))
    assert capsys.readouterr().out.count("\n") == 1

    load_images("tiny_images", data_dir=tmp_path, validation=2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["imdb_reviews", "tf_flowers"])  # texts; images of many sizes
def test_other_data_than_images_of_one_size_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=rf"images of one size.* Received: '{name}'"):
        load_images(name, data_dir=tmp_path)


def offline(*args, **kwargs):
    raise requests.ConnectionError("no network in this test")


def test_a_dataset_out_of_reach_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "head", offline)

    with pytest.raises(DatasetUnavailableError, match=r"cifar10 .* Received: ConnectionError"):
        load_images("cifar10", data_dir=tmp_path)


def test_fashion_mnist_out_of_reach_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "head", offline)
    monkeypatch.setattr(debian_fashion_mnist, "INSTALLED", tmp_path / "not installed")
    monkeypatch.setattr("shutil.which", lambda tool: None)

    with pytest.raises(DatasetUnavailableError, match=r"install that package, or put .* into .*Received: .*no apt-get"):
        load_images("fashion_mnist", data_dir=tmp_path)


def test_an_unreachable_fashion_mnist_comes_from_debian(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(requests, "head", offline)
    monkeypatch.setattr(debian_fashion_mnist, "INSTALLED", tmp_path / "not installed")
    calls = []
    monkeypatch.setattr(debian_fashion_mnist, "place_files", calls.append)
    builder = SimpleNamespace(
        name="fashion_mnist",
        data_path=tmp_path / "fashion_mnist" / "3.0.1",
        url_infos={"http://example.org/file": None},
        download_and_prepare=lambda: calls.append("prepared"),
    )

    datasets.prepare(builder)

    assert calls == [tmp_path / "downloads" / "manual", "prepared"]
    assert "No download (ConnectionError)" in capsys.readouterr().out
