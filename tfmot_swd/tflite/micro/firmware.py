"""Firmware project: a TFLite file, golden data and a self-test for a device, in one folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tfmot_swd.io.atomic import atomic_write, check_target, path_text
from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.tflite.file_bytes import read_bytes_or_path
from tfmot_swd.tflite.layout import FileLayout, read_layout
from tfmot_swd.tflite.micro import golden
from tfmot_swd.tflite.micro.c_source import make_c_source
from tfmot_swd.tflite.micro.firmware_notes import build_text, notes_text
from tfmot_swd.tflite.micro.firmware_program import program_text

# Recipes whose files TFLite Micro runs, the best for a small device first.
MICRO_RECIPES = ("int8_pruned", "int8", "int8_float_io", "int16x8", "float32")
FILES = ("model.c", "model.h", "golden.c", "golden.h", "main.cc", "CMakeLists.txt", "README.md")
_MARK = b"Written by tfmot_swd"
# Names that the program has for itself.
_TAKEN = ("app_main", "loop", "main", "self_test", "setup", "tflite")
_VARIABLES = ("VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE")


@dataclass(frozen=True)
class FirmwareProject(Printable, JsonResult):
    """A firmware project, and what it takes of a device. Prints as a table.

    Attributes:
        folder: where it is, links resolved.
        files: names of the files in it.
        name: of the model's array, in front of all names in C.
        model_bytes: what the model takes of flash.
        golden_bytes: what the golden data take on top of it, in the self-test alone.
        samples: how many golden samples there are.
        arena_bytes: RAM that the interpreter is given.
        operators: methods that the resolver is given, each once.
        tolerances: what each output may differ by, by its name; 0 for integers.
    """

    folder: Path
    files: tuple[str, ...]
    name: str
    model_bytes: int
    golden_bytes: int
    samples: int
    arena_bytes: int
    operators: tuple[str, ...]
    tolerances: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        table = ResultTable(f"Firmware project in {self.folder}")
        table.add_column("")
        table.add_column("bytes", justify="right")
        table.add_column("of", overflow="fold")
        table.add_row("model", f"{self.model_bytes:,}", "flash")
        table.add_row(f"golden data, {self.samples} samples", f"{self.golden_bytes:,}", "flash, of the self-test alone")
        table.add_row("arena", f"{self.arena_bytes:,}", "RAM, with the reference kernels")
        table.explain(*(f"Output {name}: {_allowed(each)}." for name, each in self.tolerances.items()))
        return (table,)


def _allowed(tolerance: float) -> str:
    return f"within {tolerance:.3g} of the golden data" if tolerance else "as in the golden data, bit for bit"


def write_firmware_project(
    file: str | os.PathLike[str] | bytes,
    folder: str | os.PathLike[str],
    data: Any,
    name: str = "model",
    samples: int | None = None,
    arena_bytes: int | None = None,
    compare: bool = True,
) -> FirmwareProject:
    """Writes a folder of C and C++ that runs a file on a device and says whether it computes there what it does here.

    A proof on this machine says nothing of a device's kernels, compiler and memory. So the folder has, beside
    `model.c` and `model.h` of `write_c_source`, golden data (`golden.c`, `golden.h`): samples as the file takes them,
    and what TFLite Micro makes of them on this machine. `main.cc` runs each and compares: integer outputs bit for bit,
    a float output y within 1e-4 · (max(y, 0) - min(y, 0)) over the golden data. It prints PASS or FAIL, the number of
    samples, the largest difference and the arena used, and returns 0 or 1. `CMakeLists.txt` builds it with a source
    tree of TFLite Micro; `README.md` says how to get that, and what to do for ESP-IDF and PlatformIO.

    Golden data take flash: of int8 pictures of 96x96x3, 27 kB each. The result and `README.md` say how much; firmware
    that is shipped does without.

    Args:
        file: the file, or its bytes; one that TFLite Micro runs.
        folder: a new or empty one, or one that this function wrote, whose files are replaced. Each file is whole at any
            time; where the process is killed between two of them, their checksums keep them from compiling together.
        data: samples as the model takes them: for each input name an array (N, ...), or one array for a file with one
            input. Evenly spaced ones are taken.
        name: of the model's array, a C identifier, in front of all names.
        samples: how many runs of the file are kept. None takes 4, or as many as fit into 32 KiB, and at least 1.
        arena_bytes: the arena, where it is known, as in `write_c_source`. None finds it.
        compare: whether TFLite Micro must compute what LiteRT computes, as in `write_c_source`.

    Returns:
        The folder, and what the project takes of flash and RAM.

    Raises:
        TypeError: `file` is neither bytes nor a path, `folder` is not a path, `data` of a wrong kind.
        ValueError: not a TFLite file, data of other names or shapes than it takes, a name that is not a C identifier,
            an operator that TFLite Micro lacks, or variables, which this program sets no memory aside for.
        OSError: `folder` holds other files, is a file, or cannot be written.
        ImportError: the package tflite-micro is not installed.
        ExportError: TFLite Micro cannot run the file, or computes something else with it than LiteRT.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> model = keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(2, name="y")])
        >>> folder = tempfile.mkdtemp()
        >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
        >>> result = export_tflite(model, folder + "/small.tflite", "int8", representative_data=x)
        >>> project = write_firmware_project(folder + "/small.tflite", folder + "/firmware", x)
        >>> project.samples, project.golden_bytes, project.tolerances
        (4, 24, {'y': 0.0})
    """
    # Macros of model.h and golden.h begin with the name in capitals, as that of the program's arena does.
    if name in _TAKEN or (isinstance(name, str) and name.upper() == "SELF_TEST"):
        raise ValueError(
            f"name must not be one of {', '.join(_TAKEN)}, which the program uses. Received: name={name!r}"
        )
    target = check_folder(folder)
    content = read_bytes_or_path(file)
    layout = read_layout(content)
    layout.require_micro()
    _check_variables(layout)
    source, texts = make_c_source(content, os.fspath(target / "model"), name, arena_bytes, compare)
    data_kept = golden.make_golden(content, layout, data, samples)
    checksum = zlib.crc32(content)
    texts = {
        **texts,
        target / "golden.c": golden.source_text(data_kept, name, checksum),
        target / "golden.h": golden.header_text(data_kept, name, checksum),
        target / "main.cc": program_text(source, data_kept, checksum),
        target / "CMakeLists.txt": build_text(source),
        target / "README.md": notes_text(source, data_kept, target.name),
    }
    with contextlib.ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(atomic_write(path, text.encode()))
    return FirmwareProject(
        folder=target,
        files=FILES,
        name=name,
        model_bytes=len(content),
        golden_bytes=data_kept.bytes,
        samples=data_kept.samples,
        arena_bytes=source.arena_bytes,
        operators=source.operators,
        tolerances={each.port.name: each.tolerance for each in data_kept.outputs},
    )


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Returns where a project can be put, links resolved.

    Raises:
        TypeError: `folder` is not a path.
        ValueError: it is empty.
        OSError: it holds files that are not of a project, or cannot be written.
    """
    text = path_text(folder)
    if not text:
        raise ValueError(f"folder must name the folder to write. Received: folder={text!r}")
    target = Path(os.path.realpath(text))
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"folder is a file: choose another name. Received: folder={text!r}")
    others = sorted(each.name for each in target.iterdir() if not _is_ours(each)) if target.is_dir() else []
    if others:
        raise FileExistsError(
            "folder holds files that are not of a project: choose a new folder. "
            f"Received: folder={text!r}, with {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}"
        )
    for name in FILES:
        check_target(target / name)
    return target


def _is_ours(path: Path) -> bool:
    """Returns whether a file was written by this function, or is what a killed process left of one."""
    if re.fullmatch(r"[.](" + "|".join(map(re.escape, FILES)) + r")[.][0-9a-f]{8}[.]tmp", path.name):
        return True
    if path.name not in FILES or not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK in file.read(512)


def _check_variables(layout: FileLayout) -> None:
    found = [each for each in layout.operators if each in _VARIABLES]
    if found:
        raise ValueError(
            "The self-test sets no memory aside for variables: export a model without state (stateful=False), or use "
            f"write_c_source and a program of your own. Received: {', '.join(found)} in {layout.file}"
        )
