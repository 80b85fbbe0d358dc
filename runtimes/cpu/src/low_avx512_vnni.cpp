// Dot products of bytes of AVX-512 VNNI: 64 multiply-adds an instruction. It takes the rows without
// sign, so they are prepared with 128 added, and 128 times the columns' sums is taken off again.
#include "kernels.h"
#include <immintrin.h>

namespace attnc_avx512 {
namespace {

#include "low_rows.h"

constexpr int kRows = 12;

// What fills a row up meets zeros of the panel.
void shifted_row(const float* x, Int k, Int filled, float factor, void* row) {
  bytes_row(x, k, filled, factor, row);
  uint8_t* bytes = (uint8_t*)row;
  for (Int i = 0; i < k; ++i) bytes[i] ^= 0x80;
}

template <int R>
void tile(const int8_t* rows, Int stride, const int8_t* panel, Int k, float* out) {
  const __m512i shift = _mm512_set1_epi8((char)0x80);
  __m512i acc[R], sums = _mm512_setzero_si512();
  _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_si512();
  for (Int i = 0; i < k; i += 4, panel += 64) {
    const __m512i b = _mm512_loadu_si512(panel);
    sums = _mm512_dpbusd_epi32(sums, shift, b);
    _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r) {
      int four;
      __builtin_memcpy(&four, rows + r * stride + i, sizeof(four));
      acc[r] = _mm512_dpbusd_epi32(acc[r], _mm512_set1_epi32(four), b);
    }
  }
  _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r)
      _mm512_storeu_ps(out + r * 16, _mm512_cvtepi32_ps(_mm512_sub_epi32(acc[r], sums)));
}

template <int R>
void in_tiles(const int8_t* rows, Int stride, const int8_t* panel, Int k, Int count, float* out) {
  for (; count >= R; count -= R, rows += R * stride, out += R * 16)
    tile<R>(rows, stride, panel, k, out);
  if constexpr (R > 1) {
    if (count > 0) in_tiles<R / 2>(rows, stride, panel, k, count, out);
  }
}

void product(const void* rows, Int stride, const void* panel, Int k, Int count, float* out) {
  in_tiles<kRows>((const int8_t*)rows, stride, (const int8_t*)panel, k, count, out);
}

}  // namespace

extern const AttncLow kVnni;
const AttncLow kVnni = {1, 4, shifted_row, product};

}  // namespace attnc_avx512
