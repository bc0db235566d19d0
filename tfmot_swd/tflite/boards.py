"""Microcontroller boards: memory, clock and core of each, by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_KIB, _MIB = 2**10, 2**20


@dataclass(frozen=True)
class Board:
    """A microcontroller board.

    Attributes:
        name: in small letters, digits and hyphens, `"arduino-nano-33-ble-sense"` for example.
        flash_bytes: of the memory that holds program and constants; all of it, as the data sheet has it.
        ram_bytes: of the memory for data, in one piece; all of it.
        chip: the microcontroller.
        core: of the chip; of several equal ones, one.
        clock_mhz: the highest clock of the core.
        kernels: the library of optimized TFLite Micro kernels for this core; empty: the reference kernels.
        source: where the figures are from.
        note: what else takes a part of its memory.

    Raises:
        TypeError, ValueError: a name of another form, or a size that is not a positive int.

    >>> Board("my-board", flash_bytes=512 * 1024, ram_bytes=128 * 1024).core
    ''
    """

    name: str
    flash_bytes: int
    ram_bytes: int
    chip: str = ""
    core: str = ""
    clock_mhz: float | None = None
    kernels: str = ""
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name) is None:
            raise ValueError(
                "name must be small letters and digits, with single hyphens between: 'my-board'. "
                f"Received: name={self.name!r}"
            )
        for name in ("flash_bytes", "ram_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, the number of bytes. Received: {name}={value!r}")
            if value < 1:
                raise ValueError(f"{name} must be above 0. Received: {name}={value!r}")


_BOARDS = {
    board.name: board
    for board in (
        Board(
            "arduino-nano-33-ble-sense",
            1 * _MIB,
            256 * _KIB,
            chip="nRF52840",
            core="Cortex-M4F",
            clock_mhz=64.0,
            kernels="CMSIS-NN",
            source="nRF52840 Product Specification, Nordic Semiconductor",
            note="Arduino's bootloader takes 64 KiB of the flash",
        ),
        Board(
            "bbc-microbit-v2",
            512 * _KIB,
            128 * _KIB,
            chip="nRF52833",
            core="Cortex-M4F",
            clock_mhz=64.0,
            kernels="CMSIS-NN",
            source="nRF52833 Product Specification, Nordic Semiconductor",
        ),
        Board(
            "esp32-s3-devkitc-1",
            8 * _MIB,
            512 * _KIB,
            chip="ESP32-S3",
            core="Xtensa LX7",
            clock_mhz=240.0,
            kernels="ESP-NN",
            source="ESP32-S3 Series Datasheet and user guide of the board (module ESP32-S3-WROOM-1-N8), Espressif",
            note="caches and instructions in RAM take a part of the 512 KiB, Wi-Fi and Bluetooth another",
        ),
        Board(
            "nrf5340-dk",
            1 * _MIB,
            512 * _KIB,
            chip="nRF5340, application core",
            core="Cortex-M33",
            clock_mhz=128.0,
            kernels="CMSIS-NN",
            source="nRF5340 Product Specification, Nordic Semiconductor",
        ),
        Board(
            "nucleo-f446re",
            512 * _KIB,
            128 * _KIB,
            chip="STM32F446RE",
            core="Cortex-M4F",
            clock_mhz=180.0,
            kernels="CMSIS-NN",
            source="STM32F446xC/E data sheet, STMicroelectronics",
        ),
        Board(
            "nucleo-l4r5zi",
            2 * _MIB,
            640 * _KIB,
            chip="STM32L4R5ZI",
            core="Cortex-M4F",
            clock_mhz=120.0,
            kernels="CMSIS-NN",
            source="STM32L4R5xx data sheet, STMicroelectronics",
        ),
        Board(
            "raspberry-pi-pico",
            2 * _MIB,
            264 * _KIB,
            chip="RP2040",
            core="Cortex-M0+",
            clock_mhz=133.0,
            kernels="CMSIS-NN",
            source="RP2040 Datasheet and Raspberry Pi Pico Datasheet, Raspberry Pi",
        ),
        Board(
            "raspberry-pi-pico-2",
            4 * _MIB,
            520 * _KIB,
            chip="RP2350",
            core="Cortex-M33",
            clock_mhz=150.0,
            kernels="CMSIS-NN",
            source="RP2350 Datasheet and Raspberry Pi Pico 2 Datasheet, Raspberry Pi",
        ),
        Board(
            "sparkfun-edge",
            1 * _MIB,
            384 * _KIB,
            chip="Apollo3 Blue",
            core="Cortex-M4F",
            clock_mhz=48.0,
            kernels="CMSIS-NN",
            source="Apollo3 Blue SoC Datasheet, Ambiq",
            note="the bootloader takes 48 KiB of the flash; 96 MHz are for bursts",
        ),
        Board(
            "stm32f746g-disco",
            1 * _MIB,
            320 * _KIB,
            chip="STM32F746NG",
            core="Cortex-M7",
            clock_mhz=216.0,
            kernels="CMSIS-NN",
            source="STM32F745xx/F746xx data sheet, STMicroelectronics",
            note="beside the 320 KiB, 16 KiB for instructions and 4 KiB of backup memory are not counted",
        ),
    )
}

# All boards by name; `register_board` adds one.
BOARDS: Mapping[str, Board] = MappingProxyType(_BOARDS)


def register_board(board: Board) -> Board:
    """Makes a board known under its name, to `check_fit` and `tfmot-swd check --board`.

    Args:
        board: yours.

    Returns:
        The board.

    Raises:
        TypeError: it is not a `Board`.
        ValueError: another board has its name.

    >>> own = register_board(Board("my-sensor", flash_bytes=512 * 1024, ram_bytes=96 * 1024, core="Cortex-M33"))
    >>> get_board("my-sensor") is own
    True
    """
    if not isinstance(board, Board):
        raise TypeError(f"board must be a Board. Received: board={board!r}")
    if _BOARDS.get(board.name, board) != board:
        raise ValueError(f"name must be one that is not taken. Received: name={board.name!r}, of another board")
    _BOARDS[board.name] = board
    return board


def get_board(board: Any) -> Board:
    """Returns a board by its name; capitals, spaces and underscores make no difference. A `Board` is returned as it is.

    Raises:
        TypeError: neither a name nor a `Board`.
        ValueError: no board has that name.
    """
    if isinstance(board, Board):
        return board
    if not isinstance(board, str):
        raise TypeError(f"board must be a name or a Board. Received: board={board!r}")
    name = re.sub(r"[\s_]+", "-", board.strip().lower())
    if name not in BOARDS:
        close = difflib.get_close_matches(name, BOARDS, 1, 0.5)
        advice = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(
            f"board must be one of {', '.join(sorted(BOARDS))}{advice}, or give flash and ram; register_board adds "
            f"yours. Received: board={board!r}"
        )
    return BOARDS[name]
