// WebAssembly vectors of 4 floats. With relaxed SIMD a multiply-add is one instruction where the
// processor has one. Included inside the namespace of the instruction set.
typedef v128_t V;
constexpr int W = 4;
constexpr int kMaxPanels = 1;
constexpr int kMaxRows[kMaxPanels] = {4};  // 8 accumulators, see kernels_wasm.cpp
inline V load(const float* p) { return wasm_v128_load(p); }
inline void store(float* p, V v) { wasm_v128_store(p, v); }
inline V loadn(const float* p, Int n) {
  float t[W] = {0, 0, 0, 0};
  for (Int i = 0; i < n && i < W; ++i) t[i] = p[i];
  return load(t);
}
inline void storen(float* p, V v, Int n) {
  float t[W];
  store(t, v);
  for (Int i = 0; i < n && i < W; ++i) p[i] = t[i];
}
inline V set1(float f) { return wasm_f32x4_splat(f); }
inline V add(V a, V b) { return wasm_f32x4_add(a, b); }
inline V sub(V a, V b) { return wasm_f32x4_sub(a, b); }
inline V mul(V a, V b) { return wasm_f32x4_mul(a, b); }
inline V div(V a, V b) { return wasm_f32x4_div(a, b); }
#if defined(__wasm_relaxed_simd__)
inline V fma(V a, V b, V c) { return wasm_f32x4_relaxed_madd(a, b, c); }
#else
inline V fma(V a, V b, V c) { return wasm_f32x4_add(wasm_f32x4_mul(a, b), c); }
#endif
inline V vmin(V bound, V x) { return wasm_f32x4_pmin(x, bound); }  // a NaN in x survives
inline V vmax(V bound, V x) { return wasm_f32x4_pmax(x, bound); }
inline V nearest(V x) { return wasm_f32x4_nearest(x); }
inline V scale2(V x, V n) {  // x * 2^n, n integral and within the exponent's range
  const V e = wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127));
  return wasm_f32x4_mul(x, wasm_i32x4_shl(e, 23));
}
inline float sum_lanes(V v) {
  const V s = add(v, wasm_i32x4_shuffle(v, v, 2, 3, 2, 3));
  return wasm_f32x4_extract_lane(s, 0) + wasm_f32x4_extract_lane(s, 1);
}
inline float max_lanes(V v) {
  const V s = wasm_f32x4_pmax(v, wasm_i32x4_shuffle(v, v, 2, 3, 2, 3));
  const float a = wasm_f32x4_extract_lane(s, 0), b = wasm_f32x4_extract_lane(s, 1);
  return a > b ? a : b;
}
// a, b, c and d as the columns of four vectors.
inline void turn4(V a, V b, V c, V d, V* out) {
  const V ab = wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), cd = wasm_i32x4_shuffle(c, d, 0, 4, 1, 5);
  const V ef = wasm_i32x4_shuffle(a, b, 2, 6, 3, 7), gh = wasm_i32x4_shuffle(c, d, 2, 6, 3, 7);
  out[0] = wasm_i64x2_shuffle(ab, cd, 0, 2);
  out[1] = wasm_i64x2_shuffle(ab, cd, 1, 3);
  out[2] = wasm_i64x2_shuffle(ef, gh, 0, 2);
  out[3] = wasm_i64x2_shuffle(ef, gh, 1, 3);
}
// The sums of the lanes of four vectors.
inline V sums4(V a, V b, V c, V d) {
  V t[4];
  turn4(a, b, c, d, t);
  return add(add(t[0], t[2]), add(t[1], t[3]));
}
inline void sum4(V a, V b, V c, V d, float* out) { store(out, sums4(a, b, c, d)); }
// Lane i is the sum of the lanes of the vector at p + i * W.
inline V sum_each(const float* p) {
  return sums4(load(p), load(p + W), load(p + 2 * W), load(p + 3 * W));
}
// How many of x[0..n) are at least low, and how many at least high; n a multiple of W.
inline void count_two(const float* x, Int n, float low, float high, Int* at_low, Int* at_high) {
  const V l = set1(low), h = set1(high);
  V a = wasm_i32x4_splat(0), b = a;
  for (Int i = 0; i < n; i += W) {
    const V v = load(x + i);
    a = wasm_i32x4_sub(a, wasm_f32x4_ge(v, l));
    b = wasm_i32x4_sub(b, wasm_f32x4_ge(v, h));
  }
  int lows[W], highs[W];
  wasm_v128_store(lows, a);
  wasm_v128_store(highs, b);
  *at_low = lows[0] + lows[1] + lows[2] + lows[3];
  *at_high = highs[0] + highs[1] + highs[2] + highs[3];
}
// Writes base + i for each lane i of x that is at least t; room for W indices is needed.
inline Int indices_ge(V x, V t, Int base, int* out) {
  const unsigned set = wasm_i32x4_bitmask(wasm_f32x4_ge(x, t));
  Int n = 0;
  for (int i = 0; i < W; ++i) {
    out[n] = (int)base + i;
    n += set >> i & 1;
  }
  return n;
}
// W rows of src, ld apart, become the columns of dst [W][W].
inline void transpose_square(const float* src, Int ld, float* dst) {
  V t[4];
  turn4(load(src), load(src + ld), load(src + 2 * ld), load(src + 3 * ld), t);
  for (int i = 0; i < 4; ++i) store(dst + i * W, t[i]);
}
// dst[c*16 + r] = src[r*ld + c] for a square of 4x4 (dst lies in a panel of 16 columns).
constexpr Int kSquare = 4;
inline void turn_square(const float* src, Int ld, float* dst) {
  V t[4];
  turn4(load(src), load(src + ld), load(src + 2 * ld), load(src + 3 * ld), t);
  for (int i = 0; i < 4; ++i) store(dst + i * 16, t[i]);
}
