"""The note beside a checkpoint: of which epoch and training it is, and the checksums that tell whether it is whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tfmot_swd.pruning.backup_directory import checksums

NOTE = "training.json"
# The checkpoint in files; backups from before there were checksums have these two.
STATE = "state"
_STATE_FILES = (f"{STATE}.index", f"{STATE}.data-00000-of-00001")


def write_note(directory: Path, note: dict[str, Any]) -> None:
    """Writes the note, last, into a directory that has the checkpoint."""
    whole = json.loads(json.dumps({**note, "files": checksums(directory)}))
    (directory / NOTE).write_text(json.dumps({**whole, "checksum": _checksum(whole)}, indent=1))


def read_note(directory: Path) -> dict[str, Any]:
    """Returns the note of a backup, after the files beside it were checked against it.

    Raises:
      ValueError: the backup is damaged; the message names the file.
    """
    try:
        note = json.loads((directory / NOTE).read_text())
    except FileNotFoundError as error:
        raise ValueError(damaged(directory, f"no {NOTE}")) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(damaged(directory, f"{NOTE}, and {type(error).__name__}: {error}")) from error
    if not _is_note(note) or note.pop("checksum", None) not in (None, _checksum(note)):
        raise ValueError(damaged(directory, f"{NOTE} with other content than was written"))
    for name, expected in note.get("files", dict.fromkeys(_STATE_FILES)).items():
        if not (directory / name).is_file():
            raise ValueError(damaged(directory, f"no {name}"))
        if expected is not None and checksums(directory).get(name) != expected:
            raise ValueError(damaged(directory, f"{name} with other content than was written"))
    return dict(note)


def damaged(directory: Path, received: str) -> str:
    """Returns what is said of a damaged backup."""
    return (
        f"The backup in {directory} is damaged: put a copy of it in its place, or remove this directory and start the "
        f"training from the beginning. Received: {received}"
    )


def _checksum(note: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()


def _is_note(note: Any) -> bool:
    """Whether it has the parts of a note, so that they can be relied on."""
    if not isinstance(note, dict) or not _is_count(note.get("epoch")) or not isinstance(note.get("training"), dict):
        return False
    filters, optimizers, files = note.get("filters"), note.get("optimizers"), note.get("files", {})
    if not isinstance(filters, list) or not isinstance(optimizers, list) or not isinstance(files, dict):
        return False
    if not all(isinstance(name, str) and Path(name).name == name for name in files):
        return False
    return all(map(_are_filters, filters)) and all(each is None or _are_counts(each) for each in optimizers)


def _are_filters(value: Any) -> bool:
    if not isinstance(value, dict) or not all(_are_counts(value.get(name)) for name in ("origin", "initial")):
        return False
    return 0 < len(value["origin"]) == len(value["initial"])


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
