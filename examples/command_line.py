"""What the examples' command lines have in common: names that are checked, quiet logs, tables, one file of results."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from rich.console import Console
from rich.table import Table

from examples.provenance import command, versions
from tfmot_swd.io.json_files import plain
from tfmot_swd.io.tables import Printable, print_tables

# Columns of words; all others hold numbers.
WORDS = ("method", "recipe")


def check_names(flag: flags.FlagHolder, known: Iterable[str]) -> None:
    """Ends with a message where a list flag names something unknown."""
    known = tuple(known)
    unknown = [name for name in flag.value if name not in known]
    if unknown:
        raise app.UsageError(f"--{flag.name} takes {', '.join(known)}. Received: {', '.join(unknown)}")


def check_batches(flag: flags.FlagHolder, count: int) -> None:
    """Ends with a message where the data do not make one whole batch."""
    if flag.value > count:
        raise app.UsageError(f"--{flag.name} must be {count} or less, as many as there are. Received: {flag.value}")


def quiet_log() -> None:
    """Keeps to itself what tensorflow_datasets tells absl's log at length; --verbosity=0 brings that back."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)


def table(title: str, *headings: str) -> Table:
    """Returns an empty table."""
    found = Table(title=title)
    for heading in headings:
        found.add_column(heading, justify="left" if heading in WORDS else "right")
    return found


def show(console: Console, *results: Table | Printable) -> None:
    """Prints tables, wider than the console rather than with a word that is folded."""
    print_tables(
        console, *(each for one in results for each in (one.tables() if isinstance(one, Printable) else [one]))
    )


def write_results(path: Path, recipe: Any, outcomes: Sequence[Any], seconds: float, **content: Any) -> None:
    """Writes everything to one JSON file, in one step; numbers that are not finite as null.

    Args:
      path: where to.
      recipe: a dataclass.
      outcomes: with a `to_dict` each.
      seconds: that all took.
      **content: what else the run is made of.
    """
    whole = {
        "command": command(),
        "versions": versions(),
        **content,
        "recipe": dataclasses.asdict(recipe),
        "seconds": seconds,
        "outcomes": [outcome.to_dict() for outcome in outcomes],
    }
    partial = path.with_suffix(".json.tmp")
    partial.write_text(json.dumps(plain(whole), indent=1, allow_nan=False))
    os.replace(partial, path)
