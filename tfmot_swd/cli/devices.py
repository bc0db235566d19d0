"""Flags of boards and NPUs, and what is told of a file on them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from absl import flags
from rich.table import Table

from tfmot_swd.cli.command import Call, UsageError
from tfmot_swd.cli.loading import import_modules
from tfmot_swd.cli.words import in_shell_words
from tfmot_swd.io.tables import ResultTable

if TYPE_CHECKING:
    from tfmot_swd.tflite.advice import Target
    from tfmot_swd.tflite.board_fit import BoardFit
    from tfmot_swd.tflite.micro import NpuEstimate

# The names of `tfmot_swd.tflite.BOARDS`, which needs TensorFlow and seconds: `--help` does without.
BOARDS = (
    "arduino-nano-33-ble-sense bbc-microbit-v2 esp32-s3-devkitc-1 nrf5340-dk nucleo-f446re nucleo-l4r5zi "
    "raspberry-pi-pico raspberry-pi-pico-2 sparkfun-edge stm32f746g-disco"
)
MICROCONTROLLER: Final = "microcontroller"


def define_device_flags(values: flags.FlagValues) -> None:
    """Defines `--board`, `--flash`, `--ram` and `--npu`."""
    flags.DEFINE_string(
        "board",
        None,
        f"a microcontroller board, to tell whether the file fits there: {', '.join(BOARDS.split())}",
        flag_values=values,
    )
    flags.DEFINE_string(
        "flash",
        None,
        "bytes of flash that there are for the file, 256k or 1M for example, in place of the board's",
        flag_values=values,
    )
    flags.DEFINE_string(
        "ram", None, "bytes of RAM that there are for its working memory, in place of the board's", flag_values=values
    )
    flags.DEFINE_string(
        "npu",
        None,
        "an Ethos-U NPU, ethos-u55-128 for example, to estimate the file on with Vela; the number is "
        "multiply-accumulates a cycle",
        flag_values=values,
    )


def target_device(values: Any) -> Target | None:
    """Returns the device of `--target`, or a microcontroller where a board, its memory or an NPU is given.

    Raises:
      UsageError: a board, and another device.
    """
    given = [name for name in ("board", "flash", "ram", "npu") if values[name].value is not None]
    if given and values.target not in (None, MICROCONTROLLER):
        raise UsageError(
            f"--{given[0]} is for microcontrollers: leave --target out. Received: --target={values.target}"
        )
    target: Target | None = MICROCONTROLLER if given else values.target
    return target


def fit_on_board(call: Call, path: str) -> BoardFit | None:
    """Shows whether a file fits on the board of the flags; returns None where they name none, and no limits.

    Raises:
      UsageError: an unknown board, or a size of another form.
    """
    from tfmot_swd.io.sizes import parse_size
    from tfmot_swd.tflite.board_fit import check_fit
    from tfmot_swd.tflite.boards import get_board

    values = call.flags
    if values.board is None and values.flash is None and values.ram is None:
        return None
    import_modules(values.modules)
    try:
        board = None if values.board is None else get_board(values.board)
        limits = {
            name: parse_size(values[name].value, name) for name in ("flash", "ram") if values[name].value is not None
        }
    except ValueError as error:
        raise UsageError(in_shell_words(str(error))) from error
    fit = check_fit(path, board, **limits)
    call.show(fit)
    return fit


def estimate_on_npu(call: Call, content: bytes) -> NpuEstimate | None:
    """Shows Vela's estimate of a file: for the NPU of `--npu`, or of the default one for `--target=microcontroller`.

    Returns:
      The estimate; None where none is asked for, or not by `--npu` and Vela is not installed or does not take the file.

    Raises:
      UsageError: an unknown NPU.
      ImportError, ExportError: an estimate was asked for and cannot be made.
    """
    from tfmot_swd.tflite.micro.vela import ACCELERATORS, estimate_npu, has_vela
    from tfmot_swd.tflite.result import ExportError

    npu = call.flags.npu
    if npu is None:
        # No board of the table has one.
        if call.flags.target != MICROCONTROLLER or not has_vela():
            return None
        try:
            estimate = estimate_npu(content)
        except ExportError:
            return None
    else:
        if npu not in ACCELERATORS:
            raise UsageError(f"--npu must be one of {', '.join(ACCELERATORS)}. Received: {npu!r}")
        estimate = estimate_npu(content, npu)
    call.show(_table(estimate))
    return estimate


def _table(estimate: NpuEstimate) -> Table:
    table = ResultTable(f"Vela's estimate for {estimate.accelerator}")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in (
        ("flash, with compressed weights", f"{estimate.flash_kib:,.1f} KiB"),
        ("SRAM", f"{estimate.sram_kib:,.1f} KiB"),
        ("DRAM", f"{estimate.dram_kib:,.1f} KiB" if estimate.dram_kib else ""),
        ("multiply-accumulates", f"{estimate.macs:,}"),
        ("time at Vela's default clock", f"{estimate.milliseconds:.3g} ms"),
        ("operators on the NPU, on the CPU", f"{estimate.npu_operators}, {estimate.cpu_operators}"),
    ):
        if value:
            table.add_row(name, value)
    left = "The time of operators on the CPU is not in it." if estimate.cpu_operators else ""
    table.explain("No board was measured.", left)
    return table


def as_json(fit: BoardFit | None, npu: NpuEstimate | None) -> dict[str, Any]:
    """Returns what was found, for the file of `--json`."""
    found: dict[str, Any] = {}
    if fit is not None:
        found["fit"] = fit.to_dict()
    if npu is not None:
        found["npu"] = dataclasses.asdict(npu)
    return found
