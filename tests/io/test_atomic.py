import os
import resource
import stat
import sys
import tempfile
from pathlib import Path

import pytest
import tf_keras as keras

from tests.killed import Tell, forked, killed_at_each
from tfmot_swd.io import atomic
from tfmot_swd.io.atomic import atomic_write, check_target
from tfmot_swd.tflite import export as tflite
from tfmot_swd.tflite import export_tflite


def _write(path: Path) -> None:
    with atomic_write(check_target(path), b"new" * 100_000) as temporary:
        temporary.read_bytes()


def test_a_file_is_moved_in_place_when_the_block_ends(tmp_path):
    path = tmp_path / "a" / "b" / "net.tflite"
    with atomic_write(check_target(path), b"new") as temporary:
        assert temporary.parent == path.parent
        assert temporary.read_bytes() == b"new"
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stays_when_the_block_raises(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path, b"new"):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_temporary_file_is_left_when_the_disk_is_full(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_write(tmp_path / "net.tflite", b"new"):
        pytest.fail("the block must not start before the file is on disk")
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_killed_leaves_the_old_file_or_the_new_one_and_the_next_cleans_up(tmp_path):
    path = tmp_path / "net.tflite"
    others = {tmp_path / ".net.tflite.mine.tmp": b"not ours", tmp_path / ".other.tflite.01234567.tmp": b"of another"}

    def reset() -> None:
        for each, content in {path: b"old", **others}.items():
            each.write_bytes(content)

    before, operations, leftovers = b"old", [], 0
    for operation in killed_at_each(lambda: _write(path), reset):
        now = path.read_bytes()
        assert now in (b"old", b"new" * 100_000), operation
        # Once it is there it stays.
        assert before in (b"old", now), operation
        left = set(tmp_path.iterdir()) - {path, *others}
        with atomic_write(path, b"newer"):
            assert not left & set(tmp_path.iterdir()), operation
        assert path.read_bytes() == b"newer"
        assert {each: each.read_bytes() for each in others} == others
        assert set(tmp_path.iterdir()) == {path, *others}
        before, leftovers = now, leftovers + len(left)
        operations.append(operation)
    assert {"open", "fcntl.flock", "os.fsync", "os.rename"} <= set(operations)
    assert before != b"old"
    assert leftovers


def test_an_export_touches_nothing_before_its_file_is_placed(tmp_path, monkeypatch):
    path, seen = tmp_path / "net.tflite", []
    path.write_bytes(b"old")

    def watched(target: Path, content: bytes):
        seen.append({each: each.read_bytes() for each in tmp_path.iterdir()})
        return atomic_write(target, content)

    monkeypatch.setattr(tflite, "atomic_write", watched)
    net = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    export_tflite(net, path)
    assert seen == [{path: b"old"}]
    assert path.read_bytes() != b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_of_a_live_writer_stays(tmp_path):
    path = tmp_path / "net.tflite"
    with atomic_write(path, b"slow") as first:
        with atomic_write(path, b"fast") as second:
            assert first.read_bytes() == b"slow"
            assert second != first
        assert path.read_bytes() == b"fast"
    assert path.read_bytes() == b"slow"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_halfway(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")

    def limited(tell: Tell) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        _write(path)

    code, said = forked(limited)
    assert code == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("OSError: [Errno 27] File too large while the file was written beside its place")
    assert last.endswith(f"choose another path. Received: 300,000 bytes for '{path}'")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    (tmp_path / ".net.tflite.01234567.tmp").write_bytes(b"who knows whose")
    with atomic_write(tmp_path / "net.tflite", b"new"):
        pass
    assert (tmp_path / "net.tflite").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no permission bits")
def test_permissions_are_those_of_the_old_file_or_the_usual_ones(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"")
    old.chmod(0o640)
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    for path in (old, new):
        with atomic_write(path, b"x"):
            pass
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == plain.stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with atomic_write(check_target(link), b"new"):
        pass
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_paths_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(IsADirectoryError, match=r"add a file name.*Received: path="):
        check_target(tmp_path)
    with pytest.raises(IsADirectoryError, match="add a file name"):
        check_target(f"{tmp_path}/new/")
    with pytest.raises(NotADirectoryError, match=r"is a file, so nothing can be put below it.*Received: path="):
        check_target(file / "sub" / "net.tflite")
    with pytest.raises(OSError, match=r"neither new nor a regular file.*Received: path='/dev/null'"):
        check_target("/dev/null")
    with pytest.raises(TypeError, match="Received: path=3"):
        check_target(3)
    with pytest.raises(ValueError, match="Received: path=''"):
        check_target("")
    assert list(tmp_path.iterdir()) == [file]


def test_a_read_only_place_is_found_out_even_by_root(tmp_path, monkeypatch):
    def refuse(dir: Path) -> None:
        assert dir == tmp_path
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"Cannot write into .*Permission denied.*Received: path="):
        check_target(tmp_path / "new" / "net.tflite")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no files")
def test_a_file_system_that_takes_no_files():
    with pytest.raises(OSError, match="Cannot write into '/proc'"):
        check_target("/proc/net.tflite")
