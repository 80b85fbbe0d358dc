#include "kernels.h"
#include <immintrin.h>

#define ATTNC_ISA_NAME "avx2"
namespace attnc_avx2 {
namespace {
#include "simd_avx2.h"
#include "low_avx2.h"
#include "kernels.inc"
}  // namespace
const AttncKernels* table() { return &kTable; }
}  // namespace attnc_avx2
