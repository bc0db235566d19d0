import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tfmot_swd.export import placing
from tfmot_swd.export.placing import check_target, placed

# Runs the module alone, without the package and its TensorFlow. `after` names the call that ends it.
_WRITER = """
import os, resource, runpy, signal, sys
source, target, after = sys.argv[1:]
module = runpy.run_path(source)
if after == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
def end(*_):
    os.kill(os.getpid(), signal.SIGKILL)
original = getattr(os, after, None)
if original is not None:
    setattr(os, after, lambda *given: end(original(*given)))
with module["placed"](module["check_target"](target), b"new" * 100_000):
    if after == "block":
        end()
"""


def _write(path: Path, after: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", _WRITER, placing.__file__, str(path), after]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_file_is_moved_in_place_when_the_block_ends(tmp_path):
    path = tmp_path / "a" / "b" / "net.tflite"
    with placed(check_target(path), b"new") as temporary:
        assert temporary.parent == path.parent
        assert temporary.read_bytes() == b"new"
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stays_when_the_block_raises(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), placed(path, b"new"):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_temporary_file_is_left_when_the_disk_is_full(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), placed(tmp_path / "net.tflite", b"new"):
        pytest.fail("the block must not start before the file is on disk")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("after", ["fsync", "block", "replace"])
def test_a_process_that_is_killed_leaves_the_old_file_or_the_new_one_and_the_next_cleans_up(tmp_path, after):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    assert _write(path, after).returncode == -signal.SIGKILL
    assert path.read_bytes() == (b"new" * 100_000 if after == "replace" else b"old")
    left = set(tmp_path.iterdir()) - {path}
    assert len(left) == (after != "replace")
    (tmp_path / ".net.tflite.mine.tmp").write_bytes(b"not one of ours")
    (tmp_path / ".other.tflite.01234567.tmp").write_bytes(b"of another file")
    with placed(path, b"newer"):
        assert not left & set(tmp_path.iterdir())
    assert path.read_bytes() == b"newer"
    assert {each.name for each in tmp_path.iterdir()} == {
        path.name,
        ".net.tflite.mine.tmp",
        ".other.tflite.01234567.tmp",
    }


def test_the_temporary_file_of_a_live_writer_stays(tmp_path):
    path = tmp_path / "net.tflite"
    with placed(path, b"slow") as first:
        with placed(path, b"fast") as second:
            assert first.read_bytes() == b"slow"
            assert second != first
        assert path.read_bytes() == b"fast"
    assert path.read_bytes() == b"slow"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_halfway(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(b"old")
    done = _write(path, "limit")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("OSError: [Errno 27] File too large while the file was written beside its place")
    assert last.endswith(f"choose another path. Received: 300,000 bytes for '{path}'")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(placing.fcntl, "flock", refuse)
    (tmp_path / ".net.tflite.01234567.tmp").write_bytes(b"who knows whose")
    with placed(tmp_path / "net.tflite", b"new"):
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
        with placed(path, b"x"):
            pass
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == plain.stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with placed(check_target(link), b"new"):
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
