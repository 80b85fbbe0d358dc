#include "kernels.h"

#define ATTNC_ISA_NAME "plain"
namespace attnc_plain {
namespace {
#include "simd_plain.h"
#include "low_plain.h"
#include "kernels.inc"
}  // namespace
const AttncKernels* table() { return &kTable; }
}  // namespace attnc_plain
