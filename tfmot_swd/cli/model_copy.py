"""Private copy of a model's files, so that the bytes that are checked are the bytes that are loaded."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py

from tfmot_swd.tflite.subprocesses import TIMEOUT, describe_exit, run_subprocess

# What `model.save` writes, and nothing else, is copied of a SavedModel.
_FOLDER = re.compile(
    r"(saved_model|keras_metadata|fingerprint)\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})|assets/[^/]+"
)
_ARCHIVE = re.compile(r"(config|metadata)\.json|model\.weights\.h5|assets/.*")
_WEIGHTS = "model.weights.h5"
_HDF5_WORKER = Path(__file__).with_name("hdf5_worker.py")
# A file that declares more than this, and so many times what it stores, was made to fill the memory.
_HARMLESS_BYTES, _MOST_TIMES = 2**26, 200


@contextlib.contextmanager
def private_copy(path: Path) -> Iterator[Path]:
    """Copies a model into a directory that only this user can read, for the block; removed at the end.

    Declared sizes, links and storage outside of the file are looked at here, before anything is unpacked.

    Raises:
      OSError: it cannot be read or copied.
      ValueError: it is neither a regular file nor a folder, or made to read other files or to fill the memory.
    """
    with tempfile.TemporaryDirectory(prefix="tfmot_swd_") as directory:
        # Keras tells the formats apart by the name.
        place = Path(directory) / ("model.keras" if path.suffix == ".keras" else "model.h5")
        if path.is_dir():
            place = Path(directory) / "model"
            _copy_folder(path, place)
        else:
            _copy_file(path, place)
        _check(place, path)
        yield place


def is_archive(path: Path) -> bool:
    """Returns whether Keras takes it for a `.keras` file."""
    return path.is_file() and str(path).endswith(".keras") and zipfile.is_zipfile(path)


def stored_bytes(path: Path) -> int:
    """Returns how many bytes a copy takes, unpacked."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    if is_archive(path):
        with zipfile.ZipFile(path) as archive:
            return max(path.stat().st_size, sum(entry.file_size for entry in archive.infolist()))
    return path.stat().st_size


def _copy_folder(path: Path, place: Path) -> None:
    for each in sorted(path.rglob("*")):
        name = each.relative_to(path).as_posix()
        if _FOLDER.fullmatch(name):
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if any(part.is_symlink() for part in (each, *list(each.parents)[: name.count("/")])):
                raise ValueError(
                    "A folder of a model with a link in it is not loaded, as the link may lead to any file: copy it "
                    f"with what the links lead to (cp -rL), or add --unsafe. Received: {str(each)!r}"
                )
            _copy_file(each, target)
    place.mkdir(exist_ok=True)


def _copy_file(path: Path, place: Path) -> None:
    # Opening a pipe would wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"A model is a file or a folder, and no device or pipe. Received: {str(path)!r}")
        with place.open("xb") as target:
            shutil.copyfileobj(source, target, 2**20)


def _check(place: Path, path: Path) -> None:
    """Checks a copy; messages name what it is a copy of."""
    if is_archive(place):
        with zipfile.ZipFile(place) as archive:
            entries = archive.infolist()
            other = [entry.filename for entry in entries if not _ARCHIVE.fullmatch(entry.filename)]
            if other:
                raise ValueError(
                    "This .keras file holds what model.save does not write, and is not loaded: save the model again, "
                    "or add --unsafe if you trust its author. "
                    f"Received: {other[0]!r} in {str(path)!r}"
                )
            _check_size(sum(entry.file_size for entry in entries), place.stat().st_size, path)
            weights = [entry.file_size for entry in entries if entry.filename == _WEIGHTS]
        if weights:
            _check_hdf5(place, path, weights[-1], _WEIGHTS)
    elif place.is_file() and h5py.is_hdf5(place):
        _check_hdf5(place, path, place.stat().st_size)


def _check_size(declared: int, stored: int, path: Path) -> None:
    if declared > _most(stored):
        raise ValueError(
            "This file declares far more than it stores, and would fill the memory: it is damaged, or made to do that. "
            "Add --unsafe if you trust its author. "
            f"Received: {declared:,} bytes in {stored:,} of {str(path)!r}"
        )


def _most(stored: int) -> int:
    """Returns how many bytes may be declared by what stores so many."""
    return max(_HARMLESS_BYTES, _MOST_TIMES * stored)


def _check_hdf5(place: Path, path: Path, stored: int, *member: str) -> None:
    """Reads all of an HDF5 file in a separate process, without following links."""
    # -P: what lies in the working directory is not to be imported in place of packages.
    command = [sys.executable, "-P", str(_HDF5_WORKER), str(_most(stored)), str(place), *member]
    # It limits itself by the processor time that it takes; this is for a machine on which it gets none.
    done = run_subprocess(command, TIMEOUT, "Reading the HDF5 file")
    if done.returncode == -signal.SIGPROF:
        raise ValueError(_damaged("libhdf5 had not read it after many times as long as it takes", path))
    if done.returncode:
        raise ValueError(_damaged(f"{describe_exit(done.returncode)}: {done.stderr.strip()[-300:]}", path))
    found = json.loads(done.stdout)
    if "damaged" in found:
        raise ValueError(_damaged(found["damaged"], path))
    if "outside" in found:
        raise ValueError(_outside(found["outside"], path))
    _check_size(found["declared"], stored, path)


def _damaged(what: str, path: Path) -> str:
    return (
        "The HDF5 part of this file, which has the weights, is damaged: copy or download the file again, or save the "
        f"model again. Received: {str(path)!r}, and {what}"
    )


def _outside(what: str, path: Path) -> str:
    return (
        "This file takes data from elsewhere, which model.save never does, and is not loaded: get one that is whole, "
        "or add --unsafe if you trust its author. "
        f"Received: {what} in {str(path)!r}"
    )
