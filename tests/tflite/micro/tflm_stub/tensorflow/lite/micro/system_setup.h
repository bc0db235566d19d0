/* Stand-in for the header of TFLite Micro of that name. */
#pragma once

namespace tflite {

inline void InitializeTarget() {}

}  // namespace tflite
