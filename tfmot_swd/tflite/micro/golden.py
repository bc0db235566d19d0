"""Golden data of a TFLite file: inputs, and what TFLite Micro makes of them, as C source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfmot_swd.tflite.inputs import check_inputs
from tfmot_swd.tflite.layout import FileLayout, Port
from tfmot_swd.tflite.micro.interpreter import run_stored, stored_rounds
from tfmot_swd.tflite.parity import count_bad
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Array

# What is taken where the number is left open: as many as fit into so many bytes of flash, and one at least.
MOST_SAMPLES, MOST_BYTES = 4, 32 * 1024
# Of the range of a float output: what the proof of a float32 file allows.
_SHARE = 1e-4
_LEAST_TOLERANCE = 1e-6
_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float32": "float",
    "bool": "bool",
}
_VALUES_A_LINE = 16


@dataclass(frozen=True)
class GoldenArray:
    """Values of one input or output over all samples, as the file stores them.

    Attributes:
        port: the first name of the input or output.
        values: (samples, elements).
        tolerance: by how much a value of an output may differ on a device; 0 for integers, which are compared bit for
            bit, and for inputs.
    """

    port: Port
    values: Array
    tolerance: float = 0.0

    @property
    def c_type(self) -> str:
        """The type of an element in C."""
        return _TYPES[self.port.dtype.name]


@dataclass(frozen=True)
class Golden:
    """Golden data of a file.

    Attributes:
        inputs, outputs: by position.
    """

    inputs: tuple[GoldenArray, ...]
    outputs: tuple[GoldenArray, ...]

    @property
    def samples(self) -> int:
        """How many runs of the file they are."""
        return len(self.outputs[0].values)

    @property
    def bytes(self) -> int:
        """What they take of a device's flash."""
        return sum(each.values.nbytes for each in (*self.inputs, *self.outputs))


def make_golden(content: bytes, layout: FileLayout, data: Any, samples: int | None = None) -> Golden:
    """Runs a file in TFLite Micro on evenly spaced samples.

    Args:
        content: the bytes of the file.
        layout: of the file, of fixed sizes.
        data: real values, for each input name an array (N, ...); one array alone for a file with one input.
        samples: how many runs of the file; fewer where the data have fewer. None takes 4, or as many as fit into 32
            KiB, and at least 1.

    Raises:
        TypeError: `data` is neither an array nor a dictionary of arrays, or `samples` not an int.
        ValueError: other names or shapes than the file's, `samples` below 1, or a dtype that C lacks.
        ExportError: TFLite Micro cannot run the file, or an input or output is not finite.
        ImportError: the package tflite-micro is not installed.
    """
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int)):
        raise TypeError(f"samples must be an int, or None for a few. Received: samples={samples!r}")
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be 1 or more. Received: samples={samples!r}")
    inputs, outputs = _by_position(layout.inputs), _by_position(layout.outputs)
    for port in (*inputs, *outputs):
        if port.dtype.name not in _TYPES:
            raise ValueError(
                f"Golden data are numbers of C, {', '.join(_TYPES)}: cast the input or output in the model. "
                f"Received: {port.name!r} of dtype {port.dtype} in {layout.file}"
            )
    if not isinstance(data, Mapping) and len(layout.inputs) == 1:
        data = {layout.inputs[0].name: data}
    arrays, count = check_inputs(data, layout.inputs, layout.file)
    wanted = _count([*inputs, *outputs]) if samples is None else samples
    rows = np.linspace(0, count - 1, min(count, wanted * inputs[0].shape[0])).round().astype(int)
    rounds = {
        port.position: stored_rounds(array[rows], port) for array, port in zip(arrays, layout.inputs, strict=True)
    }
    found = run_stored(content, layout, rounds).outputs
    return Golden(
        tuple(GoldenArray(port, _flat(rounds[port.position], port, "input")) for port in inputs),
        tuple(_output(found[port.position], port) for port in outputs),
    )


def header_text(golden: Golden, name: str, checksum: int) -> str:
    """Returns golden.h.

    Args:
        golden: the data.
        name: of the array of the model, in front of all names.
        checksum: of the model.
    """
    upper = name.upper()
    lines = [
        f"/* Golden data of {name}: inputs, and what TFLite Micro computed from them on the host that exported the "
        "model.\n   Written by tfmot_swd; do not edit. */",
        f"#ifndef {upper}_GOLDEN_H_\n#define {upper}_GOLDEN_H_\n",
        "#include <stdbool.h>\n#include <stdint.h>\n",
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        f"/* CRC-32 of the model that they were computed with. */\n#define {upper}_GOLDEN_CHECKSUM 0x{checksum:08x}",
        f"#define {upper}_GOLDEN_SAMPLES {golden.samples}",
        f"/* Of flash. */\n#define {upper}_GOLDEN_BYTES {golden.bytes}\n",
    ]
    lines += [
        f"extern const {each.c_type} {array_name(name, kind, each)}[{upper}_GOLDEN_SAMPLES][{each.values.shape[1]}];"
        for kind, group in (("input", golden.inputs), ("output", golden.outputs))
        for each in group
    ]
    for each in golden.outputs:
        macro = tolerance_name(name, each)
        unit = "In real values" if each.tolerance else "In steps"
        lines.append(
            f"\n/* {unit}, by how much output {each.port.position} may differ; another value can be defined for the "
            f"compiler. */\n#ifndef {macro}\n#define {macro} {_literal(each.tolerance)}\n#endif"
        )
    lines.append(f"\n#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {upper}_GOLDEN_H_ */\n")
    return "\n".join(lines)


def source_text(golden: Golden, name: str, checksum: int) -> str:
    """Returns golden.c; arguments as of `header_text`."""
    upper = name.upper()
    arrays = [
        f"const {each.c_type} {array_name(name, kind, each)}[{upper}_GOLDEN_SAMPLES][{each.values.shape[1]}] = {{\n"
        + ",\n".join(f"  {{\n{_numbers(row)}\n  }}" for row in each.values)
        + "\n};"
        for kind, group in (("input", golden.inputs), ("output", golden.outputs))
        for each in group
    ]
    joined = "\n\n".join(arrays)
    return f"""\
/* Golden data of {name}. Written by tfmot_swd; do not edit. */
#include "golden.h"

#if {upper}_GOLDEN_CHECKSUM != 0x{checksum:08x} || {upper}_GOLDEN_SAMPLES != {golden.samples}
#error "golden.c and golden.h come from different exports"
#endif

{joined}
"""


def array_name(name: str, kind: str, golden: GoldenArray) -> str:
    """Returns the name of an array in C; `kind` is `"input"` or `"output"`."""
    return f"{name}_golden_{kind}_{golden.port.position}"


def tolerance_name(name: str, golden: GoldenArray) -> str:
    """Returns the macro of what an output may differ by."""
    return f"{name.upper()}_GOLDEN_OUTPUT_{golden.port.position}_TOLERANCE"


def _by_position(ports: Sequence[Port]) -> tuple[Port, ...]:
    # A tensor of several names is one array.
    return tuple({port.position: port for port in ports}.values())


def _count(ports: Sequence[Port]) -> int:
    one = sum(int(np.prod(port.shape)) * port.dtype.itemsize for port in ports)
    return max(min(MOST_SAMPLES, MOST_BYTES // max(one, 1)), 1)


def _output(values: Array, port: Port) -> GoldenArray:
    flat = _flat(values, port, "output")
    if port.dtype.kind != "f":
        return GoldenArray(port, flat)
    scale = max(float(flat.max(initial=0)), 0.0) - min(float(flat.min(initial=0)), 0.0)
    return GoldenArray(port, flat, max(_SHARE * scale, _LEAST_TOLERANCE))


def _flat(values: Array, port: Port, kind: str) -> Array:
    bad = count_bad(values) if port.dtype.kind == "f" else 0
    if bad:
        raise ExportError(
            f"Golden data must be finite: give samples on which the file's {kind}s are. "
            f"Received: {bad} of {values.size} values of {kind} {port.name!r} NaN or infinite"
        )
    return values.reshape(len(values), -1)


def _numbers(row: Array) -> str:
    said = [f"{_literal(value)}," for value in row]
    lines = (said[start : start + _VALUES_A_LINE] for start in range(0, len(said), _VALUES_A_LINE))
    return "\n".join("    " + " ".join(line) for line in lines)


def _literal(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "0" if not value else np.format_float_scientific(np.float32(value), unique=True, trim="0") + "f"
    return str(int(value))
