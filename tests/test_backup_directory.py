"""One owner at a time: of processes, and of trainings in one process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tfmot_swd import backup_directory
from tfmot_swd.backup_directory import BackupDirectory

# The module needs nothing of TensorFlow, so that another process is quick.
OTHER = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("backup_directory", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
store = module.BackupDirectory(pathlib.Path(sys.argv[2]))
store.claim(100)
print("claimed", flush=True)
time.sleep(60)
"""


def other_process(directory: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", OTHER, backup_directory.__file__, str(directory)]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "claimed\n"
    return process


def test_a_second_process_is_refused_until_the_first_one_is_dead(tmp_path):
    first = other_process(tmp_path / "backup")
    try:
        with pytest.raises(RuntimeError, match=f"is still running.*Received: .*in use by process {first.pid} on "):
            BackupDirectory(tmp_path / "backup").claim(0)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    store = BackupDirectory(tmp_path / "backup")
    store.claim(0)
    assert not store.finished()
    store.delete()
    assert not (tmp_path / "backup").exists()


def test_a_training_of_the_same_process_takes_over_and_the_earlier_one_is_told(tmp_path):
    earlier, later = BackupDirectory(tmp_path), BackupDirectory(tmp_path)
    earlier.claim(0)
    later.claim(0)
    with (
        pytest.raises(RuntimeError, match="A later training of this process has taken over"),
        earlier.placed("epoch_1"),
    ):
        pass
    # It does not give away what is not its own.
    earlier.delete()
    assert (tmp_path / "owner.lock").exists()
    with later.placed("epoch_1") as place:
        (place / "file").write_text("x")
    assert [each.name for each in later.finished()] == ["epoch_1"]
    later.delete()
    assert not tmp_path.exists()


def test_a_directory_that_was_removed_by_hand_is_made_and_locked_again(tmp_path):
    path = tmp_path / "backup"
    store = BackupDirectory(path)
    store.claim(0)
    (path / "owner.lock").unlink()
    path.rmdir()
    again = BackupDirectory(path)
    again.claim(0)
    assert (path / "owner.lock").exists()
    again.delete()


def test_a_write_that_fails_leaves_the_one_before(tmp_path):
    store = BackupDirectory(tmp_path)
    store.claim(0)
    with store.placed("epoch_1") as place:
        (place / "file").write_text("old")
    with (
        pytest.raises(OSError, match="No space left.*the one before it is as it was.*Received: backup_dir="),
        store.placed("epoch_2"),
    ):
        raise OSError(28, "No space left on device")
    assert [each.name for each in store.finished()] == ["epoch_1"]
    assert not (tmp_path / "partial").exists()
    store.delete()
