/* Stand-in for the header of TFLite Micro of that name. Its interpreter looks its inputs up in the file `prepared.bin`,
   and copies the outputs that stand there beside them: little-endian int32 numbers, namely the arena that is needed, how
   many inputs, outputs and samples there are, the bytes of each input and output; then for each sample the bytes of all
   inputs and of all outputs. Inputs that it does not find make Invoke() fail. */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

union TfLitePtrUnion {
  void* data;
};

struct TfLiteTensor {
  TfLitePtrUnion data;
  size_t bytes;
};

namespace tflite {

class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver& resolver, uint8_t*, size_t arena_bytes)
      : resolver_(resolver), arena_bytes_(arena_bytes) {
    std::FILE* file = std::fopen("prepared.bin", "rb");
    int32_t counts[4] = {};
    Read(file, counts, sizeof counts);
    needed_ = static_cast<size_t>(counts[0]);
    samples_ = static_cast<size_t>(counts[3]);
    std::vector<int32_t> sizes(static_cast<size_t>(counts[1] + counts[2]));
    Read(file, sizes.data(), sizes.size() * sizeof(int32_t));
    for (size_t i = 0; i < sizes.size(); ++i) {
      const bool is_input = i < static_cast<size_t>(counts[1]);
      memory_.emplace_back(static_cast<size_t>(sizes[i]));
      (is_input ? inputs_ : outputs_).push_back({{memory_.back().data()}, memory_.back().size()});
    }
    for (size_t i = 0; i < samples_ * sizes.size(); ++i) {
      prepared_.emplace_back(memory_[i % sizes.size()].size());
      Read(file, prepared_.back().data(), prepared_.back().size());
    }
    if (file != nullptr) std::fclose(file);
  }

  TfLiteStatus AllocateTensors() {
    if (resolver_.added != resolver_.places || arena_bytes_ < needed_) {
      MicroPrintf("%d of %d operators, %d of %d bytes", resolver_.added, resolver_.places,
                  static_cast<int>(arena_bytes_), static_cast<int>(needed_));
      return kTfLiteError;
    }
    return kTfLiteOk;
  }

  TfLiteStatus Reset() { return kTfLiteOk; }

  TfLiteStatus Invoke() {
    for (size_t sample = 0; sample < samples_; ++sample) {
      const std::vector<uint8_t>* values = &prepared_[sample * memory_.size()];
      bool is_same = true;
      for (size_t i = 0; i < inputs_.size(); ++i) is_same = is_same && values[i] == memory_[i];
      if (!is_same) continue;
      for (size_t i = inputs_.size(); i < memory_.size(); ++i) memory_[i].assign(values[i].begin(), values[i].end());
      return kTfLiteOk;
    }
    return kTfLiteError;
  }

  TfLiteTensor* input(size_t index) { return &inputs_[index]; }
  TfLiteTensor* output(size_t index) { return &outputs_[index]; }
  size_t inputs_size() const { return inputs_.size(); }
  size_t outputs_size() const { return outputs_.size(); }
  size_t arena_used_bytes() const { return needed_; }

 private:
  static void Read(std::FILE* file, void* target, size_t bytes) {
    if (bytes != 0 && (file == nullptr || std::fread(target, 1, bytes, file) != bytes)) {
      std::puts("prepared.bin is missing or too short");
    }
  }

  const MicroOpResolver& resolver_;
  size_t arena_bytes_, needed_ = 0, samples_ = 0;
  std::vector<TfLiteTensor> inputs_, outputs_;
  std::vector<std::vector<uint8_t>> memory_, prepared_;
};

}  // namespace tflite
