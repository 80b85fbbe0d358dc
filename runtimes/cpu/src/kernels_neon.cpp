#include "kernels.h"
#include <arm_neon.h>

#define ATTNC_ISA_NAME "neon"
namespace attnc_neon {
namespace {
#include "simd_neon.h"
#include "kernels.inc"
}  // namespace
const AttncKernels* table() { return &kTable; }
}  // namespace attnc_neon
