"""Sizes of compressed files."""

import gzip
import sys

import pytest

from tfmot_swd.tflite.sizes import gzip_size, zstd_size

CONTENT = b"one two three " * 50


def test_gzip_is_at_its_best_level():
    assert gzip_size(CONTENT) == len(gzip.compress(CONTENT, 9)) < len(gzip.compress(CONTENT, 0))


def test_zstandard_where_it_is_installed(monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    assert zstandard.ZstdDecompressor().decompress(zstandard.ZstdCompressor(level=19).compress(CONTENT)) == CONTENT
    assert zstd_size(CONTENT) == len(zstandard.ZstdCompressor(level=19).compress(CONTENT))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert zstd_size(CONTENT) is None
