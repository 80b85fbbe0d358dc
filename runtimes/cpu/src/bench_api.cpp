// A second library for benchmarks and test harnesses: the kernels by name, without ONNX Runtime,
// and the peak that they are compared to. Never shipped.
#include "dispatch.h"

#if defined(_WIN32)
#define ATTNC_EXPORT extern "C" __declspec(dllexport)
#else
#define ATTNC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Index of a kernel in ATTNC_KERNELS order, for `isa` (null: the best one). Null if it is not there.
ATTNC_EXPORT const void* attnc_kernel(const char* isa, int index) {
  const char* available;
  const AttncKernels* k = attnc_select(isa, &available);
  if (!k) return nullptr;
  switch (index) {
#define ATTNC_CASE(name, args) \
  case kIndex_##name:          \
    return (const void*)k->name;
    enum {
#define ATTNC_INDEX(name, args) kIndex_##name,
      ATTNC_KERNELS(ATTNC_INDEX)
    };
    ATTNC_KERNELS(ATTNC_CASE)
  }
  return nullptr;
}

ATTNC_EXPORT const char* attnc_kernel_name(int index) {
  const char* names[] = {
#define ATTNC_NAME(name, args) #name,
      ATTNC_KERNELS(ATTNC_NAME) nullptr};
  return index < 0 || index >= (int)(sizeof(names) / sizeof(names[0])) ? nullptr : names[index];
}

// `rounds` rounds of independent multiply-adds; returns the floating-point operations done.
ATTNC_EXPORT double attnc_peak(const char* isa, Int rounds, float* sink) {
  const char* available;
  const AttncKernels* k = attnc_select(isa, &available);
  return k ? k->peak(rounds, sink) : 0.0;
}
