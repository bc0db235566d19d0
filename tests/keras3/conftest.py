"""Fixtures of several test files."""

import keras
import pytest

from tests.keras3.entries import residual


@pytest.fixture
def net():
    """Returns a Keras 3 model of its own for each test."""
    keras.utils.set_random_seed(0)
    return residual()
