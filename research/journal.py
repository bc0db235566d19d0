"""A file of finished runs, one JSON object a line, that lets a stopped benchmark go on.

```python
journal = Journal("research/results/sparsity.jsonl")
key = {"method": "magnitude", "rate": 0.99, "seed": 0}
if not journal.done(key):
    journal.append(key, {"accuracy": run(**key)})
```
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from examples.provenance import command, versions
from tfmot_swd.io.json_files import plain


class Journal:
    """Finished runs in a JSON Lines file, each known by its key.

    A line is `{"key", "result", "command", "versions", "finished", "elapsed_seconds"}`: `finished`
    is the time in UTC, `elapsed_seconds` the time since the last line or since this object was
    made, hence the run's own time where runs follow each other.

    A line that a power cut or a kill left unfinished counts as never written, and the next `append`
    removes it. Several processes may write, each holding the file while it does: a run that another has written in the
    meantime is kept.

    Args:
        path: the file; made, with its directories, by the first `append`.

    Raises:
        ValueError: a line other than the last is no record.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._refresh()
        self._since = time.monotonic()

    def _refresh(self) -> None:
        self._records, self._whole_bytes = _read(self.path)
        self._done = {_canonical(record["key"]) for record in self._records}

    def done(self, key: Mapping[str, Any]) -> bool:
        """Whether a run with this key is finished; the order of the entries does not matter."""
        return _canonical(key) in self._done

    def append(self, key: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Writes one finished run, and returns once it is on the disk.

        Args:
            key: what identifies the run, its seed included; anything JSON can say.
            result: what it gave. In both, NumPy's numbers and arrays become plain ones, and NaN and
                infinities, which JSON lacks, become null: a run that diverged is a result, too.

        Raises:
            ValueError: the key is there already.
            TypeError: JSON cannot say it.
        """
        now = time.monotonic()
        record = {
            "key": plain(key),
            "result": plain(result),
            "command": command(),
            "versions": versions(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "elapsed_seconds": round(now - self._since, 1),
        }
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._refresh()
            if self.done(key):
                raise ValueError(f"A run may be written once only. Received: {dict(key)} again")
            file.truncate(self._whole_bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            self._refresh()
        self._since = now

    def records(self) -> list[dict[str, Any]]:
        """All lines, in the order written."""
        return list(self._records)


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records, and how many bytes of the file they fill."""
    if not path.exists():
        return [], 0
    records, whole_bytes = [], 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "key" not in record:
            raise ValueError(
                f"Every line of {path} must be a JSON object with a key; mend or remove line "
                f"{number}. Received: {line[:80]!r}"
            )
        records.append(record)
        whole_bytes += len(line)
    return records, whole_bytes


def _canonical(key: Mapping[str, Any]) -> str:
    return json.dumps(plain(key), sort_keys=True)
