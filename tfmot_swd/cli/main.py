"""Entry point of `tfmot-swd`: runs the command, and turns errors into one line and an exit code.

or in one call: {PROGRAM} compress net.keras --macs=0.5 --data=train.npz --output=small

Exit codes: 0, done; 1, the model, its data or a file failed: it does not load, cannot be pruned, failed its proof, does
not run where `check --target` is to have it run, or none was found within `--max_drop` or `--floor`; 2, the command
line is wrong, as a flag that does not exist, a `--skip` of a layer that the model does not have, or a budget that the
model cannot meet; 130, interrupted.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console

from tfmot_swd._version import __version__
from tfmot_swd.cli.command import PROGRAM, Command, UsageError, folded, help_text, read_call
from tfmot_swd.cli.commands import calibrate, check, compress, export, plan, profile, prune, report, sensitivity
from tfmot_swd.cli.words import in_shell_words
from tfmot_swd.io.tables import print_plain
from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd_cli import errors_aside

COMMANDS: tuple[Command, ...] = (
    profile.COMMAND,
    plan.COMMAND,
    sensitivity.COMMAND,
    prune.COMMAND,
    export.COMMAND,
    check.COMMAND,
    report.COMMAND,
    compress.COMMAND,
    calibrate.COMMAND,
)

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
_INTRODUCTION = (
    f"{PROGRAM} prunes Keras models and ships them as TFLite files. A MODEL is a .keras or .h5 file of Keras 3 or "
    "tf_keras, or a SavedModel folder of tf_keras. Its commands:"
)
_SESSION = f"""
{PROGRAM} COMMAND --help explains each, with examples. A typical session:

  {PROGRAM} profile net.keras
  {PROGRAM} plan net.keras
  {PROGRAM} sensitivity net.keras --data=val.npz
  {PROGRAM} prune net.keras --macs=0.5 --data=train.npz --output=small.keras
  {PROGRAM} export small.keras --recipes=float32,int8 --data=train.npz --output=files
  {PROGRAM} check files/small_int8.tflite --model=small.keras
  {PROGRAM} report small.keras --dense=net.keras --files=files/small_int8.tflite --output=report.html

or in one call: {PROGRAM} compress net.keras --macs=0.5 --data=train.npz --output=small

Exit codes: 0, done; 1, a model, its data or a file failed, in a check too; 2, the command line is wrong.
{PROGRAM} --version tells the version."""
_HELP = ("--help", "-help", "-h")
_VERSION = ("--version", "-version")
# Of the longest messages, those of the converter, the beginning and the end say what there is to say.
_LONGEST = 900
_WIDTH = 110
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# What the library raises on purpose; anything else is named with its class.
_SPOKEN = (ValueError, TypeError, RuntimeError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
      argv: what follows the program's name; None for that of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    console, notes = _console(), _console(stderr=True)
    if not arguments:
        print_plain(notes, _overview(notes.width))
        return WRONG_USAGE
    name, *rest = arguments
    if name in _HELP:
        print_plain(console, _overview(console.width))
        return DONE
    if name in _VERSION:
        print_plain(console, f"{PROGRAM} {__version__}")
        return DONE
    command = next((each for each in COMMANDS if each.name == name), None)
    if command is None:
        _say(notes, PROGRAM, _unknown(name))
        return WRONG_USAGE
    own = rest[: rest.index("--")] if "--" in rest else rest
    if any(each in _HELP for each in own):
        print_plain(console, help_text(command, console.width))
        return DONE
    return _run(command, rest, console, notes)


def _run(command: Command, arguments: list[str], console: Console, notes: Console) -> int:
    title = f"{PROGRAM} {command.name}"
    debug = "--debug" in arguments
    try:
        with _own_words(title, notes, debug):
            call = read_call(command, arguments, console, notes)
            _load_library()
            return command.run(call)
    except UsageError as error:
        _trace(debug)
        _say(notes, title, f"{error} ({title} --help explains)")
        return WRONG_USAGE
    except KeyboardInterrupt:
        _trace(debug)
        _say(notes, title, "interrupted")
        return INTERRUPTED
    except Exception as error:
        _trace(debug)
        kind = "" if isinstance(error, _SPOKEN) else f"{type(error).__name__}: "
        _say(notes, title, kind + in_shell_words(str(error)))
        return FAILED


def _load_library() -> None:
    """Runs the package where the entry point has left that for later, without the lines that TensorFlow logs.

    Loading TensorFlow takes seconds, which only a command that runs shall take. Level 3 of its log, from here on, drops
    what it says of devices and instruction sets; it calls an error that a machine has no GPU. Failures are raised all
    the same, and a level below 3 in the environment logs everything.
    """
    package = sys.modules["tfmot_swd"]
    if hasattr(package, "__all__"):
        return
    # Keras 3 on TensorFlow, whatever else is set for one's own programs: only there layers that tf_keras lacks can run.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    is_silent = os.environ.setdefault(_LOG_LEVEL, "3") == "3"
    loader = None if package.__spec__ is None else package.__spec__.loader
    assert loader is not None
    with errors_aside() if is_silent else nullcontext():
        loader.exec_module(package)


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    # In a file or a pipe tables need not be as narrow as the terminals of old.
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDTH)


@contextmanager
def _own_words(title: str, notes: Console, everything: bool) -> Iterator[None]:
    """Shows this package's own warnings in one line each, and what other packages say only on request."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if everything or issubclass(category, PruningWarning):
            _say(notes, title, f"warning: {in_shell_words(str(message))}")

    # Keras 3 logs to the second.
    levels = {logger: logger.level for logger in map(logging.getLogger, ("tensorflow", "absl"))}
    with warnings.catch_warnings():
        warnings.showwarning = show
        for logger in levels:
            if not everything:
                logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)


def _say(notes: Console, title: str, text: str) -> None:
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST * 2 // 3]} ... {line[-_LONGEST // 3 :]} (--debug shows all)"
    print_plain(notes, f"{title}: {line}")


def _trace(debug: bool) -> None:
    if debug:
        traceback.print_exc()


def _overview(width: int) -> str:
    column = max(len(each.name) for each in COMMANDS) + 4
    rows = [folded(each.summary, width, f"  {each.name:{column - 2}}", " " * column) for each in COMMANDS]
    return "\n".join([folded(_INTRODUCTION, width), "", *rows, _SESSION])


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, [each.name for each in COMMANDS], 1)
    advice = f"did you mean {close[0]}? " if close else ""
    return f"there is no such command: {advice}{PROGRAM} --help lists them. Received: {name}"
