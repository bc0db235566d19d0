"""Measurements of many networks, each in a process of its own, so that its memory is free again.

A module that uses it has the flags of `define_flags`, and where `--child` is given, writes the result of the network of
`--models` there as JSON and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from rich.console import Console

from research import child
from research.journal import Journal


def measure_apart(module: str, name: str, size: int) -> dict[str, Any]:
    """Returns what a module measures of one network, from a process of its own.

    Args:
        module: as "research.applications_coverage".
        name: of the network.
        size: side of the input images; 0 for the network's own.

    Raises:
        RuntimeError: as `child.measure_apart`.
    """
    return child.measure_apart(module, f"--models={name}", f"--size={size}")


def measure_all(
    journal: Journal,
    names: Sequence[str],
    key_of: Callable[[str], dict[str, Any]],
    measure: Callable[[str], dict[str, Any]],
    difference: str,
    console: Console,
) -> list[str]:
    """Measures the networks that the journal does not have yet, and returns the names of those that failed.

    Args:
        journal: gets a line for each network.
        names: of the networks.
        key_of: name → key of its line.
        measure: name → result, which has "exact"; raises a RuntimeError where it fails.
        difference: the entry of a result that is told beside "exact".
        console: for a line each.
    """
    failed = []
    for number, name in enumerate(names, start=1):
        key = key_of(name)
        if journal.done(key):
            continue
        try:
            journal.append(key, measure(name))
        except RuntimeError as error:
            failed.append(name)
            console.print(str(error), markup=False)
            continue
        result = journal.records()[-1]["result"]
        told = f"exact {result['exact']}, {result[difference]}"
        console.print(f"[{number}/{len(names)}] {name}: {told}", markup=False)
    return failed


def names_in(module: Any) -> list[str]:
    """Returns the names of all networks of `keras.applications`, of either Keras."""
    return sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))


def define_flags() -> None:
    """Defines the flags, which are those of one program and no other."""
    flags.DEFINE_list("models", None, "which networks; all by default")
    flags.DEFINE_integer("size", 0, "side of the input images; 0 for each network's own")
    flags.DEFINE_string("child", "", "used by this program itself: write the result of one network here")
    flags.DEFINE_bool("report", False, "only make the table, and the plot where there is one, of what is there")
