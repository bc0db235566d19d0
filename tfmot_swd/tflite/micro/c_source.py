"""C source and header of a TFLite file, with everything that firmware needs to know."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfmot_swd.io.atomic import atomic_write, check_target, path_text
from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.tflite.file_bytes import read_bytes_or_path
from tfmot_swd.tflite.flatbuffer import ALIGNMENT, padded
from tfmot_swd.tflite.layout import Port, read_layout
from tfmot_swd.tflite.micro.agreement import proven_run
from tfmot_swd.tflite.micro.arena import find_arena
from tfmot_swd.tflite.micro.c_names import is_taken
from tfmot_swd.tflite.micro.interpreter import has_micro
from tfmot_swd.tflite.micro.operators import DECODE, MICRO_OPERATORS

# Where the resolver's method is not the operator's name in capitals and small letters.
_METHODS = {
    DECODE: "AddDecode",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
}
_BYTES_A_LINE = 16


@dataclass(frozen=True)
class CSource:
    """A file as C source.

    Attributes:
        source, header: the two files.
        name: of the array.
        bytes: its length.
        arena_bytes: the working memory that the header names, a multiple of 16.
        operators: methods that the resolver must be given, each once: `"AddConv2D"` and so on.
        inputs, outputs: by position.
    """

    source: Path
    header: Path
    name: str
    bytes: int
    arena_bytes: int
    operators: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@renamed_arguments(tflite="file")
def write_c_source(
    file: str | os.PathLike[str] | bytes,
    path: str | os.PathLike[str],
    name: str = "model",
    arena_bytes: int | None = None,
    compare: bool = True,
) -> CSource:
    """Writes a file as `path`.c and `path`.h, for firmware in C or C++ with TFLite Micro.

    The source holds the bytes, aligned to 16. The header declares them and defines, in capitals with the name in front:
    their number, the arena, how many operators the resolver must hold and a macro that adds them, and of each input and
    output the shape, the number of elements and the quantization. Both files are written beside their places first, and
    moved there when both are whole; each names the checksum of the bytes, so that files of two exports do not compile
    together.

    The file is run in TFLite Micro on this host, on random inputs, and must compute there what it computes in LiteRT,
    where it was proven. That also finds the arena, which is then tried out: it is enough for the reference kernels, on
    a device with 32 bits too. Optimized kernels may need scratch memory on top.

    Args:
        file: the file, or its bytes.
        path: where to write, with or without `.c` or `.h`. Missing directories are created. The source includes the
            header by its name, which therefore holds no quote, backslash, `??` or control character.
        name: of the array, a C identifier that is no keyword and no name of the standard library.
        arena_bytes: the arena to name, where it is known. None finds it, for which tflite-micro must be installed; a
            given one is not tried, nor is the file then run where that package is missing.
        compare: whether TFLite Micro must compute what LiteRT computes. False for a file that was held against its
            model in TFLite Micro: by recipe="int8_pruned", or by tfmot-swd check with --model, --data and
            --target=microcontroller.

    Returns:
        Paths and numbers.

    Raises:
        TypeError: `file` is neither bytes nor a path, or `path` is not a path.
        ValueError: not a TFLite file, one that leaves the size of an input open, a name that is not a free
            identifier of C, an operator that TFLite Micro lacks.
        OSError: nothing can be written at `path`, or there is no such file.
        ImportError: the arena is to be found and the package tflite-micro is not installed.
        ExportError: TFLite Micro cannot run the file, or computes something else with it than LiteRT.

    Example:
        >>> import tempfile, numpy as np, tf_keras as keras
        >>> from tfmot_swd import export_tflite
        >>> model = keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> folder = tempfile.mkdtemp()
        >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
        >>> result = export_tflite(model, folder + "/model.tflite", "int8", representative_data=x)
        >>> written = write_c_source(folder + "/model.tflite", folder + "/model")
        >>> written.header.name, written.operators
        ('model.h', ('AddFullyConnected',))
    """
    text = path_text(path)
    base = text[:-2] if text.endswith((".c", ".h")) else text
    if not os.path.basename(base):
        raise ValueError(f"path must name the files to write, without .c and .h. Received: path={text!r}")
    made, texts = make_c_source(file, base, name, arena_bytes, compare)
    with (
        atomic_write(made.source, texts[made.source].encode()),
        atomic_write(made.header, texts[made.header].encode()),
    ):
        pass
    return made


def make_c_source(
    file: str | os.PathLike[str] | bytes, base: str, name: str, arena_bytes: int | None, compare: bool
) -> tuple[CSource, dict[Path, str]]:
    """Returns what `write_c_source` writes as `base`.c and `base`.h, and the text of both by path."""
    _check_name(name)
    if arena_bytes is not None and (
        isinstance(arena_bytes, bool) or not isinstance(arena_bytes, int) or arena_bytes < 1
    ):
        raise ValueError(
            f"arena_bytes must be a positive int, or None to find it. Received: arena_bytes={arena_bytes!r}"
        )
    source, header = check_target(f"{base}.c"), check_target(f"{base}.h")
    _check_file_names(source, header)
    content = read_bytes_or_path(file)
    layout = read_layout(content)
    layout.require_micro()
    operators = tuple(_method(operator, layout.file) for operator in layout.operators)
    if arena_bytes is None:
        arena = find_arena(content, layout, compare)
    else:
        arena = padded(arena_bytes)
        if compare and has_micro():
            proven_run(content, layout)
    made = CSource(source, header, name, len(content), arena, operators, layout.inputs, layout.outputs)
    return made, {source: _source_text(made, content), header: _header_text(made, zlib.crc32(content))}


def _check_name(name: str) -> None:
    is_identifier = isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None
    if not is_identifier or "__" in name:
        raise ValueError(
            "name must be an identifier of C and C++: a letter, then letters, digits and single underscores. "
            f"Received: name={name!r}"
        )
    if is_taken(name):
        raise ValueError(
            "name must be free in C and C++: it is a keyword, or a name of the standard library or another header that "
            f"firmware includes. Choose another, such as {name + '_model'!r}. Received: name={name!r}"
        )


def _check_file_names(*paths: Path) -> None:
    """Raises on names that end a C string, or are read as something else in it: the source includes the header by name.

    C has no escapes there that all compilers read alike; two question marks begin a trigraph.
    """
    for path in paths:
        if not path.name.isprintable() or any(each in path.name for each in ('"', "\\", "??")):
            raise ValueError(
                'The files are named in C source: choose names without ", \\, ?? and control characters. '
                f"Received: {path.name!r}"
            )


def _method(operator: str, file: str = "the file") -> str:
    """Returns the method of MicroMutableOpResolver that adds an operator."""
    if operator in _METHODS:
        return _METHODS[operator]
    if operator not in MICRO_OPERATORS:
        raise ValueError(
            f"TFLite Micro has no such operator: replace the layer. Received: operator {operator!r} in {file}"
        )
    return "Add" + "".join(part if part[0].isdigit() else part.capitalize() for part in operator.split("_"))


def _source_text(made: CSource, content: bytes) -> str:
    digits = content.hex(",").split(",")
    lines = (digits[start : start + _BYTES_A_LINE] for start in range(0, len(digits), _BYTES_A_LINE))
    array = "\n".join("  " + " ".join(f"0x{digit}," for digit in line) for line in lines)
    upper = made.name.upper()
    return f"""\
/* {made.name}: a TensorFlow Lite file. Written by tfmot_swd; do not edit. */
#include "{made.header.name}"

#include <stdalign.h>

#if {upper}_CHECKSUM != 0x{zlib.crc32(content):08x}
#error "{made.source.name} and {made.header.name} come from different exports"
#endif

alignas({ALIGNMENT}) const unsigned char {made.name}[{upper}_BYTES] = {{
{array}
}};
"""


def _header_text(made: CSource, checksum: int) -> str:
    upper = made.name.upper()
    guard = f"{upper}_TFLITE_H_"
    calls = " \\\n".join(f"    (resolver).{method}();" for method in made.operators)
    ports = "\n\n".join(
        _port_text(f"{upper}_{kind}_{port.position}", kind.lower(), port)
        for kind, group in (("INPUT", made.inputs), ("OUTPUT", made.outputs))
        for port in {port.position: port for port in group}.values()
    )
    return f"""\
/* {made.name}: a TensorFlow Lite file. Written by tfmot_swd; do not edit. */
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_BYTES {made.bytes}
/* CRC-32 of the bytes. */
#define {upper}_CHECKSUM 0x{checksum:08x}
extern const unsigned char {made.name}[{upper}_BYTES];

/* Working memory, found with the reference kernels on a 64-bit host; align it to 16. */
#define {upper}_ARENA_BYTES {made.arena_bytes}

/* In C++: tflite::MicroMutableOpResolver<{upper}_OPERATORS> resolver; {upper}_ADD_OPERATORS(resolver); */
#define {upper}_OPERATORS {len(made.operators)}
#define {upper}_ADD_OPERATORS(resolver) \\
  do {{ \\
{calls} \\
  }} while (0)

/* real value = (stored value - ZERO_POINT) * SCALE; SCALE is 0 where nothing is quantized. */
{ports}

#ifdef __cplusplus
}}
#endif

#endif /* {guard} */
"""


def _port_text(prefix: str, kind: str, port: Port) -> str:
    # Names are the user's, and might end the comment.
    name = re.sub(r"[^A-Za-z0-9_:./ -]", "_", port.name).replace("*/", "_")
    shape = ", ".join(map(str, port.shape)) or "1"
    scale = np.format_float_scientific(np.float32(port.scale), unique=True, trim="0")
    return f"""\
/* interpreter.{kind}({port.position}): {name}, {port.dtype.name} */
#define {prefix}_SHAPE {{{shape}}}
#define {prefix}_ELEMENTS {int(np.prod(port.shape))}
#define {prefix}_SCALE {scale}f
#define {prefix}_ZERO_POINT ({port.zero_point})"""
