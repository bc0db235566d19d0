"""Whether a TFLite file fits into the memory of a microcontroller board."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.sizes import parse_size
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.tflite.advice_case import REMOVE
from tfmot_swd.tflite.boards import Board, get_board
from tfmot_swd.tflite.file_bytes import read_bytes_or_path
from tfmot_swd.tflite.file_facts import FileFacts, read_facts
from tfmot_swd.tflite.file_macs import operator_macs
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.micro.arena import find_arena
from tfmot_swd.tflite.micro.interpreter import has_micro
from tfmot_swd.tflite.micro.operators import micro_problems
from tfmot_swd.tflite.result import ExportError

_VERDICTS = {True: "fits", False: "does not fit", None: "unknown whether it fits"}


@dataclass(frozen=True)
class BoardFit(Printable, JsonResult):
    """What a file needs of a board's memory, and what is left. Prints as a table.

    Attributes:
        path: of the file, None where its bytes were given.
        form: the numbers that it computes with: `"float32"`, `"int8"` and so on.
        board: the board; None where only limits were given.
        flash_bytes: what the file takes. The code of the interpreter and its kernels comes on top, and is not counted.
        flash_limit: what there is; None where that was not asked.
        ram_bytes: the arena of TFLite Micro, by its reference kernels on this 64-bit host; a device with 32 bits takes
            less, optimized kernels may want scratch memory on top. Where `ram_is_least`, what the activations of one
            operator take: less than any arena. None where the file cannot run in TFLite Micro.
        ram_is_least: whether `ram_bytes` is only a lower bound, as TFLite Micro is not installed here.
        ram_limit: what there is; None where that was not asked.
        macs: multiply-accumulates of one run; None where the graph does not tell.
        obstacles: why TFLite Micro cannot run the file, on any board.
    """

    path: str | None
    form: str
    board: Board | None
    flash_bytes: int
    flash_limit: int | None
    ram_bytes: int | None
    ram_is_least: bool
    ram_limit: int | None
    macs: int | None
    obstacles: tuple[str, ...] = ()

    @property
    def flash_left(self) -> int | None:
        """Bytes of flash that the file leaves, negative where it is too large; None without a limit."""
        return None if self.flash_limit is None else self.flash_limit - self.flash_bytes

    @property
    def ram_left(self) -> int | None:
        """Bytes of RAM that the arena leaves, at most where `ram_is_least`; None without a limit or a figure."""
        return None if self.ram_limit is None or self.ram_bytes is None else self.ram_limit - self.ram_bytes

    @property
    def fits(self) -> bool | None:
        """Whether the file fits; None where the RAM that it needs is not known, and nothing else speaks against it."""
        if self.obstacles or any(left is not None and left < 0 for left in (self.flash_left, self.ram_left)):
            return False
        return None if self.ram_is_least and self.ram_limit is not None else True

    @property
    def reason(self) -> str:
        """Why it does not fit, or why that is not known; empty where it fits."""
        said = [f"TFLite Micro does not run it: {each}" for each in self.obstacles]
        if self.flash_left is not None and self.flash_left < 0:
            said.append(
                f"the file takes {self.flash_bytes:,} bytes of flash and there are {self.flash_limit:,}: "
                f"{-self.flash_left:,} too many"
            )
        if self.ram_left is not None and self.ram_left < 0:
            need = "the activations alone take" if self.ram_is_least else "the arena takes"
            said.append(
                f"{need} {self.ram_bytes:,} bytes of RAM and there are {self.ram_limit:,}: {-self.ram_left:,} too many"
            )
        if self.fits is None:
            said.append(
                f"the arena takes more than {self.ram_bytes:,} bytes; how many is measured where TFLite Micro is "
                "installed: pip install 'tfmot_swd[micro]'"
            )
        return "; ".join(said)

    @property
    def remedy(self) -> str:
        """What to do where it does not fit; empty where it does or may, or where it runs on no board."""
        if self.fits is not False or self.obstacles:
            return ""
        if self.form == "float32":
            return 'export with recipe="int8", which takes about a quarter of both'
        said = []
        if self.flash_left is not None and self.flash_left < 0:
            said.append(f"prune the model with Budget(bytes={self.flash_limit})")
        if self.ram_left is not None and self.ram_left < 0:
            said.append(f"{REMOVE}; or give the model a smaller input")
        return "; ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields and what follows from them as plain types, ready for JSON."""
        told = {name: getattr(self, name) for name in ("flash_left", "ram_left", "fits", "reason", "remedy")}
        return {**dataclasses.asdict(self), **told}

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        where = "these limits" if self.board is None else self.board.name
        table = ResultTable(f"{self.path or 'The file'} on {where}: {_VERDICTS[self.fits]}")
        table.add_column("")
        for heading in ("bytes needed", "there are", "left"):
            table.add_column(heading, justify="right")
        table.add_column("what is counted", overflow="fold")
        least = "≥ " if self.ram_is_least else ""
        flash = "the file; the code of the interpreter comes on top"
        table.add_row("flash", f"{self.flash_bytes:,}", *_left(self.flash_limit, self.flash_left), flash)
        ram = "cannot run" if self.ram_bytes is None else f"{least}{self.ram_bytes:,}"
        table.add_row("RAM", ram, *_left(self.ram_limit, self.ram_left), self._counted())
        macs = "" if self.macs is None else f"; {self.macs:,} multiply-accumulates a run"
        table.add_row("time", "", "", "", f"not estimated, as none was measured on a board{macs}")
        if self.board is not None:
            table.add_row("board", "", "", "", _described(self.board))
        table.explain(*(view.words(f"{each[:1].upper()}{each[1:]}.") for each in (self.reason, self.remedy) if each))
        return (table,)

    def _counted(self) -> str:
        if self.ram_is_least:
            return "the activations of one operator: less than the arena"
        own = self.board.kernels if self.board is not None else ""
        return (
            "the arena, with the reference kernels on this 64-bit host: a device with 32 bits takes less, "
            f"{own or 'optimized kernels'} may want scratch memory; stack and program come on top"
        )


def _left(limit: int | None, left: int | None) -> tuple[str, str]:
    if limit is None or left is None:
        return "" if limit is None else f"{limit:,}", ""
    return f"{limit:,}", f"{left:,} ({left / limit:.0%})"


def _described(board: Board) -> str:
    clock = "" if board.clock_mhz is None else f" at {board.clock_mhz:g} MHz"
    chip = ", ".join(each for each in (board.chip, f"{board.core}{clock}".strip()) if each)
    return "; ".join(each for each in (chip, board.note, board.source and f"figures: {board.source}") if each)


def check_fit(
    file: bytes | str | os.PathLike[str],
    board: str | Board | None = None,
    *,
    flash: int | str | None = None,
    ram: int | str | None = None,
) -> BoardFit:
    """Tells whether a file fits into the flash and the RAM of a board, and how much of both is left.

    The file is run in TFLite Micro on this host to find its arena, where the package tflite-micro is installed. Without
    it only a lower bound of the RAM is known, and so whether a file cannot fit, but not that it does.

    Args:
        file: the file, or its bytes.
        board: a name in `BOARDS`, or a `Board` of your own.
        flash, ram: limits in bytes, or as text ("256k", "1M"; a k is 1024 bytes), in place of the board's: what a
            bootloader or the rest of the program leaves. Without a board only what is given is checked.

    Returns:
        What is needed, what there is and what is left; `fits` is the answer.

    Raises:
        TypeError: `file` is neither bytes nor a path, or `board`, `flash` or `ram` is of another type.
        ValueError: not a TFLite file, one that leaves the size of an input open, an unknown board, a size of another
            form, or neither board nor limits.
        OSError: the file cannot be read.

    Example:
        >>> import tensorflow as tf, tf_keras as keras
        >>> net = keras.Sequential([keras.layers.Dense(64, input_shape=(64,))])
        >>> content = tf.lite.TFLiteConverter.from_keras_model(net).convert()
        >>> check_fit(content, "arduino-nano-33-ble-sense").fits
        True
        >>> check_fit(content, flash="8k").fits
        False
    """
    if board is None and flash is None and ram is None:
        raise ValueError("Give a board, or limits: flash='256k', ram='64k'. Received: board=None, flash=None, ram=None")
    place = None if board is None else get_board(board)
    flash_limit = _limit("flash", flash, None if place is None else place.flash_bytes)
    ram_limit = _limit("ram", ram, None if place is None else place.ram_bytes)
    content = read_bytes_or_path(file)
    layout = read_layout(content)
    layout.require_micro()
    facts = read_facts(content)
    obstacles = tuple(dict.fromkeys(f"{each.found} ({each.where})" for each in micro_problems(facts.graph)))
    ram_bytes: int | None = facts.most_bytes
    is_least = True
    if obstacles:
        ram_bytes, is_least = None, False
    elif has_micro() and ram_limit is not None:
        is_least = False
        try:
            ram_bytes = find_arena(content, layout, compare=False)
        except ExportError as error:
            ram_bytes, obstacles = None, (str(error),)
    return BoardFit(
        path=os.fspath(file) if isinstance(file, str | os.PathLike) else None,
        form=facts.form,
        board=place,
        flash_bytes=len(content),
        flash_limit=flash_limit,
        ram_bytes=ram_bytes,
        ram_is_least=is_least,
        ram_limit=ram_limit,
        macs=_macs(facts),
        obstacles=obstacles,
    )


def _limit(name: str, given: int | str | None, own: int | None) -> int | None:
    return own if given is None else parse_size(given, name)


def _macs(facts: FileFacts) -> int | None:
    counts = [operator_macs(facts.graph, each) for each in facts.graph.operators]
    return None if None in counts else sum(each for each in counts if each is not None)
