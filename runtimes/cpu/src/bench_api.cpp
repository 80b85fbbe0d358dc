// A second library for benchmarks and test harnesses: the kernels by name, without ONNX Runtime,
// and the peak that they are compared to. Never shipped.
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "dispatch.h"

#if defined(_WIN32)
#define ATTNC_EXPORT extern "C" __declspec(dllexport)
#else
#define ATTNC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Index of a kernel in ATTNC_KERNELS order, linear_low last, for `isa` (null: the best one). Null if
// it is not there.
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
      ATTNC_KERNELS(ATTNC_INDEX) kIndex_linear_low
    };
    ATTNC_KERNELS(ATTNC_CASE)
    case kIndex_linear_low:
      return (const void*)k->linear_low;
  }
  return nullptr;
}

ATTNC_EXPORT const char* attnc_kernel_name(int index) {
  const char* names[] = {
#define ATTNC_NAME(name, args) #name,
      ATTNC_KERNELS(ATTNC_NAME) "linear_low", nullptr};
  return index < 0 || index >= (int)(sizeof(names) / sizeof(names[0])) ? nullptr : names[index];
}

// The products in fewer bits, by AttncBits: the first argument of linear_low.
ATTNC_EXPORT const void* attnc_low(const char* isa, int bits) {
  const char* available;
  const AttncKernels* k = attnc_select(isa, &available);
  return k ? (const void*)k->low[bits] : nullptr;
}

// `rounds` rounds of independent multiply-adds; returns the floating-point operations done.
ATTNC_EXPORT double attnc_peak(const char* isa, Int rounds, float* sink) {
  const char* available;
  const AttncKernels* k = attnc_select(isa, &available);
  return k ? k->peak(rounds, sink) : 0.0;
}

namespace {

double seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void* take(void*, size_t bytes) {
  char* raw = (char*)malloc(bytes + 128);
  if (!raw) return nullptr;
  char* aligned = (char*)(((uintptr_t)raw + 127) & ~(uintptr_t)63);
  ((void**)aligned)[-1] = raw;
  return aligned;
}

void give(void*, void* memory) { free(((void**)memory)[-1]); }

void in_turn(void*, size_t tasks, void (*task)(void*, size_t), void* arg) {
  for (size_t i = 0; i < tasks; ++i) task(arg, i);
}

}  // namespace

// Best time in seconds of `repeats` calls on one thread; before each call `flush` bytes are read,
// which pushes the kernel's weights out of the caches. Negative if there is no such kernel.
ATTNC_EXPORT double attnc_time(const char* isa, int index, const void* args, int repeats,
                               const char* flush, Int flush_bytes) {
  typedef AttncStatus (*Kernel)(const AttncHost*, const void*);
  const Kernel kernel = (Kernel)attnc_kernel(isa, index);
  const AttncHost host = {nullptr, take, give, in_turn};
  double best = -1;
  volatile char sink = 0;
  for (int i = 0; kernel && i < repeats; ++i) {
    for (Int at = 0; at < flush_bytes; at += 64) sink = sink + flush[at];
    const double begin = seconds();
    kernel(&host, args);
    const double t = seconds() - begin;
    if (best < 0 || t < best) best = t;
  }
  return best;
}
