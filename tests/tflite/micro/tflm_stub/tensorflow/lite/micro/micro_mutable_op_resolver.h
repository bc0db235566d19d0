/* Stand-in for the header of TFLite Micro of that name: counts the operators that are added. */
#pragma once

namespace tflite {

class MicroOpResolver {
 public:
  int added = 0;
  int places = 0;
};

template <unsigned int places_>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  MicroMutableOpResolver() { places = places_; }
  void AddConv2D() { ++added; }
  void AddDecode() { ++added; }
  void AddDepthwiseConv2D() { ++added; }
  void AddFullyConnected() { ++added; }
  void AddReshape() { ++added; }
};

}  // namespace tflite
