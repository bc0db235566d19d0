/* Stand-in for the header of TensorFlow Lite of that name, with what main.cc of a firmware project uses. */
#pragma once

#define TFLITE_SCHEMA_VERSION 3

namespace tflite {

struct Model {
  unsigned version() const { return TFLITE_SCHEMA_VERSION; }
};

inline const Model* GetModel(const void*) {
  static const Model model;
  return &model;
}

}  // namespace tflite
