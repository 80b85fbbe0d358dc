#include "kernels.h"
#include <wasm_simd128.h>

#if !defined(ATTNC_WASM_ROWS)
#define ATTNC_WASM_ROWS 3
#endif
#define ATTNC_ISA_NAME "wasm"
namespace attnc_wasm {
namespace {
#include "simd_wasm.h"
#include "kernels.inc"
}  // namespace
const AttncKernels* table() { return &kTable; }
}  // namespace attnc_wasm
