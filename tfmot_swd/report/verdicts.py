"""The advice on files as one small table: topics against files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def advice_title(entry: Mapping[str, Any]) -> str:
    """Returns what an entry of the advice is on: its file, without the ending."""
    found = next((str(entry[name]) for name in ("name", "file", "path") if entry.get(name)), "the file")
    return found.removesuffix(".tflite")


def is_table(value: Any) -> bool:
    """Returns whether plain data are rows of the same columns."""
    is_rows = isinstance(value, list) and bool(value) and all(isinstance(each, dict) and each for each in value)
    return is_rows and all(list(each) == list(value[0]) for each in value)


def verdicts(advice: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns a row for each topic: its name, then each entry's verdicts on it, each once; empty if none has any.

    >>> verdicts([{"advice": [{"topic": "speed", "verdict": "helps"}, {"topic": "speed", "verdict": "fails"}]}])
    [['speed', 'helps, fails']]
    """
    found = []
    for entry in advice:
        said: dict[str, dict[str, None]] = {}
        for row in entry.get("advice") or ():
            if isinstance(row, Mapping) and {"topic", "verdict"} <= set(row):
                said.setdefault(str(row["topic"]), {})[str(row["verdict"])] = None
        found.append(said)
    topics = dict.fromkeys(topic for said in found for topic in said)
    return [[topic, *(", ".join(said.get(topic, ())) for said in found)] for topic in topics]
