// Dot products of bytes of AVX-512 VNNI: 64 multiply-adds an instruction. It takes the rows without
// sign, so they are prepared with 128 added, and 128 times the columns' sums is taken off again.
#include "kernels.h"
#include <immintrin.h>

namespace attnc_avx512 {
namespace {

#include "low_rows.h"
#include "low_tiles.h"

// What fills a row up meets zeros of the panel.
void shifted_row(const float* x, Int k, Int filled, float factor, void* row) {
  bytes_row(x, k, filled, factor, row);
  uint8_t* bytes = (uint8_t*)row;
  for (Int i = 0; i < k; ++i) bytes[i] ^= 0x80;
}

// R rows by P panels. Two panels read the rows half as often: loads are what binds one.
template <int P>
struct VnniTiles {
  static constexpr int kRows = 12, kWidth = P * 16;

  template <int R>
  static void run(const char* rows, Int stride, const void* given, Int k, float* out) {
    const int8_t* panel = (const int8_t*)given;
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
};

}  // namespace

extern const AttncLow kVnni;
const AttncLow kVnni = {1, 4, shifted_row, low_product<VnniTiles<1>>, low_product<VnniTiles<2>>};

}  // namespace attnc_avx512
