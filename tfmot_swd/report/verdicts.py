"""The advice on files as one small table: topics against files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The first of these that is said of a topic is its verdict.
_UNKNOWN = "unknown"
_RANKING = ("fails", "helps", _UNKNOWN, "does not help")
# The flag that an unknown verdict may ask for, and which is then said with it.
_DENSE_FLAG = "--dense_file"


def advice_title(entry: Mapping[str, Any]) -> str:
    """Returns what an entry of the advice is on: its file, without the ending."""
    found = next((str(entry[name]) for name in ("name", "file", "path") if entry.get(name)), "the file")
    return found.removesuffix(".tflite")


def is_table(value: Any) -> bool:
    """Returns whether plain data are rows of the same columns."""
    is_rows = isinstance(value, list) and bool(value) and all(isinstance(each, dict) and each for each in value)
    return is_rows and all(list(each) == list(value[0]) for each in value)


def verdicts(advice: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns a row for each topic: its name, then each entry's verdict on it; empty if none has any.

    Where several things are to be said on a topic, a file that fails in one respect fails, and otherwise helps if
    anything helps; a verdict that is not known here is shown beside the others. Unknown ones say what to give, where
    the file of the dense model would tell.

    >>> verdicts([{"advice": [{"topic": "speed", "verdict": "helps"}, {"topic": "speed", "verdict": "does not help"}]}])
    [['speed', 'helps']]
    """
    found = []
    for entry in advice:
        said: dict[str, dict[str, str]] = {}
        for row in entry.get("advice") or ():
            if isinstance(row, Mapping) and {"topic", "verdict"} <= set(row):
                verdict = str(row["verdict"])
                asks = verdict == _UNKNOWN and _DENSE_FLAG in str(row.get("remedy"))
                said.setdefault(str(row["topic"]), {})[verdict] = f": give {_DENSE_FLAG}" if asks else ""
        found.append(said)
    topics = dict.fromkeys(topic for said in found for topic in said)
    return [[topic, *(_one(said.get(topic, {})) for said in found)] for topic in topics]


def _one(said: Mapping[str, str]) -> str:
    if set(said) <= set(_RANKING):
        return next((f"{verdict}{said[verdict]}" for verdict in _RANKING if verdict in said), "")
    return ", ".join(said)
