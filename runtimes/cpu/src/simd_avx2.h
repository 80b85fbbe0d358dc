// AVX2 + FMA vectors of 8 floats. Included inside the namespace of the instruction set.
typedef __m256 V;
constexpr int W = 8;
constexpr int kMaxPanels = 1;
constexpr int kMaxRows[kMaxPanels] = {6};  // 12 accumulators + 2 panel registers + 1 broadcast
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V v) { _mm256_storeu_ps(p, v); }
inline __m256i lanes(Int n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), index);
}
inline V loadn(const float* p, Int n) { return _mm256_maskload_ps(p, lanes(n)); }
inline void storen(float* p, V v, Int n) {  // a masked store costs many times a plain one
  if (n >= W)
    store(p, v);
  else
    _mm256_maskstore_ps(p, lanes(n), v);
}
inline V set1(float f) { return _mm256_set1_ps(f); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V vmin(V bound, V x) { return _mm256_min_ps(bound, x); }  // a NaN in x survives
inline V vmax(V bound, V x) { return _mm256_max_ps(bound, x); }
inline V nearest(V x) { return _mm256_round_ps(x, 8); }
inline V scale2(V x, V n) {  // x * 2^n, n integral and within the exponent's range
  const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
}
inline float sum_lanes(V v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float max_lanes(V v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
// Lane i is the sum of the lanes of the vector at p + i * W.
inline V sum_each(const float* p) {
  V s[4];
  for (int i = 0; i < 4; ++i) s[i] = _mm256_hadd_ps(load(p + 2 * i * W), load(p + (2 * i + 1) * W));
  const V low = _mm256_hadd_ps(s[0], s[1]), high = _mm256_hadd_ps(s[2], s[3]);
  return add(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}
// How many of x[0..n) are at least low, and how many at least high; n a multiple of W.
inline void count_two(const float* x, Int n, float low, float high, Int* at_low, Int* at_high) {
  const V l = set1(low), h = set1(high);
  __m256i a[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, b[2] = {a[0], a[0]};
  Int i = 0;
  for (; i + 2 * W <= n; i += 2 * W)
    for (int u = 0; u < 2; ++u) {
      const V v = load(x + i + u * W);
      a[u] = _mm256_sub_epi32(a[u], _mm256_castps_si256(_mm256_cmp_ps(v, l, _CMP_GE_OQ)));
      b[u] = _mm256_sub_epi32(b[u], _mm256_castps_si256(_mm256_cmp_ps(v, h, _CMP_GE_OQ)));
    }
  if (i < n) {
    const V v = load(x + i);
    a[0] = _mm256_sub_epi32(a[0], _mm256_castps_si256(_mm256_cmp_ps(v, l, _CMP_GE_OQ)));
    b[0] = _mm256_sub_epi32(b[0], _mm256_castps_si256(_mm256_cmp_ps(v, h, _CMP_GE_OQ)));
  }
  __m256i both = _mm256_hadd_epi32(_mm256_add_epi32(a[0], a[1]), _mm256_add_epi32(b[0], b[1]));
  both = _mm256_hadd_epi32(both, both);
  const __m128i s = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  *at_low = _mm_cvtsi128_si32(s);
  *at_high = _mm_extract_epi32(s, 1);
}
struct LaneTable {  // for each set of lanes their numbers, in order
  unsigned char lane[256][8];
};
constexpr LaneTable lane_table() {
  LaneTable t = {};
  for (int set = 0; set < 256; ++set)
    for (int i = 0, n = 0; i < 8; ++i)
      if (set >> i & 1) t.lane[set][n++] = (unsigned char)i;
  return t;
}
constexpr LaneTable kLaneTable = lane_table();
// Writes base + i for each lane i of x that is at least t; room for W indices is needed.
inline Int indices_ge(V x, V t, Int base, int* out) {
  const unsigned set = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x, t, _CMP_GE_OQ));
  const __m128i packed = _mm_loadl_epi64((const __m128i*)kLaneTable.lane[set]);
  const __m256i lane = _mm256_cvtepu8_epi32(packed);
  _mm256_storeu_si256((__m256i*)out, _mm256_add_epi32(lane, _mm256_set1_epi32((int)base)));
  return __builtin_popcount(set);
}
// The sums of the lanes of four vectors.
inline void sum4(V a, V b, V c, V d, float* out) {
  const V s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
// W rows of src, ld apart, become the columns of dst [W][W].
inline void transpose_square(const float* src, Int ld, float* dst) {
  V r[W], s[W];
  for (int i = 0; i < 8; i += 2) {
    const V a = load(src + i * ld), b = load(src + (i + 1) * ld);
    r[i] = _mm256_unpacklo_ps(a, b);
    r[i + 1] = _mm256_unpackhi_ps(a, b);
  }
  for (int i = 0; i < 8; i += 4) {
    s[i] = _mm256_shuffle_ps(r[i], r[i + 2], 0x44);
    s[i + 1] = _mm256_shuffle_ps(r[i], r[i + 2], 0xee);
    s[i + 2] = _mm256_shuffle_ps(r[i + 1], r[i + 3], 0x44);
    s[i + 3] = _mm256_shuffle_ps(r[i + 1], r[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    store(dst + i * W, _mm256_permute2f128_ps(s[i], s[i + 4], 0x20));
    store(dst + (i + 4) * W, _mm256_permute2f128_ps(s[i], s[i + 4], 0x31));
  }
}
#include "simd_turn8.h"
