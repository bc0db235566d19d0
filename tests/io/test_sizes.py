"""Sizes as people write them."""

import pytest

from tfmot_swd.io.sizes import parse_size


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("256k", 262144),
        ("256 KB", 262144),
        ("256KiB", 262144),
        ("1M", 1048576),
        ("1.5m", 1572864),
        ("2GB", 2147483648),
        ("262144", 262144),
        ("12 B", 12),
        (7, 7),
    ],
)
def test_what_a_size_may_be(given, size):
    assert parse_size(given) == size


@pytest.mark.parametrize("given", ["", "k", "0", "0k", "12x", "-1k", "1.0001", "1e6", "1 000", 0, -5])
def test_other_texts_and_numbers_say_what_is_taken(given):
    with pytest.raises(ValueError, match=r"flash must be .* such as 256k, 1M or 262144\. Received: flash="):
        parse_size(given, "flash")


@pytest.mark.parametrize("given", [None, 1.5, True, b"1k"])
def test_other_types(given):
    with pytest.raises(TypeError, match="ram must be a number of bytes, or text.*Received: ram="):
        parse_size(given, "ram")
