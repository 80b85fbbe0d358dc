#include "kernels.h"
#include <arm_neon.h>

#define ATTNC_ISA_NAME "neon"
namespace attnc_neon {
extern const AttncLow kFp16, kDot;
namespace {
#include "simd_neon.h"
#include "low_neon.h"
#include "kernels.inc"
ATTNC_TABLE(kTableFp16, "neon+fp16", &kFp16, &kLowInt8);
ATTNC_TABLE(kTableDot, "neon+dot", &kLowHalf, &kDot);
ATTNC_TABLE(kTableBoth, "neon+fp16+dot", &kFp16, &kDot);
}  // namespace
const AttncKernels* table(int fp16, int dot) {
  return fp16 ? (dot ? &kTableBoth : &kTableFp16) : dot ? &kTableDot : &kTable;
}
}  // namespace attnc_neon
