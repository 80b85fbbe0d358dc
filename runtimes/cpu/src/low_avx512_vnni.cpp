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

// R rows by P panels. Two panels read the rows half as often: loads are what binds one.
template <int R, int P>
void tile(const int8_t* rows, Int stride, const int8_t* panel, Int k, float* out) {
  const __m512i shift = _mm512_set1_epi8((char)0x80);
  const Int next = (k + 3) / 4 * 64;
  __m512i acc[R][P], sums[P];
  _Pragma("GCC unroll 2") for (int p = 0; p < P; ++p) {
    sums[p] = _mm512_setzero_si512();
    _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r) acc[r][p] = _mm512_setzero_si512();
  }
  for (Int i = 0; i < k; i += 4, panel += 64) {
    __m512i b[P];
    _Pragma("GCC unroll 2") for (int p = 0; p < P; ++p) {
      b[p] = _mm512_loadu_si512(panel + p * next);
      sums[p] = _mm512_dpbusd_epi32(sums[p], shift, b[p]);
    }
    _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r) {
      int four;
      __builtin_memcpy(&four, rows + r * stride + i, sizeof(four));
      const __m512i a = _mm512_set1_epi32(four);
      _Pragma("GCC unroll 2") for (int p = 0; p < P; ++p) acc[r][p] =
          _mm512_dpbusd_epi32(acc[r][p], a, b[p]);
    }
  }
  _Pragma("GCC unroll 16") for (int r = 0; r < R; ++r)
      _Pragma("GCC unroll 2") for (int p = 0; p < P; ++p)
          _mm512_storeu_ps(out + (r * P + p) * 16,
                           _mm512_cvtepi32_ps(_mm512_sub_epi32(acc[r][p], sums[p])));
}

template <int R, int P>
void in_tiles(const int8_t* rows, Int stride, const int8_t* panel, Int k, Int count, float* out) {
  for (; count >= R; count -= R, rows += R * stride, out += R * P * 16)
    tile<R, P>(rows, stride, panel, k, out);
  if constexpr (R > 1) {
    if (count > 0) in_tiles<R / 2, P>(rows, stride, panel, k, count, out);
  }
}

template <int P>
void product(const void* rows, Int stride, const void* panel, Int k, Int count, float* out) {
  in_tiles<kRows, P>((const int8_t*)rows, stride, (const int8_t*)panel, k, count, out);
}

}  // namespace

extern const AttncLow kVnni;
const AttncLow kVnni = {1, 4, shifted_row, product<1>, product<2>};

}  // namespace attnc_avx512
