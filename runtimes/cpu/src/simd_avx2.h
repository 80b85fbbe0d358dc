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
inline void storen(float* p, V v, Int n) { _mm256_maskstore_ps(p, lanes(n), v); }
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
