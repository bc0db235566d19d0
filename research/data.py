"""The datasets that the experiments train on."""

from __future__ import annotations

from examples.datasets import ImageData, load_images
from research.cifar10_jpeg import load_cifar10_jpeg


def load(dataset: str, train_limit: int) -> ImageData:
    """Returns a dataset by name, cut to its number of training images; "cifar10_jpeg" beside those of the examples."""
    if dataset == "cifar10_jpeg":
        return load_cifar10_jpeg(train_limit=train_limit)
    return load_images(dataset, train_limit=train_limit)
