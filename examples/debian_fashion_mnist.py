"""Fashion-MNIST from Debian's package `dataset-fashion-mnist`, for machines that reach only apt.

Debian compresses the four files anew without a name or a time stamp, so that its packages build
reproducibly. `tensorflow_datasets` accepts only the files as first published; putting the first
gzip header back restores them to the byte, which their SHA-256 proves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "dataset-fashion-mnist"
INSIDE = Path("usr/share/datasets/fashion-mnist")
INSTALLED = Path("/") / INSIDE

# Name -> (modification time in the gzip header, SHA-256 of the file as first published).
FILES = {
    "train-images-idx3-ubyte.gz": (
        0x59A7E9DE,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte.gz": (
        0x59A7E9DE,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte.gz": (
        0x59A7E9F3,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        0x59A7E9F3,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}

_HEADER_BYTES = 10  # a gzip header without optional fields (RFC 1952, section 2.3)
_APT_SECONDS = 180


class DebianPackageError(RuntimeError):
    """The package could not be fetched, unpacked or turned back into the published files."""


def place_files(directory: Path) -> None:
    """Puts the four published files into `directory`; files that are right already stay.

    Uses the installed package if there is one, else fetches and unpacks it into a temporary
    directory with `apt-get` and `dpkg`, for which no root is needed. A file appears under its name
    only when whole and verified, so an interrupted call leaves nothing wrong behind.

    Raises:
        DebianPackageError: with what to do about it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    missing = [
        name
        for name in FILES
        if not (directory / name).is_file() or not _is_published(name, (directory / name).read_bytes())
    ]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as scratch:
        source = INSTALLED if INSTALLED.is_dir() else _fetch(Path(scratch))
        for name in missing:
            _place(source / name, directory / name)


def rebuild_gzip(packaged: bytes, name: str, mtime: int) -> bytes:
    """Gives a gzip stream the header with a name and a time that plain `gzip` writes.

    Args:
        packaged: a gzip stream whose header has no optional fields.
        name: the file's name; the header stores it without its suffix `.gz`.
        mtime: seconds since 1970; the header stores four bytes, lowest first.

    Raises:
        ValueError: `packaged` is not a gzip stream with a plain header.
    """
    if packaged[:4] != b"\x1f\x8b\x08\x00" or len(packaged) <= _HEADER_BYTES:
        raise ValueError(
            f"{name} must be a gzip stream with a header of {_HEADER_BYTES} bytes. "
            f"Received: {packaged[:_HEADER_BYTES]!r}"
        )
    magic_and_has_name = b"\x1f\x8b\x08\x08"
    default_level_on_unix = b"\x00\x03"
    stored_name = name.removesuffix(".gz").encode("ascii") + b"\x00"
    header = magic_and_has_name + mtime.to_bytes(4, "little") + default_level_on_unix + stored_name
    return header + packaged[_HEADER_BYTES:]


def _place(source: Path, target: Path) -> None:
    mtime, _ = FILES[target.name]
    try:
        content = rebuild_gzip(source.read_bytes(), target.name, mtime)
    except (OSError, ValueError) as error:
        raise DebianPackageError(
            f"The package {PACKAGE} does not hold the expected file. Received: {target.name}: {error}"
        ) from error
    if not _is_published(target.name, content):
        raise DebianPackageError(
            f"{target.name} from the package {PACKAGE} is not the published file: its SHA-256 "
            f"differs. Put the published file into {target.parent} yourself. Received: {len(content):,} bytes"
        )
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(target)


def _is_published(name: str, content: bytes) -> bool:
    _, sha256 = FILES[name]
    return hashlib.sha256(content).hexdigest() == sha256


def _fetch(scratch: Path) -> Path:
    """Returns a directory with the package's files, unpacked under `scratch`."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise DebianPackageError(f"Fetching {PACKAGE} takes apt-get and dpkg. Received: no {tool}")
    if not _apt_download(scratch):
        # The machine's own package lists are empty or old. Ours are private to `scratch`: the
        # machine's stay as they are, and nobody needs to be root.
        private = _private_lists(scratch)
        _run(["apt-get", *private, "update"], scratch)
        if not _apt_download(scratch, private):
            raise DebianPackageError(f"Is there a network or a package mirror? Received: no {PACKAGE} from apt-get")
    archive = next(scratch.glob(f"{PACKAGE}_*.deb"))
    unpacked = scratch / "unpacked"
    if not _run(["dpkg", "-x", str(archive), str(unpacked)], scratch):
        raise DebianPackageError(f"dpkg cannot unpack the package. Received: {archive.name}")
    return unpacked / INSIDE


def _apt_download(scratch: Path, options: list[str] | None = None) -> bool:
    return _run(["apt-get", *(options or []), "download", PACKAGE], scratch)


def _private_lists(scratch: Path) -> list[str]:
    lists, cache = scratch / "lists", scratch / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    return [
        "-o",
        f"Dir::State::lists={lists}",
        "-o",
        f"Dir::Cache={cache}",
        # As root apt drops to a user that may not enter a private temporary directory.
        "-o",
        "APT::Sandbox::User=root",
    ]


def _run(command: list[str], directory: Path) -> bool:
    """Whether the command succeeded; its output is of no interest to the user."""
    try:
        finished = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            timeout=_APT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return finished.returncode == 0
