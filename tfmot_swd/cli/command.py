"""Commands of `tfmot-swd`: flags, parsing and help."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from tfmot_swd.cli.words import in_shell_words
from tfmot_swd.io.tables import MOST_ROWS, Printable, View, print_plain, print_tables

PROGRAM = "tfmot-swd"
_WIDEST = 100


class UsageError(Exception):
    """A wrong command line; the message says what to type instead."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One use of a command.

    Args:
      operands: what it was given besides flags, one for each of `Command.operands`.
      flags: its flags, parsed; `call.flags.output` is `--output`.
      console: console for the answer.
      notes: console for progress and warnings.
    """

    operands: tuple[str, ...]
    flags: Any
    console: Console
    notes: Console

    def show(self, result: Printable | Table) -> None:
        """Prints tables of the answer: their largest rows, or with `--full` all of them."""
        is_full = "full" in self.flags and self.flags.full
        view = View(None if is_full else MOST_ROWS, "--full shows all", in_shell_words)
        print_tables(self.console, *(result.tables(view) if isinstance(result, Printable) else [result]))

    def say(self, text: str) -> None:
        """Prints a sentence of the answer."""
        print_plain(self.console, text)

    def note(self, text: str) -> None:
        """Prints a line of progress."""
        print_plain(self.notes, text)


@dataclasses.dataclass(frozen=True)
class Command:
    """One command; a row of the table in `main.py`.

    Args:
      name: of the command.
      summary: one sentence for the help.
      example: command lines to copy, one or more, each below a comment that says what it is for.
      define_flags: defines its flags on the given `flags.FlagValues`.
      run: does it, and returns the exit code.
      operands: what it takes besides flags.
    """

    name: str
    summary: str
    example: str
    define_flags: Callable[[flags.FlagValues], None]
    run: Callable[[Call], int]
    operands: tuple[str, ...] = ("MODEL",)

    @property
    def usage(self) -> str:
        """The usage line."""
        return " ".join((PROGRAM, self.name, *self.operands, "[flags]"))


def read_call(command: Command, arguments: Sequence[str], console: Console, notes: Console) -> Call:
    """Parses what follows the command's name.

    Raises:
      UsageError: an unknown flag, a value that it does not take, too few or too many operands.
    """
    values = _flags_of(command)
    # Flags may stand before and behind the operands.
    values.set_gnu_getopt(True)
    try:
        operands = tuple(values([command.name, *arguments])[1:])
    except flags.Error as error:
        raise UsageError(str(error)) from error
    if len(operands) != len(command.operands):
        raise UsageError(
            f"{command.name} takes {' '.join((*command.operands, 'and')) if command.operands else 'only'} flags: "
            f"{command.usage}. "
            f"Received: {' '.join(operands) or 'none'}"
        )
    return Call(operands, values, console, notes)


def help_text(command: Command, width: int) -> str:
    """Returns what `--help` prints, for so many columns: what the command does, examples, and its own flags."""
    values = _flags_of(command)
    lines = [f"usage: {command.usage}", "", folded(command.summary, width), "", "Examples:"]
    lines += textwrap.indent(command.example.strip("\n"), "  ").splitlines()
    lines += ["", "Flags:"]
    for flag in _each(values):
        is_told = not flag.boolean and flag.default not in (None, [])
        default = flag.default_as_str.strip("'") if is_told else ""
        lines += [f"  --{flag.name}" + (f"={default}" if default else ""), folded(flag.help, width, " " * 6)]
    return "\n".join(lines)


def define_full_flag(values: flags.FlagValues) -> None:
    """Defines `--full`, of commands whose tables may be long; `Call.show` looks at it."""
    flags.DEFINE_bool("full", False, f"show all rows of a table, not the {MOST_ROWS} largest", flag_values=values)


def define_bound_flags(values: flags.FlagValues) -> None:
    """Defines `--min_agreement` and `--max_accuracy_loss`, bounds of `tflite.proof.Bounds`, which has the defaults."""
    flags.DEFINE_float(
        "min_agreement",
        None,
        "share of the samples on which file and model must name the same class; 0.7, and a warning below 0.9",
        0.0,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "max_accuracy_loss",
        None,
        "by how much the accuracy of the file may be lower, 0.05 for five points; 0.1, and a warning above 0.02",
        0.0,
        1.0,
        flag_values=values,
    )


def folded(text: str, width: int, first: str = "", others: str | None = None) -> str:
    """Returns a paragraph in lines of a width, `first` before the first one and `others` (as `first`) before each."""
    indent = first if others is None else others
    # Names with hyphens are there to be copied.
    return textwrap.fill(
        text, min(width, _WIDEST), initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    )


def _flags_of(command: Command) -> flags.FlagValues:
    values = flags.FlagValues()
    command.define_flags(values)
    flags.DEFINE_bool("debug", False, "show the traceback of an error", flag_values=values)
    return values


def _each(values: flags.FlagValues) -> Iterator[flags.Flag[Any]]:
    for name in values:
        # A flag with a short name comes twice.
        if values[name].name == name:
            yield values[name]
