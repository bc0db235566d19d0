"""What is taken as a file, and what is said of the rest."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from tfmot_swd.tflite import advise, measure_files, run_tflite
from tfmot_swd.tflite.file_bytes import describe, gzip_size, read_bytes_or_path, read_file, zstd_size


def test_bytes_and_paths(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"abc")
    for given in (b"abc", bytearray(b"abc"), memoryview(b"abc"), path, str(path)):
        assert read_bytes_or_path(given) == b"abc"
    assert read_file(path) == b"abc"


@pytest.mark.parametrize("given", [5, None, np.zeros(3), ["a"]])
def test_what_is_neither(given):
    with pytest.raises(TypeError, match=f"tflite must be the bytes.*Received: tflite={type(given).__name__}$"):
        read_bytes_or_path(given, "tflite")


def test_bytes_are_no_path():
    with pytest.raises(TypeError, match="must be the path.*Received: path=bytes$"):
        read_file(b"abc")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("absent.tflite", FileNotFoundError, "no such file: export it first"),
        (".", IsADirectoryError, "a directory: name a .tflite file"),
        ("file/below", NotADirectoryError, "cannot be read"),
    ],
)
def test_paths_without_a_file(name, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for read in (read_bytes_or_path, read_file):
        with pytest.raises(error, match=rf"{message}.*Received: a='{name}'$"):
            read(name, "a")


def test_messages_on_a_file_name_it(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"    TFL3" + bytes(8))
    assert describe(read_bytes_or_path(read_file(path))) == f"16 bytes of {str(path)!r}"
    assert describe(b"abc") == "3 bytes"
    for read in (advise, lambda path: run_tflite(path, {}), lambda path: measure_files({"a": path})):
        with pytest.raises(ValueError, match=f"damaged or incomplete.*Received: 16 bytes of {str(path)!r}, and "):
            read(path)


CONTENT = b"one two three " * 50


def test_gzip_is_at_its_best_level():
    assert gzip_size(CONTENT) == len(gzip.compress(CONTENT, 9)) < len(gzip.compress(CONTENT, 0))


def test_zstandard_where_it_is_installed(monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    assert zstandard.ZstdDecompressor().decompress(zstandard.ZstdCompressor(level=19).compress(CONTENT)) == CONTENT
    assert zstd_size(CONTENT) == len(zstandard.ZstdCompressor(level=19).compress(CONTENT))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert zstd_size(CONTENT) is None
