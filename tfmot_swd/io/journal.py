"""Journals: the finished rows of a long job in a JSON Lines file, from which a killed job goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfmot_swd.io.atomic import atomic_write, check_target
from tfmot_swd.io.json_files import plain

_LONGEST = 60


class Journal:
    """Finished rows of one job, a JSON object a line, below a first line that says of what.

    The file is replaced as a whole at each row, so that it is never half written. A file is one job's: two processes
    that write the same one lose rows of each other.

    Args:
        path: the file; made with its first row. None keeps rows in memory alone.
        subject: what the rows belong to, such as digests of the model and the data and the settings; as JSON has it.
        kind: what the job is, for the first line and for messages.

    Attributes:
        rows: those that are finished, oldest first.

    Raises:
        TypeError: `path` is not a path.
        ValueError: the file is no journal, or one of another subject; the message names what differs.
        OSError: the file cannot be read, or nothing can be written there.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/rows.jsonl"
    >>> Journal(path, {"model": "a1"}, "sensitivity").append({"layer": "conv", "drop": 0.25})
    >>> Journal(path, {"model": "a1"}, "sensitivity").rows
    [{'layer': 'conv', 'drop': 0.25}]
    >>> Journal(path, {"model": "b2"}, "sensitivity")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ValueError: This journal is of another job, with another model: choose another path, ...
    """

    def __init__(self, path: str | os.PathLike[str] | None, subject: Mapping[str, Any], kind: str) -> None:
        self._target = None if path is None else check_target(path)
        # As it comes back from the file, with lists in place of tuples.
        self._head: dict[str, Any] = json.loads(json.dumps(plain({"journal": kind, **subject})))
        self.rows: list[dict[str, Any]] = []
        if self._target is not None and self._target.exists():
            self.rows = self._read(self._target)

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a finished row, which is on disk when this returns.

        Args:
            row: names and values, as `plain` takes them; numbers that are not finite become null.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        self.rows.append(plain(row))
        if self._target is not None:
            lines = (json.dumps(each, allow_nan=False) for each in (self._head, *self.rows))
            with atomic_write(self._target, ("\n".join(lines) + "\n").encode()):
                pass

    def _read(self, target: Path) -> list[dict[str, Any]]:
        try:
            lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        except (ValueError, RecursionError) as error:
            raise ValueError(self._no_journal(target)) from error
        if not lines or not all(isinstance(line, dict) for line in lines) or "journal" not in lines[0]:
            raise ValueError(self._no_journal(target))
        head, *rows = lines
        differing = [name for name in {**self._head, **head} if head.get(name) != self._head.get(name)]
        if differing:
            told = ", ".join(
                f"{name}={_short(head.get(name))} there, {_short(self._head.get(name))} here" for name in differing
            )
            raise ValueError(
                f"This journal is of another job, with another {' and another '.join(differing)}: choose another path, "
                f"or remove the file to begin again. Received: {os.fspath(target)!r}, with {told}"
            )
        return rows

    def _no_journal(self, target: Path) -> str:
        return (
            f"This file is no journal of a {self._head['journal']}: choose another path, or remove the file to begin "
            f"again. Received: {os.fspath(target)!r}"
        )


def _short(value: Any) -> str:
    """Returns a value as text; a digest is known by its beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
