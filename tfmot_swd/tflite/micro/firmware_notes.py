"""Build file and notes of a firmware project."""

from __future__ import annotations

import re

from tfmot_swd.tflite.micro.c_source import CSource
from tfmot_swd.tflite.micro.firmware_program import filled, unit
from tfmot_swd.tflite.micro.golden import Golden, tolerance_name

_BUILD = """\
# Self-test of @name@ on this machine, or with a toolchain file on a device. Written by tfmot_swd; do not edit.
cmake_minimum_required(VERSION 3.16)
project(@name@_self_test LANGUAGES C CXX)

set(TFLITE_MICRO_DIR "" CACHE PATH "Sources of TensorFlow Lite Micro, with their third-party headers")
if(NOT EXISTS "${TFLITE_MICRO_DIR}/tensorflow/lite/micro/micro_interpreter.h")
  message(FATAL_ERROR
    "Give the sources of TensorFlow Lite Micro: cmake -DTFLITE_MICRO_DIR=path. README.md says how to get them. "
    "Received: TFLITE_MICRO_DIR=\\"${TFLITE_MICRO_DIR}\\"")
endif()

# Third-party headers are in a tree of create_tflm_tree.py, or below a checkout after its third_party_downloads.
set(third_party "${TFLITE_MICRO_DIR}/third_party")
if(NOT EXISTS "${third_party}/flatbuffers/include/flatbuffers/flatbuffers.h")
  set(third_party "${TFLITE_MICRO_DIR}/tensorflow/lite/micro/tools/make/downloads")
endif()
if(NOT EXISTS "${third_party}/flatbuffers/include/flatbuffers/flatbuffers.h")
  message(FATAL_ERROR
    "The headers that TensorFlow Lite Micro needs are missing, flatbuffers for one: README.md says how to get them. "
    "Received: TFLITE_MICRO_DIR=\\"${TFLITE_MICRO_DIR}\\"")
endif()

set(tflite "${TFLITE_MICRO_DIR}/tensorflow")
file(GLOB_RECURSE sources "${tflite}/*.cc" "${tflite}/*.cpp")
list(FILTER sources EXCLUDE REGEX "/tensorflow/lite/(micro|experimental|python|tools|testing|array)[/.]")
foreach(part "" "arena_allocator/" "memory_planner/" "tflite_bridge/" "kernels/")
  file(GLOB found "${tflite}/lite/micro/${part}*.cc" "${tflite}/lite/micro/${part}*.cpp")
  list(APPEND sources ${found})
endforeach()
list(FILTER sources EXCLUDE REGEX "_test(_common)?[.](cc|cpp)$")

add_library(tflite_micro STATIC ${sources})
set_target_properties(tflite_micro PROPERTIES CXX_STANDARD 17)
target_include_directories(tflite_micro SYSTEM PUBLIC
  "${TFLITE_MICRO_DIR}" "${third_party}/flatbuffers/include" "${third_party}/gemmlowp" "${third_party}/kissfft"
  "${third_party}/ruy")
target_compile_definitions(tflite_micro PUBLIC TF_LITE_STATIC_MEMORY TF_LITE_DISABLE_X86_NEON)
target_compile_options(tflite_micro PUBLIC $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti -fno-exceptions>)

add_executable(self_test main.cc model.c golden.c)
set_target_properties(self_test PROPERTIES CXX_STANDARD 17 C_STANDARD 11)
target_link_libraries(self_test PRIVATE tflite_micro m)

enable_testing()
add_test(NAME self_test COMMAND self_test)
"""

_NOTES = """\
# @name@: firmware that tests itself

Written by tfmot_swd; do not edit: another export replaces all files. Add your own beside a copy of them.

| file | holds | bytes of flash |
|---|---|---|
| `model.c`, `model.h` | the TFLite file, its operators, shapes and quantization | @model_bytes@ |
| `golden.c`, `golden.h` | @samples@ samples, and what TFLite Micro made of them on the host | @golden_bytes@ |
| `main.cc` | the self-test: runs every sample and compares | |
| `CMakeLists.txt` | a build with the reference kernels, for this machine or by a toolchain file | |

The arena is @arena_bytes@ bytes of RAM. The code of the interpreter and its kernels comes on top of both. The firmware
that you ship needs `model.c` and `model.h` alone: the golden data take none of its flash.

## What it prints

```
@expected@
PASS: @samples@ of @samples@ samples, ... of @arena_bytes@ bytes of the arena used
```

The exit code is 0, or 1 with `FAIL`. @tolerance@

| it fails, and | do |
|---|---|
| says that memory or a kernel is missing | a larger arena, `-DSELF_TEST_ARENA_BYTES=...`: kernels may want scratch |
| an integer output is off by a step or two | an optimized kernel may round differently: allow it as below |
| outputs differ by much | find out whether they do with the reference kernels, which computed the golden data |

`-D@tolerance_macro@=...` allows a difference, once you know where it comes from.

## On this machine

```sh
git clone https://github.com/tensorflow/tflite-micro
cd tflite-micro
python3 tensorflow/lite/micro/tools/project_generation/create_tflm_tree.py ../tflm
cd ..
cmake -S @folder@ -B self_test_build -DTFLITE_MICRO_DIR=$PWD/tflm
cmake --build self_test_build --parallel
./self_test_build/self_test
```

A checkout works too, after `make -f tensorflow/lite/micro/tools/make/Makefile third_party_downloads`.@decode@

## ESP-IDF

```sh
idf.py create-project self_test
cp @folder@/*.c @folder@/*.h @folder@/main.cc self_test/main/
cd self_test
idf.py add-dependency "espressif/esp-tflite-micro"
```

Remove the `.c` file that `create-project` put there, let `main/CMakeLists.txt` say

```cmake
idf_component_register(SRCS "main.cc" "model.c" "golden.c" INCLUDE_DIRS ".")
```

and run `idf.py flash monitor`. The main task may need a larger stack (`CONFIG_ESP_MAIN_TASK_STACK_SIZE`). That
component brings Espressif's optimized kernels.

## PlatformIO

Put the files into `src/`. With `framework = espidf`, name the component in `src/idf_component.yml`:

```yaml
dependencies:
  espressif/esp-tflite-micro: "*"
```

With another framework, make a tree by `create_tflm_tree.py --rename_cc_to_cpp lib/tflm`, and let `platformio.ini` say

```ini
build_flags =
  -DTF_LITE_STATIC_MEMORY
  -Ilib/tflm
  -Ilib/tflm/third_party/flatbuffers/include
  -Ilib/tflm/third_party/gemmlowp
  -Ilib/tflm/third_party/kissfft
  -Ilib/tflm/third_party/ruy
```

With the Arduino framework `main.cc` has `setup()` and `loop()` in place of `main()`.

## Where it prints to

All is printed by `MicroPrintf`, which ends in `DebugLog`, a function that each platform brings; on this machine it
writes to `stderr`. Build without `TF_LITE_STRIP_ERROR_STRINGS`, which removes it.

Projects like this one were built and run on Linux with the reference kernels. What is said of ESP-IDF and PlatformIO
follows their documentation, and was not tried on a board.
"""
_DECODE_NOTE = """ Weights without their zeros, as in this file, need
sources of 2025 or later."""


def build_text(source: CSource) -> str:
    """Returns CMakeLists.txt."""
    return filled(_BUILD, name=source.name)


def notes_text(source: CSource, golden: Golden, folder: str) -> str:
    """Returns README.md; `folder` is the name of the project's."""
    expected = "\n".join(
        f"output {each.port.position}: largest difference 0, {_shown(each.tolerance)} allowed{unit(each)}"
        for each in golden.outputs
    )
    tolerances = [
        "Integer outputs must be those of the host bit for bit." * any(not each.tolerance for each in golden.outputs),
        "Float outputs may differ by 1e-4 of the range of the golden ones: processors and compilers round differently."
        * any(each.tolerance > 0 for each in golden.outputs),
    ]
    return filled(
        _NOTES,
        name=source.name,
        folder=folder if re.fullmatch(r"[A-Za-z0-9_.-]+", folder) else "folder",
        model_bytes=f"{source.bytes:,}",
        golden_bytes=f"{golden.bytes:,}",
        arena_bytes=f"{source.arena_bytes}",
        samples=str(golden.samples),
        expected=expected,
        tolerance=" ".join(filter(None, tolerances)),
        tolerance_macro=tolerance_name(source.name, golden.outputs[0]),
        decode=_DECODE_NOTE if "AddDecode" in source.operators else "",
    )


def _shown(tolerance: float) -> str:
    return f"{tolerance:.2e}" if tolerance else "0"
