"""Program of a firmware project: the self-test that runs golden inputs and compares."""

from __future__ import annotations

import re

from tfmot_swd.tflite.micro.c_source import CSource
from tfmot_swd.tflite.micro.golden import Golden, GoldenArray, array_name, tolerance_name

_PROGRAM = """\
/* Self-test of @name@. Written by tfmot_swd; do not edit.
   Runs the golden inputs, and compares with what TFLite Micro computed from them on the host. */
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "golden.h"
#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"
#if defined(ARDUINO)
#include <Arduino.h>
#endif

#if @NAME@_CHECKSUM != 0x@checksum@ || @NAME@_GOLDEN_CHECKSUM != 0x@checksum@
#error "main.cc, model.h and golden.h come from different exports"
#endif

/* Optimized kernels may need more. */
#ifndef SELF_TEST_ARENA_BYTES
#define SELF_TEST_ARENA_BYTES @NAME@_ARENA_BYTES
#endif

namespace self_test {

alignas(16) static uint8_t arena[SELF_TEST_ARENA_BYTES];

/* A number as text: the printf of many boards has no fractions. */
struct Text {
  char characters[40];
};

static Text ToText(float number) {
  Text text;
  if (number == std::floor(number) && number < 1e6f) {
    std::snprintf(text.characters, sizeof text.characters, "%ld", static_cast<long>(number));
    return text;
  }
  if (number >= FLT_MAX) {
    std::snprintf(text.characters, sizeof text.characters, "not finite");
    return text;
  }
  int exponent = 0;
  for (; number >= 9.995f; number /= 10) ++exponent;
  for (; number < 0.9995f; number *= 10) --exponent;
  const int hundredths = static_cast<int>(number * 100 + 0.5f);
  std::snprintf(text.characters, sizeof text.characters, "%d.%02de%c%02d", hundredths / 100, hundredths % 100,
                exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
  return text;
}

static bool Fill(TfLiteTensor* tensor, const void* values, size_t bytes) {
  if (tensor == nullptr || tensor->bytes != bytes) {
    MicroPrintf("An input has %d bytes, %d are expected", tensor == nullptr ? 0 : static_cast<int>(tensor->bytes),
                static_cast<int>(bytes));
    return false;
  }
  std::memcpy(tensor->data.data, values, bytes);
  return true;
}

/* The largest difference between a tensor and what is wanted; FLT_MAX where one is not finite, or of another size. */
template <typename T>
static float Difference(const TfLiteTensor* tensor, const T* wanted, size_t elements) {
  if (tensor == nullptr || tensor->bytes != elements * sizeof(T)) {
    MicroPrintf("An output has %d bytes, %d are expected", tensor == nullptr ? 0 : static_cast<int>(tensor->bytes),
                static_cast<int>(elements * sizeof(T)));
    return FLT_MAX;
  }
  const T* found = static_cast<const T*>(tensor->data.data);
  float largest = 0;
  for (size_t i = 0; i < elements; ++i) {
    if (found[i] == wanted[i]) continue;
    const float difference = std::fabs(static_cast<float>(found[i]) - static_cast<float>(wanted[i]));
    /* Also where it is NaN. */
    if (!(difference < FLT_MAX)) return FLT_MAX;
    if (difference > largest) largest = difference;
    /* Large integers may round to the same float. */
    if (largest == 0) largest = FLT_MIN;
  }
  return largest;
}

static int Fail(const char* reason) {
  MicroPrintf("FAIL: %s", reason);
  return 1;
}

static int Run() {
  const tflite::Model* model = tflite::GetModel(::@name@);
  if (model->version() != TFLITE_SCHEMA_VERSION) return Fail("the model is of another version of TFLite");
  tflite::MicroMutableOpResolver<@NAME@_OPERATORS> resolver;
  @NAME@_ADD_OPERATORS(resolver);
  tflite::MicroInterpreter interpreter(model, resolver, arena, sizeof arena);
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    return Fail("no memory or no kernel, see above; a larger arena is set by -DSELF_TEST_ARENA_BYTES=...");
  }
  if (interpreter.inputs_size() != @inputs@ || interpreter.outputs_size() != @outputs@) {
    return Fail("the model has another number of inputs or outputs");
  }

  float largest[@outputs@] = {};
  int passed = 0;
  for (int sample = 0; sample < @NAME@_GOLDEN_SAMPLES; ++sample) {
    /* Recurrent operators keep their state from one run to the next. */
    if (interpreter.Reset() != kTfLiteOk) return Fail("Reset() failed");
@fill@
    if (interpreter.Invoke() != kTfLiteOk) return Fail("Invoke() failed");
    bool agrees = true;
    float difference = 0;
@compare@
    passed += agrees ? 1 : 0;
  }

@report@
  const bool agree = passed == @NAME@_GOLDEN_SAMPLES;
  MicroPrintf("%s: %d of %d samples, %d of %d bytes of the arena used", agree ? "PASS" : "FAIL", passed,
              @NAME@_GOLDEN_SAMPLES, static_cast<int>(interpreter.arena_used_bytes()), static_cast<int>(sizeof arena));
  return agree ? 0 : 1;
}

}  // namespace self_test

#if defined(ARDUINO)
void setup() {
  Serial.begin(115200);
  tflite::InitializeTarget();
  self_test::Run();
}

void loop() {}
#elif defined(ESP_PLATFORM)
extern "C" void app_main(void) {
  tflite::InitializeTarget();
  self_test::Run();
}
#else
int main() {
  tflite::InitializeTarget();
  return self_test::Run();
}
#endif
"""


def program_text(source: CSource, golden: Golden, checksum: int) -> str:
    """Returns main.cc."""
    name = source.name
    fill, compare, report = [], [], []
    for each in golden.inputs:
        array = f"{array_name(name, 'input', each)}[sample]"
        fill.append(
            f"    if (!Fill(interpreter.input({each.port.position}), {array}, sizeof {array})) {{\n"
            f'      return Fail("input {each.port.position} is of another size");\n    }}'
        )
    for number, each in enumerate(golden.outputs):
        array, allowed = f"{array_name(name, 'output', each)}[sample]", tolerance_name(name, each)
        position, elements = each.port.position, each.values.shape[1]
        compare.append(f"    difference = Difference(interpreter.output({position}), {array}, {elements});")
        compare.append(f"    if (difference > largest[{number}]) largest[{number}] = difference;")
        compare.append(f"    if (difference > static_cast<float>({allowed})) agrees = false;")
        report.append(
            f'  MicroPrintf("output {position}: largest difference %s, %s allowed{unit(each)}", '
            f"ToText(largest[{number}]).characters,\n              "
            f"ToText(static_cast<float>({allowed})).characters);"
        )
    return filled(
        _PROGRAM,
        name=name,
        NAME=name.upper(),
        checksum=f"{checksum:08x}",
        inputs=str(len(golden.inputs)),
        outputs=str(len(golden.outputs)),
        fill="\n".join(fill),
        compare="\n".join(compare),
        report="\n".join(report),
    )


def filled(text: str, **values: str) -> str:
    """Returns a template with each `@name@` replaced by the value of that name."""
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], text)


def unit(golden: GoldenArray) -> str:
    """Returns the unit of an output's difference, to be put behind it."""
    return "" if golden.tolerance else " (steps)"
