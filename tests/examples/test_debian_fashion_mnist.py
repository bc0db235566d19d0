import gzip
import hashlib
import os
from pathlib import Path

import pytest

from examples import debian_fashion_mnist
from examples.debian_fashion_mnist import DebianPackageError, place_files, rebuild_gzip

PLAIN_HEADER = bytes.fromhex("1f8b0800 00000000 0203")
MTIME = 0x01020304


def packaged(content: bytes) -> bytes:
    """A gzip stream as Debian makes it: without name and time, at the highest level."""
    return PLAIN_HEADER + gzip.compress(content, mtime=0)[len(PLAIN_HEADER) :]


def published(name: bytes, content: bytes) -> bytes:
    header = bytes.fromhex("1f8b0808 04030201 0003") + name + b"\x00"
    return header + packaged(content)[len(PLAIN_HEADER) :]


def test_rebuild_puts_time_and_name_into_the_header():
    rebuilt = rebuild_gzip(packaged(b"labels"), "train.gz", MTIME)

    assert rebuilt == published(b"train", b"labels")
    assert gzip.decompress(rebuilt) == b"labels"


@pytest.mark.parametrize("content", [b"", b"no gzip at all", PLAIN_HEADER, published(b"train", b"labels")])
def test_rebuild_refuses_other_headers(content):
    with pytest.raises(ValueError, match=r"train\.gz must be a gzip stream .* Received: "):
        rebuild_gzip(content, "train.gz", MTIME)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package of two tiny files."""
    installed = tmp_path / "installed"
    installed.mkdir()
    files = {}
    for name in (b"one", b"two"):
        (installed / f"{name.decode()}.gz").write_bytes(packaged(name))
        sha256 = hashlib.sha256(published(name, name)).hexdigest()
        files[f"{name.decode()}.gz"] = (MTIME, sha256)
    monkeypatch.setattr(debian_fashion_mnist, "INSTALLED", installed)
    monkeypatch.setattr(debian_fashion_mnist, "FILES", files)
    return installed


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


BOTH = {"one.gz": published(b"one", b"one"), "two.gz": published(b"two", b"two")}


def test_files_come_from_the_installed_package(package, tmp_path):
    place_files(tmp_path / "downloads" / "manual")

    assert contents(tmp_path / "downloads" / "manual") == BOTH


def test_wrong_files_are_replaced_and_right_ones_stay(package, tmp_path):
    target = tmp_path / "manual"
    target.mkdir()
    (target / "one.gz").write_bytes(BOTH["one.gz"])
    os.utime(target / "one.gz", (1, 1))
    (target / "two.gz").write_bytes(BOTH["two.gz"][:20])  # as an interrupted copy leaves it

    place_files(target)

    assert contents(target) == BOTH
    assert (target / "one.gz").stat().st_mtime == 1


def test_complete_files_need_no_package(package, tmp_path, monkeypatch):
    place_files(tmp_path / "manual")
    monkeypatch.setattr(debian_fashion_mnist, "INSTALLED", tmp_path / "gone")
    monkeypatch.setattr("shutil.which", lambda tool: None)

    place_files(tmp_path / "manual")


def test_a_package_with_another_content_is_refused(package, tmp_path):
    (package / "two.gz").write_bytes(packaged(b"something else"))

    with pytest.raises(DebianPackageError, match=r"two\.gz .* SHA-256"):
        place_files(tmp_path / "manual")
    assert contents(tmp_path / "manual") == {"one.gz": BOTH["one.gz"]}


def test_a_package_without_a_file_is_refused(package, tmp_path):
    (package / "two.gz").unlink()

    with pytest.raises(DebianPackageError, match=r"does not hold the expected file\. Received: two\.gz"):
        place_files(tmp_path / "manual")


class Apt:
    """Stands for apt-get and dpkg: the first download fails where the package lists are empty."""

    def __init__(self, has_lists: bool, has_package: bool = True) -> None:
        self.has_lists, self.has_package = has_lists, has_package
        self.verbs: list[str] = []

    def __call__(self, command: list[str], directory: Path) -> bool:
        self.verbs += [word for word in command if word in ("update", "download", "-x")]
        if "update" in command:
            self.has_lists = True
        elif "download" in command:
            if not (self.has_lists and self.has_package):
                return False
            (directory / "dataset-fashion-mnist_1_all.deb").touch()
        else:
            unpacked = Path(command[-1]) / debian_fashion_mnist.INSIDE
            unpacked.mkdir(parents=True)
            for name in (b"one", b"two"):
                (unpacked / f"{name.decode()}.gz").write_bytes(packaged(name))
        return True


@pytest.fixture
def not_installed(package, tmp_path, monkeypatch):
    monkeypatch.setattr(debian_fashion_mnist, "INSTALLED", tmp_path / "not installed")
    monkeypatch.setattr("shutil.which", lambda tool: tool)


@pytest.mark.parametrize(
    ("has_lists", "verbs"),
    [(True, ["download", "-x"]), (False, ["download", "update", "download", "-x"])],
)
def test_the_package_is_fetched_where_it_is_not_installed(not_installed, tmp_path, monkeypatch, has_lists, verbs):
    apt = Apt(has_lists)
    monkeypatch.setattr(debian_fashion_mnist, "_run", apt)

    place_files(tmp_path / "manual")

    assert apt.verbs == verbs
    assert contents(tmp_path / "manual") == BOTH


def test_an_unknown_package_is_reported(not_installed, tmp_path, monkeypatch):
    monkeypatch.setattr(debian_fashion_mnist, "_run", Apt(True, has_package=False))

    with pytest.raises(DebianPackageError, match=r"Received: no dataset-fashion-mnist from apt-get"):
        place_files(tmp_path / "manual")
