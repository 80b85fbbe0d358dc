#include "kernels.h"
#include <wasm_simd128.h>

// 4 rows by half a panel: 8 accumulators, 2 vectors of the panel and 1 of A fit the 15 registers that
// V8 has for values on x86-64; 3 rows by a panel do not, and take 1.5 times as long.
#define ATTNC_SPLIT 2
#define ATTNC_ROWS_A_POINTER 1
#define ATTNC_ISA_NAME "wasm"
#define ATTNC_NO_LOW
namespace attnc_wasm {
namespace {
#include "simd_wasm.h"
#include "kernels.inc"
}  // namespace
const AttncKernels* table() { return &kTable; }
}  // namespace attnc_wasm
