#include "kernels.h"
#include <immintrin.h>

#define ATTNC_ISA_NAME "avx512"
namespace attnc_avx512 {
namespace {
#include "simd_avx512.h"
#include "kernels.inc"
}  // namespace
const AttncKernels* table() { return &kTable; }
}  // namespace attnc_avx512
