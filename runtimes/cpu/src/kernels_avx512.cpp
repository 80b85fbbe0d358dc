#include "kernels.h"
#include <immintrin.h>

#define ATTNC_ISA_NAME "avx512"
namespace attnc_avx512 {
extern const AttncLow kVnni;
namespace {
#include "simd_avx512.h"
#include "low_avx512.h"
#include "kernels.inc"
ATTNC_TABLE(kTableVnni, "avx512+vnni", &kLowHalf, &kVnni);
}  // namespace
const AttncKernels* table(int has_vnni) { return has_vnni ? &kTableVnni : &kTable; }
}  // namespace attnc_avx512
