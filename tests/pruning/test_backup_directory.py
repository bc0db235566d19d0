"""One owner at a time: of processes, and of trainings in one process."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.killed import forked, killed_at_each
from tfmot_swd.pruning.backup_directory import BackupDirectory
from tfmot_swd.pruning.backup_metadata import STATE, read_note, write_note


def test_a_second_process_is_refused_until_the_first_one_is_dead(tmp_path):
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        BackupDirectory(tmp_path / "backup").claim(100)
        os.write(writing, b"claimed")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(reading, 7) == b"claimed"
        with pytest.raises(
            RuntimeError,
            match=f"Another running training has its backup there.*Received: .*in use by process {first} on ",
        ):
            BackupDirectory(tmp_path / "backup").claim(0)
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
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
        pytest.raises(OSError, match="No space left.*the previous one is unchanged.*Received: backup_dir="),
        store.placed("epoch_2"),
    ):
        raise OSError(28, "No space left on device")
    assert [each.name for each in store.finished()] == ["epoch_1"]
    assert not (tmp_path / "partial").exists()
    store.delete()


def saved(path: Path, epoch: int) -> BackupDirectory:
    """Saves a backup as a training does, its checkpoint in a few bytes."""
    store = BackupDirectory(path)
    store.claim(100)
    with store.placed(f"epoch_{epoch:05d}") as place:
        for ending in (".index", ".data-00000-of-00001"):
            (place / f"{STATE}{ending}").write_bytes(b"epoch %d" % epoch)
        write_note(place, {"epoch": epoch, "training": {}, "filters": [], "optimizers": []})
    return store


def epoch_in(path: Path) -> int:
    """Returns the epoch behind which a next start goes on, 0 for none; fails where that backup is not whole."""
    store = BackupDirectory(path)
    finished = store.finished()
    if not finished:
        return 0
    note = read_note(finished[-1])
    assert (finished[-1] / f"{STATE}.index").read_bytes() == b"epoch %d" % note["epoch"]
    return int(note["epoch"])


def next_start(path: Path) -> None:
    """Goes on in a directory that a killed process has left, to the end."""
    store = saved(path, 9)
    assert epoch_in(path) == 9
    assert {each.name for each in path.iterdir()} == {"epoch_00009", "owner.lock"}
    store.delete()
    assert not path.exists()


def with_one_backup(path: Path) -> None:
    """Leaves a directory as a training does that was interrupted after an epoch."""
    shutil.rmtree(path, ignore_errors=True)
    # In a process whose lock ends with it.
    code, said = forked(lambda tell: saved(path, 1))
    assert not code, said


def test_a_save_that_is_killed_leaves_the_backup_before_it_or_its_own(tmp_path):
    path, found = tmp_path / "backup", []
    for operation in killed_at_each(lambda: saved(path, 2), lambda: with_one_backup(path)):
        found.append(epoch_in(path))
        assert found[-1] in (1, 2), operation
        next_start(path)
    assert found == sorted(found)
    assert {1, 2} == set(found)


def test_a_delete_that_is_killed_leaves_the_backup_or_none(tmp_path):
    path, found = tmp_path / "backup", []

    def delete() -> None:
        store = BackupDirectory(path)
        store.claim(0)
        store.delete()

    for operation in killed_at_each(delete, lambda: with_one_backup(path)):
        found.append(epoch_in(path) if path.exists() else 0)
        assert found[-1] in (0, 1), operation
        next_start(path)
    assert found == sorted(found, reverse=True)
    assert {0, 1} == set(found)
