"""Advice on files in a report: the table of verdicts, and the section of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfmot_swd.report.data import ReportData
from tfmot_swd.report.markup import described, escape, table

# The first of these that is said of a topic is its verdict.
_UNKNOWN = "unknown"
_RANKING = ("fails", "helps", _UNKNOWN, "does not help")
# The flag that an unknown verdict may ask for, and which is then said with it.
_DENSE_FLAG = "--dense_file"


def advice_title(entry: Mapping[str, Any]) -> str:
    """Returns what an entry of the advice is on: its file, without the ending."""
    found = next((str(entry[name]) for name in ("name", "file", "path") if entry.get(name)), "the file")
    return found.removesuffix(".tflite")


def _is_table(value: Any) -> bool:
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


def advice_section(report: ReportData) -> str:
    """Returns the table of verdicts, and below it the advice on each file, in dictionaries of any shape."""
    titles = [advice_title(entry) for entry in report.advice]
    rows = [[escape(text) for text in row] for row in verdicts(report.advice)]
    cards = []
    if rows:
        cards.append(table("Verdicts on each file", ["topic", *titles], rows, left=len(titles) + 1))
    for entry in report.advice:
        title = advice_title(entry)
        rest = {name: value for name, value in entry.items() if str(value).removesuffix(".tflite") != title}
        opened = "" if rows else " open"
        cards.append(f"<details{opened}><summary>{escape(title)}</summary>{_told(rest, title)}</details>")
    if not cards:
        return ""
    return f'<section><h2>What will help, and what will not</h2><div class="card">{"".join(cards)}</div></section>'


def _told(value: Any, of: str = "") -> str:
    """Returns plain data of any shape as text, lists and tables; `of` says what of."""
    if isinstance(value, Mapping):
        said = {str(name).replace("_", " "): each for name, each in value.items() if each not in ("", None, [], {})}
        tables = {name: each for name, each in said.items() if _is_table(each)}
        plain = described((name, _told(each, of)) for name, each in said.items() if name not in tables)
        return plain + "".join(_tabulated(f"{of}: {name}" if of else name, rows) for name, rows in tables.items())
    if isinstance(value, list):
        return "<ul>" + "".join(f"<li>{_told(each, of)}</li>" for each in value) + "</ul>"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(f"{value:,}" if isinstance(value, int) else value)


def _tabulated(caption: str, rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    cells = [["" if row[name] is None else _told(row[name], caption) for name in names] for row in rows]
    # Sentences need room, single words do not.
    wide = tuple(column for column in range(1, len(names)) if any(len(row[column]) > 40 for row in cells))
    return table(caption, [name.replace("_", " ") for name in names], cells, left=len(names), wide=wide)
