// AVX-512F vectors of 16 floats. Included inside the namespace of the instruction set.
typedef __m512 V;
typedef __mmask16 Mask;
constexpr int W = 16;
constexpr int kMaxPanels = 3;
// Tallest tile for 1, 2 and 3 panels: accumulators + panel rows + one broadcast fill 32 registers.
constexpr int kMaxRows[kMaxPanels] = {16, 12, 8};
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V v) { _mm512_storeu_ps(p, v); }
inline Mask lanes(Int n) { return (Mask)((1u << n) - 1u); }
inline V loadn(const float* p, Int n) { return _mm512_maskz_loadu_ps(lanes(n), p); }
inline void storen(float* p, V v, Int n) { _mm512_mask_storeu_ps(p, lanes(n), v); }
inline V set1(float f) { return _mm512_set1_ps(f); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V vmin(V bound, V x) { return _mm512_min_ps(bound, x); }  // a NaN in x survives
inline V vmax(V bound, V x) { return _mm512_max_ps(bound, x); }
inline V nearest(V x) { return _mm512_roundscale_ps(x, 8); }
inline V scale2(V x, V n) { return _mm512_scalef_ps(x, n); }  // x * 2^n, n integral
inline float sum_lanes(V v) { return _mm512_reduce_add_ps(v); }
inline float max_lanes(V v) { return _mm512_reduce_max_ps(v); }
// Lane i is the sum of the lanes of the vector at p + i * W.
inline V sum_each(const float* p) {
  V s[8], t[4];
  for (int i = 0; i < 8; ++i) {
    const V a = load(p + 2 * i * W), b = load(p + (2 * i + 1) * W);
    s[i] = add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  for (int i = 0; i < 4; ++i) {  // four sums of each quarter
    const __m512d a = _mm512_castps_pd(s[2 * i]), b = _mm512_castps_pd(s[2 * i + 1]);
    t[i] = add(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
               _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  for (int i = 0; i < 2; ++i)
    s[i] = add(_mm512_shuffle_f32x4(t[2 * i], t[2 * i + 1], 0x88),
               _mm512_shuffle_f32x4(t[2 * i], t[2 * i + 1], 0xdd));
  return add(_mm512_shuffle_f32x4(s[0], s[1], 0x88), _mm512_shuffle_f32x4(s[0], s[1], 0xdd));
}
// How many of x[0..n) are at least low, and how many at least high; n a multiple of W.
inline void count_two(const float* x, Int n, float low, float high, Int* at_low, Int* at_high) {
  const V l = set1(low), h = set1(high);
  Int a = 0, b = 0;
  for (Int i = 0; i < n; i += W) {
    const V v = load(x + i);
    a += __builtin_popcount(_mm512_cmp_ps_mask(v, l, _CMP_GE_OQ));
    b += __builtin_popcount(_mm512_cmp_ps_mask(v, h, _CMP_GE_OQ));
  }
  *at_low = a;
  *at_high = b;
}
// Writes base + i for each lane i of x that is at least t; room for W indices is needed.
inline Int indices_ge(V x, V t, Int base, int* out) {
  const Mask set = _mm512_cmp_ps_mask(x, t, _CMP_GE_OQ);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i index = _mm512_add_epi32(lane, _mm512_set1_epi32((int)base));
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(set, index));
  return __builtin_popcount(set);
}
// The sums of the lanes of four vectors.
inline void sum4(V a, V b, V c, V d, float* out) {
  const V ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const V cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const V s = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(s),
                                    _mm512_castps512_ps256(_mm512_shuffle_f32x4(s, s, 0x4e)));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
// W rows of src, ld apart, become the columns of dst [W][W].
inline void transpose_square(const float* src, Int ld, float* dst) {
  for (int i = 0; i < W; ++i)
    for (int j = 0; j < W; ++j) dst[j * W + i] = src[i * ld + j];
}
#include "simd_turn8.h"
